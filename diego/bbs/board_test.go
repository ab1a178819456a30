package bbs

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/diego/bbs/crash"
)

func TestReportsOfOthersAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.must(w.Desire(ctx, web(1)))
		a := w.up(0)
		elsewhere, stranger := a, a
		elsewhere.Cell, stranger.Instance = "cell-2", "unknown"
		for _, b := range []cf.ActualLRP{elsewhere, stranger} {
			for name, err := range map[string]error{
				"claimed": w.Claimed(ctx, b), "started": w.Started(ctx, b), "crashed": w.Crashed(ctx, cf.Crash{ActualLRP: b}),
			} {
				if !cf.IsKind(err, cf.KindConflict) {
					t.Errorf("%s by %s of %s: %v", name, b.Cell, b.Instance, err)
				}
			}
			w.must(w.Stopped(ctx, b))
		}
		if err := w.Claimed(ctx, cf.ActualLRP{}); !cf.IsKind(err, cf.KindInvalid) {
			t.Errorf("without a guid: %v", err)
		}
		if b := w.all()[0]; b.Version != a.Version {
			t.Errorf("changed: %+v", b)
		}
	})
}

func TestReportsRepeat(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.must(w.Desire(ctx, web(1)))
		a := w.up(0)
		w.must(w.Claimed(ctx, a))
		w.must(w.Started(ctx, a))
		if b := w.all()[0]; b.Version != a.Version {
			t.Errorf("changed by repetition: %+v, %+v", a, b)
		}
		a.Ready = false
		w.must(w.Started(ctx, a))
		if b := w.all()[0]; b.Ready || b.State != cf.LRPRunning || !b.Since.Equal(a.Since) {
			t.Errorf("not ready: %+v", b)
		}
	})
}

// The docs of app-lifecycle: three restarts at once, then 30 s doubling to 16 min, until the 200th restart.
func TestCrashCurve(t *testing.T) {
	want := []time.Duration{0, 0, 0, 30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 16 * time.Minute}
	for i := 1; i <= 300; i++ {
		wait, never := crash.RestartAfter(i)
		if i <= 200 && (never || wait != want[min(i, 10)-1]) || i > 200 && !never {
			t.Errorf("crash %d: %v %v", i, wait, never)
		}
	}
}

func TestCrashesBackOff(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.must(w.Desire(ctx, web(1)))
		for i, wait := range []time.Duration{0, 0, 0, 30 * time.Second, time.Minute, 2 * time.Minute} {
			a := w.up(0)
			begin := time.Now()
			w.must(w.Crashed(ctx, cf.Crash{ActualLRP: a, ExitCode: 1, Text: "APP/PROC/WEB: Exited with status 1"}))
			if i == 4 { // a restart of Ingot forgets no timer
				w.kill()
				w.boot()
			}
			if b := w.all()[0]; wait > 0 && (b.State != cf.LRPCrashed || b.Instance != "" || b.Reason == "" || b.Crashes != i+1) {
				t.Fatalf("crash %d: %+v", i+1, b)
			}
			for w.all()[0].Cell == "" {
				time.Sleep(time.Second)
			}
			if took := time.Since(begin).Truncate(time.Second); took != wait {
				t.Errorf("crash %d: waited %v, want %v", i+1, took, wait)
			}
			if b := w.all()[0]; b.Instance == a.Instance || b.Crashes != i+1 {
				t.Errorf("crash %d: %+v", i+1, b)
			}
		}
		w.settle()
		if len(get(&w.mu, &w.crashes)) != 6 || get(&w.mu, &w.crashes)[5].Crashes != 6 || get(&w.mu, &w.crashes)[0].ExitCode != 1 || get(&w.mu, &w.crashes)[0].Instance == "" {
			t.Errorf("told %+v", get(&w.mu, &w.crashes))
		}
		a := w.up(0)
		time.Sleep(crash.Healthy)
		w.must(w.Crashed(ctx, cf.Crash{ActualLRP: a}))
		if b := w.all()[0]; b.Crashes != 1 || b.Cell == "" {
			t.Errorf("after 5 healthy minutes: %+v", b)
		}
	})
}

