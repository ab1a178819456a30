// Package task is the family of the noun task: a command that runs once in an app's droplet.
//
// It promises that a task ends once, in one of two final states, whatever is told of it how often, and that the usage
// events TASK_STARTED and TASK_STOPPED share the transaction of the change that they tell of. It will not run anything:
// making, running and cancelling tasks crosses families and is in capi/flow.
package task

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/quota"
	"ingot/rest/row"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the family's tables up to date.
func Migrate(ctx context.Context, db *sql.DB) error {
	return db.Migrate(ctx, migrations, "capi_task_schema", new(Task).secrets())
}

// State of a task.
type State string

// The states. PENDING: not known to have reached the scheduler.
const (
	Pending   State = "PENDING"
	Running   State = "RUNNING"
	Canceling State = "CANCELING"
	Succeeded State = "SUCCEEDED"
	Failed    State = "FAILED"
)

// open are the states that are not final.
var open = []State{Pending, Running, Canceling}

// Task is a row of tasks.
type Task struct {
	bun.BaseModel `bun:"table:task_tasks"`
	row.Labelled
	AppGUID   string             `bun:"app_guid"`
	SpaceGUID string             `bun:"space_guid"`
	Sequence  int                `bun:"sequence_id"` // from 1, of the app's tasks
	Name      string             `bun:"name"`
	State     State              `bun:"state"`
	Command   sql.Sealed[string] `bun:"command"` // may carry passwords
	User      string             `bun:"run_user"`
	MemoryMB  int                `bun:"memory_mb"`
	DiskMB    int                `bun:"disk_mb"`
	LogRate   int64              `bun:"log_rate"` // bytes a second, -1 = unlimited
	Droplet   string             `bun:"droplet_guid"`
	Reason    string             `bun:"failure_reason"`

	hide bool // the command is not for the caller
}

func (t *Task) secrets() sql.Secrets {
	return sql.Secrets{Table: "task_tasks", GUID: t.GUID, Columns: []sql.Secret{{Column: "command", Value: &t.Command}}}
}

// BeforeAppendModel encrypts the command.
func (t *Task) BeforeAppendModel(ctx context.Context, q bun.Query) error {
	return t.secrets().Seal(ctx, q)
}

// AfterScanRow decrypts it.
func (t *Task) AfterScanRow(ctx context.Context) error { return t.secrets().Open(ctx) }

// Final tells whether the task has ended.
func (t *Task) Final() bool { return !slices.Contains(open, t.State) }

// Family holds the noun. Set its fields, then take its Nouns.
type Family struct {
	// App is an app as events name it.
	App func(ctx context.Context, db bun.IDB, app string) (event.Target, error)

	Tasks *rest.Resource[Task]
}

// Nouns makes the family's noun.
func (f *Family) Nouns() []rest.Noun {
	const ofApp = "GET /v3/apps/{guid}/tasks"
	others := map[bool][]string{true: {"space_guids", "organization_guids", "app_guids"}, false: {"sequence_ids"}} // what the list below an app refuses, and the other
	only := func(below bool, param string, by func(q *bun.SelectQuery, v []string) *bun.SelectQuery) rest.Filter { // of one of the two lists
		return rest.Filter{Param: param, By: func(c *rest.Call, q *bun.SelectQuery, v []string) (*bun.SelectQuery, error) {
			if (c.R.Pattern == ofApp) == below {
				return by(q, v), nil
			}
			var bad []string // all at once, in Cloud Controller's order
			given := c.R.URL.Query()
			for _, name := range others[!below] {
				if given.Has(name) {
					bad = append(bad, name)
				}
			}
			return nil, rest.BadParameter(fmt.Sprintf("Unknown query parameter(s): '%s'", strings.Join(bad, "', '")))
		}}
	}
	in := func(where string) func(q *bun.SelectQuery, v []string) *bun.SelectQuery {
		return func(q *bun.SelectQuery, v []string) *bun.SelectQuery { return q.Where(where, bun.List(v)) }
	}
	f.Tasks = &rest.Resource[Task]{
		Kind: "task", Path: "/v3/tasks", Visible: access.InSpaces("space_guid"),
		Filters: []rest.Filter{
			{Param: "names", Where: "name IN (?)"},
			{Param: "states", Where: "state IN (?)"},
			only(false, "app_guids", in("app_guid IN (?)")),
			only(false, "organization_guids", in("space_guid IN (SELECT guid FROM rest_spaces WHERE org_guid IN (?))")),
			only(false, "space_guids", in("space_guid IN (?)")),
			only(true, "sequence_ids", sequences),
		},
		Subs: []rest.Sub{{Path: "/v3/apps/{guid}/tasks", Parent: "app", Where: "app_guid = ?"}},
		Fill: fill, View: view, Update: update,
	}
	return []rest.Noun{f.Tasks}
}

