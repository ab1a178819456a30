package bbs

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"ingot/cf"
)

func job(id string) cf.Task {
	return cf.Task{ID: cf.TaskID(id), AppID: "app", Stack: "cflinuxfs4", Limits: cf.Limits{MemoryMB: 64}}
}

func TestTaskRunsOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var starts atomic.Int32
		start := w.cells.startTask
		set(&w.cells.mu, &w.cells.startTask, func(ctx context.Context, c cf.CellID, t cf.Task) error {
			starts.Add(1)
			return start(ctx, c, t)
		})
		w.must(w.Run(ctx, job("t")))
		w.must(w.Run(ctx, job("t")))
		w.settle()
		w.must(w.TaskStarted(ctx, "t", "cell-1"))
		w.must(w.TaskStarted(ctx, "t", "cell-1"))
		w.must(w.Run(ctx, job("t")))
		if err := w.TaskStarted(ctx, "t", "cell-2"); !cf.IsKind(err, cf.KindConflict) {
			t.Errorf("another cell starts it: %v", err)
		}
		done := clone(w, w.tasks)["t"]
		done.Result = &cf.StagingResult{Droplet: "droplets/x"}
		other := done
		other.Cell = "cell-2"
		if err := w.TaskDone(ctx, other); !cf.IsKind(err, cf.KindConflict) {
			t.Errorf("another cell ends it: %v", err)
		}
		w.must(w.TaskDone(ctx, done))
		done.Failed = true
		w.must(w.TaskDone(ctx, done)) // the first report counts
		w.must(w.Run(ctx, job("t")))
		w.settle()
		if starts.Load() != 1 || len(get(&w.mu, &w.done)) != 1 || get(&w.mu, &w.done)[0].Failed || get(&w.mu, &w.done)[0].Result.Droplet != "droplets/x" ||
			get(&w.mu, &w.done)[0].State != cf.TaskCompleted || get(&w.mu, &w.done)[0].Completed.IsZero() {
			t.Errorf("%d starts, told %+v", starts.Load(), get(&w.mu, &w.done))
		}
		if err := w.TaskDone(ctx, job("unknown")); !cf.IsKind(err, cf.KindConflict) {
			t.Errorf("unknown task: %v", err)
		}
		time.Sleep(keepTask + time.Minute)
		w.settle()
		if err := w.TaskStarted(ctx, "t", "cell-1"); !cf.IsKind(err, cf.KindConflict) {
			t.Errorf("still known: %v", err)
		}
	})
}

func TestTaskIsToldUntilHeard(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		hear := set(&w.outcomes.mu, &w.outcomes.done, func(context.Context, cf.Task) error { return errors.New("not now") })
		w.must(w.Run(ctx, job("t")))
		w.settle()
		w.must(w.TaskDone(ctx, clone(w, w.tasks)["t"]))
		time.Sleep(10 * time.Minute) // it is not deleted either
		w.kill()
		w.boot()
		set(&w.outcomes.mu, &w.outcomes.done, hear)
		time.Sleep(time.Minute)
		if w.settle(); len(get(&w.mu, &w.done)) != 1 {
			t.Errorf("told %+v", get(&w.mu, &w.done))
		}
	})
}

func TestCancel(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.must(w.Run(ctx, job("t")))
		w.settle()
		w.must(w.TaskStarted(ctx, "t", "cell-1"))
		w.must(w.Cancel(ctx, "t"))
		w.must(w.Cancel(ctx, "t"))
		w.settle()
		if len(clone(w, w.tasks)) != 0 || len(get(&w.mu, &w.done)) != 1 || !get(&w.mu, &w.done)[0].Failed || get(&w.mu, &w.done)[0].Reason != "task was cancelled" {
			t.Errorf("on the cell %v, told %+v", clone(w, w.tasks), get(&w.mu, &w.done))
		}
		if err := w.TaskStarted(ctx, "t", "cell-1"); !cf.IsKind(err, cf.KindConflict) {
			t.Errorf("begins although cancelled: %v", err)
		}
	})
}

func TestTaskWithoutRoom(t *testing.T) {
	for name, c := range map[string]struct {
		auction cf.Auction
		after   time.Duration
		reason  string
	}{
		"never fits": {func(w []cf.Work, _ []cf.CellState) []cf.Placement {
			return []cf.Placement{{Work: w[0], Error: "found no compatible cell", Never: true}}
		}, 0, "found no compatible cell"},
		"full": {firstFit, 2 * rejectAfter, "insufficient resources: memory"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.kill()
				w.auction = c.auction
				w.boot()
				set(&w.mu, &w.free, 0)
				w.must(w.Run(ctx, job("t")))
				w.settle()
				if c.after > 0 && len(get(&w.mu, &w.done)) > 0 {
					t.Errorf("rejected at once: %+v", get(&w.mu, &w.done))
				}
				time.Sleep(c.after)
				if w.settle(); len(get(&w.mu, &w.done)) != 1 || !get(&w.mu, &w.done)[0].Failed || get(&w.mu, &w.done)[0].Reason != c.reason {
					t.Errorf("told %+v", get(&w.mu, &w.done))
				}
			})
		})
	}
}

// ends reports the end of a task that runs on the cell.
func (w *world) ends(id cf.TaskID) {
	w.t.Helper()
	done, ok := clone(w, w.tasks)[id]
	if !ok {
		w.t.Fatalf("%s is not on the cell", id)
	}
	w.must(w.cells.CancelTask(ctx, "cell-1", id)) // its room is free
	w.must(w.TaskDone(ctx, done))
	w.settle()
}

