package bbs

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/diego/bbs/store"
	"ingot/kit/sql"
)

// mostInstances bounds one desired LRP.
const mostInstances = 10000

// Desire implements cf.Scheduler. Routes, instances and metric tags take effect in place; everything else only for
// instances that start later, as in Diego.
func (b *BBS) Desire(ctx context.Context, d cf.DesiredLRP) error {
	if d.ID == "" || d.AppID == "" || d.Stack == "" {
		return cf.Errorf(cf.KindInvalid, "", "a desired LRP needs an id, an app and a stack")
	}
	if d.Instances < 0 || d.Instances > mostInstances || d.Limits.MemoryMB < 0 || d.Limits.DiskMB < 0 {
		return cf.Errorf(cf.KindInvalid, "", "LRP %s asks for %d instances of %d MB memory and %d MB disk",
			d.ID, d.Instances, d.Limits.MemoryMB, d.Limits.DiskMB)
	}
	var changed []cf.ActualLRP // instances whose cells must hear of it
	err := b.write(ctx, func(ctx context.Context, t *store.Txn) error {
		old, err := store.LRP(ctx, t.Tx, d.ID)
		if err != nil || old != nil && d.Updated.Before(old.Updated) {
			return err
		}
		row := &store.Desired{ID: d.ID, App: d.AppID, Body: sql.Sealed[cf.DesiredLRP]{V: d}}
		if old == nil {
			_, err = t.NewInsert().Model(row).Exec(ctx)
		} else {
			_, err = t.NewUpdate().Model(row).WherePK().Exec(ctx)
		}
		if err != nil || old != nil && same(*old, d) {
			return err
		}
		t.Tell(&d, nil, false)
		changed, err = resize(ctx, t, d)
		return err
	})
	if err != nil {
		return fmt.Errorf("desire LRP %s: %w", d.ID, err)
	}
	b.updateCells(ctx, d, changed)
	return nil
}

// resize makes the slots of d as many as desired: the highest go first. It answers the instances that stay.
func resize(ctx context.Context, t *store.Txn, d cf.DesiredLRP) ([]cf.ActualLRP, error) {
	have, err := store.Instances(ctx, t.Tx, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("lrp = ?", d.ID) })
	if err != nil {
		return nil, err
	}
	var kept []cf.ActualLRP
	for _, a := range have {
		switch {
		case a.Index >= d.Instances:
			if err := t.Retire(ctx, a); err != nil {
				return nil, err
			}
		case a.State == cf.LRPRunning && len(d.Routes) == 0 && !a.Routable:
			a.Routable = true
			if err := t.Save(ctx, a, time.Time{}); err != nil {
				return nil, err
			}
			fallthrough
		default:
			kept = append(kept, a)
		}
	}
	if len(kept) < len(have) {
		if _, err := t.NewDelete().Model((*store.Actual)(nil)).Where("lrp = ?", d.ID).Where("idx >= ?", d.Instances).Exec(ctx); err != nil {
			return nil, err
		}
	}
	var rows []*store.Actual
	for i := len(kept); i < d.Instances; i++ {
		rows = append(rows, store.RowOf(cf.ActualLRP{LRP: d.ID, AppID: d.AppID, Process: d.Process, Index: i,
			State: cf.LRPUnclaimed, Since: t.Now, Version: t.Version}, time.Time{}))
	}
	for some := range slices.Chunk(rows, 500) {
		t.Place = true
		if _, err := t.NewInsert().Model(&some).Exec(ctx); err != nil {
			return nil, err
		}
	}
	return kept, nil
}

// updateCells tells the cells that run instances of d of its change. A cell that misses it learns it from Holds.
func (b *BBS) updateCells(ctx context.Context, d cf.DesiredLRP, kept []cf.ActualLRP) {
	cells := map[cf.CellID]bool{}
	for _, a := range kept {
		if a.Cell != "" {
			cells[a.Cell] = true
		}
	}
	for cell := range cells {
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), cellTimeout)
		b.running.Go(func() {
			defer cancel()
			if err := b.Cells.UpdateLRP(call, cell, d); err != nil {
				slog.Warn("bbs: cell did not take a changed LRP", "cell", cell, "lrp", d.ID, "error", err)
			}
		})
	}
}