// sequences is the filter sequence_ids; what is no number finds nothing.
func sequences(q *bun.SelectQuery, v []string) *bun.SelectQuery {
	ids := []int64{0}
	for _, s := range v {
		if n, err := strconv.ParseInt(s, 10, 32); err == nil {
			ids = append(ids, n)
		}
	}
	return q.Where("sequence_id IN (?)", bun.List(ids))
}

// fill hides commands from those who may not read secrets, and in the list of all tasks from everybody.
func fill(c *rest.Call, ts []*Task) error {
	if c.R.Method != http.MethodGet || c.Caller.ReadsSecrets() && c.R.Pattern != "GET /v3/tasks" {
		return nil
	}
	shown := false
	if c.R.Pattern != "GET /v3/tasks" { // all are of one space
		s, err := access.SpaceByGUID(c.Ctx(), c.DB(), ts[0].SpaceGUID)
		if err != nil {
			return err
		}
		if shown, err = access.HasInSpace(c.Ctx(), c.DB(), c.Caller, s, access.SecretReaders...); err != nil {
			return err
		}
	}
	for _, t := range ts {
		t.hide = !shown
	}
	return nil
}

func view(c *rest.Call, t *Task) rest.Object {
	var reason, command any
	if t.Reason != "" {
		reason = t.Reason
	}
	if command = t.Command.V; t.hide {
		command = rest.Absent
	}
	return rest.Object{
		"sequence_id": t.Sequence, "name": t.Name, "command": command, "user": t.User, "state": t.State, "memory_in_mb": t.MemoryMB,
		"disk_in_mb": t.DiskMB, "log_rate_limit_in_bytes_per_second": t.LogRate, "result": rest.Object{"failure_reason": reason},
		"droplet_guid": t.Droplet, "relationships": rest.Object{"app": rest.ToOne(t.AppGUID)},
		"links": rest.Object{"app": c.Link("/v3/apps/%s", t.AppGUID), "cancel": c.Action("/v3/tasks/%s/actions/cancel", t.GUID),
			"droplet": c.Link("/v3/droplets/%s", t.Droplet)},
	}
}

type metadata struct{ patch row.Patch }

func (m *metadata) Take(b *rest.Body) { b.Metadata(&m.patch) }

func update(c *rest.Call, t *Task) error {
	var m metadata
	if err := c.MayWriteSpace(t.SpaceGUID, access.SpaceWriters...); err != nil {
		return err
	}
	if err := rest.Take(c, &m); err != nil {
		return err
	}
	return c.Change(t, func(context.Context, bun.Tx) error { return m.patch.Apply(t.Meta()) })
}

// Insert writes a new task with the app's next sequence id. The app's row is held.
func Insert(ctx context.Context, tx bun.Tx, t *Task) error {
	r, err := tx.NewUpdate().TableExpr("task_sequences").Set("last_id = last_id + 1").Where("app_guid = ?", t.AppGUID).Exec(ctx)
	if err != nil {
		return fmt.Errorf("next task of app %s: %w", t.AppGUID, err)
	}
	if n, err := r.RowsAffected(); err == nil && n == 0 {
		_, err = tx.NewRaw("INSERT INTO task_sequences (app_guid, last_id) VALUES (?, 1)", t.AppGUID).Exec(ctx)
		if err != nil {
			return fmt.Errorf("first task of app %s: %w", t.AppGUID, err)
		}
	}
	err = tx.NewSelect().TableExpr("task_sequences").Column("last_id").Where("app_guid = ?", t.AppGUID).Scan(ctx, &t.Sequence)
	if err != nil {
		return fmt.Errorf("sequence id of app %s: %w", t.AppGUID, err)
	}
	return row.Insert(ctx, tx, t)
}

// Lock reads a task again and holds it; false when it is gone.
func Lock(ctx context.Context, db *sql.DB, tx bun.Tx, t *Task) (bool, error) {
	err := row.Lock(ctx, db, tx, t)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// Count adds what running and waiting tasks use.
func Count(ctx context.Context, db bun.IDB, where quota.Within, u *quota.Usage) error {
	var sum struct{ Tasks, Memory, LogRate int }
	err := where.Spaces(db.NewSelect().Model((*Task)(nil))).
		ColumnExpr("COUNT(*) AS tasks, COALESCE(SUM(memory_mb), 0) AS memory").
		ColumnExpr("COALESCE(SUM(CASE WHEN log_rate > 0 THEN log_rate ELSE 0 END), 0) AS log_rate").
		Where("state IN (?)", bun.List([]State{Pending, Running})).Scan(ctx, &sum)
	u.AppTasks, u.MemoryMB, u.LogRate = u.AppTasks+sum.Tasks, u.MemoryMB+sum.Memory, u.LogRate+sum.LogRate
	return err
}
