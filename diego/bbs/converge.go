package bbs

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/diego/bbs/crash"
	"ingot/diego/bbs/store"
	"ingot/kit/sql"
)

// watchCells looks which cells are there: new ones get work, the work of lost ones goes elsewhere.
func (b *BBS) watchCells(ctx context.Context) error {
	cells, err := b.cells(ctx)
	if err != nil {
		return err // nobody is lost because we cannot look
	}
	now := time.Now()
	b.mu.Lock()
	for _, c := range cells {
		if now.Sub(b.seen[c.ID]) > cellLost {
			b.wake()
		}
		b.seen[c.ID] = now
	}
	b.mu.Unlock()
	var used []cf.CellID
	if err := b.DB.Read().NewRaw("SELECT cell FROM bbs_actual WHERE cell <> '' UNION SELECT cell FROM bbs_task WHERE cell <> '' AND state <> ?"+
		" UNION SELECT cell FROM bbs_stop", cf.TaskCompleted).Scan(ctx, &used); err != nil {
		return fmt.Errorf("read used cells: %w", err)
	}
	for _, id := range used {
		b.mu.Lock()
		silent := now.Sub(b.seen[id])
		b.mu.Unlock()
		if silent > cellLost && now.Sub(b.booted) > bootGrace {
			if err := b.lose(ctx, id); err != nil {
				return fmt.Errorf("lose cell %s: %w", id, err)
			}
		}
	}
	return nil
}

// lose gives up what a vanished cell ran.
func (b *BBS) lose(ctx context.Context, cell cf.CellID) error {
	var lrps []cf.ActualLRP
	var tasks []store.Task
	var stops []store.Stop
	err := b.write(ctx, func(ctx context.Context, t *store.Txn) (err error) {
		lrps, err = store.Instances(ctx, t.Tx, store.OnCell(cell))
		if err != nil {
			return err
		}
		for _, a := range lrps {
			if err := t.Gone(ctx, a); err != nil {
				return err
			}
			if err := t.Fresh(ctx, a, "", time.Time{}); err != nil {
				return err
			}
		}
		if tasks, err = store.Tasks(ctx, t.Tx, store.Unfinished(cell)); err != nil {
			return err
		}
		for _, r := range tasks {
			if r.State == cf.TaskRunning {
				err = t.Fail(ctx, r, taskCellLost)
			} else {
				err = t.Unplace(ctx, r)
			}
			if err != nil {
				return err
			}
		}
		stops = nil
		if err := t.NewSelect().Model(&stops).Where("cell = ?", cell).Scan(ctx); err != nil {
			return err
		}
		_, err = t.NewDelete().Model((*store.Stop)(nil)).Where("cell = ?", cell).Exec(ctx)
		return err
	})
	if err == nil {
		for _, s := range stops {
			b.forget(cf.InstanceID(s.ID))
		}
		slog.Warn("bbs: cell is lost, its work goes elsewhere", "cell", cell, "instances", len(lrps), "tasks", len(tasks))
	}
	return err
}

// converge repairs what nobody reports: placements that were never taken up, tasks that never began, rows that have
// done their duty.
func (b *BBS) converge(ctx context.Context, now time.Time) error {
	unclaimed, err := store.Instances(ctx, b.DB.Read(), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("state = ?", cf.LRPUnclaimed).Where("cell <> ''")
	})
	if err != nil {
		return err
	}
	for _, a := range unclaimed {
		if err := b.kick(ctx, now, a); err != nil {
			return err
		}
	}
	if err := b.convergeTasks(ctx, now); err != nil {
		return err
	}
	old, err := b.DB.Read().NewSelect().Model((*store.News)(nil)).Where("at < ?", sql.At(now.Add(-keepCrash))).Exists(ctx)
	if err != nil || !old {
		return err
	}
	return b.write(ctx, func(ctx context.Context, t *store.Txn) error {
		_, err := t.NewDelete().Model((*store.News)(nil)).Where("at < ?", sql.At(now.Add(-keepCrash))).Exec(ctx)
		return err
	})
}

