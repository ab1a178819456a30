// Package used writes the usage events of apps and stagings.
//
// It promises that an event tells what changed since the one before it: a process remembers in its row what its last
// event said. It runs in the transaction of whoever changes something, and will not change anything else.
package used

import (
	"cmp"
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"ingot/capi/admin"
	"ingot/capi/app"
	"ingot/capi/build"
	"ingot/cf"
	"ingot/rest/usage"
)

// stagingMB is the memory of a staging, as Cloud Controller bills it, whatever it had.
const stagingMB = 1024

// App writes what changed of the app's use, in all its processes. It comes after their rows were written.
func App(ctx context.Context, tx bun.Tx, a *app.App) error {
	ps, err := app.ProcessesOf(ctx, tx, a.GUID)
	if err != nil {
		return err
	}
	return Processes(ctx, tx, a, ps...)
}

// Processes writes an event for each of the app's processes ps that was started or stopped, or that runs with other
// instances or memory, since its last event.
func Processes(ctx context.Context, tx bun.Tx, a *app.App, ps ...*app.Process) error {
	for _, p := range ps {
		was, now := p.Used.State == app.Started, a.State == app.Started
		if was == now && (!now || p.Used.Instances == p.Instances && p.Used.MemoryMB == p.MemoryMB) {
			continue
		}
		e, err := of(ctx, tx, a, p)
		if err != nil {
			return err
		}
		if was == now {
			e.WasState, e.WasInstances, e.WasMemoryMB = string(p.Used.State), p.Used.Instances, p.Used.MemoryMB
		} else {
			e.WasState = string(cmp.Or(p.Used.State, app.Stopped))
		}
		if err := usage.Record(ctx, tx, e); err != nil {
			return err
		}
		p.Used = app.Used{State: a.State, Instances: p.Instances, MemoryMB: p.MemoryMB}
		_, err = tx.NewUpdate().Model(p).Column("used_state", "used_instances", "used_memory_mb").WherePK().Exec(ctx)
		if err != nil {
			return fmt.Errorf("use of process %s: %w", p.GUID, err)
		}
	}
	return nil
}

// Ended writes the last events of processes that are being deleted.
func Ended(ctx context.Context, tx bun.Tx, a *app.App, ps ...*app.Process) error {
	for _, p := range ps {
		if p.Used.State != app.Started {
			continue
		}
		e, err := of(ctx, tx, a, p)
		if err != nil {
			return err
		}
		e.State, e.WasState = string(app.Stopped), string(app.Started)
		if err := usage.Record(ctx, tx, e); err != nil {
			return err
		}
	}
	return nil
}

// Removed writes the last events of an app that is being deleted, and of its stagings.
func Removed(ctx context.Context, tx bun.Tx, a *app.App) error {
	var bs []*build.Build
	if err := tx.NewSelect().Model(&bs).Where("app_guid = ? AND state = ?", a.GUID, build.Staging).Scan(ctx); err != nil {
		return err
	}
	for _, b := range bs {
		if err := Build(ctx, tx, b, usage.StagingStopped, nil); err != nil {
			return err
		}
	}
	ps, err := app.ProcessesOf(ctx, tx, a.GUID)
	if err != nil {
		return err
	}
	return Ended(ctx, tx, a, ps...)
}

// Reseed writes an event for every process of a started app.
func Reseed(ctx context.Context, tx bun.Tx) error {
	var apps []*app.App
	if err := tx.NewSelect().Model(&apps).Where("state = ?", app.Started).OrderExpr("id").Scan(ctx); err != nil {
		return err
	}
	for _, a := range apps {
		ps, err := app.ProcessesOf(ctx, tx, a.GUID)
		if err != nil {
			return err
		}
		for _, p := range ps {
			e, err := of(ctx, tx, a, p)
			if err == nil {
				err = usage.Record(ctx, tx, e)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// of is the event of a process as it is, without what was before.
func of(ctx context.Context, tx bun.Tx, a *app.App, p *app.Process) (*usage.App, error) {
	e := &usage.App{State: string(a.State), WasState: string(a.State), AppGUID: a.GUID, AppName: a.Name, ProcessGUID: p.GUID, ProcessType: p.Type,
		SpaceGUID: a.SpaceGUID, Instances: p.Instances, WasInstances: p.Instances, MemoryMB: p.MemoryMB, WasMemoryMB: p.MemoryMB}
	d, err := build.DropletByGUID(ctx, tx, a.Droplet)
	if err == nil && d != nil {
		err = pack(ctx, tx, d, e)
	}
	return e, err
}

// pack names the last buildpack of a droplet, which is the one that starts the app. guid is that of an admin buildpack.
func pack(ctx context.Context, tx bun.Tx, d *build.Droplet, e *usage.App) error {
	all := d.Buildpacks.V
	if len(all) == 0 {
		return nil
	}
	key := all[len(all)-1].Key
	usable, err := admin.Usable(ctx, tx, d.Stack)
	if b := admin.Pick(usable, key); b != nil {
		e.PackGUID = b.GUID
	}
	e.PackName = cf.PublicBuildpack(key)
	return err
}

// Build writes an event of a staging; d is its droplet, or nil.
func Build(ctx context.Context, tx bun.Tx, b *build.Build, state string, d *build.Droplet) error {
	a, err := app.ByGUID(ctx, tx, b.AppGUID)
	if err != nil {
		return err
	}
	was := build.Staging
	if state == usage.BuildpackSet {
		was = build.Staged
	}
	e := usage.Once(state, was, stagingMB)
	e.AppGUID, e.AppName, e.SpaceGUID = a.GUID, a.Name, b.SpaceGUID
	if d != nil {
		err = pack(ctx, tx, d, e)
	} else if len(b.Buildpacks.V) > 0 {
		e.PackName = cf.PublicBuildpack(b.Buildpacks.V[0])
	}
	if err != nil {
		return err
	}
	return usage.Record(ctx, tx, e)
}
