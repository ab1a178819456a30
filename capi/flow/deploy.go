package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"ingot/capi/app"
	"ingot/capi/build"
	"ingot/capi/flow/recipe"
	"ingot/capi/flow/used"
	"ingot/capi/route"
	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/quota"
	"ingot/rest/row"
)

// changed is how families tell of an app whose running instances a change concerns. The rows are committed: what
// cannot be told to the scheduler now, convergence tells later.
func (f *Flow) changed(ctx context.Context, guid string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := f.Sync(ctx, guid); err != nil {
		slog.Error("tell the scheduler of an app", "app", guid, "err", err)
	}
}

// Sync makes the scheduler want what the rows of an app say. What runs keeps its program, limits and environment until the
// app is started anew, as in CF; instances, routes and tags follow at once.
func (f *Flow) Sync(ctx context.Context, guid string) error {
	defer f.locks.Lock(guid)()
	at := time.Now() // before the rows are read: of two calls the one that read later wins
	have, err := f.Scheduler.Desired(ctx, cf.AppID(guid))
	if err != nil {
		return fmt.Errorf("desired LRPs of app %s: %w", guid, err)
	}
	for _, h := range have { // where the clock was set back: the rows are still read after h
		at = time.Unix(0, max(at.UnixNano(), h.Updated.UnixNano()+1))
	}
	want, err := f.wanted(ctx, guid)
	if err != nil {
		return err
	}
	for _, h := range have {
		if !slices.ContainsFunc(want, func(w cf.DesiredLRP) bool { return w.ID == h.ID }) {
			if err := f.Scheduler.Undesire(ctx, h.ID); err != nil {
				return fmt.Errorf("undesire %s: %w", h.ID, err)
			}
		}
	}
	for _, w := range want {
		if i := slices.IndexFunc(have, func(h cf.DesiredLRP) bool { return w.ID == h.ID }); i >= 0 {
			next, differs := follow(have[i], w)
			if !differs {
				continue
			}
			w = next
		}
		w.Updated = at
		if err := f.Scheduler.Desire(ctx, w); err != nil {
			return fmt.Errorf("desire %s: %w", w.ID, err)
		}
		f.Gate.Step("LRP desired")
	}
	return nil
}

// follow puts into a desired LRP what takes effect at once.
func follow(h, w cf.DesiredLRP) (cf.DesiredLRP, bool) {
	same := h.Instances == w.Instances && maps.Equal(h.MetricTags, w.MetricTags) &&
		slices.EqualFunc(h.Routes, w.Routes, func(a, b cf.LRPRoute) bool {
			if len(a.Options) == 0 && len(b.Options) == 0 {
				a.Options, b.Options = nil, nil
			}
			return reflect.DeepEqual(a, b)
		})
	h.Instances, h.Routes, h.MetricTags = w.Instances, w.Routes, w.MetricTags
	return h, !same
}

