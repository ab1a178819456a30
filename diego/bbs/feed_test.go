package bbs

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"ingot/cf"
)

// drain reads what the follower has sent without waiting for more.
func drain(c <-chan cf.LRPEvent, settle func()) (out []cf.LRPEvent) {
	for {
		settle()
		select {
		case e, ok := <-c:
			if !ok {
				return out
			}
			out = append(out, e)
		default:
			return out
		}
	}
}

func TestFollowSnapshotThenChanges(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.must(w.Desire(ctx, web(2)))
		a := w.up(0)
		w.settle()
		follow, err := w.Follow(ctx)
		w.must(err)
		first := drain(follow, w.settle)
		if len(first) != 3 || first[0].Actual.Instance != a.Instance || first[0].Actual.State != cf.LRPRunning ||
			len(first[0].Desired.Routes) != 1 || first[0].Desired.Env != nil || first[1].Actual == nil ||
			first[2].Actual != nil || first[2].Gone || first[2].Desired.ID != "" {
			t.Fatalf("snapshot %+v", first)
		}
		b := w.up(1)
		w.must(w.Crashed(ctx, cf.Crash{ActualLRP: b}))
		var got []string
		for _, e := range drain(follow, w.settle) {
			got = append(got, fmt.Sprint(e.Actual.Index, " ", e.Actual.State, " ", e.Gone))
		}
		if want := []string{"1 CLAIMED false", "1 RUNNING false", "1 RUNNING true", "1 UNCLAIMED false"}; !slices.Equal(got, want) {
			t.Errorf("changes %q, want %q", got, want)
		}
	})
}

func TestStopEndsFollowers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		follow, err := w.Follow(ctx)
		w.must(err)
		w.must(w.Stop(ctx))
		for range follow {
		}
	})
}

// A follower that joins in the middle of many writes ends with exactly what a full listing shows, and never hears an
// older version of an instance after a newer one.
func TestFollowWhileWriting(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var all sync.WaitGroup
		for i := range 8 {
			d := web(3)
			d.ID = cf.ProcessID(fmt.Sprint("proc-", i))
			all.Go(func() {
				w.must(w.Desire(ctx, d))
				d.Instances, d.Updated = 1+i%3, d.Updated.Add(1)
				w.must(w.Desire(ctx, d))
				w.must(w.StopInstance(ctx, d.ID, 0))
			})
		}
		follow, err := w.Follow(ctx)
		w.must(err)
		all.Wait()
		time.Sleep(stopPause)
		got, version := map[cf.InstanceID]cf.ActualLRP{}, map[string]int64{}
		for _, e := range drain(follow, w.settle) {
			if e.Actual == nil {
				continue
			}
			slot := fmt.Sprint(e.Actual.LRP, e.Actual.Index)
			if e.Actual.Version < version[slot] {
				t.Errorf("%s: version %d after %d", slot, e.Actual.Version, version[slot])
			}
			version[slot] = e.Actual.Version
			if delete(got, e.Actual.Instance); !e.Gone {
				got[e.Actual.Instance] = *e.Actual
			}
		}
		have := w.all()
		for _, a := range have {
			if got[a.Instance].Version != a.Version {
				t.Errorf("heard %+v, listed %+v", got[a.Instance], a)
			}
		}
		if len(have) != len(got) {
			t.Errorf("heard %d, listed %d", len(got), len(have))
		}
	})
}
