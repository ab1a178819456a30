package bbs

import (
	"context"
	"fmt"

	"ingot/cf"
	"ingot/diego/bbs/chore"
	"ingot/diego/bbs/store"
)

// listStops lists the instances and tasks that cells must end.
func (b *BBS) listStops(ctx context.Context) ([]chore.Chore, error) {
	var rows []store.Stop
	if err := b.DB.Read().NewSelect().Model(&rows).Order("guid").Limit(chore.Listed).Scan(ctx); err != nil {
		return nil, fmt.Errorf("read stops: %w", err)
	}
	out := make([]chore.Chore, len(rows))
	for i, r := range rows {
		out[i] = chore.Chore{Key: "stop " + r.ID, Do: func(ctx context.Context) error { return b.stop(ctx, r) }}
	}
	return out, nil
}

// stop ends one instance: first the router forgets it, then the cell stops it.
func (b *BBS) stop(ctx context.Context, r store.Stop) error {
	id := cf.InstanceID(r.ID)
	if e := r.Body.V; e.Actual != nil && e.Actual.Routable && len(e.Desired.Routes) > 0 && b.feed.Followed() {
		b.awaitRouter(ctx, id)
	}
	call, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	var err error
	if r.Task {
		err = b.Cells.CancelTask(call, r.Cell, cf.TaskID(r.ID))
	} else {
		err = b.Cells.StopLRP(call, r.Cell, id)
	}
	if err != nil {
		return fmt.Errorf("on cell %s: %w", r.Cell, err)
	}
	b.forget(id)
	return b.write(ctx, func(ctx context.Context, t *store.Txn) error {
		_, err := t.NewDelete().Model(&r).WherePK().Exec(ctx)
		return err
	})
}

// listNews lists the crashes and changes of readiness that Outcomes does not know yet.
func (b *BBS) listNews(ctx context.Context) ([]chore.Chore, error) {
	var rows []store.News
	if err := b.DB.Read().NewSelect().Model(&rows).Order("at", "guid").Limit(chore.Listed).Scan(ctx); err != nil {
		return nil, fmt.Errorf("read news of instances: %w", err)
	}
	out := make([]chore.Chore, len(rows))
	for i, r := range rows {
		out[i] = chore.Chore{Key: "tell of " + r.ID, Do: func(ctx context.Context) error {
			call, cancel := context.WithTimeout(ctx, tellTimeout)
			defer cancel()
			tell := func() error { return b.Outcomes.InstanceCrashed(call, r.Body.V.Crash) }
			if r.Body.V.Readiness {
				tell = func() error { return b.Outcomes.InstanceReadiness(call, r.Body.V.ActualLRP) }
			}
			if err := tell(); err != nil {
				return err
			}
			return b.write(ctx, func(ctx context.Context, t *store.Txn) error {
				_, err := t.NewDelete().Model(&r).WherePK().Exec(ctx)
				return err
			})
		}}
	}
	return out, nil
}

// listDone lists the completed tasks that Outcomes does not know yet.
func (b *BBS) listDone(ctx context.Context) ([]chore.Chore, error) {
	var rows []store.Task
	err := b.DB.Read().NewSelect().Model(&rows).Where("state = ?", cf.TaskCompleted).Where("told = ?", false).
		Order("completed", "guid").Limit(chore.Listed).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("read completed tasks: %w", err)
	}
	out := make([]chore.Chore, len(rows))
	for i, r := range rows {
		out[i] = chore.Chore{Key: "tell task " + string(r.ID), Do: func(ctx context.Context) error {
			call, cancel := context.WithTimeout(ctx, tellTimeout)
			defer cancel()
			if err := b.Outcomes.TaskCompleted(call, r.Body.V); err != nil {
				return err
			}
			return b.write(ctx, func(ctx context.Context, t *store.Txn) error {
				_, err := t.NewUpdate().Model(&r).Set("told = ?", true).WherePK().Exec(ctx)
				return err
			})
		}}
	}
	return out, nil
}
