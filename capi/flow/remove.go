package flow

import (
	"context"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"ingot/capi/app"
	"ingot/capi/build"
	"ingot/capi/flow/errand"
	"ingot/capi/flow/used"
	"ingot/cf"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/job"
)

// removeApp is the job app.delete.
func (f *Flow) removeApp(ctx context.Context, j *job.Job) error {
	return f.remove(ctx, j, j.ResourceGUID)
}

// remove deletes an app with all that belongs to it: stagings end, the rows of all families go in one commit, then
// the scheduler forgets it. Each step may run again; an app that is gone has only the last ones left.
func (f *Flow) remove(ctx context.Context, j *job.Job, guid string) error {
	var staging []string
	err := f.DB.Read().NewSelect().Model((*build.Build)(nil)).Column("guid").
		Where("app_guid = ? AND state = ?", guid, build.Staging).Scan(ctx, &staging)
	if err != nil {
		return err
	}
	for _, b := range staging {
		if err := f.Scheduler.Cancel(ctx, cf.TaskID(b)); err != nil {
			return fmt.Errorf("cancel staging %s: %w", b, err)
		}
	}
	for err = errand.ErrNew; errors.Is(err, errand.ErrNew); { // each time somebody was quicker
		if err := f.errands.Abort(ctx, guid); err != nil {
			return fmt.Errorf("cancel tasks of %s: %w", guid, err)
		}
		err = f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error { return f.removeRows(ctx, tx, j, guid) })
	}
	if err != nil {
		return fmt.Errorf("delete app %s: %w", guid, err)
	}
	if err := f.Bindings.ForgetApp(ctx, cf.AppID(guid)); err != nil { // nothing is bound to it any more
		return fmt.Errorf("bindings of app %s: %w", guid, err)
	}
	if err := f.Sync(ctx, guid); err != nil {
		return err
	}
	if err := f.Blobs.DeleteNamed(ctx, cf.BlobCache, guid+"-"); err != nil {
		return fmt.Errorf("delete build cache of %s: %w", guid, err)
	}
	f.App.Say(guid, "Deleted app with guid %s", guid)
	return nil
}

// removeRows deletes the rows of an app in all families.
func (f *Flow) removeRows(ctx context.Context, tx bun.Tx, j *job.Job, guid string) error {
	if err := f.DB.LockRow(ctx, tx, "app_apps", guid); err != nil { // nothing is mapped to it any more
		return err
	}
	if a, err := app.ByGUID(ctx, tx, guid); err == nil {
		if err := errors.Join(f.errands.Purge(ctx, tx, guid), used.Removed(ctx, tx, a)); err != nil {
			return err
		}
	} else if !cf.IsKind(err, cf.KindNotFound) {
		return err
	}
	if err := f.Route.Unmap(ctx, tx, guid); err != nil {
		return err
	}
	if err := build.Purge(ctx, tx, guid); err != nil {
		return err
	}
	return app.Purge(ctx, tx, j, guid)
}

// emptySpace deletes apps, routes and service instances of a space; a part of deleting it.
func (f *Flow) emptySpace(ctx context.Context, j *job.Job, space string) error {
	var apps []string
	err := f.DB.Read().NewSelect().Model((*app.App)(nil)).Column("guid").Where("space_guid = ?", space).OrderExpr("id").Scan(ctx, &apps)
	if err != nil {
		return err
	}
	for _, guid := range apps {
		if err := f.remove(ctx, j, guid); err != nil {
			return err
		}
	}
	if err := f.Route.EmptySpace(ctx, space); err != nil {
		return err
	}
	return f.Bindings.EmptySpace(ctx, space)
}

func (f *Flow) clearCache(c *rest.Call) error {
	a, err := f.App.Apps.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	if err := c.MayWriteSpace(a.SpaceGUID, access.AppManagers...); err != nil {
		return err
	}
	var j *job.Job
	err = c.Write(func(ctx context.Context, tx bun.Tx) (err error) {
		j, err = job.Enqueue(ctx, tx, job.Work{Operation: "app.clear_buildpack_cache", Kind: "app", GUID: a.GUID})
		return err
	})
	if err != nil {
		return err
	}
	f.App.Say(a.GUID, "Enqueued job to delete app buildpack cache with app guid %s", a.GUID)
	return c.Accepted(j)
}
