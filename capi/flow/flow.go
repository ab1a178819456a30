// Package flow holds the verbs that cross families of nouns: applying manifests, staging, starting and stopping,
// deploying,
// what became of work that the scheduler did, and deleting an app with all that belongs to it.
//
// It promises that the rows decide: each call to the scheduler follows the commit that wants it, may be lost, and is
// repeated by convergence until scheduler and rows agree. Every outcome may be told twice. DESIGN.md has the order of
// steps and what happens when the process is killed between them. It does not know which scheduler runs apps.
package flow

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"ingot/capi/admin"
	"ingot/capi/app"
	"ingot/capi/build"
	"ingot/capi/flow/errand"
	"ingot/capi/flow/recipe"
	"ingot/capi/flow/used"
	"ingot/capi/org"
	"ingot/capi/route"
	"ingot/capi/task"
	"ingot/cf"
	"ingot/kit/run"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/event"
	"ingot/rest/job"
	"ingot/rest/quota"
)

// Flow joins the families. Set its fields, call Join before the families make their nouns, and Start once the tables
// are there and the scheduler can be called.
type Flow struct {
	DB        *sql.DB
	Scheduler cf.Scheduler
	Blobs     cf.Blobs
	Logs      cf.Logs
	Bindings  cf.Bindings
	Gate      *run.Gate
	URL       string        // the API's address
	Domain    string        // the shared domain that apps get by default, such as apps.ingot.test
	Every     time.Duration // between convergences; 0 = 30 s
	Staging   time.Duration // the most that a staging may take; 0 = recipe.Timeout

	App   *app.Family
	Build *build.Family
	Route *route.Family
	Org   *org.Family
	Admin *admin.Family
	Task  *task.Family

	bell    chan struct{} // rings when a deployment begins or is steered
	news    run.Bell      // of deployments
	locks   run.Keyed
	errands *errand.Errands
	met     map[string]time.Time // the builds that are STAGING, since convergence met them
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// Join tells the families of each other what they need to know.
func (f *Flow) Join() {
	f.App.Changed, f.Route.Changed = f.changed, f.changed
	f.bell = make(chan struct{}, 1)
	f.App.Fit, f.App.StackState, f.App.Stack, f.App.Remove = admin.Fit, f.stackState, admin.DefaultStack, f.removeApp
	f.App.Deploy, f.App.Staged = f.deploy, build.StagedAmong
	f.Build.App, f.Route.App = target, target
	f.Build.Current = func(ctx context.Context, db bun.IDB, guid string) (string, error) {
		a, err := app.ByGUID(ctx, db, guid)
		if cf.IsKind(err, cf.KindNotFound) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		return a.Droplet, nil
	}
	f.Build.Stack = func(ctx context.Context, db bun.IDB, guid string) (string, error) {
		a, err := app.ByGUID(ctx, db, guid)
		if err != nil {
			return "", err
		}
		return a.Stack, nil
	}
	f.Build.Abandon = func(ctx context.Context, b *build.Build, why string) error {
		return f.giveUp(ctx, b, "StagerError", "Stager error: "+why)
	}
	f.Org.SpaceContents = append(f.Org.SpaceContents, f.emptySpace)
	f.Org.OrgContents = append(f.Org.OrgContents, func(ctx context.Context, _ *job.Job, guid string) error { return f.Route.EmptyOrg(ctx, guid) })
	f.App.Counters, f.App.Account, f.Task.App = []quota.Counter{app.Count, task.Count}, used.Processes, target
	f.errands = &errand.Errands{DB: f.DB, Scheduler: f.Scheduler, Gate: f.Gate, App: f.App, Build: f.Build, Task: f.Task,
		Place: func(ctx context.Context, a *app.App) (recipe.Place, error) { return f.place(ctx, a, "running") }}
	f.Org.Usages = append(f.Org.Usages, app.Count, task.Count, route.Count)
	f.Admin.ReseedApps = used.Reseed
	f.Admin.StackUsed = func(ctx context.Context, db bun.IDB, name string) (bool, error) {
		return db.NewSelect().Model((*app.App)(nil)).Where("stack = ?", name).Exists(ctx)
	}
}

// target names an app for audit events.
func target(ctx context.Context, db bun.IDB, guid string) (event.Target, error) {
	a, err := app.ByGUID(ctx, db, guid)
	if err != nil {
		return event.Target{}, err
	}
	return app.Target(ctx, db, a)
}

// Routes are the endpoints of the verbs.
func (f *Flow) Routes() []rest.Route {
	const ofApp, ofSpace = "/v3/apps/{guid}", "/v3/spaces/{guid}"
	return append(f.errands.Routes(), []rest.Route{
		{Pattern: "POST " + ofApp + "/actions/start", Handle: f.start},
		{Pattern: "POST " + ofApp + "/actions/stop", Handle: f.stopApp},
		{Pattern: "POST " + ofApp + "/actions/restart", Handle: f.restart},
		{Pattern: "GET " + ofApp + "/droplets/current", Handle: f.showCurrent},
		{Pattern: "GET " + ofApp + "/relationships/current_droplet", Handle: f.showRelationship},
		{Pattern: "PATCH " + ofApp + "/relationships/current_droplet", Handle: f.assign},
		{Pattern: "GET " + ofApp + "/env", Handle: f.showEnv},
		{Pattern: "GET " + ofApp + "/manifest", Handle: f.showManifest},
		{Pattern: "POST " + ofApp + "/actions/clear_buildpack_cache", Handle: f.clearCache},
		{Pattern: "POST /v3/builds", Handle: f.stage},
		{Pattern: "GET /v3/deployments/{guid}", Handle: f.showDeployment},
		{Pattern: "POST /v3/deployments/{guid}/actions/cancel", Handle: f.cancelDeployment},
		{Pattern: "POST /v3/deployments/{guid}/actions/continue", Handle: f.continueDeployment},
		{Pattern: "POST " + ofSpace + "/actions/apply_manifest", Handle: f.applyManifest},
		{Pattern: "POST " + ofSpace + "/manifest_diff", Handle: f.diffManifest},
	}...)
}

// Jobs are the verbs that go on after their request.
func (f *Flow) Jobs() []job.Kind {
	return []job.Kind{
		{Operation: "space.apply_manifest", Run: f.runManifest},
		{Operation: "app.clear_buildpack_cache", Run: func(ctx context.Context, j *job.Job) error {
			return f.Blobs.DeleteNamed(ctx, cf.BlobCache, j.ResourceGUID+"-")
		}},
	}
}

// Start makes the default domain and the one for service discovery, and from then on brings rows and scheduler together, at once and then now and again.
func (f *Flow) Start(ctx context.Context) error {
	if err := errors.Join(f.Route.Ensure(ctx, f.Domain, false), f.Route.Ensure(ctx, "apps.internal", true)); err != nil {
		return err
	}
	every := f.Every
	if every == 0 {
		every = 30 * time.Second
	}
	loop, stop := context.WithCancel(context.Background())
	f.stop = stop
	f.done.Add(2)
	go func() {
		defer f.done.Done()
		f.drive(loop, every)
	}()
	go func() {
		defer f.done.Done()
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			if err := f.Converge(loop); err != nil && loop.Err() == nil {
				slog.Error("convergence", "err", err)
			}
			select {
			case <-loop.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return nil
}

// Stop ends convergence.
func (f *Flow) Stop(context.Context) error {
	if f.stop != nil {
		f.stop()
		f.done.Wait()
	}
	return nil
}