// TestClockIsSetBack: what is stored as of an hour later is not waited for.
func TestClockIsSetBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.must(w.Desire(ctx, web(1)))
		for range crash.Immediate + 1 {
			w.must(w.Crashed(ctx, cf.Crash{ActualLRP: w.up(0)}))
		}
		w.must(w.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE bbs_actual SET due = due + ? WHERE due > 0", time.Hour.Microseconds())
			return err
		}))
		time.Sleep(presence + time.Second)
		if a := w.all()[0]; a.State == cf.LRPCrashed || a.Cell == "" {
			t.Errorf("%+v", a)
		}
		now := time.Now()
		for since, want := range map[time.Duration]bool{0: true, kickAfter - 1: true, kickAfter: false, -time.Hour: false} {
			if got := within(kickAfter, now.Add(-since), now); got != want {
				t.Errorf("%s ago is within %s: %t", since, kickAfter, got)
			}
		}
	})
}

func TestCrashIsToldUntilHeard(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		hear := set(&w.outcomes.mu, &w.outcomes.crash, func(context.Context, cf.Crash) error { return errors.New("not now") })
		w.must(w.Desire(ctx, web(1)))
		a := w.up(0)
		w.must(w.Crashed(ctx, cf.Crash{ActualLRP: a}))
		time.Sleep(5 * time.Minute)
		w.kill()
		set(&w.outcomes.mu, &w.outcomes.crash, hear)
		w.boot()
		time.Sleep(time.Second)
		w.settle()
		if len(get(&w.mu, &w.crashes)) != 1 || get(&w.mu, &w.crashes)[0].Instance != a.Instance {
			t.Errorf("told %+v", get(&w.mu, &w.crashes))
		}
		time.Sleep(5 * time.Minute)
		if w.settle(); len(get(&w.mu, &w.crashes)) != 1 {
			t.Errorf("told again: %+v", get(&w.mu, &w.crashes))
		}
	})
}

// Outcomes hears of the readiness of instances that are asked for it, each change once, also across a restart.
func TestReadinessIsTold(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		d := web(1)
		d.Readiness = cf.HealthCheck{Type: "http", Endpoint: "/ready"}
		w.must(w.Desire(ctx, d))
		w.must(w.Desire(ctx, cf.DesiredLRP{ID: "unasked", AppID: "app-2", Stack: d.Stack, Instances: 1}))
		w.settle()
		for _, a := range w.all() {
			a.Ready = a.LRP == "unasked"
			w.must(w.Started(ctx, a))
		}
		if w.settle(); len(get(&w.mu, &w.ready)) != 0 {
			t.Fatalf("nothing changed, but told %+v", get(&w.mu, &w.ready))
		}
		hear := set(&w.outcomes.mu, &w.outcomes.ready, func(context.Context, cf.ActualLRP) error { return errors.New("not now") })
		a := slices.DeleteFunc(w.all(), func(a cf.ActualLRP) bool { return a.LRP == "unasked" })[0]
		for _, a.Ready = range []bool{true, true, false} {
			w.must(w.Started(ctx, a))
			time.Sleep(time.Second)
		}
		w.kill()
		set(&w.outcomes.mu, &w.outcomes.ready, hear)
		w.boot()
		time.Sleep(time.Minute)
		w.settle()
		told := get(&w.mu, &w.ready)
		slices.SortFunc(told, func(a, b cf.ActualLRP) int { return cmp.Compare(a.Version, b.Version) })
		if len(told) != 2 || !told[0].Ready || told[1].Ready || told[0].Instance != a.Instance {
			t.Errorf("told %+v", told)
		}
		if n := len(get(&w.mu, &w.crashes)); n != 0 {
			t.Errorf("not ready became %d crashes", n)
		}
	})
}

// A restart of Ingot moves nothing: cells that come back within the grace keep what they hold.
func TestRestartKeepsInstances(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.must(w.Desire(ctx, web(3)))
		w.up(0)
		w.must(w.Claimed(ctx, w.all()[1]))
		before := w.all() // 0 runs, 1 is claimed, 2 was placed and never begun
		w.kill()
		time.Sleep(time.Second)
		w.mu.Lock()
		delete(w.present, "cell-1")
		w.mu.Unlock()
		w.boot()
		time.Sleep(20 * time.Second)
		lrps, want, _, err := w.Holds(ctx, "cell-1")
		w.must(err)
		if len(lrps) != 2 || lrps[0].Instance != before[0].Instance || lrps[1].Instance != before[1].Instance ||
			len(want) != 1 || len(want[0].Env) != 1 {
			t.Fatalf("holds %+v %+v", lrps, want)
		}
		w.mu.Lock()
		w.present["cell-1"] = true
		w.mu.Unlock()
		time.Sleep(20 * time.Second)
		w.must(w.Claimed(ctx, w.all()[2]))
		time.Sleep(2 * time.Minute)
		after := w.all()
		if after[0].Instance != before[0].Instance || after[1].Instance != before[1].Instance || len(get(&w.mu, &w.stopped)) != 0 ||
			after[2].Instance == before[2].Instance || after[2].Cell == "" {
			t.Errorf("before %+v\nafter %+v\nstopped %v", before, after, get(&w.mu, &w.stopped))
		}
	})
}

