package bbs

import (
	"context"
	"slices"
	"testing"
	"time"

	"ingot/cf"
	"ingot/diego/bbs/store"
	"ingot/kit/sql"
)

func TestStopInstance(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.must(w.Desire(ctx, web(2)))
		a, b := w.up(0), w.up(1)
		w.must(w.StopInstance(ctx, "proc-1", 0))
		if have := w.all(); have[0].State != cf.LRPUnclaimed || have[0].Placement != stoppedAnew {
			t.Errorf("nobody can see that it stopped: %+v", have[0])
		}
		time.Sleep(stopPause)
		have := w.all()
		if have[0].Instance == a.Instance || have[0].Index != 0 || have[0].Cell == "" || have[1].Instance != b.Instance {
			t.Errorf("after the stop: %+v", have)
		}
		if !slices.Contains(get(&w.mu, &w.stopped), a.Instance) {
			t.Errorf("stopped %v", get(&w.mu, &w.stopped))
		}
		if err := w.Started(ctx, a); !cf.IsKind(err, cf.KindConflict) {
			t.Errorf("the old instance is taken for the new one: %v", err)
		}
		w.must(w.Stopped(ctx, a))
		if n := len(w.on()); n != 2 {
			t.Errorf("%d on the cell", n)
		}
	})
}

// A clock that is set back must not keep a stopped instance away.
func TestStopInstanceWithAnotherClock(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.must(w.Desire(ctx, web(1)))
		a := w.up(0)
		w.must(w.StopInstance(ctx, "proc-1", 0))
		w.must(w.write(ctx, func(ctx context.Context, t *store.Txn) error {
			_, err := t.NewUpdate().Model((*store.Actual)(nil)).Set("due = ?", sql.At(time.Now().Add(time.Hour))).Where("lrp = ?", "proc-1").Exec(ctx)
			return err
		}))
		time.Sleep(2 * presence)
		if have := w.all(); have[0].Cell == "" || have[0].Instance == a.Instance {
			t.Errorf("waits for the clock: %+v", have[0])
		}
	})
}
