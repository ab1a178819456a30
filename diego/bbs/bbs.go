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
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"ingot/cf"
	"ingot/kit/sql"
)

//go:embed migrations/*.sql
var migrations embed.FS

// What Diego waits for (ecosystem.md §5.1; systems.md §11.0).
const (
	cellLost    = 15 * time.Second       // without a sign of life
	bootGrace   = time.Minute            // for cells that start together with the brain
	kickAfter   = 30 * time.Second       // a placement that its cell never claimed
	rejectAfter = time.Minute            // a task that finds no room
	expireAfter = 30 * time.Minute       // a task that nobody could even refuse
	keepTask    = 2 * time.Minute        // a completed task, once it was told
	keepCrash   = 24 * time.Hour         // a crash that nobody wants to hear of
	routerGrace = time.Second            // for the router to forget an instance before it is stopped
	cellTimeout = 10 * time.Second       // of one call to a cell
	stopTimeout = 30 * time.Second       // of a stop, which is graceful for 10 s
	tellTimeout = 30 * time.Second       // of one call to Outcomes
	presence    = 5 * time.Second        // between looks at the cells
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

	feed    feed
	stops   *chores
	crashes *chores
	tasks   *chores
	work    chan struct{} // wakes the loop
	booted  time.Time
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	seen    map[cf.CellID]time.Time // last sign of life of each cell
	waiting map[cf.InstanceID]chan struct{}
}

var (
	_ cf.Scheduler = (*BBS)(nil)
	_ cf.LRPBoard  = (*BBS)(nil)
	_ cf.LRPFeed   = (*BBS)(nil)
)

// Start brings the store up to date and begins to converge. ctx bounds only the start.
func (b *BBS) Start(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	if err := b.DB.Migrate(ctx, files, "bbs_schema"); err != nil {
		return err
	}
	b.booted = time.Now()
	b.seen, b.waiting = map[cf.CellID]time.Time{}, map[cf.InstanceID]chan struct{}{}
	b.work = make(chan struct{}, 1)
	b.stops, b.crashes, b.tasks = newChores(b.listStops), newChores(b.listCrashes), newChores(b.listDone)
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	b.cancel = cancel
	b.running.Go(func() { b.loop(run) })
	for _, c := range []*chores{b.stops, b.crashes, b.tasks} {
		b.running.Go(func() { c.run(run) })
	}
	return nil
}

// Stop ends the loops; instances keep running.
func (b *BBS) Stop(ctx context.Context) error {
	if b.cancel == nil {
		return nil
	}
	b.cancel()
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
			retry = errorRetry
		}
		next := b.nextCrash(ctx, look)
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

// wake leaves a mark for a loop; one mark is enough.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// alive notes a sign of life of a cell.
func (b *BBS) alive(id cf.CellID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen[id] = time.Now()
}

// conflict refuses a report about an instance or task that is no longer the cell's.
func conflict(format string, args ...any) error {
	return cf.Errorf(cf.KindConflict, "", format, args...)
}
