package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
)

// Txn is one transition: its version and moment, and what there is to do once it is durable.
type Txn struct {
	bun.Tx
	Version int64
	Now     time.Time
	Changes []cf.LRPEvent
	Retired []cf.InstanceID // they are to be stopped
	Place   bool            // there is work for the auction, or room for it
	Stops   bool            // there are new stops, ...
	News    bool            // news for Outcomes, ...
	Done    bool            // completed tasks
}

// Begin moves the clock row on. That gives the transaction its version, and where the database has several writers it
// also makes them queue here, so that reading a row and then changing it cannot race.
func Begin(ctx context.Context, tx bun.Tx) (*Txn, error) {
	t := &Txn{Tx: tx, Now: time.Now()}
	if _, err := tx.NewUpdate().Model((*clock)(nil)).Set("version = version + 1").Where("id = 1").Exec(ctx); err != nil {
		return nil, fmt.Errorf("clock: %w", err)
	}
	var err error
	t.Version, err = Version(ctx, tx)
	return t, err
}

// Conflict refuses a report about an instance or task that is not the cell's, or not any more.
func Conflict(format string, args ...any) error {
	return cf.Errorf(cf.KindConflict, "", format, args...)
}

// Current is the instance with that guid on that cell (empty: any), or a conflict.
func (t *Txn) Current(ctx context.Context, id cf.InstanceID, cell cf.CellID) (*cf.ActualLRP, error) {
	if id == "" {
		return nil, cf.Errorf(cf.KindInvalid, "", "the instance has no guid")
	}
	found, err := Instances(ctx, t.Tx, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("instance = ?", id) })
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, Conflict("instance %s is not desired", id)
	}
	if cell != "" && cell != found[0].Cell {
		return nil, Conflict("instance %s belongs to cell %s", id, found[0].Cell)
	}
	return &found[0], nil
}

// Save writes a changed slot and tells of it where a cell has an instance in it.
func (t *Txn) Save(ctx context.Context, a cf.ActualLRP, due time.Time) error {
	a.Version = t.Version
	if _, err := t.NewUpdate().Model(RowOf(a, due)).WherePK().Exec(ctx); err != nil {
		return fmt.Errorf("save instance %s/%d: %w", a.LRP, a.Index, err)
	}
	if a.Instance == "" {
		return nil
	}
	d, err := LRP(ctx, t.Tx, a.LRP)
	if err == nil {
		t.Tell(d, &a, false)
	}
	return err
}

// Fresh empties the slot of a; from due on it waits for a cell. Its crash count stays.
func (t *Txn) Fresh(ctx context.Context, a cf.ActualLRP, placement string, due time.Time) error {
	a = t.empty(a, cf.LRPUnclaimed)
	a.Placement = placement
	t.Place = true
	return t.Save(ctx, a, due)
}

// Crash empties the slot of a until due; zero means for ever.
func (t *Txn) Crash(ctx context.Context, a cf.ActualLRP, due time.Time) error {
	return t.Save(ctx, t.empty(a, cf.LRPCrashed), due)
}

func (t *Txn) empty(a cf.ActualLRP, state cf.LRPState) cf.ActualLRP {
	return cf.ActualLRP{LRP: a.LRP, AppID: a.AppID, Process: a.Process, Index: a.Index, State: state, Since: t.Now,
		Crashes: a.Crashes, Reason: a.Reason}
}

// Gone tells that the instance in the slot ends.
func (t *Txn) Gone(ctx context.Context, a cf.ActualLRP) error {
	d, err := LRP(ctx, t.Tx, a.LRP)
	if err == nil {
		a.Version, a.Routable = t.Version, false
		t.Tell(d, &a, true)
	}
	return err
}

