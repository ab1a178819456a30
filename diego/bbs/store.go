package bbs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
)

// The body of a row is the truth; the other columns are copies to search by.
type desiredRow struct {
	bun.BaseModel `bun:"table:bbs_desired"`
	ID            cf.ProcessID `bun:"guid,pk"`
	App           cf.AppID
	Body          sql.JSON[cf.DesiredLRP]
}

type actualRow struct {
	bun.BaseModel `bun:"table:bbs_actual"`
	LRP           cf.ProcessID `bun:"lrp,pk"`
	Index         int          `bun:"idx,pk"`
	App           cf.AppID
	Instance      cf.InstanceID
	Cell          cf.CellID
	State         cf.LRPState
	Due           sql.Time // CRASHED: when to restart, 0 = never; UNCLAIMED: when placing failed last
	Body          sql.JSON[cf.ActualLRP]
}

type taskRow struct {
	bun.BaseModel `bun:"table:bbs_task"`
	ID            cf.TaskID `bun:"guid,pk"`
	Cell          cf.CellID
	State         cf.TaskState
	Placed        sql.Time // when Cell was chosen
	Created       sql.Time
	Completed     sql.Time
	Told          bool // Outcomes knows
	Body          sql.JSON[cf.Task]
}

// stopRow is an instance or task that a cell must still be told to end.
type stopRow struct {
	bun.BaseModel `bun:"table:bbs_stop"`
	ID            string `bun:"guid,pk"`
	Cell          cf.CellID
	Task          bool
	Body          sql.JSON[cf.LRPEvent]
}

// crashRow is a crash that Outcomes does not know yet.
type crashRow struct {
	bun.BaseModel `bun:"table:bbs_crash"`
	ID            string   `bun:"guid,pk"`
	At            sql.Time `bun:"at"`
	Body          sql.JSON[cf.Crash]
}

// txn is one transition: its version, the moment, and what to do once it is durable.
type txn struct {
	bun.Tx
	b       *BBS
	version int64
	now     time.Time
	changes []cf.LRPEvent
	place   bool // there is work for the auction, or room for it
	retired []cf.InstanceID
	chores  []*chores // they have something to do
}

// write runs fn in a transaction of its own and then tells the followers, in the order of the commits.
// Every transition first moves the clock row on: that gives it its version, and where the database has several writers
// it also makes them queue here, so that reading and then changing a row cannot race.
func (b *BBS) write(ctx context.Context, fn func(ctx context.Context, t *txn) error) (err error) {
	var t *txn
	var ticket uint64
	defer func() {
		if ticket == 0 {
			return
		}
		if err != nil || t == nil {
			t = &txn{}
		}
		b.expectGone(t.retired)
		b.feed.publish(ticket, t.version, t.changes)
		if t.place {
			wake(b.work)
		}
		for _, c := range t.chores {
			wake(c.wake)
		}
	}()
	err = errors.New("bbs: transaction did not end")
	return b.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		t = &txn{Tx: tx, b: b, now: time.Now()}
		if err := t.tick(ctx); err != nil {
			return err
		}
		ticket = b.feed.ticket()
		return fn(ctx, t)
	})
}

type clockRow struct {
	bun.BaseModel `bun:"table:bbs_clock"`
	ID            int `bun:"id,pk"`
	Version       int64
}

func (t *txn) tick(ctx context.Context) error {
	res, err := t.NewUpdate().Table("bbs_clock").Set("version = version + 1").Where("id = 1").Exec(ctx)
	if err != nil {
		return fmt.Errorf("bbs clock: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		if err != nil {
			return err
		}
		t.version = 1
		_, err = t.NewInsert().Model(&clockRow{ID: 1, Version: 1}).Exec(ctx)
		return err
	}
	t.version, err = clock(ctx, t.Tx)
	return err
}

func clock(ctx context.Context, db bun.IDB) (v int64, err error) {
	err = db.NewSelect().Table("bbs_clock").Column("version").Where("id = 1").Scan(ctx, &v)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return v, err
}

