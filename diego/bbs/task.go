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

// Reasons of failed tasks, as Diego words them.
const (
	taskCancelled = "task was cancelled"
	taskCellLost  = "cell disappeared before completion"
	taskExpired   = "not started within time limit"
)

// Run implements cf.Scheduler.
func (b *BBS) Run(ctx context.Context, task cf.Task) error {
	if task.ID == "" || task.Stack == "" {
		return cf.Errorf(cf.KindInvalid, "", "a task needs an id and a stack")
	}
	err := b.write(ctx, func(ctx context.Context, t *txn) error {
		if _, err := t.task(ctx, task.ID); !cf.IsKind(err, cf.KindConflict) {
			return err // it is known, or the store failed
		}
		task.State, task.Cell, task.Failed, task.Reason, task.Result = cf.TaskPending, "", false, "", nil
		task.Created, task.Completed = t.now, time.Time{}
		t.place = true
		_, err := t.NewInsert().Model(taskRowOf(task, 0, false)).Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("run task %s: %w", task.ID, err)
	}
	return nil
}

// Cancel implements cf.Scheduler. Unknown and completed tasks are no error.
func (b *BBS) Cancel(ctx context.Context, id cf.TaskID) error {
	err := b.write(ctx, func(ctx context.Context, t *txn) error {
		r, err := t.task(ctx, id)
		if cf.IsKind(err, cf.KindConflict) {
			return nil
		}
		if err != nil || r.State == cf.TaskCompleted {
			return err
		}
		if r.Cell != "" {
			t.chores = append(t.chores, b.stops)
			if _, err := t.NewInsert().Model(&stopRow{ID: string(id), Cell: r.Cell, Task: true}).Exec(ctx); err != nil {
				return err
			}
		}
		return t.fail(ctx, *r, taskCancelled)
	})
	if err != nil {
		return fmt.Errorf("cancel task %s: %w", id, err)
	}
	return nil
}

// TaskStarted implements cf.LRPBoard. A cell calls it before it begins to run the task, so that no task runs twice.
func (b *BBS) TaskStarted(ctx context.Context, id cf.TaskID, cell cf.CellID) error {
	b.alive(cell)
	return b.write(ctx, func(ctx context.Context, t *txn) error {
		r, err := t.task(ctx, id)
		if err != nil {
			return err
		}
		if r.State == cf.TaskCompleted || r.Cell != cell {
			return conflict("task %s is not for cell %s", id, cell)
		}
		if r.State == cf.TaskRunning {
			return nil
		}
		r.Body.V.State = cf.TaskRunning
		return t.saveTask(ctx, *r)
	})
}

// TaskDone implements cf.LRPBoard. The first report counts.
func (b *BBS) TaskDone(ctx context.Context, done cf.Task) error {
	b.alive(done.Cell)
	return b.write(ctx, func(ctx context.Context, t *txn) error {
		t.place = true // there is room again
		r, err := t.task(ctx, done.ID)
		if err != nil || r.State == cf.TaskCompleted {
			return err
		}
		if done.Cell != "" && done.Cell != r.Cell {
			return conflict("task %s is not for cell %s", done.ID, done.Cell)
		}
		have := &r.Body.V
		have.Failed, have.Reason, have.Result = done.Failed, done.Reason, done.Result
		return t.complete(ctx, *r)
	})
}

func taskRowOf(task cf.Task, placed sql.Time, told bool) *taskRow {
	return &taskRow{ID: task.ID, Cell: task.Cell, State: task.State, Placed: placed, Created: sql.At(task.Created),
		Completed: sql.At(task.Completed), Told: told, Body: sql.JSON[cf.Task]{V: task}}
}

// task reads a task; a conflict when it is unknown.
func (t *txn) task(ctx context.Context, id cf.TaskID) (*taskRow, error) {
	var r taskRow
	err := t.NewSelect().Model(&r).Where("guid = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, conflict("task %s is not known", id)
	}
	return &r, err
}

func (t *txn) saveTask(ctx context.Context, r taskRow) error {
	_, err := t.NewUpdate().Model(taskRowOf(r.Body.V, r.Placed, r.Told)).WherePK().Exec(ctx)
	if err != nil {
		return fmt.Errorf("save task %s: %w", r.ID, err)
	}
	return nil
}

// complete ends a task; Outcomes will hear of it.
func (t *txn) complete(ctx context.Context, r taskRow) error {
	r.Body.V.State, r.Body.V.Completed = cf.TaskCompleted, t.now
	t.chores = append(t.chores, t.b.tasks)
	return t.saveTask(ctx, r)
}

func (t *txn) fail(ctx context.Context, r taskRow, reason string) error {
	r.Body.V.Failed, r.Body.V.Reason, r.Body.V.Result = true, reason, nil
	return t.complete(ctx, r)
}

// unplaceTask makes a task that did not begin wait for a cell again.
func (t *txn) unplaceTask(ctx context.Context, r taskRow) error {
	t.place = true
	r.Body.V.Cell, r.Placed = "", 0
	return t.saveTask(ctx, r)
}

// tasksOn lists the unfinished tasks of a cell.
func tasksOn(ctx context.Context, db bun.IDB, cell cf.CellID) (rows []taskRow, err error) {
	err = db.NewSelect().Model(&rows).Where("cell = ?", cell).Where("state <> ?", cf.TaskCompleted).Order("guid").Scan(ctx)
	return rows, err
}