// kick places an instance anew whose cell never claimed it.
func (b *BBS) kick(ctx context.Context, now time.Time, a cf.ActualLRP) error {
	if within(kickAfter, a.Since, now) || now.Sub(b.booted) < kickAfter {
		return nil
	}
	return b.write(ctx, func(ctx context.Context, t *store.Txn) error {
		have, err := t.Current(ctx, a.Instance, a.Cell)
		if cf.IsKind(err, cf.KindConflict) || err == nil && have.State != cf.LRPUnclaimed {
			return nil
		}
		if err != nil {
			return err
		}
		if err := t.Retire(ctx, *have); err != nil {
			return err
		}
		return t.Fresh(ctx, *have, "", time.Time{})
	})
}

// within tells whether since is less than d before now. What is stored as of later was stored before the clock was set back.
func within(d time.Duration, since, now time.Time) bool {
	age := now.Sub(since)
	return age >= 0 && age < d
}

func (b *BBS) convergeTasks(ctx context.Context, now time.Time) error {
	rows, err := store.Tasks(ctx, b.DB.Read(), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("state = ?", cf.TaskPending).
			WhereOr("state = ? AND told = ? AND completed < ?", cf.TaskCompleted, true, sql.At(now.Add(-keepTask)))
	})
	if err != nil {
		return err
	}
	for _, r := range rows {
		var step func(ctx context.Context, t *store.Txn, r store.Task) error
		switch {
		case r.State == cf.TaskCompleted:
			step = func(ctx context.Context, t *store.Txn, r store.Task) error {
				_, err := t.NewDelete().Model(&r).WherePK().Exec(ctx)
				return err
			}
		case now.Sub(r.Created.Time()) >= expireAfter:
			step = func(ctx context.Context, t *store.Txn, r store.Task) error {
				return t.Fail(ctx, r, cmp.Or(r.Body.V.Reason, taskExpired))
			}
		case r.Cell != "" && !within(kickAfter, r.Placed.Time(), now) && now.Sub(b.booted) >= kickAfter:
			step = func(ctx context.Context, t *store.Txn, r store.Task) error { return t.Unplace(ctx, r) }
		default:
			continue
		}
		err := b.write(ctx, func(ctx context.Context, t *store.Txn) error {
			have, err := t.Task(ctx, r.ID)
			if cf.IsKind(err, cf.KindConflict) || err == nil && (have.State != r.State || have.Cell != r.Cell) {
				return nil // it moved on in between
			}
			if err != nil {
				return err
			}
			return step(ctx, t, *have)
		})
		if err != nil {
			return fmt.Errorf("converge task %s: %w", r.ID, err)
		}
	}
	return nil
}

// restartCrashed lets the crashed instances whose wait is over look for a cell.
func (b *BBS) restartCrashed(ctx context.Context, now time.Time) error {
	due := func(q *bun.SelectQuery) *bun.SelectQuery { // nobody waits longer but where the clock was set back
		return q.Where("state = ?", cf.LRPCrashed).Where("due > 0").Where("due <= ? OR due > ?", sql.At(now), sql.At(now.Add(crash.Longest)))
	}
	if some, err := store.Instances(ctx, b.DB.Read(), due); err != nil || len(some) == 0 {
		return err
	}
	return b.write(ctx, func(ctx context.Context, t *store.Txn) error {
		waiting, err := store.Instances(ctx, t.Tx, due)
		if err != nil {
			return err
		}
		for _, a := range waiting {
			if err := t.Fresh(ctx, a, "", time.Time{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// nextDue is when the next crashed or stopped instance is due, or latest.
func (b *BBS) nextDue(ctx context.Context, latest time.Time) time.Time {
	var due sql.Time
	err := b.DB.Read().NewSelect().Model((*store.Actual)(nil)).ColumnExpr("COALESCE(MIN(due), 0)").
		Where("(state = ? AND due > 0) OR (state = ? AND cell = '' AND due > ?)", cf.LRPCrashed, cf.LRPUnclaimed, sql.At(time.Now())).Scan(ctx, &due)
	if err != nil || due == 0 || due.Time().After(latest) {
		return latest
	}
	return due.Time()
}