// Tasks that take each other's room wait for each other, the oldest first; one that waits for instances only fails.
func TestTasksWaitTheirTurn(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		set(&w.mu, &w.free, 64)
		for _, id := range []string{"a", "c", "b"} {
			w.must(w.Run(ctx, job(id)))
			time.Sleep(time.Millisecond)
		}
		for i, id := range []cf.TaskID{"a", "c", "b"} {
			w.settle()
			w.must(w.TaskStarted(ctx, id, "cell-1"))
			time.Sleep(5 * time.Minute)
			if w.settle(); len(get(&w.mu, &w.done)) != i || len(clone(w, w.tasks)) != 1 {
				t.Fatalf("before %s: on the cell %v, told %+v", id, clone(w, w.tasks), get(&w.mu, &w.done))
			}
			w.ends(id)
		}
		w.must(w.Desire(ctx, web(1)))
		w.must(w.Run(ctx, job("d")))
		time.Sleep(rejectAfter + 2*presence)
		if w.settle(); len(get(&w.mu, &w.done)) != 4 || get(&w.mu, &w.done)[3].Reason != "insufficient resources: memory" {
			t.Errorf("told %+v", get(&w.mu, &w.done))
		}
	})
}

// A minute after its creation a task may still wait for the room of one that has just ended.
func TestRoomOfATaskThatJustEnded(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		set(&w.mu, &w.free, 64)
		w.must(w.Run(ctx, job("a")))
		w.settle()
		w.must(w.TaskStarted(ctx, "a", "cell-1"))
		w.must(w.Run(ctx, job("b")))
		time.Sleep(3 * time.Minute)
		w.must(w.TaskDone(ctx, clone(w, w.tasks)["a"]))
		time.Sleep(presence + time.Second) // the container still stands
		w.must(w.cells.CancelTask(ctx, "cell-1", "a"))
		w.must(w.Room(ctx, "cell-1"))
		if w.settle(); len(get(&w.mu, &w.done)) != 1 || clone(w, w.tasks)["b"].ID == "" {
			t.Errorf("on the cell %v, told %+v", clone(w, w.tasks), get(&w.mu, &w.done))
		}
	})
}

// What a cell gives back waits in the store, and not for ever.
func TestTaskRefusedByItsCell(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		begin := time.Now()
		w.must(w.Run(ctx, job("t")))
		w.settle()
		w.must(w.TaskStarted(ctx, "t", "cell-1"))
		if err := w.TaskRefused(ctx, "t", "cell-2", "no"); !cf.IsKind(err, cf.KindConflict) {
			t.Errorf("by another cell: %v", err)
		}
		w.must(w.cells.CancelTask(ctx, "cell-1", "t"))
		w.must(w.TaskRefused(ctx, "t", "cell-1", "insufficient resources: disk"))
		if w.settle(); len(clone(w, w.tasks)) != 0 {
			t.Error("placed again at once")
		}
		w.kill()
		w.boot()
		w.settle()
		if clone(w, w.tasks)["t"].ID != "t" || len(get(&w.mu, &w.done)) != 0 {
			t.Fatalf("after a restart: on the cell %v, told %+v", clone(w, w.tasks), get(&w.mu, &w.done))
		}
		for time.Since(begin) < expireAfter+time.Minute {
			if _, ok := clone(w, w.tasks)["t"]; ok {
				w.must(w.TaskStarted(ctx, "t", "cell-1"))
				w.must(w.cells.CancelTask(ctx, "cell-1", "t"))
				w.must(w.TaskRefused(ctx, "t", "cell-1", "insufficient resources: disk"))
			}
			time.Sleep(presence / 2)
			w.settle()
		}
		if len(get(&w.mu, &w.done)) != 1 || get(&w.mu, &w.done)[0].Reason != "insufficient resources: disk" {
			t.Errorf("told %+v", get(&w.mu, &w.done))
		}
		if err := w.TaskRefused(ctx, "t", "cell-1", "no"); !cf.IsKind(err, cf.KindConflict) {
			t.Errorf("a completed task: %v", err)
		}
	})
}

func TestTaskExpires(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		set(&w.cells.mu, &w.cells.list, func(context.Context) ([]cf.CellState, error) { return nil, errors.New("no answer") })
		w.must(w.Run(ctx, job("t")))
		time.Sleep(29 * time.Minute)
		if w.settle(); len(get(&w.mu, &w.done)) != 0 {
			t.Errorf("too early: %+v", get(&w.mu, &w.done))
		}
		time.Sleep(2 * time.Minute)
		if w.settle(); len(get(&w.mu, &w.done)) != 1 || get(&w.mu, &w.done)[0].Reason != "not started within time limit" {
			t.Errorf("told %+v", get(&w.mu, &w.done))
		}
	})
}

func TestRestartOfPlacedTask(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.must(w.Run(ctx, job("placed")))
		w.must(w.Run(ctx, job("running")))
		w.settle()
		w.must(w.TaskStarted(ctx, "running", "cell-1"))
		w.kill()
		w.must(w.cells.CancelTask(ctx, "cell-1", "placed")) // the cell forgets it, too
		time.Sleep(time.Millisecond)
		w.boot()
		_, _, tasks, err := w.Holds(ctx, "cell-1")
		w.must(err)
		if len(tasks) != 1 || tasks[0].ID != "running" {
			t.Fatalf("holds %+v", tasks)
		}
		w.settle()
		if clone(w, w.tasks)["placed"].ID != "placed" {
			t.Error("the task that never began was not placed again")
		}
	})
}
