package table

import (
	"slices"
	"strings"
	"sync/atomic"
)

// maxWeight bounds a destination's weight: CF allowed 1 to 128, and then 1 to 100.
const maxWeight = 128

// shares is how a route with weights is divided among its destinations: the apps or processes that it leads to,
// whatever number of instances each has.
type shares struct {
	dests []*dest // never changed but for next
	turns []uint16
}

type dest struct {
	name   string
	weight int
	leases []*Lease
	next   atomic.Uint32
}

// share divides the leases; nil when none has a weight. A destination without one, as there may be for a moment while
// weights are set, counts as 1.
func share(list []*Lease) *shares {
	if !slices.ContainsFunc(list, func(l *Lease) bool { return l.share > 0 }) {
		return nil
	}
	var s shares
	for _, l := range list {
		name := l.end.destination()
		i := slices.IndexFunc(s.dests, func(d *dest) bool { return d.name == name })
		if i < 0 {
			i = len(s.dests)
			s.dests = append(s.dests, &dest{name: name, weight: 1})
		}
		d := s.dests[i]
		d.leases, d.weight = append(d.leases, l), max(d.weight, int(l.share))
	}
	slices.SortFunc(s.dests, func(a, b *dest) int { return strings.Compare(a.name, b.name) }) // all routers make the same turns
	s.divide()
	return &s
}

// destination names the app, process and port that e is an instance of, as a route's destinations do: the old and the
// new process of a deployment are one.
func (e *Endpoint) destination() string {
	return e.App + "\n" + e.Tags["process_type"] + e.Addr[strings.LastIndexByte(e.Addr, ':'):]
}

// divide lays out one round of turns by smooth weighted round robin: each destination comes exactly as often as its
// weight says, and as evenly as can be.
func (s *shares) divide() {
	common, sum := 0, 0
	for _, d := range s.dests {
		common, sum = gcd(common, d.weight), sum+d.weight
	}
	s.turns = make([]uint16, sum/common)
	credit := make([]int, len(s.dests))
	for t := range s.turns {
		best := 0
		for i, d := range s.dests {
			if credit[i] += d.weight; credit[i] > credit[best] {
				best = i
			}
		}
		credit[best] -= sum
		s.turns[t] = uint16(best)
	}
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// pick chooses from the destination whose turn it is, or the next one that has somebody who can be reached.
func (s *shares) pick(turn uint32, c Pick, least bool) (*Endpoint, bool) {
	at := int(turn % uint32(len(s.turns)))
	d := s.turns[at]
	last, failing, full := pickFrom(s.dests[d].leases, s.dests[d].next.Add(1), c, least)
	if last != nil && !failing {
		return last, false
	}
	asked := make([]bool, len(s.dests))
	asked[d] = true
	for i := range s.turns {
		if d = s.turns[(at+i)%len(s.turns)]; asked[d] {
			continue
		}
		asked[d] = true
		e, failing, f := pickFrom(s.dests[d].leases, s.dests[d].next.Add(1), c, least)
		if full = full || f; e == nil {
			continue
		}
		if !failing {
			return e, false
		}
		last = earlier(last, e)
	}
	return last, full && last == nil
}