// Retire tells that the instance in the slot, if there is one, ends and keeps in mind that its cell must stop it. The
// slot is the caller's to empty or to delete.
func (t *Txn) Retire(ctx context.Context, a cf.ActualLRP) error {
	if a.Instance == "" {
		return nil
	}
	if err := t.Gone(ctx, a); err != nil {
		return err
	}
	e := t.Changes[len(t.Changes)-1]
	e.Actual = &a // as it was: Routable says whether to wait for the router
	t.Stops, t.Retired = true, append(t.Retired, a.Instance)
	if _, err := t.NewInsert().Model(&Stop{ID: string(a.Instance), Cell: a.Cell, Body: sql.JSON[cf.LRPEvent]{V: e}}).Exec(ctx); err != nil {
		return fmt.Errorf("retire instance %s: %w", a.Instance, err)
	}
	return nil
}

// Tell collects an event; one about an instance goes without environment.
func (t *Txn) Tell(d *cf.DesiredLRP, a *cf.ActualLRP, gone bool) {
	e := cf.LRPEvent{Actual: a, Gone: gone}
	if d != nil {
		e.Desired = *d
	}
	if a != nil {
		e.Desired.Env, e.Desired.VCAPApp = nil, nil
	}
	t.Changes = append(t.Changes, e)
}

// Record keeps a crash until Outcomes knows it.
func (t *Txn) Record(ctx context.Context, c cf.Crash) error {
	return t.record(ctx, string(c.Instance), Happened{Crash: c})
}

// RecordReadiness keeps a change of readiness until Outcomes knows it.
func (t *Txn) RecordReadiness(ctx context.Context, a cf.ActualLRP) error {
	return t.record(ctx, fmt.Sprintf("%s/%d", a.Instance, t.Version), Happened{Crash: cf.Crash{ActualLRP: a, At: t.Now}, Readiness: true})
}

func (t *Txn) record(ctx context.Context, id string, h Happened) error {
	t.News = true
	row := &News{ID: id, At: sql.At(h.At), Body: sql.JSON[Happened]{V: h}}
	if _, err := t.NewInsert().Model(row).Exec(ctx); err != nil {
		return fmt.Errorf("record what happened to %s: %w", h.Instance, err)
	}
	return nil
}

// Task reads a task; a conflict when it is unknown.
func (t *Txn) Task(ctx context.Context, id cf.TaskID) (*Task, error) {
	var r Task
	err := t.NewSelect().Model(&r).Where("guid = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, Conflict("task %s is not known", id)
	}
	return &r, err
}

// TasksSince tells whether a task is on a cell now, or was as lately as d ago.
func (t *Txn) TasksSince(ctx context.Context, d time.Duration) (bool, error) {
	some, err := t.NewSelect().Model((*Task)(nil)).Where("cell <> ''").
		Where("state <> ? OR completed > ? AND completed <= ?", cf.TaskCompleted, sql.At(t.Now.Add(-d)), sql.At(t.Now)).Exists(ctx)
	if err != nil {
		return false, fmt.Errorf("tasks on cells: %w", err)
	}
	return some, nil
}

// SaveTask writes the changed body of a task.
func (t *Txn) SaveTask(ctx context.Context, r Task) error {
	if _, err := t.NewUpdate().Model(TaskRow(r.Body.V, r.Placed, r.Told)).WherePK().Exec(ctx); err != nil {
		return fmt.Errorf("save task %s: %w", r.ID, err)
	}
	return nil
}

// Complete ends a task as its body says; Outcomes will hear of it.
func (t *Txn) Complete(ctx context.Context, r Task) error {
	r.Body.V.State, r.Body.V.Completed = cf.TaskCompleted, t.Now
	t.Done = true
	return t.SaveTask(ctx, r)
}

// Fail ends a task for a reason.
func (t *Txn) Fail(ctx context.Context, r Task, reason string) error {
	r.Body.V.Failed, r.Body.V.Reason, r.Body.V.Result = true, reason, nil
	return t.Complete(ctx, r)
}

// Unplace makes a task that did not begin wait for a cell again.
func (t *Txn) Unplace(ctx context.Context, r Task) error {
	t.Place = true
	r.Body.V.Cell, r.Placed = "", 0
	return t.SaveTask(ctx, r)
}
