package bbs

import (
	"context"
	"fmt"

	"ingot/cf"
	"ingot/kit/sql"
)

// listStops lists the instances and tasks that cells must end.
func (b *BBS) listStops(ctx context.Context) ([]chore, error) {
	var rows []stopRow
	if err := b.DB.Read().NewSelect().Model(&rows).Order("guid").Limit(choresListed).Scan(ctx); err != nil {
		return nil, fmt.Errorf("read stops: %w", err)
	}
	out := make([]chore, len(rows))
	for i, r := range rows {
		out[i] = chore{"stop " + r.ID, func(ctx context.Context) error { return b.stop(ctx, r) }}
	}
	return out, nil
}

// stop ends one instance: first the router forgets it, then the cell stops it.
func (b *BBS) stop(ctx context.Context, r stopRow) error {
	id := cf.InstanceID(r.ID)
	if e := r.Body.V; e.Actual != nil && e.Actual.Routable && len(e.Desired.Routes) > 0 && b.feed.followed() {
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
	return b.write(ctx, func(ctx context.Context, t *txn) error {
		_, err := t.NewDelete().Model(&r).WherePK().Exec(ctx)
		return err
	})
}

// listCrashes lists the crashes that Outcomes does not know yet.
func (b *BBS) listCrashes(ctx context.Context) ([]chore, error) {
	var rows []crashRow
	if err := b.DB.Read().NewSelect().Model(&rows).Order("at", "guid").Limit(choresListed).Scan(ctx); err != nil {
		return nil, fmt.Errorf("read crashes: %w", err)
	}
	out := make([]chore, len(rows))
	for i, r := range rows {
		out[i] = chore{"tell crash " + r.ID, func(ctx context.Context) error {
			call, cancel := context.WithTimeout(ctx, tellTimeout)
			defer cancel()
			if err := b.Outcomes.InstanceCrashed(call, r.Body.V); err != nil {
				return err
			}
			return b.write(ctx, func(ctx context.Context, t *txn) error {
				_, err := t.NewDelete().Model(&r).WherePK().Exec(ctx)
				return err
			})
		}}
	}
	return out, nil
}

// listDone lists the completed tasks that Outcomes does not know yet.
func (b *BBS) listDone(ctx context.Context) ([]chore, error) {
	var rows []taskRow
	err := b.DB.Read().NewSelect().Model(&rows).Where("state = ?", cf.TaskCompleted).Where("told = ?", false).
		Order("completed", "guid").Limit(choresListed).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("read completed tasks: %w", err)
	}
	out := make([]chore, len(rows))
	for i, r := range rows {
		out[i] = chore{"tell task " + string(r.ID), func(ctx context.Context) error {
			call, cancel := context.WithTimeout(ctx, tellTimeout)
			defer cancel()
			if err := b.Outcomes.TaskCompleted(call, r.Body.V); err != nil {
				return err
			}
			return b.write(ctx, func(ctx context.Context, t *txn) error {
				_, err := t.NewUpdate().Model(&r).Set("told = ?", true).WherePK().Exec(ctx)
				return err
			})
		}}
	}
	return out, nil
}

// record keeps a crash until Outcomes knows it.
func (t *txn) record(ctx context.Context, c cf.Crash) error {
	t.chores = append(t.chores, t.b.crashes)
	row := &crashRow{ID: string(c.Instance), At: sql.At(c.At), Body: sql.JSON[cf.Crash]{V: c}}
	if _, err := t.NewInsert().Model(row).Exec(ctx); err != nil {
		return fmt.Errorf("record crash of %s: %w", c.Instance, err)
	}
	return nil
}
