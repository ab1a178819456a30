package feed

import (
	"context"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"ingot/cf"
)

func nothing(context.Context) (int64, []cf.LRPEvent, error) { return 0, nil, nil }

func TestSlowFollowerIsClosed(t *testing.T) {
	var f Feed
	slow, err := f.Follow(t.Context(), nothing)
	if err != nil {
		t.Fatal(err)
	}
	for i := range backlog + 200 { // more than the queues hold
		f.Publish(f.Ticket(), int64(i+1), []cf.LRPEvent{{Gone: true}})
	}
	n := 0
	for range slow {
		n++
	}
	if n > backlog+100 || f.Followed() {
		t.Errorf("%d events, followed %v", n, f.Followed())
	}
}

func TestFollowEndsWithItsContext(t *testing.T) {
	var f Feed
	ctx, cancel := context.WithCancel(t.Context())
	c, err := f.Follow(ctx, nothing)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for range c {
	}
	if f.Followed() {
		t.Error("still followed")
	}
}

func TestFailedSnapshot(t *testing.T) {
	var f Feed
	broken := errors.New("broken")
	_, err := f.Follow(t.Context(), func(context.Context) (int64, []cf.LRPEvent, error) { return 0, nil, broken })
	if !errors.Is(err, broken) || f.Followed() {
		t.Errorf("%v, followed %v", err, f.Followed())
	}
}

// A change that the snapshot knows is not told again.
func TestSnapshotKnowsOlderChanges(t *testing.T) {
	var f Feed
	c, err := f.Follow(t.Context(), func(context.Context) (int64, []cf.LRPEvent, error) {
		for v := int64(1); v <= 3; v++ {
			f.Publish(f.Ticket(), v, []cf.LRPEvent{{Actual: &cf.ActualLRP{Version: v}}})
		}
		return 2, []cf.LRPEvent{{Actual: &cf.ActualLRP{Version: 2}}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if e := <-c; e.Actual.Version != 2 {
		t.Errorf("snapshot %+v", e)
	}
	if e := <-c; e.Actual != nil {
		t.Errorf("mark %+v", e)
	}
	if e := <-c; e.Actual.Version != 3 {
		t.Errorf("change %+v", e)
	}
}

// Whatever the order in which transitions return, followers hear of them in the order of their tickets.
func TestPublishKeepsTheOrderOfTickets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f Feed
		fol := f.join()
		n := rapid.IntRange(1, 50).Draw(t, "n")
		var tickets []uint64
		for range n {
			tickets = append(tickets, f.Ticket())
		}
		for _, k := range rapid.Permutation(tickets).Draw(t, "order") {
			f.Publish(k, int64(k), []cf.LRPEvent{{}})
		}
		close(fol.changes)
		want := int64(1)
		for c := range fol.changes {
			if c.version != want {
				t.Fatalf("version %d, want %d", c.version, want)
			}
			want++
		}
		if want != int64(n+1) {
			t.Fatalf("%d of %d events", want-1, n)
		}
	})
}
