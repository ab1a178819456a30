package bbs

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"ingot/cf"
	"ingot/diego/bbs/crash"
	"ingot/diego/bbs/store"
	"ingot/kit/sql"
)

// Claimed implements cf.LRPBoard.
func (b *BBS) Claimed(ctx context.Context, a cf.ActualLRP) error {
	b.alive(a.Cell)
	return b.write(ctx, func(ctx context.Context, t *store.Txn) error {
		have, err := t.Current(ctx, a.Instance, a.Cell)
		if err != nil || have.State != cf.LRPUnclaimed {
			return err
		}
		have.State, have.Since, have.Placement = cf.LRPClaimed, t.Now, ""
		return t.Save(ctx, *have, time.Time{})
	})
}

// Started implements cf.LRPBoard. Cells repeat it whenever the readiness of the instance changes.
func (b *BBS) Started(ctx context.Context, a cf.ActualLRP) error {
	b.alive(a.Cell)
	return b.write(ctx, func(ctx context.Context, t *store.Txn) error {
		old, err := t.Current(ctx, a.Instance, a.Cell)
		if err != nil {
			return err
		}
		have := *old
		d, err := store.LRP(ctx, t.Tx, have.LRP)
		if err != nil {
			return err
		}
		if have.State != cf.LRPRunning {
			have.State, have.Since, have.Placement = cf.LRPRunning, t.Now, ""
			have.Routable = d == nil || len(d.Routes) == 0
		}
		have.Host, have.Address, have.Ports, have.Ready = a.Host, a.Address, a.Ports, a.Ready
		if reflect.DeepEqual(have, *old) {
			return nil
		}
		if have.Ready != old.Ready && d != nil && d.Readiness.Asks() {
			if err := t.RecordReadiness(ctx, have); err != nil {
				return err
			}
		}
		return t.Save(ctx, have, time.Time{})
	})
}

// Crashed implements cf.LRPBoard.
func (b *BBS) Crashed(ctx context.Context, c cf.Crash) error {
	b.alive(c.Cell)
	return b.write(ctx, func(ctx context.Context, t *store.Txn) error {
		have, err := t.Current(ctx, c.Instance, c.Cell)
		if err != nil {
			return err
		}
		if c.At.IsZero() {
			c.At = t.Now
		}
		if have.State == cf.LRPRunning && t.Now.Sub(have.Since) >= crash.Healthy {
			have.Crashes = 0
		}
		have.Crashes++
		have.Reason = c.Text
		if err := t.Gone(ctx, *have); err != nil {
			return err
		}
		c.ActualLRP = *have
		c.State, c.Since = cf.LRPCrashed, t.Now
		if err := t.Record(ctx, c); err != nil {
			return err
		}
		t.Place = true // there is room again, and perhaps a timer to set
		wait, never := crash.RestartAfter(have.Crashes)
		switch {
		case never:
			return t.Crash(ctx, *have, time.Time{})
		case wait > 0:
			return t.Crash(ctx, *have, t.Now.Add(wait))
		}
		return t.Fresh(ctx, *have, "", time.Time{})
	})
}

// Stopped implements cf.LRPBoard. An instance that is no longer wanted is gone, which is what was wanted.
func (b *BBS) Stopped(ctx context.Context, a cf.ActualLRP) error {
	b.alive(a.Cell)
	return b.write(ctx, func(ctx context.Context, t *store.Txn) error {
		t.Place = true // there is room again
		have, err := t.Current(ctx, a.Instance, a.Cell)
		if cf.IsKind(err, cf.KindConflict) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := t.Gone(ctx, *have); err != nil {
			return err
		}
		return t.Fresh(ctx, *have, "", time.Time{})
	})
}

// Refused implements cf.LRPBoard.
func (b *BBS) Refused(ctx context.Context, a cf.ActualLRP, why string) error {
	b.alive(a.Cell)
	return b.takeBack(ctx, a, why, false)
}

// Room implements cf.LRPBoard.
func (b *BBS) Room(_ context.Context, cell cf.CellID) error {
	b.alive(cell)
	b.wake()
	return nil
}

// Holds implements cf.LRPBoard. What was placed on the cell by an earlier run of the brain and never begun is placed
// anew: the cell cannot know of it.
func (b *BBS) Holds(ctx context.Context, cell cf.CellID) (lrps []cf.ActualLRP, want []cf.DesiredLRP, tasks []cf.Task, err error) {
	b.alive(cell)
	err = b.write(ctx, func(ctx context.Context, t *store.Txn) error {
		lrps, want, tasks = nil, nil, nil
		have, err := store.Instances(ctx, t.Tx, store.OnCell(cell))
		if err != nil {
			return err
		}
		var ids []cf.ProcessID
		for _, a := range have {
			if a.State == cf.LRPUnclaimed && a.Since.Before(b.booted) {
				if err := t.Fresh(ctx, a, "", time.Time{}); err != nil {
					return err
				}
				continue
			}
			lrps, ids = append(lrps, a), append(ids, a.LRP)
		}
		if want, err = store.LRPs(ctx, t.Tx, ids); err != nil {
			return err
		}
		rows, err := store.Tasks(ctx, t.Tx, store.Unfinished(cell))
		if err != nil {
			return err
		}
		for _, r := range rows {
			if r.State == cf.TaskPending && r.Placed < sql.At(b.booted) {
				if err := t.Unplace(ctx, r); err != nil {
					return err
				}
				continue
			}
			tasks = append(tasks, r.Body.V)
		}
		return nil
	})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("what cell %s holds: %w", cell, err)
	}
	return lrps, want, tasks, nil
}
