package app

import (
	"cmp"
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"ingot/rest/usage"
)

// Used is what the last usage event of a process said of it.
type Used struct {
	State     State `bun:"state"` // "" = there was none
	Instances int   `bun:"instances"`
	MemoryMB  int   `bun:"memory_mb"`
}

// Account writes a usage event for each of the app's processes ps that was started or stopped, or that runs with other
// instances or memory, since its last event. It comes after the rows were written, in their transaction.
func (f *Family) Account(ctx context.Context, tx bun.Tx, a *App, ps ...*Process) error {
	for _, p := range ps {
		was, now := p.Used.State == Started, a.State == Started
		if was == now && (!now || p.Used.Instances == p.Instances && p.Used.MemoryMB == p.MemoryMB) {
			continue
		}
		before := p.Used
		if was != now {
			before = Used{State: cmp.Or(p.Used.State, Stopped), Instances: p.Instances, MemoryMB: p.MemoryMB}
		}
		if err := f.use(ctx, tx, a, p, a.State, before); err != nil {
			return err
		}
		p.Used = Used{State: a.State, Instances: p.Instances, MemoryMB: p.MemoryMB}
		_, err := tx.NewUpdate().Model(p).Column("used_state", "used_instances", "used_memory_mb").WherePK().Exec(ctx)
		if err != nil {
			return fmt.Errorf("use of process %s: %w", p.GUID, err)
		}
	}
	return nil
}

// Ended writes the last usage events of processes that are being deleted.
func (f *Family) Ended(ctx context.Context, tx bun.Tx, a *App, ps ...*Process) error {
	for _, p := range ps {
		if p.Used.State != Started {
			continue
		}
		if err := f.use(ctx, tx, a, p, Stopped, p.Used); err != nil {
			return err
		}
	}
	return nil
}

// Reseed writes an event for every process of a started app.
func (f *Family) Reseed(ctx context.Context, tx bun.Tx) error {
	var apps []*App
	if err := tx.NewSelect().Model(&apps).Where("state = ?", Started).OrderExpr("id").Scan(ctx); err != nil {
		return err
	}
	for _, a := range apps {
		ps, err := ProcessesOf(ctx, tx, a.GUID)
		if err != nil {
			return err
		}
		for _, p := range ps {
			if err := f.use(ctx, tx, a, p, Started, Used{State: Started, Instances: p.Instances, MemoryMB: p.MemoryMB}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *Family) use(ctx context.Context, tx bun.Tx, a *App, p *Process, state State, was Used) error {
	e := &usage.App{State: string(state), WasState: string(was.State), AppGUID: a.GUID, AppName: a.Name, ProcessGUID: p.GUID,
		ProcessType: p.Type, SpaceGUID: a.SpaceGUID, Instances: p.Instances, WasInstances: was.Instances, MemoryMB: p.MemoryMB, WasMemoryMB: was.MemoryMB}
	var err error
	if e.PackGUID, e.PackName, err = f.Pack(ctx, tx, a.Droplet); err != nil {
		return err
	}
	return usage.Record(ctx, tx, e)
}
