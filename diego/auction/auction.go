// Package auction decides which cell runs which piece of work.
//
// It promises to be a pure function: the same work and cells give the same placements, without I/O, clock or chance.
// The order is Diego's: one instance of each LRP first, then tasks (in the order given, where Diego has the big ones first), then the
// other instances; zones are balanced before cells. It will not move anything that runs already, and it does not know who asks.
package auction

import (
	"cmp"
	"slices"
	"strings"

	"ingot/cf"
)

// Texts of placement errors, as Diego's auctioneer words them; insufficient resources are followed by their names.
const (
	noCells  = "unable to communicate to compatible cells"
	noMatch  = "found no compatible cell"
	noRoom   = "insufficient resources: "
	locality = 1000 // score of each instance of the same process on the cell (systems.md §11.0c)
	starting = 0.25 // score of each container that the cell is creating
)

var _ cf.Auction = Place

// Place finds a cell for each piece of work and answers in the order of work.
func Place(work []cf.Work, cells []cf.CellState) []cf.Placement {
	f := newField(work, cells)
	out := make([]cf.Placement, len(work))
	for _, i := range f.order(work) {
		w := work[i]
		w.Need.Containers = 1
		out[i] = f.place(w)
		out[i].Work = work[i]
	}
	return out
}

// bidder is a cell with the numbers that change while placing.
type bidder struct {
	id      cf.CellID
	zone    int
	total   cf.Resources
	free    cf.Resources
	mem     float64 // score of one megabyte
	disk    float64 // score of one megabyte
	one     float64 // score of one container
	base    float64 // score before the placement
	process int     // instances of the process that is being placed
}

// spread is where the instances of one process are.
type spread struct {
	cells map[int]int // by bidder
	zones []int       // by zone
}

// kind is what a cell must be to take work at all.
type kind struct{ segment, stack string }

type field struct {
	bidders []bidder
	zones   int
	kinds   map[kind][]int // bidders of the kind, by zone and id
	spreads map[cf.ProcessID]*spread
}

func newField(work []cf.Work, cells []cf.CellState) *field {
	cells = slices.Clone(cells)
	slices.SortFunc(cells, func(a, b cf.CellState) int {
		return cmp.Or(cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.ID, b.ID))
	})
	f := &field{kinds: map[kind][]int{}, spreads: map[cf.ProcessID]*spread{}}
	for i, c := range cells {
		if i == 0 || c.Zone != cells[i-1].Zone {
			f.zones++
		}
		f.bidders = append(f.bidders, newBidder(c, f.zones-1))
		for _, s := range c.Stacks {
			k := kind{c.Segment, s}
			f.kinds[k] = append(f.kinds[k], i)
		}
	}
	for _, w := range work {
		if w.LRP != "" && f.spreads[w.LRP] == nil {
			f.spreads[w.LRP] = &spread{cells: map[int]int{}, zones: make([]int, f.zones)}
		}
	}
	for i, c := range cells {
		for p, n := range c.Processes {
			if s := f.spreads[p]; s != nil {
				s.add(i, f.bidders[i].zone, n)
			}
		}
	}
	return f
}

func newBidder(c cf.CellState, zone int) bidder {
	third := func(total int) float64 {
		if total <= 0 {
			return 0
		}
		return 1 / float64(total) / 3
	}
	b := bidder{id: c.ID, zone: zone, total: c.Total, free: c.Free,
		mem: third(c.Total.MemoryMB), disk: third(c.Total.DiskMB), one: third(c.Total.Containers)}
	b.base = b.mem*float64(c.Total.MemoryMB-c.Free.MemoryMB) + b.disk*float64(c.Total.DiskMB-c.Free.DiskMB) +
		b.one*float64(c.Total.Containers-c.Free.Containers) + starting*float64(c.Starting)
	return b
}

func (s *spread) add(cell, zone, n int) {
	s.cells[cell] += n
	s.zones[zone] += n
}

