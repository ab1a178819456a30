package bbs

import (
	"context"
	"fmt"
	"time"

	"ingot/cf"
	"ingot/diego/bbs/store"
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
	err := b.write(ctx, func(ctx context.Context, t *store.Txn) error {
		if _, err := t.Task(ctx, task.ID); !cf.IsKind(err, cf.KindConflict) {
			return err // it is known, or the store failed
		}
		task.State, task.Cell, task.Failed, task.Reason, task.Result = cf.TaskPending, "", false, "", nil
		task.Created, task.Completed = t.Now, time.Time{}
		t.Place = true
		_, err := t.NewInsert().Model(store.TaskRow(task, 0, false)).Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("run task %s: %w", task.ID, err)
	}
	return nil
}

// Cancel implements cf.Scheduler. Unknown and completed tasks are no error.
func (b *BBS) Cancel(ctx context.Context, id cf.TaskID) error {
	err := b.write(ctx, func(ctx context.Context, t *store.Txn) error {
		r, err := t.Task(ctx, id)
		if cf.IsKind(err, cf.KindConflict) {
			return nil
		}
		if err != nil || r.State == cf.TaskCompleted {
			return err
		}
		if r.Cell != "" {
			t.Stops = true
			if _, err := t.NewInsert().Model(&store.Stop{ID: string(id), Cell: r.Cell, Task: true}).Exec(ctx); err != nil {
				return err
			}
		}
		return t.Fail(ctx, *r, taskCancelled)
	})
	if err != nil {
		return fmt.Errorf("cancel task %s: %w", id, err)
	}
	return nil
}

// TaskStarted implements cf.LRPBoard. A cell calls it before it begins to run the task, so that no task runs twice.
func (b *BBS) TaskStarted(ctx context.Context, id cf.TaskID, cell cf.CellID) error {
	b.alive(cell)
	return b.write(ctx, func(ctx context.Context, t *store.Txn) error {
		r, err := t.Task(ctx, id)
		if err != nil {
			return err
		}
		if r.State == cf.TaskCompleted || r.Cell != cell {
			return store.Conflict("task %s is not for cell %s", id, cell)
		}
		if r.State == cf.TaskRunning {
			return nil
		}
		r.Body.V.State = cf.TaskRunning
		return t.SaveTask(ctx, *r)
	})
}

// TaskRefused implements cf.LRPBoard.
func (b *BBS) TaskRefused(ctx context.Context, id cf.TaskID, cell cf.CellID, why string) error {
	b.alive(cell)
	return b.takeBackTask(ctx, cf.Task{ID: id, Cell: cell}, cf.TaskRunning, why)
}

// TaskDone implements cf.LRPBoard. The first report counts.
func (b *BBS) TaskDone(ctx context.Context, done cf.Task) error {
	b.alive(done.Cell)
	return b.write(ctx, func(ctx context.Context, t *store.Txn) error {
		t.Place = true // there is room again
		r, err := t.Task(ctx, done.ID)
		if err != nil || r.State == cf.TaskCompleted {
			return err
		}
		if done.Cell != "" && done.Cell != r.Cell {
			return store.Conflict("task %s is not for cell %s", done.ID, done.Cell)
		}
		have := &r.Body.V
		have.Failed, have.Reason, have.Result = done.Failed, done.Reason, done.Result
		return t.Complete(ctx, *r)
	})
}
