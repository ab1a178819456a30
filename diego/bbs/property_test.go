package bbs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"ingot/cf"
)

// Whatever happens in whatever order, with cells that vanish or refuse and with kills of the brain in between, what runs
// becomes what is desired, every crash is told, and every index of every desired LRP always has exactly one slot.
func TestRandomOperationsConverge(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var failed any // carried out of the bubble, which has a goroutine of its own
		synctest.Test(t, func(t *testing.T) {
			m := &model{world: newWorld(t), desired: map[cf.ProcessID]int{}, told: map[cf.InstanceID]bool{}}
			m.boot()
			defer func() { failed = recover(); m.kill() }()
			for range rapid.IntRange(1, 40).Draw(rt, "steps") {
				m.step(rt)
				m.slots(rt)
			}
			if wrong := m.calm(); wrong != "" {
				rt.Fatal(wrong)
			}
		})
		if failed != nil {
			panic(failed)
		}
	})
}

type model struct {
	*world
	desired map[cf.ProcessID]int
	told    map[cf.InstanceID]bool // crashes that the brain accepted
	clock   time.Time
	broken  bool
}

func (m *model) step(rt *rapid.T) {
	p := cf.ProcessID(fmt.Sprint("proc-", rapid.IntRange(0, 2).Draw(rt, "lrp")))
	switch op := rapid.SampledFrom([]string{"desire", "desire", "undesire", "report", "report", "report", "report", "crash", "crash",
		"stop", "kill", "move", "break", "sleep"}).Draw(rt, "op"); op {
	case "desire":
		d := web(rapid.IntRange(0, 4).Draw(rt, "instances"))
		m.clock = m.clock.Add(time.Second)
		d.ID, d.Updated = p, m.clock
		m.must(m.Desire(ctx, d))
		m.desired[p] = d.Instances
	case "undesire":
		m.must(m.Undesire(ctx, p))
		delete(m.desired, p)
	case "report":
		m.report(rt)
	case "crash":
		if a, ok := m.pick(rt); ok {
			m.halt(a.Instance)
			if err := m.Crashed(ctx, cf.Crash{ActualLRP: a}); err == nil {
				m.told[a.Instance] = true
			} else if !cf.IsKind(err, cf.KindConflict) {
				m.must(err)
			}
		}
	case "stop":
		m.must(m.StopInstance(ctx, p, rapid.IntRange(0, 4).Draw(rt, "index")))
	case "kill":
		m.kill()
		time.Sleep(time.Second)
		m.boot()
		m.reconcile()
	case "move":
		m.mu.Lock()
		gone, come := cf.CellID("cell-1"), cf.CellID("cell-2")
		if !m.present[gone] {
			gone, come = come, gone
		}
		delete(m.present, gone)
		m.present[come] = true
		maps.DeleteFunc(m.running, func(_ cf.InstanceID, a cf.ActualLRP) bool { return a.Cell == gone })
		m.mu.Unlock()
		m.reconcile()
		time.Sleep(time.Duration(rapid.IntRange(0, 100).Draw(rt, "seconds")) * time.Second)
	case "break":
		m.flaky(!m.broken)
	case "sleep":
		time.Sleep(time.Duration(rapid.IntRange(1, 100).Draw(rt, "seconds")) * time.Second)
	}
	m.settle()
}

// pick takes any instance that a cell runs.
func (m *model) pick(rt *rapid.T) (cf.ActualLRP, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ids := slices.Sorted(maps.Keys(m.running))
	if len(ids) == 0 {
		return cf.ActualLRP{}, false
	}
	a := m.running[ids[rapid.IntRange(0, len(ids)-1).Draw(rt, "instance")]]
	return a, m.present[a.Cell]
}

// report lets a cell say how far an instance is, as a cell does: refused instances are destroyed.
func (m *model) report(rt *rapid.T) {
	a, ok := m.pick(rt)
	if !ok {
		return
	}
	a.Ready = true
	var err error
	switch rapid.SampledFrom([]string{"claimed", "started", "stopped"}).Draw(rt, "report") {
	case "claimed":
		err = m.Claimed(ctx, a)
	case "started":
		err = m.Started(ctx, a)
	case "stopped":
		m.halt(a.Instance)
		err = m.Stopped(ctx, a)
	}
	if cf.IsKind(err, cf.KindConflict) {
		m.halt(a.Instance)
	} else {
		m.must(err)
	}
}

