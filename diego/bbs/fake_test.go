package bbs

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ingot/cf"
	"ingot/kit/seal"
	"ingot/kit/sql"
	"ingot/kit/sql/sqltest"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	if err := flag.Set("rapid.checks", "25"); err != nil { // each opens stores; the command line overrides it
		panic(err)
	}
	os.Exit(sqltest.Main(m))
}

// fakeCells stands for the cells; each func may be replaced.
type fakeCells struct {
	mu         sync.Mutex
	list       func(context.Context) ([]cf.CellState, error)
	startLRP   func(context.Context, cf.CellID, cf.DesiredLRP, cf.ActualLRP) error
	startTask  func(context.Context, cf.CellID, cf.Task) error
	stopLRP    func(context.Context, cf.CellID, cf.InstanceID) error
	updateLRP  func(context.Context, cf.CellID, cf.DesiredLRP) error
	cancelTask func(context.Context, cf.CellID, cf.TaskID) error
	stats      func(context.Context, cf.CellID, cf.AppID) (map[cf.InstanceID]cf.InstanceStats, error)
}

func (f *fakeCells) List(ctx context.Context) ([]cf.CellState, error) {
	return get(&f.mu, &f.list)(ctx)
}
func (f *fakeCells) StartLRP(ctx context.Context, c cf.CellID, d cf.DesiredLRP, a cf.ActualLRP) error {
	return get(&f.mu, &f.startLRP)(ctx, c, d, a)
}
func (f *fakeCells) StartTask(ctx context.Context, c cf.CellID, t cf.Task) error {
	return get(&f.mu, &f.startTask)(ctx, c, t)
}
func (f *fakeCells) StopLRP(ctx context.Context, c cf.CellID, id cf.InstanceID) error {
	return get(&f.mu, &f.stopLRP)(ctx, c, id)
}
func (f *fakeCells) UpdateLRP(ctx context.Context, c cf.CellID, d cf.DesiredLRP) error {
	return get(&f.mu, &f.updateLRP)(ctx, c, d)
}
func (f *fakeCells) CancelTask(ctx context.Context, c cf.CellID, id cf.TaskID) error {
	return get(&f.mu, &f.cancelTask)(ctx, c, id)
}
func (f *fakeCells) Stats(ctx context.Context, c cf.CellID, app cf.AppID) (map[cf.InstanceID]cf.InstanceStats, error) {
	return get(&f.mu, &f.stats)(ctx, c, app)
}

// get and set exchange a func or a flag that another goroutine uses.
func get[T any](mu *sync.Mutex, p *T) T {
	mu.Lock()
	defer mu.Unlock()
	return *p
}

func set[T any](mu *sync.Mutex, p *T, v T) (old T) {
	mu.Lock()
	defer mu.Unlock()
	old, *p = *p, v
	return old
}

type fakeOutcomes struct {
	mu    sync.Mutex
	done  func(context.Context, cf.Task) error
	crash func(context.Context, cf.Crash) error
	ready func(context.Context, cf.ActualLRP) error
}

func (f *fakeOutcomes) TaskCompleted(ctx context.Context, t cf.Task) error {
	return get(&f.mu, &f.done)(ctx, t)
}
func (f *fakeOutcomes) InstanceCrashed(ctx context.Context, c cf.Crash) error {
	return get(&f.mu, &f.crash)(ctx, c)
}
func (f *fakeOutcomes) InstanceReadiness(ctx context.Context, a cf.ActualLRP) error {
	return get(&f.mu, &f.ready)(ctx, a)
}

// firstFit is an auction that takes the first cell with the stack and the memory.
func firstFit(work []cf.Work, cells []cf.CellState) []cf.Placement {
	out := make([]cf.Placement, len(work))
	for i, w := range work {
		out[i] = cf.Placement{Work: w, Error: "insufficient resources: memory"}
		for j := range cells {
			if c := &cells[j]; c.Free.MemoryMB >= w.Need.MemoryMB && slices.Contains(c.Stacks, w.Stack) {
				c.Free.MemoryMB -= w.Need.MemoryMB
				out[i].Cell, out[i].Error = c.ID, ""
				break
			}
		}
	}
	return out
}

// world is a brain on a real store with one cell that does what it is told at once, and remembers it.
type world struct {
	keys *seal.Keys
	*BBS
	t        testing.TB
	path     string
	cells    *fakeCells
	outcomes *fakeOutcomes
	auction  cf.Auction

	mu      sync.Mutex
	present map[cf.CellID]bool
	free    int
	running map[cf.InstanceID]cf.ActualLRP // on the cells
	tasks   map[cf.TaskID]cf.Task
	stopped []cf.InstanceID
	done    []cf.Task
	crashes []cf.Crash
	ready   []cf.ActualLRP
	updated []cf.DesiredLRP
}

