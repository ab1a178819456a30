package auction

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"ingot/cf"
)

func cell(id, zone string, free, total int) cf.CellState {
	return cf.CellState{ID: cf.CellID(id), Zone: zone, Stacks: []string{"fs"},
		Total: cf.Resources{MemoryMB: total, DiskMB: total, Containers: 250},
		Free:  cf.Resources{MemoryMB: free, DiskMB: free, Containers: 250}}
}

func lrp(id string, index, mb int) cf.Work {
	return cf.Work{LRP: cf.ProcessID(id), Index: index, Stack: "fs", Need: cf.Resources{MemoryMB: mb, DiskMB: mb}}
}

func task(id string, mb int) cf.Work {
	return cf.Work{Task: cf.TaskID(id), Stack: "fs", Need: cf.Resources{MemoryMB: mb, DiskMB: mb}}
}

func TestPlace(t *testing.T) {
	full := cell("a", "z1", 100, 100)
	full.Free.Containers = 0
	busy := cell("a", "z1", 1000, 1000)
	busy.Starting = 4
	holding := cell("a", "z1", 900, 1000)
	holding.Processes = map[cf.ProcessID]int{"p": 1}
	roomy := cf.Resources{MemoryMB: 9, DiskMB: 9, Containers: 9}
	for _, c := range []struct {
		name  string
		work  []cf.Work
		cells []cf.CellState
		want  []string // cell or error
	}{
		{"no work", nil, nil, []string{}},
		{"no cells", []cf.Work{lrp("p", 0, 1)}, nil, []string{"unable to communicate to compatible cells"}},
		{"other stack", []cf.Work{{LRP: "p", Stack: "windows"}}, []cf.CellState{cell("a", "z", 9, 9)}, []string{"found no compatible cell"}},
		{"other segment", []cf.Work{{LRP: "p", Segment: "iso", Stack: "fs"}}, []cf.CellState{cell("a", "z", 9, 9)}, []string{"found no compatible cell"}},
		{"own segment", []cf.Work{{LRP: "p", Segment: "iso", Stack: "fs"}, lrp("q", 0, 1)},
			[]cf.CellState{{ID: "i", Segment: "iso", Stacks: []string{"fs"}, Total: roomy, Free: roomy}}, []string{"i", "found no compatible cell"}},
		{"too big", []cf.Work{lrp("p", 0, 101)}, []cf.CellState{cell("a", "z", 100, 100)}, []string{"insufficient resources: disk, memory"}},
		{"memory only", []cf.Work{{LRP: "p", Stack: "fs", Need: cf.Resources{MemoryMB: 101}}}, []cf.CellState{cell("a", "z", 100, 100)},
			[]string{"insufficient resources: memory"}},
		{"containers", []cf.Work{task("t", 1)}, []cf.CellState{full}, []string{"insufficient resources: containers"}},
		{"emptier cell", []cf.Work{lrp("p", 0, 10)}, []cf.CellState{cell("a", "z", 50, 100), cell("b", "z", 90, 100)}, []string{"b"}},
		{"tie by id", []cf.Work{lrp("p", 0, 10)}, []cf.CellState{cell("b", "z", 90, 100), cell("a", "z", 90, 100)}, []string{"a"}},
		{"starting containers cost", []cf.Work{lrp("p", 0, 10)}, []cf.CellState{busy, cell("b", "z1", 500, 1000)}, []string{"b"}},
		{"away from its own kind", []cf.Work{lrp("p", 1, 10)}, []cf.CellState{holding, cell("b", "z1", 300, 1000)}, []string{"b"}},
		{"zone before cell", []cf.Work{lrp("p", 1, 10)}, []cf.CellState{holding, cell("b", "z1", 1000, 1000), cell("c", "z2", 100, 1000)}, []string{"c"}},
		{"full zone falls back", []cf.Work{lrp("p", 1, 10)}, []cf.CellState{holding, cell("c", "z2", 1, 1000)}, []string{"a"}},
		{"first instances, then tasks, then the rest", []cf.Work{lrp("p", 1, 40), task("t", 40), lrp("p", 0, 40), lrp("q", 0, 40)},
			[]cf.CellState{cell("a", "z", 120, 120)}, []string{"insufficient resources: disk, memory", "a", "a", "a"}},
		{"tasks in their order", []cf.Work{task("old", 10), task("new", 95)}, []cf.CellState{cell("a", "z", 100, 100)},
			[]string{"a", "insufficient resources: disk, memory"}},
		{"a task that fits passes one that does not", []cf.Work{task("old", 95), task("new", 10)}, []cf.CellState{cell("a", "z", 50, 100)},
			[]string{"insufficient resources: disk, memory", "a"}},
		{"big ones first", []cf.Work{lrp("p", 0, 10), lrp("q", 0, 95)}, []cf.CellState{cell("a", "z", 100, 100)},
			[]string{"insufficient resources: disk, memory", "a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := []string{}
			for _, p := range Place(c.work, c.cells) {
				got = append(got, string(p.Cell)+p.Error)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestNever(t *testing.T) {
	cells := []cf.CellState{cell("a", "z", 10, 100)}
	got := Place([]cf.Work{task("later", 50), task("never", 500)}, cells)
	if got[0].Never || got[0].Error == "" || !got[1].Never {
		t.Errorf("later %+v, never %+v", got[0], got[1])
	}
}

func draw(t *rapid.T) (work []cf.Work, cells []cf.CellState) {
	for i := range rapid.IntRange(0, 12).Draw(t, "cells") {
		c := cell(fmt.Sprintf("c%02d", i), fmt.Sprintf("z%d", rapid.IntRange(0, 2).Draw(t, "zone")), 0, 1000)
		c.Free.MemoryMB = rapid.IntRange(0, 1000).Draw(t, "mem")
		c.Free.DiskMB = rapid.IntRange(0, 1000).Draw(t, "disk")
		c.Free.Containers = rapid.IntRange(0, 10).Draw(t, "containers")
		cells = append(cells, c)
	}
	for i := range rapid.IntRange(0, 8).Draw(t, "lrps") {
		mb := rapid.IntRange(1, 300).Draw(t, "mb")
		for j := range rapid.IntRange(1, 6).Draw(t, "instances") {
			work = append(work, lrp(fmt.Sprint("p", i), j, mb))
		}
	}
	for i := range rapid.IntRange(0, 5).Draw(t, "tasks") {
		work = append(work, task(fmt.Sprint("t", i), rapid.IntRange(1, 300).Draw(t, "mb")))
	}
	return work, cells
}

// No cell is overfilled, everything is either placed or told why, and what is
// refused really fits nowhere at the end.
func TestPlaceProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		work, cells := draw(t)
		free := map[cf.CellID]cf.Resources{}
		for _, c := range cells {
			free[c.ID] = c.Free
		}
		got := Place(work, cells)
		for i, p := range got {
			if (p.Cell == "") == (p.Error == "") || p.LRP != work[i].LRP || p.Index != work[i].Index || p.Task != work[i].Task {
				t.Fatalf("placement %+v of %+v", p, work[i])
			}
			if p.Cell == "" {
				continue
			}
			f, ok := free[p.Cell]
			if f = (cf.Resources{MemoryMB: f.MemoryMB - p.Need.MemoryMB, DiskMB: f.DiskMB - p.Need.DiskMB, Containers: f.Containers - 1}); !ok ||
				f.MemoryMB < 0 || f.DiskMB < 0 || f.Containers < 0 {
				t.Fatalf("cell %s is overfilled by %+v: %+v", p.Cell, p, f)
			}
			free[p.Cell] = f
		}
		for _, p := range got {
			for id, f := range free {
				if p.Cell == "" && p.Need.MemoryMB <= f.MemoryMB && p.Need.DiskMB <= f.DiskMB && f.Containers > 0 {
					t.Fatalf("%+v would fit on %s", p, id)
				}
			}
		}
	})
}

// With room everywhere, the instances of a process differ by at most one between zones, and between the cells of a zone.
func TestSpread(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zones, each, n := rapid.IntRange(1, 4).Draw(t, "zones"), rapid.IntRange(1, 5).Draw(t, "cells"), rapid.IntRange(1, 40).Draw(t, "n")
		var cells []cf.CellState
		for z := range zones {
			for c := range each {
				cells = append(cells, cell(fmt.Sprint(z, "-", c), fmt.Sprint("z", z), 100000-rapid.IntRange(0, 50000).Draw(t, "used"), 100000))
			}
		}
		var work []cf.Work
		for i := range n {
			work = append(work, lrp("p", i, 1))
		}
		byZone, byCell := map[byte]int{}, map[cf.CellID]int{}
		for _, p := range Place(work, cells) {
			byZone[p.Cell[0]]++
			byCell[p.Cell]++
		}
		for _, c := range cells {
			for _, d := range cells {
				if z := byZone[c.ID[0]] - byZone[d.ID[0]]; z > 1 {
					t.Fatalf("zones %v", byZone)
				}
				if c.Zone == d.Zone && byCell[c.ID]-byCell[d.ID] > 1 {
					t.Fatalf("cells %v", byCell)
				}
			}
		}
	})
}

// The order of the cells does not matter.
func TestPure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		work, cells := draw(t)
		a, b := Place(work, cells), Place(work, rapid.Permutation(cells).Draw(t, "cells"))
		if !slices.Equal(a, b) {
			t.Fatalf("%v and %v", a, b)
		}
	})
}

func BenchmarkPlace1000Cells(b *testing.B) {
	var cells []cf.CellState
	for i := range 1000 {
		cells = append(cells, cell(fmt.Sprintf("c%04d", i), fmt.Sprint("z", i%3), 1<<20, 1<<20))
	}
	work := make([]cf.Work, 0, 10000)
	for i := range cap(work) {
		work = append(work, lrp(fmt.Sprint("p", i/5), i%5, 64))
	}
	for b.Loop() {
		Place(work, cells)
	}
	b.ReportMetric(float64(len(work))*float64(b.N)/b.Elapsed().Seconds(), "placements/s")
}