// order gives the turns: an instance of each LRP that has none, then tasks, then the rest by index. Of LRPs the big ones
// are first; tasks keep the order in which they were given, so that who waits longest is first.
func (f *field) order(work []cf.Work) []int {
	first := map[cf.ProcessID]int{}
	for i, w := range work {
		if w.LRP == "" || len(f.spreads[w.LRP].cells) > 0 {
			continue
		}
		if j, ok := first[w.LRP]; !ok || w.Index < work[j].Index {
			first[w.LRP] = i
		}
	}
	turn := make([]int, len(work)) // 0: the first of its LRP, 1: a task, from 2: the rest
	order := make([]int, len(work))
	for i, w := range work {
		order[i], turn[i] = i, 2+w.Index
		if w.LRP == "" {
			turn[i] = 1
		} else if j, ok := first[w.LRP]; ok && i == j {
			turn[i] = 0
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if t := cmp.Compare(turn[a], turn[b]); t != 0 || turn[a] == 1 {
			return t
		}
		return cmp.Compare(work[b].Need.MemoryMB, work[a].Need.MemoryMB)
	})
	return order
}

// place finds the winner for w and books it.
func (f *field) place(w cf.Work) cf.Placement {
	able := f.kinds[kind{w.Segment, w.Stack}]
	if len(able) == 0 {
		if len(f.bidders) == 0 {
			return cf.Placement{Error: noCells}
		}
		return cf.Placement{Error: noMatch, Never: true}
	}
	s := f.spreads[w.LRP]
	if s != nil {
		for i, n := range s.cells {
			f.bidders[i].process = n
		}
	}
	won := f.winner(able, w.Need, s)
	if s != nil {
		for i := range s.cells {
			f.bidders[i].process = 0
		}
	}
	if won < 0 {
		return f.refusal(able, w.Need)
	}
	b := &f.bidders[won]
	b.free.MemoryMB -= w.Need.MemoryMB
	b.free.DiskMB -= w.Need.DiskMB
	b.free.Containers--
	b.base += b.cost(w.Need) + starting
	if s != nil {
		s.add(won, b.zone, 1)
	}
	return cf.Placement{Cell: b.id}
}

// winner is the cell with the lowest score in the zones that hold the fewest instances of the process and have room;
// -1 when no cell has room.
func (f *field) winner(able []int, need cf.Resources, s *spread) int {
	best, bestZone, bestScore := -1, 0, 0.0
	for _, i := range able {
		b := &f.bidders[i]
		if !fits(need, b.free) {
			continue
		}
		held := 0
		if s != nil {
			held = s.zones[b.zone]
		}
		score := b.base + b.cost(need) + locality*float64(b.process)
		if best < 0 || held < bestZone || held == bestZone && score < bestScore {
			best, bestZone, bestScore = i, held, score
		}
	}
	return best
}

func (b *bidder) cost(need cf.Resources) float64 {
	return b.mem*float64(need.MemoryMB) + b.disk*float64(need.DiskMB) + b.one
}

func fits(need, in cf.Resources) bool {
	return need.MemoryMB <= in.MemoryMB && need.DiskMB <= in.DiskMB && need.Containers <= in.Containers
}

// refusal names what is short on any of the cells, sorted.
func (f *field) refusal(able []int, need cf.Resources) cf.Placement {
	var containers, disk, memory bool
	never := true
	for _, i := range able {
		b := &f.bidders[i]
		containers = containers || b.free.Containers < need.Containers
		disk = disk || b.free.DiskMB < need.DiskMB
		memory = memory || b.free.MemoryMB < need.MemoryMB
		never = never && !fits(need, b.total)
	}
	var short []string
	for _, s := range []struct {
		name string
		is   bool
	}{{"containers", containers}, {"disk", disk}, {"memory", memory}} {
		if s.is {
			short = append(short, s.name)
		}
	}
	return cf.Placement{Error: noRoom + strings.Join(short, ", "), Never: never}
}
