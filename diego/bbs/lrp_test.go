package bbs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ingot/cf"
)

var ctx = context.Background()

func TestDesireStartsInstances(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.must(w.Desire(ctx, web(3)))
		have := w.all()
		if len(have) != 3 || len(w.on()) != 3 {
			t.Fatalf("instances %+v, on the cell %d", have, len(w.on()))
		}
		for i, a := range have {
			if a.Index != i || a.Cell != "cell-1" || a.State != cf.LRPUnclaimed || w.on()[a.Instance].Index != i {
				t.Errorf("instance %d: %+v", i, a)
			}
		}
		a := w.up(1)
		if a.State != cf.LRPRunning || a.Routable || !a.Ready || a.Address != "10.255.0.2" || a.Ports[0].Host != 61001 {
			t.Errorf("running: %+v", a)
		}
		w.must(w.MarkRoutable(ctx, a.Instance, true))
		if b := w.all()[1]; !b.Routable || b.Version <= a.Version || !b.Since.Equal(a.Since) {
			t.Errorf("routable: %+v after %+v", b, a)
		}
	})
}

func TestDesireRefusesNonsense(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for name, f := range map[string]func(*cf.DesiredLRP){
			"no id":            func(d *cf.DesiredLRP) { d.ID = "" },
			"no app":           func(d *cf.DesiredLRP) { d.AppID = "" },
			"no stack":         func(d *cf.DesiredLRP) { d.Stack = "" },
			"fewer than none":  func(d *cf.DesiredLRP) { d.Instances = -1 },
			"without measure":  func(d *cf.DesiredLRP) { d.Instances = 1 << 30 },
			"negative memory":  func(d *cf.DesiredLRP) { d.Limits.MemoryMB = -1 },
			"negative disk":    func(d *cf.DesiredLRP) { d.Limits.DiskMB = -1 },
			"all but sensible": func(d *cf.DesiredLRP) { *d = cf.DesiredLRP{} },
		} {
			d := web(1)
			f(&d)
			if err := w.Desire(ctx, d); !cf.IsKind(err, cf.KindInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := w.Run(ctx, cf.Task{}); !cf.IsKind(err, cf.KindInvalid) {
			t.Errorf("task: %v", err)
		}
	})
}

func TestOldDesireIsIgnored(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		d := web(2)
		w.must(w.Desire(ctx, d))
		old := web(9)
		old.Updated = d.Updated.Add(-time.Microsecond)
		w.must(w.Desire(ctx, old))
		if n := len(w.all()); n != 2 {
			t.Errorf("%d instances", n)
		}
	})
}

func TestScaleDownRemovesHighestIndices(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		d := web(4)
		w.must(w.Desire(ctx, d))
		before := w.all()
		d.Instances, d.Updated = 2, d.Updated.Add(time.Second)
		w.must(w.Desire(ctx, d))
		after := w.all()
		if len(after) != 2 || after[0].Instance != before[0].Instance || after[1].Instance != before[1].Instance {
			t.Fatalf("before %+v, after %+v", before, after)
		}
		stopped := slices.Sorted(slices.Values(get(&w.mu, &w.stopped)))
		gone := []cf.InstanceID{before[2].Instance, before[3].Instance}
		slices.Sort(gone)
		if !slices.Equal(stopped, gone) {
			t.Errorf("stopped %v, want %v", stopped, gone)
		}
	})
}

func TestUpdateInPlace(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		d := web(1)
		w.must(w.Desire(ctx, d))
		a := w.up(0)
		follow, err := w.Follow(ctx)
		w.must(err)
		<-follow // the instance
		<-follow // Synced
		d.Routes, d.Updated = append(d.Routes, cf.LRPRoute{URI: "b.apps.ingot.test", Port: 8080}), d.Updated.Add(time.Second)
		w.must(w.Desire(ctx, d))
		e := <-follow
		if e.Actual != nil || e.Gone || len(e.Desired.Routes) != 2 {
			t.Errorf("event %+v", e)
		}
		if b := w.all()[0]; b.Instance != a.Instance || len(get(&w.mu, &w.stopped)) > 0 {
			t.Errorf("restarted: %+v", b)
		}
		if len(get(&w.mu, &w.updated)) != 1 || len(get(&w.mu, &w.updated)[0].Routes) != 2 {
			t.Errorf("cell heard %+v", get(&w.mu, &w.updated))
		}
		w.must(w.Desire(ctx, d)) // the same again
		w.settle()
		select {
		case e := <-follow:
			t.Errorf("event without a change: %+v", e)
		default:
		}
	})
}

