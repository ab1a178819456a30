package flow

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/uptrace/bun"

	"ingot/capi/app"
	"ingot/capi/build"
	"ingot/capi/flow/rollout"
	"ingot/capi/flow/used"
	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/quota"
	"ingot/rest/row"
)

// deploy is POST /v3/deployments.
func (f *Flow) deploy(c *rest.Call) (*app.Deployment, error) {
	var t rollout.Body
	if err := rest.Take(c, &t); err != nil {
		return nil, err
	}
	a, err := f.App.Apps.Find(c, t.App)
	if err == nil {
		err = c.MayWriteSpace(a.SpaceGUID, access.AppManagers...)
	}
	if cf.IsKind(err, cf.KindNotFound) || cf.IsKind(err, cf.KindForbidden) {
		return nil, rest.Unprocessable("Unable to use app. Ensure that the app exists and you have access to it.")
	}
	if err != nil {
		return nil, err
	}
	if t.Revision != "" && !a.Revisions {
		return nil, rest.Unprocessable("Cannot create deployment from a revision for an app without revisions enabled")
	}
	var d *app.Deployment
	revised := false
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		h, err := f.holdApp(ctx, tx, a)
		if err != nil {
			return err
		}
		d = &app.Deployment{AppGUID: a.GUID, SpaceGUID: a.SpaceGUID, Strategy: t.Strategy, Previous: a.Droplet, Droplet: t.Droplet}
		d.Options.V = t.Options
		if revised, err = f.beginDeployment(ctx, tx, a, d, &t); err != nil {
			return err
		}
		if err := row.Update(ctx, tx, a); err != nil {
			return err
		}
		if err := f.fits(ctx, tx, h, a, d.Process); err != nil {
			return tooSmall(err, h)
		}
		if err := used.App(ctx, tx, a); err != nil {
			return err
		}
		data := event.Request(c.Body)
		data["deployment_guid"], data["droplet_guid"], data["strategy"] = d.GUID, d.Droplet, d.Strategy
		data["revision_guid"], data["type"] = nil, nil
		if d.Revision != "" {
			data["revision_guid"] = d.Revision
		}
		if t.Revision != "" {
			data["type"] = "rollback"
		}
		return app.Record(ctx, tx, "audit.app.deployment.create", a, data)
	})
	if err != nil {
		return nil, err
	}
	f.sayRevised(a, revised)
	f.App.Say(a.GUID, "Creating deployment for app with guid %s", a.GUID)
	f.changed(c.Ctx(), a.GUID)
	f.Gate.Step("deployment begun")
	f.ring()
	return d, nil
}

// tooSmall adds to a quota's refusal, as Cloud Controller does, that deployments need room for both sides.
func tooSmall(err error, h *quota.Held) error {
	var e *cf.Error
	if !errors.As(err, &e) {
		return err
	}
	const words = "quota may not be large enough to support rolling deployments or your configured max-in-flight."
	switch {
	case strings.Contains(e.Public, "space_quota_exceeded"), strings.Contains(e.Public, "space_app_instance_limit_exceeded"):
		return rest.Unprocessable("%s for space %s. This space's %s", e.Public, h.Space.Name, words)
	case strings.Contains(e.Public, "quota_exceeded"), strings.Contains(e.Public, "app_instance_limit_exceeded"):
		return rest.Unprocessable("%s for organization %s. This organization's %s", e.Public, h.Org.Name, words)
	}
	return err
}

func (f *Flow) sayRevised(a *app.App, made bool) {
	if made {
		f.App.Say(a.GUID, "Creating revision for app with guid %s", a.GUID)
	}
}

// beginDeployment writes the deployment with its new web process; a stopped app is merely started. revised tells
// whether it made a revision.
func (f *Flow) beginDeployment(ctx context.Context, tx bun.Tx, a *app.App, d *app.Deployment, t *rollout.Body) (revised bool, err error) {
	back, err := f.takeTarget(ctx, tx, a, d, t.Revision)
	if err != nil {
		return false, err
	}
	r, revised, err := app.Revise(ctx, tx, a, back)
	if err != nil {
		return false, err
	}
	if r != nil {
		d.Revision, d.Version = r.GUID, r.Version
	}
	ps, err := app.ProcessesOf(ctx, tx, a.GUID)
	if err != nil {
		return false, err
	}
	webs := ofType(ps, app.Web)
	newest := webs[len(webs)-1]
	if err := row.Lock(ctx, f.DB, tx, newest); err != nil { // nobody scales it meanwhile
		return false, err
	}
	before, err := active(ctx, tx, a.GUID)
	if err != nil {
		return false, err
	}
	if d.Original = webs[0].Instances; before != nil {
		d.Original = before.Original
	}
	if err := t.Metadata.Apply(d.Meta()); err != nil {
		return false, err
	}
	if d.Strategy == app.Canary {
		d.Step = 1
	}
	d.Healthy = sql.Now()
	d.GUID = cf.NewGUID()
	rollout.Resize(newest, d)
	if a.State == app.Stopped {
		return revised, f.deployStopped(ctx, tx, a, d, newest)
	}
	fresh := rollout.Fresh(newest, a, r)
	fresh.Instances = rollout.First(d)
	if err := row.Insert(ctx, tx, fresh); err != nil {
		return false, err
	}
	d.Process = fresh.GUID
	if d.Turn(app.Deploying); d.Strategy == app.Canary {
		d.Turn(app.Prepaused)
	}
	if before != nil {
		before.Supersede()
		if err := row.Update(ctx, tx, before); err != nil {
			return false, err
		}
	}
	return revised, app.InsertDeployment(ctx, tx, d)
}

