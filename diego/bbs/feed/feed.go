// Package feed tells followers of changes in the order of their commits.
//
// It promises: a snapshot, a mark, then every later change and no earlier one; or a closed channel. Writers never wait
// for followers. It will not read a store.
package feed

import (
	"context"
	"sync"

	"ingot/cf"
)

// backlog is how many changes a follower may fall behind.
const backlog = 4096

// change is an event with the version of its transition.
type change struct {
	version int64
	event   cf.LRPEvent
}

// Feed hands changes to the followers in the order of their commits: each transition draws a ticket inside its
// transaction, and Publish holds back what belongs behind a ticket that is still out.
type Feed struct {
	mu        sync.Mutex
	drawn     uint64
	published uint64
	early     map[uint64][]change
	followers map[*follower]struct{}
}

type follower struct {
	changes chan change // closed when it fell too far behind
}

// Ticket draws the next place in the order.
func (f *Feed) Ticket() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drawn++
	return f.drawn
}

// Publish redeems a ticket: no events when the transaction failed.
func (f *Feed) Publish(ticket uint64, version int64, events []cf.LRPEvent) {
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
func (fol *follower) offer(f *Feed, changes []change) {
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

// join adds a follower.
func (f *Feed) join() *follower {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.followers == nil {
		f.followers = map[*follower]struct{}{}
	}
	fol := &follower{changes: make(chan change, backlog)}
	f.followers[fol] = struct{}{}
	return fol
}

func (f *Feed) leave(fol *follower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.followers, fol)
}

// Close ends all followers; they begin anew elsewhere.
func (f *Feed) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for fol := range f.followers {
		close(fol.changes)
	}
	f.followers = nil
}

// Followed tells whether anybody listens.
func (f *Feed) Followed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.followers) > 0
}

// Follow sends the snapshot, which knows all changes up to its version, a Synced mark and the later changes, until ctx
// ends or the follower falls too far behind.
func (f *Feed) Follow(ctx context.Context, snapshot func(ctx context.Context) (version int64, events []cf.LRPEvent, err error)) (<-chan cf.LRPEvent, error) {
	fol := f.join() // before the snapshot, so that nothing is lost between
	version, events, err := snapshot(ctx)
	if err != nil {
		f.leave(fol)
		return nil, err
	}
	out := make(chan cf.LRPEvent, 64)
	go func() {
		defer close(out)
		defer f.leave(fol)
		for _, e := range append(events, cf.LRPEvent{}) {
			if !send(ctx, out, e) {
				return
			}
		}
		events = nil
		for {
			select {
			case c, ok := <-fol.changes:
				if !ok || c.version > version && !send(ctx, out, c.event) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

func send(ctx context.Context, out chan<- cf.LRPEvent, e cf.LRPEvent) bool {
	select {
	case out <- e:
		return true
	case <-ctx.Done():
		return false
	}
}