func TestLostCell(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.must(w.Desire(ctx, web(2)))
		w.must(w.Run(ctx, cf.Task{ID: "t", Stack: "cflinuxfs4"}))
		a := w.up(0)
		w.up(1)
		w.must(w.TaskStarted(ctx, "t", "cell-1"))
		time.Sleep(2 * bootGrace)
		follow, err := w.Follow(ctx)
		w.must(err)
		drain(follow, w.settle)
		w.mu.Lock()
		delete(w.present, "cell-1")
		w.present["cell-2"] = true
		w.mu.Unlock()
		time.Sleep(7 * time.Second)
		if b := w.all()[0]; b.Instance != a.Instance {
			t.Errorf("given up too early: %+v", b)
		}
		time.Sleep(6 * time.Second) // which leaves two seconds for the start: the promise is 15 s
		for i, b := range w.all() {
			if b.Cell != "cell-2" || b.Crashes != 0 {
				t.Errorf("instance %d: %+v", i, b)
			}
		}
		if gone := drain(follow, w.settle); len(gone) < 2 || !gone[0].Gone || gone[0].Actual.Instance != a.Instance {
			t.Errorf("told %+v", gone)
		}
		if len(get(&w.mu, &w.done)) != 1 || get(&w.mu, &w.done)[0].Reason != "cell disappeared before completion" {
			t.Errorf("task %+v", get(&w.mu, &w.done))
		}
		if err := w.Started(ctx, a); !cf.IsKind(err, cf.KindConflict) {
			t.Errorf("the lost cell reports: %v", err)
		}
	})
}

// A cell that hangs when it is asked to start something must not hide that another one is gone.
func TestLostCellBesideOneThatHangs(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.must(w.Desire(ctx, web(1)))
		a := w.up(0)
		time.Sleep(2 * bootGrace)
		start := get(&w.cells.mu, &w.cells.startLRP)
		set(&w.cells.mu, &w.cells.startLRP, func(ctx context.Context, c cf.CellID, d cf.DesiredLRP, a cf.ActualLRP) error {
			if d.ID != "proc-1" {
				<-ctx.Done()
				return ctx.Err()
			}
			return start(ctx, c, d, a)
		})
		w.mu.Lock()
		delete(w.present, "cell-1")
		w.present["cell-2"] = true
		w.mu.Unlock()
		time.Sleep(8 * time.Second)
		other := web(1)
		other.ID, other.AppID = "other-1", "other"
		w.must(w.Desire(ctx, other))
		time.Sleep(5 * time.Second)
		if b := w.all()[0]; b.Cell != "cell-2" || b.Instance == a.Instance {
			t.Errorf("still %+v", b)
		}
		if len(w.on()) != 2 { // the lost one's too
			t.Errorf("started %+v", w.on())
		}
	})
}

// Who cannot look at the cells must not conclude that they are gone.
func TestUnknownCellsAreNotLost(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.must(w.Desire(ctx, web(1)))
		a := w.up(0)
		set(&w.cells.mu, &w.cells.list, func(context.Context) ([]cf.CellState, error) { return nil, errors.New("no answer") })
		time.Sleep(5 * time.Minute)
		if b := w.all()[0]; b.Instance != a.Instance {
			t.Errorf("%+v", b)
		}
	})
}

func TestUnclaimedIsKicked(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.must(w.Desire(ctx, web(1)))
		a := w.all()[0]
		time.Sleep(29 * time.Second)
		if b := w.all()[0]; b.Instance != a.Instance {
			t.Errorf("too early: %+v", b)
		}
		time.Sleep(10 * time.Second)
		if b := w.all()[0]; b.Instance == a.Instance || b.Cell == "" || len(get(&w.mu, &w.stopped)) != 1 || get(&w.mu, &w.stopped)[0] != a.Instance {
			t.Errorf("%+v, stopped %v", b, get(&w.mu, &w.stopped))
		}
	})
}
