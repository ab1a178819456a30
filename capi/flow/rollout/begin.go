package rollout

import (
	"time"

	"ingot/capi/app"
	"ingot/cf"
	"ingot/rest/row"
)

// Resize applies the sizes that the deployment asks for.
func Resize(p *app.Process, d *app.Deployment) {
	o := d.Options.V
	ch := app.Change{MemoryMB: o.MemoryMB, DiskMB: o.DiskMB}
	if o.LogRate != nil {
		rate := int64(*o.LogRate)
		ch.LogRate = &rate
	}
	ch.Apply(p)
}

// Fresh makes the new web process out of the newest one.
func Fresh(p *app.Process, a *app.App, r *app.Revision) *app.Process {
	fresh := *p
	fresh.Row, fresh.Used = row.Row{GUID: cf.NewGUID()}, app.Used{}
	fresh.Version, fresh.Droplet, fresh.Revision = cf.NewGUID(), a.Droplet, ""
	if r != nil {
		fresh.Revision, fresh.Command = r.GUID, r.Commands.V[app.Web]
	}
	return &fresh
}

// Hold is how long a request for a deployment that is on its way waits for news. The CLI asks again only every 3 s.
const Hold = 10 * time.Second

// begins is how long a deployment counts as new, or as continued just now.
const begins = time.Second

// News tells whether a deployment is to be shown to a client who has waited since it was as first: it does not move, or
// its status is another. One of several steps is shown while it is new or just continued: who does not wait for all of them (--no-wait)
// learns from it where the first new instance is to be seen.
func News(first, d *app.Deployment) bool {
	if d.Value != app.Active || d.State == app.Paused || d.Reason != first.Reason || d.Error != first.Error {
		return true
	}
	return d == first && First(d) < d.Target() && time.Since(d.Changed.Time()) < begins
}
