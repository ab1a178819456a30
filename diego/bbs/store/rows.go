// Package store keeps Diego's rows: desired and actual LRPs, tasks, and what cells and Outcomes are still owed.
//
// It promises that the methods of a Txn leave rows that agree with each other, and that a Txn collects what must be
// told once it is durable. It will not decide when an instance starts, waits or stops.
package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the tables up to date.
func Migrate(ctx context.Context, db *sql.DB) error {
	if err := db.Migrate(ctx, migrations, "bbs_schema", new(Desired).secrets(), new(Task).secrets()); err != nil {
		return err
	}
	has, err := db.Read().NewSelect().Model((*clock)(nil)).Exists(ctx)
	if err != nil || has {
		return err
	}
	err = db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewInsert().Model(&clock{ID: 1}).Exec(ctx)
		return err
	})
	if sql.IsUnique(err) { // somebody else migrates, too
		return nil
	}
	return err
}

// Desired is a desired LRP. As in the other rows the body is the truth; the other columns are copies to search by.
type Desired struct {
	bun.BaseModel `bun:"table:bbs_desired"`
	ID            cf.ProcessID `bun:"guid,pk"`
	App           cf.AppID
	Body          sql.Sealed[cf.DesiredLRP]
}

func (d *Desired) secrets() sql.Secrets {
	return sql.Secrets{Table: "bbs_desired", GUID: string(d.ID), Columns: []sql.Secret{{Column: "body", Value: &d.Body}}}
}

// BeforeAppendModel encrypts the body, which has the environment.
func (d *Desired) BeforeAppendModel(ctx context.Context, q bun.Query) error {
	return d.secrets().Seal(ctx, q)
}

// AfterScanRow decrypts it.
func (d *Desired) AfterScanRow(ctx context.Context) error { return d.secrets().Open(ctx) }

// Actual is a slot for an instance: every index of a desired LRP has one.
type Actual struct {
	bun.BaseModel `bun:"table:bbs_actual"`
	LRP           cf.ProcessID `bun:"lrp,pk"`
	Index         int          `bun:"idx,pk"`
	App           cf.AppID
	Instance      cf.InstanceID
	Cell          cf.CellID
	State         cf.LRPState
	Due           sql.Time // CRASHED: when to restart, 0 = never; UNCLAIMED: when placing failed last, or may begin
	Body          sql.JSON[cf.ActualLRP]
}

// Task is a task until it was told and forgotten.
type Task struct {
	bun.BaseModel `bun:"table:bbs_task"`
	ID            cf.TaskID `bun:"guid,pk"`
	Cell          cf.CellID
	State         cf.TaskState
	Placed        sql.Time // when Cell was chosen
	Created       sql.Time
	Completed     sql.Time
	Told          bool // Outcomes knows
	Body          sql.Sealed[cf.Task]
}

func (t *Task) secrets() sql.Secrets {
	return sql.Secrets{Table: "bbs_task", GUID: string(t.ID), Columns: []sql.Secret{{Column: "body", Value: &t.Body}}}
}

// BeforeAppendModel encrypts the body, which has the environment.
func (t *Task) BeforeAppendModel(ctx context.Context, q bun.Query) error {
	return t.secrets().Seal(ctx, q)
}

// AfterScanRow decrypts it.
func (t *Task) AfterScanRow(ctx context.Context) error { return t.secrets().Open(ctx) }

// Stop is an instance or task that a cell must still be told to end. Body is the event of an instance as it was.
type Stop struct {
	bun.BaseModel `bun:"table:bbs_stop"`
	ID            string `bun:"guid,pk"`
	Cell          cf.CellID
	Task          bool
	Body          sql.JSON[cf.LRPEvent]
}

// News is what happened to an instance and Outcomes does not know yet: a crash, or a change of its readiness.
type News struct {
	bun.BaseModel `bun:"table:bbs_crash"`
	ID            string   `bun:"guid,pk"`
	At            sql.Time `bun:"at"`
	Body          sql.JSON[Happened]
}

// Happened is a crash; or with Readiness a change of Ready, of which only the instance counts.
type Happened struct {
	cf.Crash
	Readiness bool `json:"readiness,omitempty"`
}

// clock is the one row whose version every transaction moves on.
type clock struct {
	bun.BaseModel `bun:"table:bbs_clock"`
	ID            int `bun:"id,pk"`
	Version       int64
}

// Query narrows a select.
type Query = func(*bun.SelectQuery) *bun.SelectQuery

// Version reads the version of the newest transaction.
func Version(ctx context.Context, db bun.IDB) (int64, error) {
	var c clock
	err := db.NewSelect().Model(&c).Where("id = 1").Scan(ctx)
	return c.Version, err
}

// LRP reads one desired LRP; nil when there is none.
func LRP(ctx context.Context, db bun.IDB, id cf.ProcessID) (*cf.DesiredLRP, error) {
	var r Desired
	err := db.NewSelect().Model(&r).Where("guid = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &r.Body.V, err
}

// LRPs reads the desired LRPs with these ids, which may repeat.
func LRPs(ctx context.Context, db bun.IDB, ids []cf.ProcessID) ([]cf.DesiredLRP, error) {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	var out []cf.DesiredLRP
	for some := range slices.Chunk(ids, 500) {
		found, err := AllLRPs(ctx, db, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("guid IN (?)", bun.List(some)) })
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// AllLRPs reads the desired LRPs that q selects.
func AllLRPs(ctx context.Context, db bun.IDB, q Query) ([]cf.DesiredLRP, error) {
	var rows []Desired
	if err := q(db.NewSelect().Model(&rows)).Order("guid").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read desired LRPs: %w", err)
	}
	out := make([]cf.DesiredLRP, len(rows))
	for i := range rows {
		out[i] = rows[i].Body.V
	}
	return out, nil
}

// Instances reads the instances that q selects, in the order that q gives or else by LRP and index.
func Instances(ctx context.Context, db bun.IDB, q Query) ([]cf.ActualLRP, error) {
	var rows []Actual
	if err := q(db.NewSelect().Model(&rows)).Order("lrp", "idx").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read instances: %w", err)
	}
	out := make([]cf.ActualLRP, len(rows))
	for i := range rows {
		out[i] = rows[i].Body.V
	}
	return out, nil
}

// Tasks reads the tasks that q selects, the oldest first.
func Tasks(ctx context.Context, db bun.IDB, q Query) (rows []Task, err error) {
	if err := q(db.NewSelect().Model(&rows)).Order("created", "guid").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read tasks: %w", err)
	}
	return rows, nil
}

// OnCell selects what is placed on a cell.
func OnCell(id cf.CellID) Query {
	return func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("cell = ?", id) }
}

// Unfinished selects the tasks of a cell that are not completed.
func Unfinished(id cf.CellID) Query {
	return func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("cell = ?", id).Where("state <> ?", cf.TaskCompleted)
	}
}

// RowOf is the row of a slot.
func RowOf(a cf.ActualLRP, due time.Time) *Actual {
	return &Actual{LRP: a.LRP, Index: a.Index, App: a.AppID, Instance: a.Instance, Cell: a.Cell, State: a.State,
		Due: sql.At(due), Body: sql.JSON[cf.ActualLRP]{V: a}}
}

// TaskRow is the row of a task.
func TaskRow(t cf.Task, placed sql.Time, told bool) *Task {
	return &Task{ID: t.ID, Cell: t.Cell, State: t.State, Placed: placed, Created: sql.At(t.Created),
		Completed: sql.At(t.Completed), Told: told, Body: sql.Sealed[cf.Task]{V: t}}
}
