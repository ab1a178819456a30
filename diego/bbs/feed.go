package bbs

import (
	"context"
	dbsql "database/sql"
	"fmt"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
)

// backlog is how many changes a follower may fall behind.
const backlog = 4096

// change is an event with the version of its transition.
type change struct {
	version int64
	event   cf.LRPEvent
}

// feed hands changes to the followers in the order of their commits: each transition draws a ticket inside its
// transaction, and publish holds back what belongs behind a ticket that is still out.
type feed struct {
	mu        sync.Mutex
	drawn     uint64
	published uint64
	early     map[uint64][]change
	followers map[*follower]struct{}
}

type follower struct {
	changes chan change // closed when it fell too far behind
}

// ticket draws the next place in the order.
func (f *feed) ticket() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drawn++
	return f.drawn
}

// publish redeems a ticket; no events when the transaction failed.
func (f *feed) publish(ticket uint64, version int64, events []cf.LRPEvent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.early == nil {
		f.early = map[uint64][]change{}
	}
	changes := make([]change, len(events))
	for i, e := range events {
		changes[i] = change{version, e}
	}
	f.early[ticket] = changes
	for {
		next, ok := f.early[f.published+1]
		if !ok {
			return
		}
		f.published++
		delete(f.early, f.published)
		for fol := range f.followers {
			fol.offer(f, next)
		}
	}
}

// offer queues changes for the follower, or lets go of one that is too slow. The caller holds f.mu.
func (fol *follower) offer(f *feed, changes []change) {
	for _, c := range changes {
		select {
		case fol.changes <- c:
		default:
			delete(f.followers, fol)
			close(fol.changes)
			return
		}
	}
}

func (f *feed) join() *follower {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.followers == nil {
		f.followers = map[*follower]struct{}{}
	}
	fol := &follower{changes: make(chan change, backlog)}
	f.followers[fol] = struct{}{}
	return fol
}

func (f *feed) leave(fol *follower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.followers, fol)
}

// followed tells whether anybody listens.
func (f *feed) followed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.followers) > 0
}

// Follow implements cf.LRPFeed. Instances that are about to be stopped are told as Gone at the beginning too, so that
// a router which missed it forgets them.
func (b *BBS) Follow(ctx context.Context) (<-chan cf.LRPEvent, error) {
	fol := b.feed.join()
	version, events, err := b.snapshot(ctx)
	if err != nil {
		b.feed.leave(fol)
		return nil, fmt.Errorf("follow LRPs: %w", err)
	}
	out := make(chan cf.LRPEvent, 64)
	go func() {
		defer close(out)
		defer b.feed.leave(fol)
		for _, e := range append(events, cf.LRPEvent{}) {
			select {
			case out <- e:
			case <-ctx.Done():
				return
			}
		}
		events = nil
		for {
			select {
			case c, ok := <-fol.changes:
				if !ok {
					return
				}
				if c.version <= version {
					continue // the snapshot knows it
				}
				select {
				case out <- c.event:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// snapshot is the state of all instances at one version.
func (b *BBS) snapshot(ctx context.Context) (version int64, events []cf.LRPEvent, err error) {
	opts := &dbsql.TxOptions{ReadOnly: true, Isolation: dbsql.LevelRepeatableRead}
	err = b.DB.Read().RunInTx(ctx, opts, func(ctx context.Context, tx bun.Tx) error {
		if version, err = clock(ctx, tx); err != nil {
			return err
		}
		var want []desiredRow
		if err := tx.NewSelect().Model(&want).Scan(ctx); err != nil {
			return err
		}
		byID := make(map[cf.ProcessID]cf.DesiredLRP, len(want))
		for _, d := range want {
			d.Body.V.Env, d.Body.V.VCAPApp = nil, nil
			byID[d.ID] = d.Body.V
		}
		have, err := actuals(ctx, tx, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("instance <> ''") })
		if err != nil {
			return err
		}
		for i := range have {
			events = append(events, cf.LRPEvent{Desired: byID[have[i].LRP], Actual: &have[i]})
		}
		var stops []stopRow
		if err := tx.NewSelect().Model(&stops).Where("task = ?", false).Scan(ctx); err != nil {
			return err
		}
		for _, s := range stops {
			events = append(events, s.Body.V)
		}
		return nil
	})
	return version, events, err
}

// MarkRoutable implements cf.LRPFeed. Unknown instances are no error: the router may be late.
func (b *BBS) MarkRoutable(ctx context.Context, id cf.InstanceID, routable bool) error {
	if !routable {
		b.routeGone(id)
	}
	changes := func(a *cf.ActualLRP) bool { return a.State == cf.LRPRunning && a.Routable != routable }
	same := func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("instance = ?", id) }
	if have, err := actuals(ctx, b.DB.Read(), same); err != nil || len(have) == 0 || !changes(&have[0]) {
		return err
	}
	return b.write(ctx, func(ctx context.Context, t *txn) error {
		a, err := t.current(ctx, id, "")
		if cf.IsKind(err, cf.KindConflict) {
			return nil
		}
		if err != nil || !changes(a) {
			return err
		}
		a.Routable = routable
		return t.save(ctx, *a, time.Time{})
	})
}

// expectGone prepares to wait for the router to forget the instances. It comes before the followers hear of it.
func (b *BBS) expectGone(ids []cf.InstanceID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		b.waiting[id] = make(chan struct{})
	}
}

// routeGone lets go of whoever waits for the router to forget the instance.
func (b *BBS) routeGone(id cf.InstanceID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.waiting[id]: // closed already
	default:
		if c := b.waiting[id]; c != nil {
			close(c)
		}
	}
}

// awaitRouter waits until the router forgot the instance or routerGrace passed.
func (b *BBS) awaitRouter(ctx context.Context, id cf.InstanceID) {
	b.mu.Lock()
	c := b.waiting[id] // nil after a restart: the grace passes
	b.mu.Unlock()
	late := time.NewTimer(routerGrace)
	defer late.Stop()
	select {
	case <-c:
	case <-late.C:
	case <-ctx.Done():
	}
}

// forget ends the waiting for the instance.
func (b *BBS) forget(id cf.InstanceID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.waiting, id)
}
