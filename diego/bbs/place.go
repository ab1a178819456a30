package bbs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
)

// Bounds of one auction.
const (
	auctionSize  = 2000
	startsAtOnce = 64
)

// start is a placement that its cell must be told of.
type start struct {
	cell    cf.CellID
	desired cf.DesiredLRP
	actual  cf.ActualLRP
	task    *cf.Task // instead of an LRP
}

// place finds cells for what waits for one. It answers when it should be called again; 0 = when something happens.
func (b *BBS) place(ctx context.Context) (again time.Duration, err error) {
	work, err := b.waitingWork(ctx)
	if err != nil || len(work) == 0 {
		return 0, err
	}
	cells, err := b.cells(ctx)
	if err != nil {
		return 0, err
	}
	if len(cells) == 0 && time.Since(b.booted) < bootGrace {
		return bootRetry, nil // they are starting, too
	}
	placed := b.Auction(work, cells)
	var starts []start
	err = b.write(ctx, func(ctx context.Context, t *txn) (err error) {
		starts, err = t.assign(ctx, placed)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("assign work to cells: %w", err)
	}
	again = b.startAll(ctx, starts)
	if again == 0 && len(work) >= auctionSize && len(starts) > 0 {
		again = time.Millisecond // there is more
	}
	return again, nil
}

// cells lists the cells that are present.
func (b *BBS) cells(ctx context.Context) ([]cf.CellState, error) {
	call, cancel := context.WithTimeout(ctx, cellTimeout)
	defer cancel()
	cells, err := b.Cells.List(call)
	if err != nil {
		return nil, fmt.Errorf("list cells: %w", err)
	}
	return slices.DeleteFunc(cells, func(c cf.CellState) bool {
		return !c.Seen.IsZero() && time.Since(c.Seen) > cellLost
	}), nil
}

// waitingWork lists what waits for a cell; what failed longest ago comes first.
func (b *BBS) waitingWork(ctx context.Context) ([]cf.Work, error) {
	var slots []actualRow
	err := b.DB.Read().NewSelect().Model(&slots).Where("state = ?", cf.LRPUnclaimed).Where("cell = ''").
		Order("due", "lrp", "idx").Limit(auctionSize).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("read unplaced instances: %w", err)
	}
	var ids []cf.ProcessID
	for _, s := range slots {
		ids = append(ids, s.LRP)
	}
	want, err := desiredOf(ctx, b.DB.Read(), ids)
	if err != nil {
		return nil, err
	}
	byID := map[cf.ProcessID]cf.DesiredLRP{}
	for _, d := range want {
		byID[d.ID] = d
	}
	var work []cf.Work
	for _, s := range slots {
		if d, ok := byID[s.LRP]; ok { // else it was undesired in between
			work = append(work, cf.Work{LRP: s.LRP, Index: s.Index, Stack: d.Stack, Need: need(d.Limits)})
		}
	}
	var tasks []taskRow
	err = b.DB.Read().NewSelect().Model(&tasks).Where("state = ?", cf.TaskPending).Where("cell = ''").
		Order("created", "guid").Limit(auctionSize).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("read unplaced tasks: %w", err)
	}
	for _, r := range tasks {
		work = append(work, cf.Work{Task: r.ID, Stack: r.Body.V.Stack, Need: need(r.Body.V.Limits)})
	}
	return work, nil
}

func need(l cf.Limits) cf.Resources {
	return cf.Resources{MemoryMB: l.MemoryMB, DiskMB: l.DiskMB, Containers: 1}
}

// desiredOf reads the desired LRPs with these ids, which may repeat.
func desiredOf(ctx context.Context, db bun.IDB, ids []cf.ProcessID) ([]cf.DesiredLRP, error) {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	var out []cf.DesiredLRP
	for some := range slices.Chunk(ids, 500) {
		var rows []desiredRow
		if err := db.NewSelect().Model(&rows).Where("guid IN (?)", bun.In(some)).Order("guid").Scan(ctx); err != nil {
			return nil, fmt.Errorf("read desired LRPs: %w", err)
		}
		for _, r := range rows {
			out = append(out, r.Body.V)
		}
	}
	return out, nil
}

