package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"

	"github.com/uptrace/bun"

	"ingot/capi/admin"
	"ingot/capi/app"
	"ingot/capi/build"
	"ingot/capi/flow/recipe"
	"ingot/capi/flow/used"
	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/quota"
	"ingot/rest/row"
	"ingot/rest/usage"
)

// stackState heeds the state of a stack for an app, which is new as long as it has no build.
func (f *Flow) stackState(ctx context.Context, db bun.IDB, stack, guid string) (warning string, err error) {
	built, err := db.NewSelect().Model((*build.Build)(nil)).Where("app_guid = ?", guid).Exists(ctx)
	if err != nil {
		return "", err
	}
	return admin.StackAllows(ctx, db, stack, !built)
}

type buildBody struct {
	pack         rest.Opt[string]
	memory, disk rest.Opt[int]
	rate         rest.Opt[int]
	lifecycle    app.Lifecycle
	meta         row.Patch
}

func (t *buildBody) Take(b *rest.Body) {
	b.Metadata(&t.meta)
	t.lifecycle.Take(b)
	app.Number(b, "staging_disk_in_mb", b.Raw("staging_disk_in_mb"), &t.disk, 1)
	app.Number(b, "staging_memory_in_mb", b.Raw("staging_memory_in_mb"), &t.memory, 1)
	const rate = "staging_log_rate_limit_bytes_per_second"
	app.Number(b, rate, b.Raw(rate), &t.rate, -1)
	b.Nested("package", func(in *rest.Body) { in.String("guid", &t.pack) })
	if t.pack.V == "" {
		b.Wrong("package_guid", "can't be blank")
		b.Wrong("package_guid", "must be a string")
		b.Wrong("package_guid", "must be between 1 and 200 characters")
	}
}

// stage is POST /v3/builds.
func (f *Flow) stage(c *rest.Call) error {
	var t buildBody
	if err := rest.Take(c, &t); err != nil {
		return err
	}
	p, err := f.Build.Packages.Find(c, t.pack.V)
	if err == nil {
		err = c.MayWriteSpace(p.SpaceGUID, access.AppManagers...)
	}
	if cf.IsKind(err, cf.KindNotFound) || cf.IsKind(err, cf.KindForbidden) {
		return rest.Unprocessable("Unable to use package. Ensure that the package exists and you have access to it.")
	}
	if err != nil {
		return err
	}
	b, wants, err := f.newBuild(c, &t, p)
	if err != nil {
		return err
	}
	if fault, err := admin.Fit(c.Ctx(), c.DB(), b.Buildpacks.V, b.Stack); err != nil || fault != "" {
		if err == nil {
			err = rest.Unprocessable("%s", fault)
		}
		return err
	}
	if err := f.stageOn(c, b); err != nil {
		return err
	}
	if _, err := admin.Refs(c.Ctx(), f.DB.Read(), b.Buildpacks.V, b.Stack); err != nil {
		return err
	}
	if err := c.Write(func(ctx context.Context, tx bun.Tx) error { return f.beginBuild(ctx, tx, b, wants) }); err != nil {
		return err
	}
	f.Gate.Step("build created")
	f.App.Say(b.AppGUID, "Creating build for app with guid %s", b.AppGUID)
	if err := f.runBuild(context.WithoutCancel(c.Ctx()), b); err != nil { // convergence tries again
		slog.Error("hand a staging to the scheduler", "build", b.GUID, "err", err)
	}
	return f.Build.Builds.Show(c, http.StatusCreated, b)
}

// stageOn tells the client of the state of the build's stack.
func (f *Flow) stageOn(c *rest.Call, b *build.Build) error {
	warning, err := f.stackState(c.Ctx(), c.DB(), b.Stack, b.AppGUID)
	var e *cf.Error
	if errors.As(err, &e) && e.Kind == cf.KindUnprocessable {
		return &cf.Error{Kind: e.Kind, Code: "StackValidationFailed", Public: e.Public}
	}
	c.Warn(warning)
	return err
}

