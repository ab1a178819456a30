package table

import (
	"math"
	"slices"
	"strconv"
	"time"

	"ingot/kit/clock"
)

// options are a route's own (CF's per-route options).
type options struct {
	least   bool    // loadbalancing: least-connection
	header  string  // loadbalancing: hash; the header whose value chooses the instance; "" = no hash
	balance float64 // hash_balance: how many times the mean of requests under way an instance may have; 0 = any
}

const maxHashHeader = 128 // characters, as in RFC-0042

func readOptions(m map[string]string) (o options) {
	switch m["loadbalancing"] {
	case "least-connection":
		o.least = true
	case "hash":
		h := m["hash_header"]
		if h == "" || len(h) > maxHashHeader {
			return options{}
		}
		o.header = h
		if b, err := strconv.ParseFloat(m["hash_balance"], 64); err == nil && b > 0 && !math.IsInf(b, 0) {
			o.balance = max(b, 1) // with less than the mean, nobody could be chosen
		}
	}
	return o
}

// HashHeader is the header whose value Pick.Hash needs, "" for none.
func (p *Pool) HashHeader() string {
	if r := p.policy.Load(); r != nil {
		return r.header
	}
	return ""
}

// Pick says which endpoints a request may go to.
type Pick struct {
	Now   time.Time
	Limit int                    // in-flight requests an endpoint may have; 0 = any
	Tried []*Endpoint            // not these
	Only  func(e *Endpoint) bool // nil = all
	Hash  string                 // the value of HashHeader; "" = it is absent: as without the option
}

// may tells whether e can be chosen, and whether only its limit forbids it.
func (c *Pick) may(e *Endpoint) (ok, full bool) {
	if e.replaced.Load() || slices.Contains(c.Tried, e) || c.Only != nil && !c.Only(e) {
		return false, false
	}
	if c.Limit > 0 && e.InFlight() >= c.Limit {
		return false, true
	}
	return true, false
}

// Pick chooses by round robin, by weight, by hash, or the fewest requests under way, as the route asked. Endpoints that
// failed just now come last, but they are not dropped. Nil: none is left; full tells that some would be there but for
// the limit.
func (p *Pool) Pick(c Pick) (e *Endpoint, full bool) {
	list, rules := p.leases(), p.rules()
	if len(list) == 0 {
		return nil, false
	}
	if rules.header != "" && c.Hash != "" {
		return pickHash(list, rules.shares, c, rules.balance)
	}
	turn := p.next.Add(1)
	if rules.shares != nil {
		return rules.pick(turn, c, rules.least)
	}
	e, _, full = pickFrom(list, turn, c, rules.least)
	return e, full && e == nil
}

// pickFrom chooses from a list, beginning at a turn; failing tells that it failed just now.
func pickFrom(list []*Lease, turn uint32, c Pick, least bool) (e *Endpoint, failing, full bool) {
	first, now := int(turn%uint32(len(list))), clock.Nanos(c.Now)
	var last *Endpoint // the best of those that failed just now
	for i := range list {
		k := first + i
		if k >= len(list) {
			k -= len(list)
		}
		end := list[k].end
		if ok, f := c.may(end); !ok {
			full = full || f
			continue
		}
		if end.failing(now) {
			last = earlier(last, end)
			continue
		}
		if !least {
			return end, false, full
		}
		if e == nil || end.inFlight.Load() < e.inFlight.Load() {
			e = end
		}
	}
	if e == nil {
		return last, true, full
	}
	return e, false, full
}

// failing tells that e failed just now.
func (e *Endpoint) failing(now int64) bool {
	f := e.failed.Load()
	return f != 0 && now-f < int64(failFor)
}

// earlier gives the one that failed longer ago; a may be nil.
func earlier(a, b *Endpoint) *Endpoint {
	if a == nil || b.failed.Load() < a.failed.Load() {
		return b
	}
	return a
}

// pickHash chooses by weighted rendezvous hashing: the same value leads to the same instance on all routers, and only the
// values of an instance that comes or goes move. An instance with more requests than balance times the mean is passed
// over for the value's next one.
func pickHash(list []*Lease, s *shares, c Pick, balance float64) (e *Endpoint, full bool) {
	most := math.Inf(1)
	if balance > 0 {
		sum := 1.0 // with this one
		for _, l := range list {
			sum += float64(l.end.InFlight())
		}
		most = math.Ceil(balance * sum / float64(len(list)))
	}
	var best [3]*Endpoint // well, too busy, failed
	var score [3]float64
	try := func(end *Endpoint, weight float64) {
		ok, f := c.may(end)
		if full = full || f; !ok {
			return
		}
		class := 0
		if end.failing(clock.Nanos(c.Now)) {
			class = 2
		} else if float64(end.InFlight())+1 > most {
			class = 1
		}
		if s := -weight / math.Log(uniform(c.Hash, end)); best[class] == nil || s > score[class] {
			best[class], score[class] = end, s
		}
	}
	if s == nil {
		for _, l := range list {
			try(l.end, 1)
		}
	} else {
		for _, d := range s.dests {
			for _, l := range d.leases {
				try(l.end, float64(d.weight)/float64(len(d.leases)))
			}
		}
	}
	for _, b := range best {
		if b != nil {
			return b, false
		}
	}
	return nil, full
}

// uniform spreads pairs of a value and an instance over (0, 1), the same in every process.
func uniform(value string, e *Endpoint) float64 {
	const prime = 1099511628211 // FNV-1a
	h := uint64(14695981039346656037)
	for i := range len(value) {
		h = (h ^ uint64(value[i])) * prime
	}
	h = (h ^ 0xff) * prime
	id := e.Instance
	if id == "" {
		id = e.Addr
	}
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * prime
	}
	h ^= h >> 30 // splitmix64's end: FNV alone hardly changes the upper bits for a last byte
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	h ^= h >> 31
	return (float64(h>>11) + 0.5) / (1 << 53)
}