// Undesire implements cf.Scheduler.
func (b *BBS) Undesire(ctx context.Context, id cf.ProcessID) error {
	err := b.write(ctx, func(ctx context.Context, t *store.Txn) error {
		d, err := store.LRP(ctx, t.Tx, id)
		if err != nil || d == nil {
			return err
		}
		d.Instances = 0
		if _, err := resize(ctx, t, *d); err != nil {
			return err
		}
		t.Tell(d, nil, true)
		_, err = t.NewDelete().Model(&store.Desired{ID: id}).WherePK().Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("undesire LRP %s: %w", id, err)
	}
	return nil
}

// Desired implements cf.Scheduler.
func (b *BBS) Desired(ctx context.Context, app cf.AppID) ([]cf.DesiredLRP, error) {
	return store.AllLRPs(ctx, b.DB.Read(), func(q *bun.SelectQuery) *bun.SelectQuery {
		if app != "" {
			q.Where("app = ?", app)
		}
		return q
	})
}

// Instances implements cf.Scheduler.
func (b *BBS) Instances(ctx context.Context, apps ...cf.AppID) ([]cf.ActualLRP, error) {
	var out []cf.ActualLRP
	for some := range slices.Chunk(apps, 500) {
		found, err := store.Instances(ctx, b.DB.Read(), func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("app IN (?)", bun.List(some)) })
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	if len(apps) > 500 {
		slices.SortFunc(out, bySlot)
	}
	return out, nil
}

// stoppedAnew is what keeps the slot of a stopped instance without a cell during its pause.
const stoppedAnew = "stopped; a new instance is about to start"

// StopInstance implements cf.Scheduler. The new instance does not wait for the end of the old one, but is placed after
// a pause in which it counts as down: clients watch for the instance to leave RUNNING, for up to 30 s in Diego.
func (b *BBS) StopInstance(ctx context.Context, id cf.ProcessID, index int) error {
	err := b.write(ctx, func(ctx context.Context, t *store.Txn) error {
		have, err := store.Instances(ctx, t.Tx, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("lrp = ?", id).Where("idx = ?", index) })
		if err != nil || len(have) == 0 {
			return err
		}
		a := have[0]
		if err := t.Retire(ctx, a); err != nil {
			return err
		}
		ran := a.Instance != ""
		a.Crashes, a.Reason = 0, ""
		if ran {
			return t.Fresh(ctx, a, stoppedAnew, t.Now.Add(stopPause))
		}
		return t.Fresh(ctx, a, "", time.Time{})
	})
	if err != nil {
		return fmt.Errorf("stop instance %s/%d: %w", id, index, err)
	}
	return nil
}

// Stats implements cf.Scheduler. A cell that does not answer leaves its instances out.
func (b *BBS) Stats(ctx context.Context, app cf.AppID) (map[cf.InstanceID]cf.InstanceStats, error) {
	have, err := b.Instances(ctx, app)
	if err != nil {
		return nil, err
	}
	current, cells := map[cf.InstanceID]bool{}, map[cf.CellID]bool{}
	for _, a := range have {
		if a.State == cf.LRPRunning {
			current[a.Instance], cells[a.Cell] = true, true
		}
	}
	call, cancel := context.WithTimeout(ctx, cellTimeout)
	defer cancel()
	out := map[cf.InstanceID]cf.InstanceStats{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for cell := range cells {
		all.Go(func() {
			stats, err := b.Cells.Stats(call, cell, app)
			if err != nil {
				slog.Warn("bbs: cell gives no stats", "cell", cell, "app", app, "error", err)
			}
			mu.Lock()
			defer mu.Unlock()
			for id, s := range stats {
				if current[id] {
					out[id] = s
				}
			}
		})
	}
	all.Wait()
	return out, nil
}

func bySlot(a, b cf.ActualLRP) int {
	return cmp.Or(cmp.Compare(a.LRP, b.LRP), cmp.Compare(a.Index, b.Index))
}

// same tells whether two desired LRPs differ in nothing but their time.
func same(a, b cf.DesiredLRP) bool {
	a.Updated = b.Updated
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
