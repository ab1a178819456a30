package bbs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/diego/bbs/store"
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

func (s *start) need() cf.Resources {
	if s.task != nil {
		return need(s.task.Limits)
	}
	return need(s.desired.Limits)
}

// place finds cells for what waits for one. It answers when it should be called again; 0 = when something happens.
func (b *BBS) place(ctx context.Context) (again time.Duration, err error) {
	work, err := b.waitingWork(ctx)
	if err != nil || len(work) == 0 {
		return 0, err
	}
	asked := b.unanswered() // before the cells are: who has answered counts what it took
	cells, err := b.cells(ctx)
	if err != nil {
		return 0, err
	}
	if len(cells) == 0 && time.Since(b.booted) < bootGrace {
		return bootRetry, nil // they are starting, too
	}
	reckon(cells, asked)
	placed := b.Auction(work, cells)
	if len(asked) > 0 { // whether there is no room is known when they have answered
		placed = slices.DeleteFunc(placed, func(p cf.Placement) bool { return p.Cell == "" })
	}
	b.mu.Lock()
	b.unsure = len(placed) < len(work)
	b.mu.Unlock()
	var starts []*start
	err = b.write(ctx, func(ctx context.Context, t *store.Txn) (err error) {
		starts, err = assign(ctx, t, placed)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("assign work to cells: %w", err)
	}
	b.startAll(ctx, starts)
	if len(work) >= auctionSize && len(starts) > 0 {
		return time.Millisecond, nil // there is more
	}
	return 0, nil
}

// unanswered lists what cells were asked to start and have not answered yet.
func (b *BBS) unanswered() []*start {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Keys(b.asked))
}

// answered is called when a cell answered s, or will not any more.
func (b *BBS) answered(s *start) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if delete(b.asked, s); b.unsure {
		b.wake()
	}
}

// reckon counts in what the cells were asked to start: whether what they say of themselves counts it nobody knows.
func reckon(cells []cf.CellState, asked []*start) {
	for i := range cells {
		c := &cells[i]
		for _, s := range asked {
			if s.cell != c.ID {
				continue
			}
			n := s.need()
			c.Free.MemoryMB, c.Free.DiskMB, c.Free.Containers = c.Free.MemoryMB-n.MemoryMB, c.Free.DiskMB-n.DiskMB, c.Free.Containers-n.Containers
			if s.task == nil {
				if c.Processes = maps.Clone(c.Processes); c.Processes == nil {
					c.Processes = map[cf.ProcessID]int{}
				}
				c.Processes[s.desired.ID]++
			}
		}
	}
}

// cells lists the cells that are present.
func (b *BBS) cells(ctx context.Context) ([]cf.CellState, error) {
	call, cancel := context.WithTimeout(ctx, cellTimeout)
	defer cancel()
	cells, err := b.Cells.List(call)
	if err != nil {
		return nil, fmt.Errorf("list cells: %w", err)
	}
	return cells, nil
}

// waitingWork lists what waits for a cell; what failed longest ago comes first.
func (b *BBS) waitingWork(ctx context.Context) ([]cf.Work, error) {
	slots, err := store.Instances(ctx, b.DB.Read(), func(q *bun.SelectQuery) *bun.SelectQuery {
		now := time.Now() // nobody waits longer but where the clock was set back
		return q.Where("state = ?", cf.LRPUnclaimed).Where("cell = ''").Where("due <= ? OR due > ?", sql.At(now), sql.At(now.Add(stopPause))).
			Order("due").Limit(auctionSize)
	})
	if err != nil {
		return nil, err
	}
	var ids []cf.ProcessID
	for _, s := range slots {
		ids = append(ids, s.LRP)
	}
	want, err := store.LRPs(ctx, b.DB.Read(), ids)
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
			work = append(work, cf.Work{LRP: s.LRP, Index: s.Index, Segment: d.Segment, Stack: d.Stack, Need: need(d.Limits)})
		}
	}
	tasks, err := store.Tasks(ctx, b.DB.Read(), func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("state = ?", cf.TaskPending).Where("cell = ''").Limit(auctionSize)
	})
	if err != nil {
		return nil, err
	}
	for _, r := range tasks {
		work = append(work, cf.Work{Task: r.ID, Segment: r.Body.V.Segment, Stack: r.Body.V.Stack, Need: need(r.Body.V.Limits)})
	}
	return work, nil
}

func need(l cf.Limits) cf.Resources {
	return cf.Resources{MemoryMB: l.MemoryMB, DiskMB: l.DiskMB, Containers: 1}
}

// assign writes down what the auction decided, before any cell hears of it. Work that changed since is left alone.
func assign(ctx context.Context, t *store.Txn, placed []cf.Placement) ([]*start, error) {
	var starts []*start
	for _, p := range placed {
		var s *start
		var err error
		if p.Task != "" {
			s, err = assignTask(ctx, t, p)
		} else {
			s, err = assignLRP(ctx, t, p, len(placed) >= auctionSize)
		}
		if err != nil {
			return nil, err
		}
		if s != nil {
			starts = append(starts, s)
		}
	}
	return starts, nil
}

