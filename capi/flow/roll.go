package flow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"ingot/capi/app"
	"ingot/capi/build"
	"ingot/capi/flow/rollout"
	"ingot/capi/flow/used"
	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest/quota"
	"ingot/rest/row"
)

// pace is between two looks at instances while a deployment is on its way.
const pace = 250 * time.Millisecond

// ring wakes who drives deployments, and who waits for news of one.
func (f *Flow) ring() {
	f.news.Ring()
	select {
	case f.bell <- struct{}{}:
	default:
	}
}

// drive takes deployments further: while one is on its way, else when one begins, and now and again for those that
// another process began. All that it knows is in rows, so it goes on after a kill.
func (f *Flow) drive(ctx context.Context, every time.Duration) {
	for {
		wait := every
		busy, err := f.rollAll(ctx)
		if err != nil && ctx.Err() == nil {
			slog.Error("deployments", "err", err)
		}
		if busy {
			wait = pace
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-f.bell:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// rollAll takes each deployment that is on its way one step further; busy tells whether there is one.
func (f *Flow) rollAll(ctx context.Context) (busy bool, err error) {
	var ds []*app.Deployment
	err = f.DB.Read().NewSelect().Model(&ds).Where("state IN (?)", bun.List([]app.DeploymentState{app.Deploying, app.Prepaused, app.Canceling})).
		OrderExpr("id").Scan(ctx)
	if err != nil {
		return true, fmt.Errorf("deployments on their way: %w", err)
	}
	var errs []error
	for _, d := range ds {
		if err := f.roll(ctx, d); err != nil && !cf.IsKind(err, cf.KindNotFound) { // deleted with its app
			errs = append(errs, fmt.Errorf("deployment %s: %w", d.GUID, err))
		}
	}
	return len(ds) > 0, errors.Join(errs...)
}

// roll takes one step of a deployment: look, plan, and if there is something to write, plan again under lock, write,
// and tell the scheduler.
func (f *Flow) roll(ctx context.Context, d *app.Deployment) error {
	all, err := f.Scheduler.Instances(ctx, cf.AppID(d.AppGUID))
	if err != nil {
		return err
	}
	a, err := app.ByGUID(ctx, f.DB.Read(), d.AppGUID)
	if err != nil {
		return err
	}
	if plan, _, err := planned(ctx, f.DB.Read(), a, d, all); err != nil || plan.Empty() {
		return err
	}
	err = f.holdDeployment(ctx, d, func(ctx context.Context, tx bun.Tx, h *quota.Held, a *app.App) error {
		plan, ps, err := planned(ctx, tx, a, d, all)
		if err == nil && !plan.Empty() {
			gone := slices.DeleteFunc(slices.Clone(ps), func(p *app.Process) bool { return !slices.Contains(plan.Destroy, p.GUID) })
			err = errors.Join(used.Ended(ctx, tx, a, gone...), carryOut(ctx, tx, d, ps, plan))
		}
		if err == nil && plan.Scale[d.Process] > 0 {
			err = f.fits(ctx, tx, h, a, d.Process)
		}
		if err == nil {
			err = used.App(ctx, tx, a)
		}
		return err
	})
	if why := new(cf.Error); errors.As(err, &why) && why.Kind == cf.KindUnprocessable { // a quota: it waits for room
		return f.holdDeployment(ctx, d, func(context.Context, bun.Tx, *quota.Held, *app.App) error {
			d.Error = why.Public
			return nil
		})
	}
	if err != nil {
		return err
	}
	f.Gate.Step("deployment " + string(d.State))
	f.news.Ring()
	f.changed(ctx, d.AppGUID)
	return nil
}

// planned plans from the rows and those instances, and gives the app's processes. An app that is stopped waits, unless
// the deployment is to be undone.
func planned(ctx context.Context, db bun.IDB, a *app.App, d *app.Deployment, all []cf.ActualLRP) (rollout.Plan, []*app.Process, error) {
	if a.State != app.Started && d.State != app.Canceling {
		return rollout.Plan{}, nil, nil
	}
	ps, err := app.ProcessesOf(ctx, db, a.GUID)
	if err != nil {
		return rollout.Plan{}, nil, err
	}
	var others []*app.Deployment
	if err := db.NewSelect().Model(&others).Where("app_guid = ?", a.GUID).Scan(ctx); err != nil {
		return rollout.Plan{}, nil, err
	}
	now := time.Now()
	var webs []*rollout.Web
	for _, p := range ofType(ps, app.Web) {
		w := &rollout.Web{GUID: p.GUID, Wanted: p.Instances}
		w.Count(p.LRP(), all, now)
		for _, o := range others {
			if o.Process == p.GUID && o.Superseded() {
				w.Dropped, w.Kept = o.State == app.Canceled, o.State == app.Deployed
			}
		}
		webs = append(webs, w)
	}
	return rollout.Next(d, webs), ps, nil
}

// carryOut writes a plan.
func carryOut(ctx context.Context, tx bun.Tx, d *app.Deployment, ps []*app.Process, plan rollout.Plan) error {
	byGUID := map[string]*app.Process{}
	for _, p := range ps {
		byGUID[p.GUID] = p
	}
	for guid, n := range plan.Scale {
		p := byGUID[guid]
		grows := n > p.Instances
		p.Instances = n
		if err := row.Update(ctx, tx, p); err != nil {
			return err
		}
		if grows {
			d.Healthy = sql.Now()
		}
	}
	for _, guid := range plan.Destroy {
		if err := row.Delete(ctx, tx, byGUID[guid]); err != nil {
			return err
		}
	}
	d.Error = ""
	if plan.State == "" {
		return nil
	}
	d.Turn(plan.State)
	if plan.State == app.Deployed {
		return takeAlong(ctx, tx, byGUID[d.Process], ps)
	}
	return nil
}

// takeAlong begins all other processes of the app anew when its web process is through.
func takeAlong(ctx context.Context, tx bun.Tx, web *app.Process, ps []*app.Process) error {
	r, err := app.RevisionByGUID(ctx, tx, web.Revision)
	if err != nil {
		return err
	}
	for _, p := range ps {
		if p.Type == app.Web {
			continue
		}
		if r != nil {
			p.Command = r.Commands.V[p.Type]
		}
		p.Version, p.Droplet, p.Revision = cf.NewGUID(), web.Droplet, web.Revision
		if err := row.Update(ctx, tx, p); err != nil {
			return err
		}
	}
	return nil
}

// program is what a process runs: the app and the process with the environment, the command and the sidecars of the
// process's revision, and its droplet; or what the app has now where these are not known any more. During a deployment there are
// two web processes, each with its own.
func program(ctx context.Context, db bun.IDB, a *app.App, p *app.Process) (*app.App, *app.Process, *build.Droplet, error) {
	d, err := build.DropletByGUID(ctx, db, p.Droplet)
	if err == nil && (d == nil || d.State != build.Staged) {
		d, err = build.DropletByGUID(ctx, db, a.Droplet)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	var r *app.Revision
	if p.Revision != "" {
		if r, err = app.RevisionByGUID(ctx, db, p.Revision); err != nil {
			return nil, nil, nil, err
		}
	}
	version, err := p.With(ctx, db, r)
	if err != nil || r == nil {
		return a, version, d, err
	}
	of := *a
	of.Env.V, version.Command = r.Env.V, r.Commands.V[p.Type]
	return &of, version, d, nil
}