// flaky makes the cells fail half of what they are asked, sometimes after they did it.
func (m *model) flaky(on bool) {
	m.broken = on
	start, stop := m.start, m.halt
	var n atomic.Int32
	set(&m.cells.mu, &m.cells.startLRP, func(ctx context.Context, c cf.CellID, d cf.DesiredLRP, a cf.ActualLRP) error {
		call := n.Add(1)
		if on && call%3 == 0 {
			return cf.Errorf(cf.KindNoRoom, "", "insufficient resources: memory")
		}
		start(a)
		if on && call%3 == 1 {
			return errors.New("lost the answer")
		}
		return nil
	})
	set(&m.cells.mu, &m.cells.stopLRP, func(ctx context.Context, c cf.CellID, id cf.InstanceID) error {
		if on && n.Add(1)%3 == 0 {
			return errors.New("lost the question")
		}
		stop(id)
		return nil
	})
}

func (m *model) start(a cf.ActualLRP) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.present[a.Cell] {
		m.running[a.Instance] = a
	}
}

func (m *model) halt(id cf.InstanceID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.running, id)
}

// reconcile is what a cell does at its start.
func (m *model) reconcile() {
	for cell := range maps.Clone(m.present) {
		holds, _, _, err := m.Holds(ctx, cell)
		m.must(err)
		held := map[cf.InstanceID]bool{}
		m.mu.Lock()
		var lost []cf.ActualLRP
		for _, a := range holds {
			held[a.Instance] = true
			if _, ok := m.running[a.Instance]; !ok {
				lost = append(lost, a)
			}
		}
		maps.DeleteFunc(m.running, func(id cf.InstanceID, a cf.ActualLRP) bool { return a.Cell == cell && !held[id] })
		m.mu.Unlock()
		for _, a := range lost {
			m.must(m.Stopped(ctx, a))
		}
	}
}

// slots checks what is true at every moment.
func (m *model) slots(rt *rapid.T) {
	have := m.all()
	n, ids := map[cf.ProcessID]int{}, map[cf.InstanceID]bool{}
	for _, a := range have {
		if a.Index != n[a.LRP] || a.Instance != "" && ids[a.Instance] || (a.Instance == "") != (a.Cell == "") {
			rt.Fatalf("slots %+v", have)
		}
		n[a.LRP]++
		ids[a.Instance] = true
	}
	for p, want := range m.desired {
		if n[p] != want {
			rt.Fatalf("%s: %d slots, desired %d", p, n[p], want)
		}
		delete(n, p)
	}
	if len(n) > 0 {
		rt.Fatalf("not desired: %v", n)
	}
}

// calm mends everything and lets the cells do their work until what runs is what is desired, or all waits are over.
func (m *model) calm() (wrong string) {
	m.flaky(false)
	for range 40 {
		for _, a := range m.all() {
			if a.State != cf.LRPRunning && a.Instance != "" {
				if err := errors.Join(m.Claimed(ctx, a), m.Started(ctx, a)); err != nil && !cf.IsKind(err, cf.KindConflict) {
					m.must(err)
				}
			}
		}
		if wrong = m.wrong(); wrong == "" {
			break
		}
		time.Sleep(time.Minute)
	}
	return wrong
}

// wrong compares what is desired, what the brain believes and what the cells run.
func (m *model) wrong() string {
	have := m.all()
	for _, a := range have {
		if _, ok := clone(m.world, m.running)[a.Instance]; a.State != cf.LRPRunning || !ok {
			return fmt.Sprintf("not running on its cell: %+v", a)
		}
	}
	if len(have) != len(m.on()) {
		return fmt.Sprintf("%d instances, %d on the cells: %+v %+v", len(have), len(m.on()), have, m.on())
	}
	heard := map[cf.InstanceID]bool{}
	for _, c := range get(&m.mu, &m.crashes) {
		heard[c.Instance] = true
	}
	if !maps.Equal(heard, m.told) {
		return fmt.Sprintf("crashes %v, heard of %v", m.told, heard)
	}
	if n, err := m.DB.Read().NewSelect().Table("bbs_stop").Count(ctx); n != 0 || err != nil {
		return fmt.Sprintf("%d stops left (%v)", n, err)
	}
	return ""
}