// deployStopped starts the app: there is nothing to roll.
func (f *Flow) deployStopped(ctx context.Context, tx bun.Tx, a *app.App, d *app.Deployment, web *app.Process) error {
	if n := d.Options.V.Instances; n != nil {
		web.Instances = *n
	}
	if err := row.Update(ctx, tx, web); err != nil {
		return err
	}
	if err := renew(ctx, tx, a, d.Revision, false); err != nil {
		return err
	}
	a.State = app.Started
	if err := app.Record(ctx, tx, "audit.app.start", a, nil); err != nil {
		return err
	}
	d.Turn(app.Deployed)
	return app.InsertDeployment(ctx, tx, d)
}

// takeTarget gives the app the droplet that the deployment leads to, and with a revision its environment and sidecars.
func (f *Flow) takeTarget(ctx context.Context, tx bun.Tx, a *app.App, d *app.Deployment, revision string) (back *app.Revision, err error) {
	if revision != "" {
		back, err = app.RevisionByGUID(ctx, tx, revision)
		if err != nil {
			return nil, err
		}
		if back == nil || back.AppGUID != a.GUID {
			return nil, rest.Unprocessable("The revision does not exist")
		}
		drop, err := build.DropletByGUID(ctx, tx, back.Droplet)
		if err != nil {
			return nil, err
		}
		if drop == nil || drop.State == build.Expired {
			return nil, rest.Unprocessable("Unable to deploy this revision, the droplet for this revision no longer exists.")
		}
		d.Droplet = back.Droplet
	}
	if d.Droplet == "" {
		d.Droplet = a.Droplet
	}
	if d.Droplet == "" {
		return nil, rest.Unprocessable("Invalid droplet. Please specify a droplet in the request or set a current droplet for the app.")
	}
	err = mapDroplet(ctx, tx, a, d.Droplet)
	if err == nil && back != nil {
		err = back.Return(ctx, tx, a) // its sidecars win over the droplet's
	}
	return back, err
}

func ofType(ps []*app.Process, kind string) (out []*app.Process) {
	for _, p := range ps {
		if p.Type == kind {
			out = append(out, p)
		}
	}
	return out
}

// active is the deployment of the app that is not over; nil when there is none.
func active(ctx context.Context, db bun.IDB, guid string) (*app.Deployment, error) {
	d := new(app.Deployment)
	err := db.NewSelect().Model(d).Where("app_guid = ? AND status_value = ?", guid, app.Active).OrderExpr("id DESC").Limit(1).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return d, err
}

// holdDeployment lets fn change a deployment and its app, which nobody else does meanwhile.
func (f *Flow) holdDeployment(ctx context.Context, d *app.Deployment, fn func(ctx context.Context, tx bun.Tx, h *quota.Held, a *app.App) error) error {
	err := f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		a := new(app.App)
		a.GUID = d.AppGUID
		h, err := f.holdApp(ctx, tx, a)
		if err != nil {
			return err
		}
		if err := row.Lock(ctx, f.DB, tx, d); err != nil {
			return err
		}
		if err := fn(ctx, tx, h, a); err != nil {
			return err
		}
		return row.Update(ctx, tx, d)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return rest.NotFound("deployment")
	}
	return err
}

// showDeployment is GET /v3/deployments/:guid; it waits for news.
func (f *Flow) showDeployment(c *rest.Call) error {
	var d, first *app.Deployment
	err := f.news.Await(c.Ctx(), rollout.Hold, func() (found bool, err error) {
		if d, err = f.App.Deployments.Find(c, c.Arg("guid")); err != nil {
			return false, err
		}
		if first == nil {
			first = d
		}
		return rollout.News(first, d), nil
	})
	if err != nil {
		return err
	}
	return f.App.Deployments.Show(c, http.StatusOK, d)
}

func (f *Flow) cancelDeployment(c *rest.Call) error {
	return f.steer(c, "cancel", "Cancelling", func(d *app.Deployment) bool { return d.Value == app.Active },
		func(ctx context.Context, tx bun.Tx, a *app.App, d *app.Deployment) error {
			d.Turn(app.Canceling)
			if err := mapDroplet(ctx, tx, a, d.Previous); err != nil {
				return err
			}
			return row.Update(ctx, tx, a)
		})
}

func (f *Flow) continueDeployment(c *rest.Call) error {
	return f.steer(c, "continue", "Continuing", func(d *app.Deployment) bool { return d.State == app.Paused },
		func(_ context.Context, _ bun.Tx, _ *app.App, d *app.Deployment) error {
			if o := d.Options.V; o.Canary != nil && d.Step < o.Steps() {
				d.Step++
				d.Turn(app.Prepaused)
			} else {
				d.Turn(app.Deploying)
			}
			return nil
		})
}

// steer changes a deployment that allows it, and answers 200 without a body.
func (f *Flow) steer(c *rest.Call, verb, doing string, may func(*app.Deployment) bool,
	do func(ctx context.Context, tx bun.Tx, a *app.App, d *app.Deployment) error,
) error {
	d, err := f.App.DeploymentOf(c)
	if err != nil {
		return err
	}
	err = f.holdDeployment(c.Ctx(), d, func(ctx context.Context, tx bun.Tx, _ *quota.Held, a *app.App) error {
		if !may(d) {
			return rest.Unprocessable("Cannot %s a deployment with status: %s and reason: %s", verb, d.Value, d.Reason)
		}
		if err := do(ctx, tx, a, d); err != nil {
			return err
		}
		return app.Record(ctx, tx, "audit.app.deployment."+verb, a, map[string]any{"deployment_guid": d.GUID, "droplet_guid": d.Droplet})
	})
	if err != nil {
		return err
	}
	f.App.Say(d.AppGUID, doing+" deployment for app with guid %s", d.AppGUID)
	f.ring()
	c.W.WriteHeader(http.StatusOK)
	return nil
}