func TestUndesireTellsTheRouterFirst(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers bool
		most    time.Duration
		least   time.Duration
	}{{"the router answers", true, 10 * time.Millisecond, 0}, {"the router is silent", false, routerGrace, routerGrace}} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.must(w.Desire(ctx, web(1)))
				a := w.up(0)
				w.must(w.MarkRoutable(ctx, a.Instance, true))
				live, cancel := context.WithCancel(ctx)
				defer cancel()
				follow, err := w.Follow(live)
				w.must(err)
				var order []string
				set(&w.cells.mu, &w.cells.stopLRP, func(context.Context, cf.CellID, cf.InstanceID) error {
					w.mu.Lock()
					defer w.mu.Unlock()
					order = append(order, "stopped")
					return nil
				})
				begin := time.Now()
				w.must(w.Undesire(ctx, "proc-1"))
				for e := range follow {
					if e.Gone && e.Actual != nil {
						if e.Actual.Instance != a.Instance || len(e.Desired.Routes) != 1 || e.Desired.Env != nil {
							t.Errorf("event %+v", e)
						}
						w.mu.Lock()
						order = append(order, "gone")
						w.mu.Unlock()
					}
					if e.Gone && e.Actual == nil {
						break
					}
				}
				w.settle()
				if got := get(&w.mu, &order); len(got) != 1 {
					t.Fatalf("before the router knows: %v", got)
				}
				if c.answers {
					w.must(w.MarkRoutable(ctx, a.Instance, false))
				} else {
					time.Sleep(routerGrace)
				}
				w.settle()
				if took := time.Since(begin); strings.Join(get(&w.mu, &order), " ") != "gone stopped" || took > c.most || took < c.least {
					t.Errorf("%v after %v", get(&w.mu, &order), took)
				}
				if n := len(w.all()); n != 0 {
					t.Errorf("%d instances left", n)
				}
			})
		})
	}
}

func TestUndesireOfUnknownIsNoError(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.must(w.Undesire(ctx, "nobody-1"))
		w.must(w.StopInstance(ctx, "nobody-1", 0))
		w.must(w.Cancel(ctx, "nobody"))
		w.must(w.MarkRoutable(ctx, "nobody", true))
	})
}

func TestFailedStopIsRepeated(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.must(w.Desire(ctx, web(1)))
		w.settle()
		var tries atomic.Int32
		stop := w.cells.stopLRP
		set(&w.cells.mu, &w.cells.stopLRP, func(ctx context.Context, c cf.CellID, id cf.InstanceID) error {
			if tries.Add(1) < 4 {
				return errors.New("no answer")
			}
			return stop(ctx, c, id)
		})
		w.must(w.Undesire(ctx, "proc-1"))
		time.Sleep(5 * time.Second)
		if w.settle(); len(w.on()) != 0 || tries.Load() != 4 {
			t.Errorf("%d tries, running %v", tries.Load(), w.on())
		}
	})
}

func TestRefusedPlacement(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var calls atomic.Int32
		start := w.cells.startLRP
		refuse := func(err error) {
			set(&w.cells.mu, &w.cells.startLRP, func(ctx context.Context, c cf.CellID, d cf.DesiredLRP, a cf.ActualLRP) error {
				if calls.Add(1); err != nil {
					return err
				}
				return start(ctx, c, d, a)
			})
		}
		refuse(cf.Errorf(cf.KindNoRoom, "", "insufficient resources: disk"))
		w.must(w.Desire(ctx, web(1)))
		if a := w.all()[0]; a.Placement != "insufficient resources: disk" || a.Cell != "" || a.Instance != "" {
			t.Errorf("refused: %+v", a)
		}
		refuse(errors.New("connection lost"))
		time.Sleep(30 * time.Second)
		if w.settle(); calls.Load() < 2 || calls.Load() > 20 || len(get(&w.mu, &w.stopped)) == 0 {
			t.Errorf("%d calls, stopped %v", calls.Load(), get(&w.mu, &w.stopped))
		}
		refuse(nil)
		time.Sleep(presence + time.Second)
		if a := w.all()[0]; a.Placement != "" || w.on()[a.Instance].LRP != "proc-1" {
			t.Errorf("placed: %+v", a)
		}
	})
}

// An instance that its cell gives back has not crashed.
func TestInstanceRefusedByItsCell(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.must(w.Desire(ctx, web(1)))
		a := w.all()[0]
		w.must(w.Claimed(ctx, a))
		w.must(w.Refused(ctx, a, "insufficient resources: disk"))
		if b := w.all()[0]; b.Placement != "insufficient resources: disk" || b.Cell != "" || b.State != cf.LRPUnclaimed || b.Crashes != 0 {
			t.Errorf("refused: %+v", b)
		}
		if err := w.Refused(ctx, a, "again"); !cf.IsKind(err, cf.KindConflict) {
			t.Errorf("told twice: %v", err)
		}
		time.Sleep(presence)
		if b := w.all()[0]; b.Placement != "" || b.Instance == a.Instance || w.on()[b.Instance].LRP != "proc-1" || len(get(&w.mu, &w.crashes)) != 0 {
			t.Errorf("placed: %+v, crashes %v", b, get(&w.mu, &w.crashes))
		}
	})
}