// bubble runs f in a bubble of fake time, with a world whose loops run.
func bubble(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot()
		defer w.kill()
		f(t, w)
	})
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, keys: seal.New(), auction: firstFit, path: sqltest.Address(t), present: map[cf.CellID]bool{"cell-1": true}, free: 1 << 20,
		running: map[cf.InstanceID]cf.ActualLRP{}, tasks: map[cf.TaskID]cf.Task{}}
	w.cells = &fakeCells{
		list: func(context.Context) (out []cf.CellState, err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for id := range w.present {
				out = append(out, cf.CellState{ID: id, Stacks: []string{"cflinuxfs4"}, Free: cf.Resources{MemoryMB: w.free - 64*(len(w.running)+len(w.tasks))}})
			}
			return out, nil
		},
		startLRP: func(_ context.Context, c cf.CellID, d cf.DesiredLRP, a cf.ActualLRP) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.running[a.Instance] = a
			return nil
		},
		startTask: func(_ context.Context, c cf.CellID, t cf.Task) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.tasks[t.ID] = t
			return nil
		},
		stopLRP: func(_ context.Context, c cf.CellID, id cf.InstanceID) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			delete(w.running, id)
			w.stopped = append(w.stopped, id)
			return nil
		},
		updateLRP: func(_ context.Context, c cf.CellID, d cf.DesiredLRP) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.updated = append(w.updated, d)
			return nil
		},
		cancelTask: func(_ context.Context, c cf.CellID, id cf.TaskID) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			delete(w.tasks, id)
			return nil
		},
		stats: func(context.Context, cf.CellID, cf.AppID) (map[cf.InstanceID]cf.InstanceStats, error) {
			return nil, errors.New("no stats")
		},
	}
	w.outcomes = &fakeOutcomes{
		done: func(_ context.Context, t cf.Task) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.done = append(w.done, t)
			return nil
		},
		crash: func(_ context.Context, c cf.Crash) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.crashes = append(w.crashes, c)
			return nil
		},
		ready: func(_ context.Context, a cf.ActualLRP) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.ready = append(w.ready, a)
			return nil
		},
	}
	return w
}

// boot opens the store and starts the brain.
func (w *world) boot() {
	w.t.Helper()
	db, err := sql.Open(context.Background(), w.path)
	if err != nil {
		w.t.Fatal(err)
	}
	db.Keys = w.keys
	w.BBS = &BBS{DB: db, Cells: w.cells, Outcomes: w.outcomes, Auction: w.auction}
	if err := w.Start(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

// kill ends the brain and closes the store.
func (w *world) kill() {
	w.t.Helper()
	if err := errors.Join(w.Stop(context.Background()), w.DB.Close()); err != nil {
		w.t.Fatal(err)
	}
}

// settle waits until nothing moves any more without time passing.
func (w *world) settle() { synctest.Wait() }

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// clone copies a map that the cells change.
func clone[K comparable, V any](w *world, m map[K]V) map[K]V {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(m)
}

// on is what the cells run.
func (w *world) on() map[cf.InstanceID]cf.ActualLRP { return clone(w, w.running) }

// all lists the instances of the app "app".
func (w *world) all() []cf.ActualLRP {
	w.t.Helper()
	w.settle()
	have, err := w.Instances(context.Background(), "app")
	w.must(err)
	return have
}

// up claims and starts instance i.
func (w *world) up(i int) cf.ActualLRP {
	w.t.Helper()
	a := w.all()[i]
	w.must(w.Claimed(context.Background(), a))
	a.Address, a.Host, a.Ready, a.Ports = "10.255.0.2", "192.0.2.1", true, []cf.PortMapping{{Container: 8080, Host: 61001}}
	w.must(w.Started(context.Background(), a))
	return w.all()[i]
}

func web(n int) cf.DesiredLRP {
	return cf.DesiredLRP{ID: "proc-1", AppID: "app", Process: "proc", Type: "web", Instances: n, Stack: "cflinuxfs4",
		Env: []string{"SECRET=x"}, Limits: cf.Limits{MemoryMB: 64}, Routes: []cf.LRPRoute{{URI: "a.apps.ingot.test", Port: 8080}},
		Updated: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
}
