package flow

import (
	"context"
	"errors"

	"github.com/uptrace/bun"

	"ingot/capi/admin"
	"ingot/capi/app"
	"ingot/capi/build"
	"ingot/capi/flow/recipe"
	"ingot/capi/task"
	"ingot/cf"
	"ingot/rest/usage"
)

// account writes the usage events of an app after a change.
func (f *Flow) account(ctx context.Context, tx bun.Tx, a *app.App) error {
	ps, err := app.ProcessesOf(ctx, tx, a.GUID)
	if err != nil {
		return err
	}
	return f.App.Account(ctx, tx, a, ps...)
}

// errNewTask says that tasks must be aborted once more before their app can be deleted.
var errNewTask = errors.New("a task was created meanwhile")

// lastUse writes the last usage events of an app that is being deleted, and of its stagings and tasks.
func (f *Flow) lastUse(ctx context.Context, tx bun.Tx, guid string) error {
	a, err := app.ByGUID(ctx, tx, guid)
	if cf.IsKind(err, cf.KindNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	ps, err := app.ProcessesOf(ctx, tx, guid)
	if err != nil {
		return err
	}
	var bs []*build.Build
	if err := tx.NewSelect().Model(&bs).Where("app_guid = ? AND state = ?", guid, build.Staging).Scan(ctx); err != nil {
		return err
	}
	for _, b := range bs {
		if err := useOfBuild(ctx, tx, b, usage.StagingStopped, nil); err != nil {
			return err
		}
	}
	if ts, err := task.Open(ctx, tx, guid, task.Pending, task.Running); err != nil || len(ts) > 0 {
		return errors.Join(err, errNewTask)
	}
	if err := f.Task.Purge(ctx, tx, guid); err != nil {
		return err
	}
	return f.App.Ended(ctx, tx, a, ps...)
}

// useOfBuild writes a usage event of a staging; d is its droplet, or nil.
func useOfBuild(ctx context.Context, tx bun.Tx, b *build.Build, state string, d *build.Droplet) error {
	a, err := target(ctx, tx, b.AppGUID)
	if err != nil {
		return err
	}
	was := build.Staging
	if state == usage.BuildpackSet {
		was = build.Staged
	}
	e := usage.Once(state, was, recipe.MinMemoryMB)
	e.AppGUID, e.AppName, e.SpaceGUID = a.GUID, a.Name, b.SpaceGUID
	if d != nil {
		e.PackGUID, e.PackName, err = packOf(ctx, tx, d)
	} else if len(b.Buildpacks.V) > 0 {
		e.PackName = cf.PublicBuildpack(b.Buildpacks.V[0])
	}
	if err != nil {
		return err
	}
	return usage.Record(ctx, tx, e)
}

// pack is the buildpack of a droplet as usage events name it.
func pack(ctx context.Context, db bun.IDB, droplet string) (guid, name string, err error) {
	d, err := build.DropletByGUID(ctx, db, droplet)
	if err != nil || d == nil {
		return "", "", err
	}
	return packOf(ctx, db, d)
}

// packOf names the last buildpack of a droplet: the one that starts the app. guid is that of an admin buildpack.
func packOf(ctx context.Context, db bun.IDB, d *build.Droplet) (guid, name string, err error) {
	all := d.Buildpacks.V
	if len(all) == 0 {
		return "", "", nil
	}
	key := all[len(all)-1].Key
	usable, err := admin.Usable(ctx, db, d.Stack)
	if err != nil {
		return "", "", err
	}
	if b := pick(usable, key); b != nil {
		guid = b.GUID
	}
	return guid, cf.PublicBuildpack(key), nil
}