func assignLRP(ctx context.Context, t *store.Txn, p cf.Placement, crowded bool) (*start, error) {
	have, err := store.Instances(ctx, t.Tx, func(q *bun.SelectQuery) *bun.SelectQuery {
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
		return nil, t.Save(ctx, a, t.Now)
	}
	d, err := store.LRP(ctx, t.Tx, a.LRP)
	if err != nil || d == nil {
		return nil, err
	}
	a.Cell, a.Instance, a.Since, a.Placement = p.Cell, cf.NewInstanceID(), t.Now, ""
	if err := t.Save(ctx, a, time.Time{}); err != nil {
		return nil, err
	}
	a.Version = t.Version
	return &start{cell: p.Cell, desired: *d, actual: a}, nil
}

func assignTask(ctx context.Context, t *store.Txn, p cf.Placement) (*start, error) {
	r, err := t.Task(ctx, p.Task)
	if cf.IsKind(err, cf.KindConflict) {
		return nil, nil
	}
	if err != nil || r.State != cf.TaskPending || r.Cell != "" {
		return nil, err
	}
	if p.Cell == "" {
		return nil, refuseTask(ctx, t, r, p)
	}
	r.Body.V.Cell, r.Body.V.Reason, r.Placed = p.Cell, "", sql.At(t.Now)
	return &start{cell: p.Cell, task: &r.Body.V}, t.SaveTask(ctx, *r)
}

// refuseTask lets a task wait for its turn, or fails it: one that could never fit at once, others when long enough no
// task was on the cells, so that what takes the room will hardly end by itself.
func refuseTask(ctx context.Context, t *store.Txn, r *store.Task, p cf.Placement) error {
	if p.Never {
		return t.Fail(ctx, *r, p.Error)
	}
	if t.Now.Sub(r.Body.V.Created) >= rejectAfter {
		busy, err := t.TasksSince(ctx, rejectAfter)
		if err != nil {
			return err
		}
		if !busy {
			return t.Fail(ctx, *r, p.Error)
		}
	}
	if r.Body.V.Reason == p.Error {
		return nil
	}
	r.Body.V.Reason = p.Error // what it fails with should it expire
	return t.SaveTask(ctx, *r)
}

// startAll tells the cells. It does not wait for them: a cell that hangs must not keep the loop from seeing that another
// one is lost.
func (b *BBS) startAll(ctx context.Context, starts []*start) {
	b.mu.Lock()
	for _, s := range starts {
		b.asked[s] = true
	}
	b.mu.Unlock()
	for _, s := range starts {
		b.running.Go(func() {
			defer b.answered(s)
			select {
			case b.calls <- struct{}{}:
				defer func() { <-b.calls }()
			case <-ctx.Done():
				return
			}
			if err := b.tell(ctx, s); err != nil {
				b.refused(ctx, s, err)
			}
		})
	}
}

func (b *BBS) tell(ctx context.Context, s *start) error {
	call, cancel := context.WithTimeout(ctx, cellTimeout)
	defer cancel()
	if s.task != nil {
		return b.Cells.StartTask(call, s.cell, *s.task)
	}
	return b.Cells.StartLRP(call, s.cell, s.desired, s.actual)
}

// refused takes back a placement. A cell without room has not taken the work; after any other error it may have, so
// that it is told to stop the instance. A task needs no such word: it begins only with TaskStarted, which is refused.
func (b *BBS) refused(ctx context.Context, s *start, cause error) {
	noRoom := cf.IsKind(cause, cf.KindNoRoom)
	words := "unable to communicate to compatible cells"
	if e := (*cf.Error)(nil); noRoom && errors.As(cause, &e) && e.Public != "" {
		words = e.Public
	}
	var err error
	if s.task != nil {
		err = b.takeBackTask(ctx, *s.task, cf.TaskPending, words)
	} else {
		err = b.takeBack(ctx, s.actual, words, !noRoom)
	}
	if cf.IsKind(err, cf.KindConflict) {
		err = nil // undesired in between, or begun
	}
	slog.Warn("bbs: cell did not take work", "cell", s.cell, "lrp", s.actual.LRP, "index", s.actual.Index, "error", errors.Join(cause, err))
}

// takeBack empties the slot of an instance that did not run. It waits again: until the next look at the cells, not at once.
func (b *BBS) takeBack(ctx context.Context, a cf.ActualLRP, why string, stop bool) error {
	return b.write(ctx, func(ctx context.Context, t *store.Txn) error {
		have, err := t.Current(ctx, a.Instance, a.Cell)
		if err != nil {
			return err
		}
		if stop {
			err = t.Retire(ctx, *have)
		} else {
			err = t.Gone(ctx, *have)
		}
		err = errors.Join(err, t.Fresh(ctx, *have, why, time.Time{}))
		t.Place = false
		return err
	})
}

// takeBackTask is takeBack for a task, which was in that state.
func (b *BBS) takeBackTask(ctx context.Context, task cf.Task, was cf.TaskState, why string) error {
	return b.write(ctx, func(ctx context.Context, t *store.Txn) error {
		r, err := t.Task(ctx, task.ID)
		if err != nil {
			return err
		}
		if r.State != was || r.Cell != task.Cell {
			return store.Conflict("task %s is not for cell %s", task.ID, task.Cell)
		}
		r.Body.V.State, r.Body.V.Reason = cf.TaskPending, why
		err = t.Unplace(ctx, *r)
		t.Place = false
		return err
	})
}