// assign writes down what the auction decided, before any cell hears of it. Work that changed since is left alone.
func (t *txn) assign(ctx context.Context, placed []cf.Placement) ([]start, error) {
	var starts []start
	for _, p := range placed {
		var s *start
		var err error
		if p.Task != "" {
			s, err = t.assignTask(ctx, p)
		} else {
			s, err = t.assignLRP(ctx, p, len(placed) >= auctionSize)
		}
		if err != nil {
			return nil, err
		}
		if s != nil {
			starts = append(starts, *s)
		}
	}
	return starts, nil
}

func (t *txn) assignLRP(ctx context.Context, p cf.Placement, crowded bool) (*start, error) {
	have, err := actuals(ctx, t.Tx, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("lrp = ?", p.LRP).Where("idx = ?", p.Index).Where("state = ?", cf.LRPUnclaimed).Where("cell = ''")
	})
	if err != nil || len(have) == 0 {
		return nil, err
	}
	a := have[0]
	if p.Cell == "" {
		if a.Placement == p.Error && !crowded {
			return nil, nil
		}
		a.Placement = p.Error
		return nil, t.save(ctx, a, t.now)
	}
	d, err := desired(ctx, t.Tx, a.LRP)
	if err != nil || d == nil {
		return nil, err
	}
	a.Cell, a.Instance, a.Since, a.Placement = p.Cell, cf.NewInstanceID(), t.now, ""
	if err := t.save(ctx, a, time.Time{}); err != nil {
		return nil, err
	}
	a.Version = t.version
	return &start{cell: p.Cell, desired: *d, actual: a}, nil
}

func (t *txn) assignTask(ctx context.Context, p cf.Placement) (*start, error) {
	r, err := t.task(ctx, p.Task)
	if cf.IsKind(err, cf.KindConflict) {
		return nil, nil
	}
	if err != nil || r.State != cf.TaskPending || r.Cell != "" {
		return nil, err
	}
	if p.Cell == "" {
		if p.Never || p.Error != "" && t.now.Sub(r.Body.V.Created) >= rejectAfter {
			return nil, t.fail(ctx, *r, p.Error)
		}
		return nil, nil
	}
	r.Body.V.Cell, r.Placed = p.Cell, sql.At(t.now)
	return &start{cell: p.Cell, task: &r.Body.V}, t.saveTask(ctx, *r)
}

// startAll tells the cells. It answers when to try again what a cell could not take for another reason than its size.
func (b *BBS) startAll(ctx context.Context, starts []start) (again time.Duration) {
	slots := make(chan struct{}, startsAtOnce)
	errs := make([]error, len(starts))
	var all sync.WaitGroup
	for i, s := range starts {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			call, cancel := context.WithTimeout(ctx, cellTimeout)
			defer cancel()
			if s.task != nil {
				errs[i] = b.Cells.StartTask(call, s.cell, *s.task)
			} else {
				errs[i] = b.Cells.StartLRP(call, s.cell, s.desired, s.actual)
			}
		})
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			if !cf.IsKind(err, cf.KindNoRoom) {
				again = errorRetry
			}
			b.refused(ctx, starts[i], err)
		}
	}
	return again
}

// refused takes back a placement. A cell without room has not taken the work; after any other error it may have, so
// that it is told to stop the instance. A task needs no such word: it begins only with TaskStarted, which is refused.
func (b *BBS) refused(ctx context.Context, s start, cause error) {
	noRoom := cf.IsKind(cause, cf.KindNoRoom)
	words := "unable to communicate to compatible cells"
	if e := (*cf.Error)(nil); noRoom && errors.As(cause, &e) && e.Public != "" {
		words = e.Public
	}
	err := b.write(ctx, func(ctx context.Context, t *txn) error {
		defer func() { t.place = false }() // at the next look, not at once
		if s.task != nil {
			r, err := t.task(ctx, s.task.ID)
			if err != nil || r.State != cf.TaskPending || r.Cell != s.cell {
				return err
			}
			return t.unplaceTask(ctx, *r)
		}
		a, err := t.current(ctx, s.actual.Instance, s.cell)
		if cf.IsKind(err, cf.KindConflict) {
			return nil // undesired in between
		}
		if err != nil {
			return err
		}
		if noRoom {
			err = t.gone(ctx, *a)
		} else {
			err = t.retire(ctx, *a)
		}
		return errors.Join(err, t.fresh(ctx, *a, words))
	})
	slog.Warn("bbs: cell did not take work", "cell", s.cell, "lrp", s.actual.LRP, "index", s.actual.Index, "error", errors.Join(cause, err))
}
