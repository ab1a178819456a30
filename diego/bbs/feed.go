package bbs

import (
	"context"
	dbsql "database/sql"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/diego/bbs/store"
)

// Follow implements cf.LRPFeed. Instances that are about to be stopped are told as Gone at the beginning too, so that
// a router which missed it forgets them.
func (b *BBS) Follow(ctx context.Context) (<-chan cf.LRPEvent, error) {
	events, err := b.feed.Follow(ctx, b.snapshot)
	if err != nil {
		return nil, fmt.Errorf("follow LRPs: %w", err)
	}
	return events, nil
}

// snapshot is the state of all instances at one version.
func (b *BBS) snapshot(ctx context.Context) (version int64, events []cf.LRPEvent, err error) {
	opts := &dbsql.TxOptions{ReadOnly: true, Isolation: dbsql.LevelRepeatableRead}
	err = b.DB.Read().RunInTx(ctx, opts, func(ctx context.Context, tx bun.Tx) error {
		if version, err = store.Version(ctx, tx); err != nil {
			return err
		}
		var want []store.Desired
		if err := tx.NewSelect().Model(&want).Scan(ctx); err != nil {
			return err
		}
		byID := make(map[cf.ProcessID]cf.DesiredLRP, len(want))
		for _, d := range want {
			d.Body.V.Env, d.Body.V.VCAPApp = nil, nil
			byID[d.ID] = d.Body.V
		}
		have, err := store.Instances(ctx, tx, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("instance <> ''") })
		if err != nil {
			return err
		}
		for i := range have {
			events = append(events, cf.LRPEvent{Desired: byID[have[i].LRP], Actual: &have[i]})
		}
		var stops []store.Stop
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
	if have, err := store.Instances(ctx, b.DB.Read(), same); err != nil || len(have) == 0 || !changes(&have[0]) {
		return err
	}
	return b.write(ctx, func(ctx context.Context, t *store.Txn) error {
		a, err := t.Current(ctx, id, "")
		if cf.IsKind(err, cf.KindConflict) {
			return nil
		}
		if err != nil || !changes(a) {
			return err
		}
		a.Routable = routable
		return t.Save(ctx, *a, time.Time{})
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
