package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"ingot/capi/app"
	"ingot/capi/build"
	"ingot/capi/flow/recipe"
	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest/row"
)

// Converge makes good what was lost between rows and scheduler: started apps are desired and nothing else is, and every
// build that is STAGING and every task has a task there or fails.
func (f *Flow) Converge(ctx context.Context) error {
	return errors.Join(f.convergeApps(ctx), f.convergeBuilds(ctx), f.errands.Converge(ctx))
}

func (f *Flow) convergeApps(ctx context.Context) error {
	var apps []string
	err := f.DB.Read().NewSelect().Model((*app.App)(nil)).Column("guid").Where("state = ?", app.Started).Scan(ctx, &apps)
	if err != nil {
		return fmt.Errorf("started apps: %w", err)
	}
	have, err := f.Scheduler.Desired(ctx, "")
	if err != nil {
		return fmt.Errorf("all desired LRPs: %w", err)
	}
	for _, h := range have {
		apps = append(apps, string(h.AppID))
	}
	slices.Sort(apps)
	var errs []error
	for _, guid := range slices.Compact(apps) {
		if err := f.Sync(ctx, guid); err != nil && ctx.Err() == nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// late is for how long, beyond its time, a build may be STAGING before it was forgotten by everybody. It is measured from
// when convergence first met the build: the wall clock, which may be set meanwhile, ends no staging.
const late = 2 * time.Minute

func (f *Flow) convergeBuilds(ctx context.Context) error {
	var bs []*build.Build
	if err := f.DB.Read().NewSelect().Model(&bs).Where("state = ?", build.Staging).Scan(ctx); err != nil {
		return fmt.Errorf("builds that are staging: %w", err)
	}
	met := make(map[string]time.Time, len(bs))
	for _, b := range bs {
		met[b.GUID] = time.Now()
		if at, ok := f.met[b.GUID]; ok {
			met[b.GUID] = at
		}
	}
	f.met = met
	var errs []error
	for _, b := range bs {
		if time.Since(met[b.GUID]) > cmp.Or(f.Staging, recipe.Timeout)+late {
			errs = append(errs, f.giveUp(ctx, b, "StagingTimeExpired", "Staging time expired: the staging did not end"))
			continue
		}
		// The scheduler leaves a task that it knows alone.
		err := f.runBuild(ctx, b)
		switch cf.KindOf(err) {
		case cf.KindNotFound, cf.KindInvalid, cf.KindUnprocessable: // it can never run
			if err != nil {
				errs = append(errs, f.giveUp(ctx, b, "StagingError", "Staging error: staging failed"))
				continue
			}
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// giveUp fails a build that cannot end by itself.
func (f *Flow) giveUp(ctx context.Context, b *build.Build, id, text string) error {
	if err := f.Scheduler.Cancel(ctx, cf.TaskID(b.GUID)); err != nil {
		return err
	}
	gaveUp := false
	err := f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		err := row.Lock(ctx, f.DB, tx, b)
		if gaveUp = err == nil && b.State == build.Staging; gaveUp {
			return failBuild(ctx, tx, b, id, text)
		}
		if errors.Is(err, sql.ErrNoRows) { // deleted with its app since
			return nil
		}
		return err
	})
	if err == nil && gaveUp {
		f.failed(b)
		f.Build.Ended()
	}
	return err
}
