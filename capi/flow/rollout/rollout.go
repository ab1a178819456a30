// Package rollout decides how a deployment goes on: from its row, the web processes of its app and what became of
// their instances, to the next writes.
//
// It promises to be pure and to start from what is there, so that a deployment goes on after a kill at any step, and
// that the last instance which answers never goes before others do. It will not read or write anything.
package rollout

import (
	"math"
	"slices"
	"time"

	"ingot/capi/app"
	"ingot/cf"
)

// Settle is how long an instance must have been up before it counts: the router knows it by then, and one that falls
// over at once was never counted.
const Settle = 1500 * time.Millisecond

// Web is a web process of the app that is deployed, and how its instances are.
type Web struct {
	GUID   string
	Wanted int // instances
	// Dropped and Kept are web processes of earlier deployments, which a newer one superseded at a canary step or on
	// its way.
	Dropped, Kept bool

	Starting, Settled, Unhealthy int
}

// Count fills in how the wanted instances are.
func (w *Web) Count(id cf.ProcessID, all []cf.ActualLRP, now time.Time) {
	for _, a := range all {
		switch {
		case a.LRP != id || a.Index >= w.Wanted:
		case a.State == cf.LRPCrashed || a.Placement != "":
			w.Unhealthy++
		case a.State == cf.LRPRunning && a.Routable && now.Sub(a.Since) >= Settle:
			w.Settled++
		default:
			w.Starting++
		}
	}
}

// Plan is what to write next.
type Plan struct {
	Scale   map[string]int      // guid of a web process → its instances
	Destroy []string            // guids of web processes that have served
	State   app.DeploymentState // "" stays
}

// Empty tells whether there is nothing to write.
func (p Plan) Empty() bool { return len(p.Scale) == 0 && len(p.Destroy) == 0 && p.State == "" }

// Next plans the next step of a deployment. webs are the web processes of its app, oldest first.
func Next(d *app.Deployment, webs []*Web) Plan {
	p := Plan{Scale: map[string]int{}}
	i := slices.IndexFunc(webs, func(w *Web) bool { return w.GUID == d.Process })
	if i < 0 {
		return p
	}
	fresh, old := webs[i], slices.Delete(slices.Clone(webs), i, i+1)
	switch d.State {
	case app.Deploying:
		if p.move(d, fresh, old, target{d.Target(), d.Target()}) {
			p.destroy(old)
			p.State = app.Deployed
		}
	case app.Prepaused:
		if p.move(d, fresh, old, canary(d)) {
			p.State = app.Paused
		}
	case app.Canceling:
		p.cancel(d, webs)
	}
	return p
}

// First is how many instances the new process begins with.
func First(d *app.Deployment) int {
	fresh := d.Target()
	if d.Strategy == app.Canary {
		fresh = canary(d).fresh
	}
	return min(fresh, d.Options.V.MaxInFlight)
}

// target is where a step leads: instances of the new process, and of all together.
type target struct{ fresh, all int }

// canary is the target of the present canary step. All but a step to 100 % leave one instance more than there were.
func canary(d *app.Deployment) target {
	if d.Options.V.Canary == nil {
		return target{1, d.Original + 1}
	}
	n := d.Original
	if most := d.Options.V.Instances; most != nil {
		n = min(n, *most)
	}
	weight := d.Options.V.Canary.Steps[max(d.Step, 1)-1].Weight
	fresh := max(int(math.Round(float64(n)*float64(weight)/100)), 1)
	if weight == 100 {
		return target{fresh, fresh}
	}
	return target{fresh, n + 1}
}

func (p *Plan) destroy(ws []*Web) {
	for _, w := range ws {
		p.Destroy = append(p.Destroy, w.GUID)
	}
}

// move goes one step towards the target: as many old instances go as new ones have settled, and up to max_in_flight
// new ones start, unless one is unhealthy. It tells whether the target is reached.
func (p *Plan) move(d *app.Deployment, fresh *Web, old []*Web, to target) (reached bool) {
	most := d.Options.V.MaxInFlight
	mayStart := fresh.Starting < most && fresh.Unhealthy == 0 && fresh.Settled >= fresh.Wanted-most
	p.reduce(old, max(to.all-fresh.Settled, 0))
	if !mayStart {
		return false
	}
	if fresh.Wanted >= to.fresh && fresh.Settled >= to.fresh {
		return true
	}
	if want := min(fresh.Settled+most, to.fresh); want != fresh.Wanted {
		p.Scale[fresh.GUID] = want
	}
	return false
}

// reduce takes from the old processes until only keep instances are left: first from those that a newer deployment
// dropped, which go as soon as others answer; then from the oldest.
func (p *Plan) reduce(old []*Web, keep int) {
	total, others := 0, 0
	for _, w := range old {
		if total += w.Wanted; !w.Dropped {
			others += w.Settled
		}
	}
	surplus := total - keep
	sorted := slices.Clone(old)
	slices.SortStableFunc(sorted, func(a, b *Web) int { return rank(a) - rank(b) })
	for _, w := range sorted {
		less := min(max(surplus, 0), w.Wanted)
		if w.Dropped && others > 0 {
			less = w.Wanted
		}
		if less == 0 {
			continue
		}
		surplus -= less
		if less == w.Wanted && w != old[0] {
			p.Destroy = append(p.Destroy, w.GUID)
		} else { // the first stays, for a way back
			p.Scale[w.GUID] = w.Wanted - less
		}
	}
}

func rank(w *Web) int {
	if w.Dropped {
		return 0
	}
	return 1
}

// cancel brings back what was before: the newest process of a deployment that was superseded on its way and that still
// answers, or else the oldest. The others go as its instances settle, and at once when they do not answer themselves or
// when it is in no better state than they are.
func (p *Plan) cancel(d *app.Deployment, webs []*Web) {
	prior := webs[0]
	for _, w := range webs {
		if w.Kept && w.Settled > 0 {
			prior = w
		}
	}
	if prior.Wanted != d.Original {
		p.Scale[prior.GUID] = d.Original
	}
	others := slices.DeleteFunc(slices.Clone(webs), func(w *Web) bool { return w == prior })
	answering, surplus := 0, -max(d.Original-prior.Settled, 0)
	for _, w := range others {
		answering += w.Settled
		surplus += w.Wanted
	}
	if prior.Settled >= d.Original || prior.Unhealthy > 0 || answering == 0 {
		p.destroy(others)
		p.State = app.Canceled
		return
	}
	for _, w := range slices.Backward(others) {
		if less := min(max(surplus, 0), w.Wanted); less > 0 {
			p.Scale[w.GUID] = w.Wanted - less
			surplus -= less
		}
	}
}