// wanted is what should run of the app by its rows; nothing when it is stopped or gone.
func (f *Flow) wanted(ctx context.Context, guid string) ([]cf.DesiredLRP, error) {
	db := f.DB.Read()
	a, err := app.ByGUID(ctx, db, guid)
	if cf.IsKind(err, cf.KindNotFound) || err == nil && (a.State != app.Started || a.Droplet == "") {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ps, err := app.ProcessesOf(ctx, db, guid)
	if err != nil {
		return nil, err
	}
	mapped, err := route.OfApp(ctx, db, guid)
	if err != nil {
		return nil, err
	}
	at, err := f.place(ctx, a, "running")
	if err != nil {
		return nil, err
	}
	var out []cf.DesiredLRP
	for _, p := range ps {
		if p.Instances == 0 {
			continue
		}
		of, version, d, err := program(ctx, db, a, p)
		if err != nil {
			return nil, err
		}
		if d != nil {
			out = append(out, recipe.LRP(of, version, d, mapped, at))
		}
	}
	return out, nil
}

// find is the app of a request that its caller may start and stop.
func (f *Flow) find(c *rest.Call) (*app.App, error) {
	a, err := f.App.Apps.Find(c, c.Arg("guid"))
	if err != nil {
		return nil, err
	}
	return a, c.MayWriteSpace(a.SpaceGUID, access.AppManagers...)
}

const noDroplet = "Assign a droplet before starting this app."

// startable is find, and refuses first, whoever asks, an app that has nothing to run: AppsV3Controller's order.
func (f *Flow) startable(c *rest.Call) (*app.App, error) {
	a, err := f.App.Apps.Find(c, c.Arg("guid"))
	if err == nil && a.Droplet == "" {
		err = rest.Unprocessable(noDroplet)
	}
	if err != nil {
		return nil, err
	}
	return a, c.MayWriteSpace(a.SpaceGUID, access.AppManagers...)
}

func (f *Flow) start(c *rest.Call) error {
	a, err := f.startable(c)
	if err != nil {
		return err
	}
	return f.turn(c, a, app.Started, "start", "Starting app with guid %s")
}

func (f *Flow) stopApp(c *rest.Call) error {
	a, err := f.find(c)
	if err != nil {
		return err
	}
	return f.turn(c, a, app.Stopped, "stop", "Stopping app with guid %s")
}

func (f *Flow) restart(c *rest.Call) error {
	a, err := f.startable(c)
	if err != nil {
		return err
	}
	return f.turn(c, a, app.Started, "restart", "Restarted app with guid %s")
}

// turn writes the wanted state of an app, tells the scheduler, and answers the app. A start of a stopped app and every
// restart give its processes new versions: new LRPs, which take the present droplet, environment and sizes.
func (f *Flow) turn(c *rest.Call, a *app.App, state app.State, verb, line string) error {
	revised := false
	err := c.Write(func(ctx context.Context, tx bun.Tx) (err error) {
		var h *quota.Held
		if state == app.Started {
			if h, err = quota.Hold(ctx, f.DB, tx, a.SpaceGUID); err != nil {
				return err
			}
		}
		if err := c.Lock(ctx, tx, a); err != nil {
			return err
		}
		if a.Droplet == "" && state == app.Started {
			return rest.Unprocessable(noDroplet)
		}
		anew := state == app.Started && (a.State != app.Started || verb == "restart")
		a.State = state
		if err := row.Update(ctx, tx, a); err != nil {
			return err
		}
		if anew {
			if revised, err = anewOf(ctx, tx, a, verb); err == nil {
				err = f.fits(ctx, tx, h, a, "")
			}
			if err != nil {
				return err
			}
		}
		if err := used.App(ctx, tx, a); err != nil {
			return err
		}
		return app.Record(ctx, tx, "audit.app."+verb, a, nil)
	})
	if err != nil {
		return err
	}
	f.sayRevised(a, revised)
	f.App.Say(a.GUID, line, a.GUID)
	f.changed(c.Ctx(), a.GUID)
	f.ring()
	return f.App.Apps.Show(c, http.StatusOK, a)
}

// anewOf begins all processes of an app anew; revised tells whether that is a new revision.
func anewOf(ctx context.Context, tx bun.Tx, a *app.App, verb string) (revised bool, err error) {
	r, revised, err := app.Revise(ctx, tx, a, nil)
	if err != nil {
		return false, err
	}
	guid := ""
	if r != nil {
		guid = r.GUID
	}
	going, err := app.InFlight(ctx, tx, a.GUID)
	if err != nil {
		return false, err
	}
	return revised, renew(ctx, tx, a, guid, going && verb == "start")
}

// fits refuses what the quotas of a started app have no room for: its processes as they were written, or one of them.
func (f *Flow) fits(ctx context.Context, tx bun.Tx, h *quota.Held, a *app.App, one string) error {
	ps, err := app.ProcessesOf(ctx, tx, a.GUID)
	if err != nil {
		return err
	}
	if one != "" {
		ps = slices.DeleteFunc(ps, func(p *app.Process) bool { return p.GUID != one })
	}
	return f.App.Fits(ctx, tx, h, a, ps...)
}

// renew gives the processes of an app new versions, of its present droplet and of that revision. The web processes of
// a deployment that goes on are to keep theirs.
func renew(ctx context.Context, tx bun.Tx, a *app.App, revision string, keep bool) error {
	ps, err := app.ProcessesOf(ctx, tx, a.GUID)
	if err != nil {
		return err
	}
	for _, p := range ps {
		if p.Version = cf.NewGUID(); !keep || p.Type != app.Web {
			p.Droplet, p.Revision = a.Droplet, revision
		}
		if err := row.Update(ctx, tx, p); err != nil {
			return err
		}
	}
	return nil
}

// currentDroplet is the current droplet of the request's app.
func (f *Flow) currentDroplet(c *rest.Call) (*app.App, *build.Droplet, error) {
	a, err := f.App.Apps.Find(c, c.Arg("guid"))
	if err != nil {
		return nil, nil, err
	}
	d, err := build.DropletByGUID(c.Ctx(), c.DB(), a.Droplet)
	if err == nil && d == nil {
		err = rest.NotFound("droplet")
	}
	return a, d, err
}

func (f *Flow) showCurrent(c *rest.Call) error {
	_, d, err := f.currentDroplet(c)
	if err != nil {
		return err
	}
	return f.Build.Droplets.Show(c, http.StatusOK, d)
}

func (f *Flow) showRelationship(c *rest.Call) error {
	a, _, err := f.currentDroplet(c)
	if err != nil {
		return err
	}
	return relationship(c, a)
}

func relationship(c *rest.Call, a *app.App) error {
	o := rest.ToOne(a.Droplet)
	o["links"] = rest.Object{
		"self":    c.Link("/v3/apps/%s/relationships/current_droplet", a.GUID),
		"related": c.Link("/v3/apps/%s/droplets/current", a.GUID),
	}
	return c.JSON(http.StatusOK, o)
}

type assignBody struct {
	guid    string
	removes bool
}

func (t *assignBody) Take(b *rest.Body) {
	raw := b.Raw("data")
	var data struct {
		GUID string `json:"guid"`
	}
	err := json.Unmarshal(raw, &data) // what is no droplet is told below
	t.guid, t.removes = data.GUID, raw != nil && (err != nil || data.GUID == "")
	if strings.ContainsRune(t.guid, 0) { // no database takes it, and no droplet has it
		t.guid = ""
	}
}

func (f *Flow) assign(c *rest.Call) error {
	var t assignBody
	if err := rest.Take(c, &t); err != nil {
		return err
	}
	if t.removes {
		return rest.Unprocessable("Current droplet cannot be removed. Replace it with a preferred droplet.")
	}
	a, err := f.find(c)
	if err != nil {
		return err
	}
	err = c.Change(a, func(ctx context.Context, tx bun.Tx) error {
		busy, err := app.InFlight(ctx, tx, a.GUID)
		if err == nil && busy {
			err = rest.Unprocessable("Unable to assign current droplet while the app has a deployment in progress. Wait for the deployment to complete or cancel it.")
		}
		if err != nil {
			return err
		}
		if err := mapDroplet(ctx, tx, a, t.guid); err != nil {
			return err
		}
		return used.App(ctx, tx, a)
	})
	if err != nil {
		return err
	}
	f.Gate.Step("droplet set")
	f.App.Say(a.GUID, `Updated app with guid %s ({"droplet_guid"=>%q})`, a.GUID, a.Droplet)
	return relationship(c, a)
}

// mapDroplet makes a droplet the current one; the caller writes the app.
func mapDroplet(ctx context.Context, tx bun.Tx, a *app.App, guid string) error {
	d := new(build.Droplet)
	err := tx.NewSelect().Model(d).Where("guid = ? AND app_guid = ? AND state = ?", guid, a.GUID, build.Staged).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return rest.Unprocessable("Unable to assign current droplet. Ensure the droplet exists and belongs to this app.")
	}
	if err != nil {
		return err
	}
	a.Droplet = d.GUID
	data := map[string]any{"request": map[string]any{"droplet_guid": d.GUID}}
	if err := app.Record(ctx, tx, "audit.app.droplet.mapped", a, data); err != nil {
		return err
	}
	if err := app.TakeTypes(ctx, tx, a, d.ProcessTypes.V); err != nil {
		return err
	}
	return takeSidecars(ctx, tx, a, d.Sidecars.V)
}