// newBuild makes the row of a build, and says what is wanted of the quotas for it.
func (f *Flow) newBuild(c *rest.Call, t *buildBody, p *build.Package) (b *build.Build, wants quota.Size, err error) {
	a, err := app.ByGUID(c.Ctx(), c.DB(), p.AppGUID)
	if err != nil {
		return nil, wants, err
	}
	if err := t.lifecycle.Check(c.Ctx(), c.DB()); err != nil {
		return nil, wants, err
	}
	w, err := web(c.Ctx(), c.DB(), a.GUID)
	if err != nil {
		return nil, wants, err
	}
	wants = quota.Size{MemoryMB: t.memory.Or(w.MemoryMB), LogRate: int64(t.rate.Or(int(w.LogRate)))}
	b = &build.Build{AppGUID: a.GUID, SpaceGUID: a.SpaceGUID, PackageGUID: p.GUID, State: build.Staging, Lifecycle: app.Buildpack,
		MemoryMB: max(wants.MemoryMB, recipe.MinMemoryMB), DiskMB: max(t.disk.Or(w.DiskMB), recipe.MinDiskMB),
		LogRate: wants.LogRate, Buildpacks: a.Buildpacks, Stack: t.lifecycle.Stack.Or(a.Stack)}
	if t.lifecycle.Buildpacks.Given() {
		b.Buildpacks.V = t.lifecycle.Buildpacks.V
	}
	guid, _, name := c.Caller.Actor()
	b.CreatedBy.V = build.CreatedByUser{GUID: guid, Name: name, Email: name}
	return b, wants, t.meta.Apply(b.Meta())
}

// web is the app's process web; without one, what a build takes for it.
func web(ctx context.Context, db bun.IDB, guid string) (*app.Process, error) {
	ps, err := app.ProcessesOf(ctx, db, guid)
	if i := slices.IndexFunc(ps, func(p *app.Process) bool { return p.Type == app.Web }); i >= 0 {
		return ps[i], nil
	}
	return &app.Process{LogRate: -1}, err
}

// beginBuild writes the build, if no other of the app is STAGING and the quotas allow what it wants.
func (f *Flow) beginBuild(ctx context.Context, tx bun.Tx, b *build.Build, wants quota.Size) error {
	h, err := quota.Hold(ctx, f.DB, tx, b.SpaceGUID)
	if err != nil {
		return err
	}
	if err := f.DB.LockRow(ctx, tx, "app_apps", b.AppGUID); err != nil {
		return err
	}
	p := new(build.Package)
	err = tx.NewSelect().Model(p).Where("guid = ?", b.PackageGUID).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) { // it was deleted since
		return rest.Unprocessable("Unable to use package. Ensure that the package exists and you have access to it.")
	}
	if err != nil {
		return err
	}
	if p.State != build.Ready {
		return cf.Errorf(cf.KindInvalid, "BadRequest", "Cannot stage package whose state is not ready.")
	}
	busy, err := tx.NewSelect().Model((*build.Build)(nil)).Where("app_guid = ? AND state = ?", b.AppGUID, build.Staging).Exists(ctx)
	if err != nil {
		return err
	}
	if busy {
		return &cf.Error{Kind: cf.KindUnprocessable, Code: "StagingInProgress"}
	}
	org, space, err := h.Used(ctx, tx, f.App.Counters...)
	if err == nil {
		err = h.Staging(wants, recipe.MinMemoryMB, org, space)
	}
	if err == nil && b.DiskMB > max(f.App.MaxDiskMB, recipe.MinDiskMB) {
		err = rest.Unprocessable("disk limit exceeded")
	}
	if err != nil {
		return err
	}
	if err := row.Insert(ctx, tx, b); err != nil {
		return err
	}
	a, err := app.ByGUID(ctx, tx, b.AppGUID)
	if err != nil {
		return err
	}
	if err := used.Build(ctx, tx, b, usage.StagingStarted, nil); err != nil {
		return err
	}
	return app.Record(ctx, tx, "audit.app.build.create", a, map[string]any{"build_guid": b.GUID, "package_guid": b.PackageGUID})
}

// runBuild hands the staging to the scheduler. It may be called again for the same build.
func (f *Flow) runBuild(ctx context.Context, b *build.Build) error {
	a, err := app.ByGUID(ctx, f.DB.Read(), b.AppGUID)
	if err != nil {
		return err
	}
	p := new(build.Package)
	err = f.DB.Read().NewSelect().Model(p).Where("guid = ?", b.PackageGUID).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return rest.NotFound("package")
	}
	if err != nil {
		return fmt.Errorf("package of build %s: %w", b.GUID, err)
	}
	packs, err := admin.Refs(ctx, f.DB.Read(), b.Buildpacks.V, b.Stack)
	if err != nil {
		return err
	}
	at, err := f.place(ctx, a, "staging")
	if err != nil {
		return err
	}
	w, err := web(ctx, f.DB.Read(), a.GUID)
	if err != nil {
		return err
	}
	task := recipe.Staging(a, p, b, packs, at)
	task.Staging.AppDiskMB = w.DiskMB
	task.Timeout = cmp.Or(f.Staging, task.Timeout)
	return f.Scheduler.Run(ctx, task)
}
