package bbs

import (
	"context"
	"testing"

	"ingot/cf"
)

var ctx = context.Background()

func TestDesireStartsInstances(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.must(w.Desire(ctx, web(3)))
		have := w.all()
		if len(have) != 3 || len(w.running) != 3 {
			t.Fatalf("instances %+v, on the cell %d", have, len(w.running))
		}
		for i, a := range have {
			if a.Index != i || a.Cell != "cell-1" || a.State != cf.LRPUnclaimed || w.running[a.Instance].Index != i {
				t.Errorf("instance %d: %+v", i, a)
			}
		}
		a := w.up(1)
		if a.State != cf.LRPRunning || a.Routable || !a.Ready || a.Address != "10.255.0.2" || a.Ports[0].Host != 61001 {
			t.Errorf("running: %+v", a)
		}
		w.must(w.MarkRoutable(ctx, a.Instance, true))
		if !w.all()[1].Routable {
			t.Error("not routable")
		}
	})
}
