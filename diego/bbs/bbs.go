// Package bbs is Diego's brain: what should run, what runs, and how the one becomes the other. It is the body of
// cf.Scheduler for those who desire work, of cf.LRPBoard for the cells that do it, and of cf.LRPFeed for those who
// follow it.
//
// It promises: an acknowledged call survives a crash at any moment; every transition is one transaction; a running
// instance is stopped only because somebody asked for it or its cell was lost; a restart of Ingot changes no instance.
// It will not run containers (cf.Cells does), choose among cells (cf.Auction does), nor invent
// desired state.
// DESIGN.md tells why it is built so.
package bbs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/diego/bbs/chore"
	"ingot/diego/bbs/feed"
	"ingot/diego/bbs/store"
	"ingot/kit/sql"
)

// What Diego waits for (ecosystem.md §5.1; systems.md §11.0).
const (
	cellLost    = 10 * time.Second       // without a sign of life; with what follows, its instances are elsewhere within 15 s
	bootGrace   = time.Minute            // for cells that start together with the brain
	kickAfter   = 30 * time.Second       // a placement that its cell never claimed
	rejectAfter = time.Minute            // a task that finds no room though no other task takes it
	expireAfter = 30 * time.Minute       // a task that did not begin
	keepTask    = 2 * time.Minute        // a completed task, once it was told
	keepCrash   = 24 * time.Hour         // a crash that nobody wants to hear of
	stopPause   = 2 * time.Second        // before an instance that was told to stop is started anew
	routerGrace = time.Second            // for the router to forget an instance before it is stopped
	cellTimeout = 10 * time.Second       // of one call to a cell
	stopTimeout = 30 * time.Second       // of a stop, which is graceful for 10 s
	tellTimeout = 30 * time.Second       // of one call to Outcomes
	presence    = 2 * time.Second        // between looks at the cells
	bootRetry   = 100 * time.Millisecond // while no cell is there yet
	errorRetry  = time.Second
)

// BBS is the brain. DB, Cells, Outcomes and Auction must be set before Start; the calls of its doors work once Start returned.
type BBS struct {
	DB       *sql.DB
	Cells    cf.Cells
	Outcomes cf.Outcomes
	Auction  cf.Auction    // auction.Place
	Converge time.Duration // between convergences; 0 = 30 s

	feed    feed.Feed
	stops   *chore.List
	news    *chore.List // of instances, for Outcomes
	tasks   *chore.List
	work    chan struct{} // wakes the loop
	calls   chan struct{} // bounds the calls that start work on cells
	booted  time.Time
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	seen    map[cf.CellID]time.Time // last sign of life of each cell
	waiting map[cf.InstanceID]chan struct{}
	asked   map[*start]bool // what cells were told to start and have not answered yet
	unsure  bool            // work found no room while cells were asked, who perhaps refuse
}

var (
	_ cf.Scheduler = (*BBS)(nil)
	_ cf.LRPBoard  = (*BBS)(nil)
	_ cf.LRPFeed   = (*BBS)(nil)
)

// Start brings the store up to date and begins to converge. ctx bounds only the start.
func (b *BBS) Start(ctx context.Context) error {
	if err := store.Migrate(ctx, b.DB); err != nil {
		return err
	}
	b.booted = time.Now()
	b.seen, b.waiting = map[cf.CellID]time.Time{}, map[cf.InstanceID]chan struct{}{}
	b.asked = map[*start]bool{}
	b.work, b.calls = make(chan struct{}, 1), make(chan struct{}, startsAtOnce)
	b.stops, b.news, b.tasks = chore.New(b.listStops), chore.New(b.listNews), chore.New(b.listDone)
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	b.cancel = cancel
	b.running.Go(func() { b.loop(run) })
	for _, c := range []*chore.List{b.stops, b.news, b.tasks} {
		b.running.Go(func() { c.Run(run) })
	}
	return nil
}

// Stop ends the loops; instances keep running.
func (b *BBS) Stop(ctx context.Context) error {
	if b.cancel == nil {
		return nil
	}
	b.cancel()
	b.feed.Close()
	done := make(chan struct{})
	go func() { b.running.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("bbs: work still under way: %w", ctx.Err())
	}
}

// loop places work as it comes and converges as time passes.
func (b *BBS) loop(ctx context.Context) {
	every := b.Converge
	if every == 0 {
		every = 30 * time.Second
	}
	look, converge := time.Now(), time.Now()
	for ctx.Err() == nil {
		now, errs := time.Now(), []error{}
		if !now.Before(look) {
			look = now.Add(presence)
			errs = append(errs, b.watchCells(ctx))
		}
		if !now.Before(converge) {
			converge = now.Add(every)
			errs = append(errs, b.converge(ctx, now))
		}
		errs = append(errs, b.restartCrashed(ctx, now))
		retry, err := b.place(ctx)
		if err := errors.Join(append(errs, err)...); err != nil && ctx.Err() == nil {
			slog.Error("bbs: convergence failed and is tried again", "error", err)
		}
		next := b.nextDue(ctx, look)
		if soon := time.Now().Add(retry); retry > 0 && next.After(soon) {
			next = soon
		}
		t := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
		case <-b.work:
		case <-t.C:
		}
		t.Stop()
	}
}

// wake leaves a mark for the loop; one mark is enough.
func (b *BBS) wake() {
	select {
	case b.work <- struct{}{}:
	default:
	}
}

// alive notes a sign of life of a cell.
func (b *BBS) alive(id cf.CellID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen[id] = time.Now()
}

// write runs fn in a transaction of its own; once it is durable, the followers hear of it in the order of the commits and
// the loops are woken.
func (b *BBS) write(ctx context.Context, fn func(ctx context.Context, t *store.Txn) error) (err error) {
	var t *store.Txn
	var ticket uint64
	err = errors.New("bbs: the transaction did not end") // should fn panic
	defer func() {
		if ticket == 0 {
			return
		}
		if err != nil {
			t = &store.Txn{}
		}
		b.expectGone(t.Retired) // before anybody can answer
		b.feed.Publish(ticket, t.Version, t.Changes)
		if t.Place {
			b.wake()
		}
		for c, has := range map[*chore.List]bool{b.stops: t.Stops, b.news: t.News, b.tasks: t.Done} {
			if has {
				c.Wake()
			}
		}
	}()
	return b.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		var err error
		if t, err = store.Begin(ctx, tx); err != nil {
			return err
		}
		ticket = b.feed.Ticket() // behind the clock row's lock, so that tickets follow the order of the commits
		return fn(ctx, t)
	})
}
