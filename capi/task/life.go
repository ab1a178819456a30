package task

import (
	"context"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest/event"
	"ingot/rest/row"
	"ingot/rest/usage"
)

// Begin makes a PENDING task RUNNING: the scheduler has taken it. t is held.
func (f *Family) Begin(ctx context.Context, tx bun.Tx, t *Task) error {
	if t.State != Pending {
		return nil
	}
	t.State = Running
	if err := row.Update(ctx, tx, t); err != nil {
		return err
	}
	return f.use(ctx, tx, t, usage.TaskStarted, Pending)
}

// End gives a task its final state: FAILED for the reason, or SUCCEEDED when that is "". A task that has ended is left
// alone. t is held.
func (f *Family) End(ctx context.Context, tx bun.Tx, t *Task, reason string) error {
	if t.Final() {
		return nil
	}
	was := t.State
	if t.State, t.Reason = Succeeded, reason; reason != "" {
		t.State = Failed
	}
	if err := row.Update(ctx, tx, t); err != nil {
		return err
	}
	return f.stopped(ctx, tx, t, was)
}

// stopped tells of the end of what was told to have started, once.
func (f *Family) stopped(ctx context.Context, tx bun.Tx, t *Task, was State) error {
	began, err := usage.OfTask(ctx, tx, t.GUID, usage.TaskStarted)
	if err != nil || !began {
		return err
	}
	ended, err := usage.OfTask(ctx, tx, t.GUID, usage.TaskStopped)
	if err != nil || ended {
		return err
	}
	return f.use(ctx, tx, t, usage.TaskStopped, was)
}

func (f *Family) use(ctx context.Context, tx bun.Tx, t *Task, state string, was State) error {
	a, err := f.App(ctx, tx, t.AppGUID)
	if err != nil {
		return err
	}
	e := usage.Once(state, string(was), t.MemoryMB)
	e.AppGUID, e.AppName, e.SpaceGUID, e.TaskGUID, e.TaskName = a.GUID, a.Name, t.SpaceGUID, t.GUID, t.Name
	return usage.Record(ctx, tx, e)
}

// Record writes the audit event audit.app.task.<what>; hidden stands for the command.
func (f *Family) Record(ctx context.Context, tx bun.Tx, what string, t *Task) error {
	a, err := f.App(ctx, tx, t.AppGUID)
	if err != nil {
		return err
	}
	return event.Record(ctx, tx, "audit.app.task."+what, a, map[string]any{"task_guid": t.GUID,
		"request": map[string]any{"name": t.Name, "memory_in_mb": t.MemoryMB, "command": "[PRIVATE DATA HIDDEN]"}})
}

// Open are the tasks that have not ended: of the app, or of all for "".
func Open(ctx context.Context, db bun.IDB, app string, states ...State) ([]*Task, error) {
	if states == nil {
		states = open
	}
	var ts []*Task
	q := db.NewSelect().Model(&ts).Where("state IN (?)", bun.List(states)).OrderExpr("id")
	if app != "" {
		q = q.Where("app_guid = ?", app)
	}
	return ts, q.Scan(ctx)
}

// Abort makes the app's open tasks CANCELING, as the first step of deleting the app: nobody runs them from then on.
func (f *Family) Abort(ctx context.Context, db *sql.DB, tx bun.Tx, app string) error {
	ts, err := Open(ctx, tx, app, Pending, Running)
	if err != nil {
		return err
	}
	for _, t := range ts {
		if ok, err := Lock(ctx, db, tx, t); err != nil || !ok || t.Final() || t.State == Canceling {
			if err != nil {
				return err
			}
			continue
		}
		if t.State == Running {
			if err := f.Record(ctx, tx, "cancel", t); err != nil {
				return err
			}
		}
		t.State = Canceling
		if err := row.Update(ctx, tx, t); err != nil {
			return err
		}
	}
	return nil
}

// Purge deletes the app's tasks, with the usage events of those that have not ended.
func (f *Family) Purge(ctx context.Context, tx bun.Tx, app string) error {
	ts, err := Open(ctx, tx, app)
	if err != nil {
		return err
	}
	for _, t := range ts {
		if err := f.stopped(ctx, tx, t, t.State); err != nil {
			return err
		}
	}
	if err := row.DeleteWhere(ctx, tx, "task_tasks", "app_guid = ?", app); err != nil {
		return err
	}
	_, err = tx.NewDelete().TableExpr("task_sequences").Where("app_guid = ?", app).Exec(ctx)
	return err
}