// desired reads one desired LRP; nil when there is none.
func desired(ctx context.Context, db bun.IDB, id cf.ProcessID) (*cf.DesiredLRP, error) {
	var r desiredRow
	err := db.NewSelect().Model(&r).Where("guid = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &r.Body.V, err
}

// actuals reads the instances that q selects.
func actuals(ctx context.Context, db bun.IDB, q func(*bun.SelectQuery) *bun.SelectQuery) ([]cf.ActualLRP, error) {
	var rows []actualRow
	if err := q(db.NewSelect().Model(&rows)).Order("lrp", "idx").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read instances: %w", err)
	}
	out := make([]cf.ActualLRP, len(rows))
	for i := range rows {
		out[i] = rows[i].Body.V
	}
	return out, nil
}

// current is the instance with that guid, or a conflict when it is no longer wanted on that cell.
func (t *txn) current(ctx context.Context, id cf.InstanceID, cell cf.CellID) (*cf.ActualLRP, error) {
	if id == "" {
		return nil, cf.Errorf(cf.KindInvalid, "", "the instance has no guid")
	}
	found, err := actuals(ctx, t.Tx, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("instance = ?", id) })
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, conflict("instance %s is not desired", id)
	}
	if cell != "" && cell != found[0].Cell {
		return nil, conflict("instance %s belongs to cell %s", id, found[0].Cell)
	}
	return &found[0], nil
}

func rowOf(a cf.ActualLRP, due time.Time) *actualRow {
	return &actualRow{LRP: a.LRP, Index: a.Index, App: a.AppID, Instance: a.Instance, Cell: a.Cell, State: a.State,
		Due: sql.At(due), Body: sql.JSON[cf.ActualLRP]{V: a}}
}

// save writes a changed instance and tells the followers of it where it is one that a cell has.
func (t *txn) save(ctx context.Context, a cf.ActualLRP, due time.Time) error {
	a.Version = t.version
	if _, err := t.NewUpdate().Model(rowOf(a, due)).WherePK().Exec(ctx); err != nil {
		return fmt.Errorf("save instance %s/%d: %w", a.LRP, a.Index, err)
	}
	if a.Instance == "" {
		return nil
	}
	d, err := desired(ctx, t.Tx, a.LRP)
	if err != nil {
		return err
	}
	t.tell(d, &a, false)
	return nil
}

// fresh makes the slot of an instance wait for a cell. Its crash count stays with it.
func (t *txn) fresh(ctx context.Context, a cf.ActualLRP, placement string) error {
	t.place = true
	return t.save(ctx, empty(a, t.now, cf.LRPUnclaimed, placement), time.Time{})
}

// empty is the slot of a without an instance in it.
func empty(a cf.ActualLRP, now time.Time, state cf.LRPState, placement string) cf.ActualLRP {
	return cf.ActualLRP{LRP: a.LRP, AppID: a.AppID, Process: a.Process, Index: a.Index, State: state, Since: now,
		Crashes: a.Crashes, Reason: a.Reason, Placement: placement}
}

// gone tells the followers that the instance ends.
func (t *txn) gone(ctx context.Context, a cf.ActualLRP) error {
	d, err := desired(ctx, t.Tx, a.LRP)
	if err != nil {
		return err
	}
	a.Version, a.Routable = t.version, false
	t.tell(d, &a, true)
	return nil
}

func (t *txn) tell(d *cf.DesiredLRP, a *cf.ActualLRP, gone bool) {
	e := cf.LRPEvent{Actual: a, Gone: gone}
	if d != nil {
		e.Desired = *d
	}
	if a != nil {
		e.Desired.Env, e.Desired.VCAPApp = nil, nil
	}
	t.changes = append(t.changes, e)
}

// retire hands the instance, if a cell has it, to those who stop it, and tells that it is about to go. The slot is the
// caller's to empty or to delete.
func (t *txn) retire(ctx context.Context, a cf.ActualLRP) error {
	if a.Instance == "" {
		return nil
	}
	if err := t.gone(ctx, a); err != nil {
		return err
	}
	e := t.changes[len(t.changes)-1]
	routable := a // as it was: whether to wait for the router
	e.Actual = &routable
	t.chores = append(t.chores, t.b.stops)
	t.retired = append(t.retired, a.Instance)
	_, err := t.NewInsert().Model(&stopRow{ID: string(a.Instance), Cell: a.Cell, Body: sql.JSON[cf.LRPEvent]{V: e}}).Exec(ctx)
	if err != nil {
		return fmt.Errorf("retire instance %s: %w", a.Instance, err)
	}
	return nil
}