func TestNoRoomIsToldAndRetried(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		set(&w.mu, &w.free, 100)
		w.must(w.Desire(ctx, web(2)))
		have := w.all()
		if have[0].Cell == "" || have[1].Placement != "insufficient resources: memory" || have[1].State != cf.LRPUnclaimed {
			t.Fatalf("%+v", have)
		}
		set(&w.mu, &w.free, 1000)
		w.must(w.Stopped(ctx, cf.ActualLRP{Instance: "somebody-else", Cell: "cell-1"})) // room again
		if have = w.all(); have[1].Cell == "" || have[1].Placement != "" {
			t.Errorf("%+v", have[1])
		}
	})
}

// A cell that has not answered yet may not count what it was told to start.
func TestUnansweredStartHoldsItsRoom(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		answer := make(chan struct{})
		start := w.cells.startLRP
		set(&w.cells.mu, &w.cells.startLRP, func(ctx context.Context, c cf.CellID, d cf.DesiredLRP, a cf.ActualLRP) error {
			<-answer
			return start(ctx, c, d, a)
		})
		set(&w.mu, &w.free, 100)
		w.must(w.Desire(ctx, web(1)))
		w.settle()
		d := web(2)
		d.Updated = d.Updated.Add(1)
		w.must(w.Desire(ctx, d))
		if have := w.all(); have[0].Cell == "" || have[1].Cell != "" || have[1].Placement != "" {
			t.Errorf("before the answer: %+v", have)
		}
		close(answer)
		if have := w.all(); have[1].Cell != "" || have[1].Placement != "insufficient resources: memory" {
			t.Errorf("after the answer: %+v", have)
		}
	})
}

func TestStats(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.must(w.Desire(ctx, web(2)))
		a := w.up(0)
		set(&w.cells.mu, &w.cells.stats, func(context.Context, cf.CellID, cf.AppID) (map[cf.InstanceID]cf.InstanceStats, error) {
			return map[cf.InstanceID]cf.InstanceStats{a.Instance: {CPU: 0.5}, "another": {CPU: 1}}, nil
		})
		got, err := w.Stats(ctx, "app")
		if err != nil || len(got) != 1 || got[a.Instance].CPU != 0.5 {
			t.Errorf("%v %v", got, err)
		}
	})
}

func TestDesiredAndInstancesByApp(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		other := web(1)
		other.ID, other.AppID = "proc-0", "other"
		w.must(w.Desire(ctx, web(1)))
		w.must(w.Desire(ctx, other))
		one, err := w.Desired(ctx, "other")
		w.must(err)
		all, err := w.Desired(ctx, "")
		w.must(err)
		both, err := w.Instances(ctx, "app", "other")
		w.must(err)
		none, err := w.Instances(ctx)
		w.must(err)
		if len(one) != 1 || one[0].ID != "proc-0" || one[0].Env[0] != "SECRET=x" || len(all) != 2 || len(none) != 0 ||
			len(both) != 2 || both[0].LRP != "proc-0" {
			t.Errorf("one %+v\nall %+v\nboth %+v", one, all, both)
		}
	})
}

// An instance without routes is routable as soon as it runs.
func TestNoRoutes(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		d := web(2)
		w.must(w.Desire(ctx, d))
		first := w.up(0)
		d.Routes, d.Updated = nil, d.Updated.Add(1)
		w.must(w.Desire(ctx, d))
		if second := w.up(1); first.Routable || !second.Routable || !w.all()[0].Routable {
			t.Errorf("first %+v, second %+v", first, second)
		}
	})
}

// From Desire to the cell's StartLRP there is no waiting: no time passes at all.
func TestScaleOutIsImmediate(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.must(w.Desire(ctx, web(1)))
		synctest.Wait()
		begin, d := time.Now(), web(2)
		d.Updated = d.Updated.Add(1)
		w.must(w.Desire(ctx, d))
		if w.settle(); len(w.on()) != 2 || time.Since(begin) != 0 {
			t.Errorf("%d instances after %v", len(w.on()), time.Since(begin))
		}
	})
}

// BenchmarkScaleOut is the real time from Desire to StartLRP.
func BenchmarkScaleOut(b *testing.B) {
	w := newWorld(b)
	started := make(chan struct{}, 1)
	w.cells.startLRP = func(context.Context, cf.CellID, cf.DesiredLRP, cf.ActualLRP) error {
		started <- struct{}{}
		return nil
	}
	w.boot()
	defer w.kill()
	d := web(0)
	for b.Loop() {
		d.Instances++
		d.Updated = d.Updated.Add(1)
		if d.Instances > 100 {
			d.ID, d.Instances = cf.ProcessID(cf.NewGUID()), 1
		}
		w.must(w.Desire(ctx, d))
		<-started
	}
}

// BenchmarkDesire is how many new LRPs many writers get stored, while they are placed.
func BenchmarkDesire(b *testing.B) {
	w := newWorld(b)
	w.boot()
	defer w.kill()
	var n atomic.Int64
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			d := web(1)
			d.ID = cf.ProcessID(fmt.Sprint("proc-", n.Add(1)))
			w.must(w.Desire(ctx, d))
		}
	})
}
