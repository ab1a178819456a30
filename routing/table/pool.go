package table

import (
	"slices"
	"sync/atomic"
	"time"
)

// Endpoint is one instance at one address. Its fields do not change; all its routes share it.
type Endpoint struct {
	Addr     string // host:port
	App      string
	Instance string
	Index    string
	Tags     map[string]string // of the log lines about it; never changed
	Weight   int32             // 0 = no opinion: equal shares

	refs     int32 // leases in pools that hold it; under Table.mu
	updated  int64 // endpoint_updated_at_ns; under Table.mu
	inFlight atomic.Int32
	replaced atomic.Bool // another instance has its address
	failed   atomic.Int64
}

func (e *Endpoint) key() string { return e.Addr }
func (e *Endpoint) dead() bool  { return e.refs == 0 || e.replaced.Load() }

// Begin counts a request in; End counts it out.
func (e *Endpoint) Begin() { e.inFlight.Add(1) }

// End is the other half of Begin.
func (e *Endpoint) End() { e.inFlight.Add(-1) }

// InFlight is the number of requests and tunnels under way.
func (e *Endpoint) InFlight() int { return int(e.inFlight.Load()) }

// failFor is how long an endpoint that failed is passed over while others are there.
const failFor = 2 * time.Second

// Failed notes that the endpoint could not be reached.
func (e *Endpoint) Failed(now time.Time) { e.failed.Store(now.UnixNano()) }

// Pool is the endpoints of one route.
type Pool struct {
	path    string
	set     atomic.Pointer[[]*Lease] // never changed once published
	emptied uint32                   // when the last endpoint left, seconds since 1970; under Table.mu
	next    atomic.Uint32
	least   atomic.Bool
	known   atomic.Bool // of a host's root: the route exists
}

func (p *Pool) leases() []*Lease {
	if s := p.set.Load(); s != nil {
		return *s
	}
	return nil
}

// Len is the number of endpoints.
func (p *Pool) Len() int { return len(p.leases()) }

// Path is the context path of the route, "" for the root.
func (p *Pool) Path() string { return p.path }

// put adds l, in the place of an older lease of the same address.
func (p *Pool) put(l *Lease) {
	l.end.refs++
	old := p.leases()
	list := make([]*Lease, len(old), len(old)+1)
	copy(list, old)
	if i := slices.IndexFunc(list, func(o *Lease) bool { return o.end.Addr == l.end.Addr }); i >= 0 {
		list[i].drop()
		list[i] = l
	} else {
		list = append(list, l)
	}
	p.set.Store(&list)
}

func (l *Lease) drop() {
	l.dead.Store(true)
	l.end.refs--
}

// remove takes out what which names.
func (p *Pool) remove(now time.Time, which func(*Lease) bool) (n int) {
	old := p.leases()
	if !slices.ContainsFunc(old, which) {
		return 0
	}
	list := make([]*Lease, 0, len(old))
	for _, l := range old {
		if which(l) {
			l.drop()
			n++
		} else {
			list = append(list, l)
		}
	}
	if len(list) == 0 {
		p.emptied = uint32(now.Unix())
		p.set.Store(nil)
		return n
	}
	p.set.Store(&list)
	return n
}

// Pick says which endpoints a request may go to.
type Pick struct {
	Now   time.Time
	Limit int                    // in-flight requests an endpoint may have; 0 = any
	Tried []*Endpoint            // not these
	Only  func(e *Endpoint) bool // nil = all
}

// Pick chooses by round robin, or the fewest requests under way where the route asked for least-connection. Endpoints
// that failed just now come last. Nil: none is left; full tells that some would be there but for the limit.
func (p *Pool) Pick(c Pick) (e *Endpoint, full bool) {
	list := p.leases()
	if len(list) == 0 {
		return nil, false
	}
	first, least, now := int(p.next.Add(1)%uint32(len(list))), p.least.Load(), c.Now.UnixNano()
	var last *Endpoint // the best of those that failed just now
	for i := range list {
		k := first + i
		if k >= len(list) {
			k -= len(list)
		}
		end := list[k].end
		if end.replaced.Load() || slices.Contains(c.Tried, end) || c.Only != nil && !c.Only(end) {
			continue
		}
		if c.Limit > 0 && end.InFlight() >= c.Limit {
			full = true
			continue
		}
		if f := end.failed.Load(); f != 0 && now-f < int64(failFor) {
			if last == nil || end.failed.Load() < last.failed.Load() {
				last = end
			}
			continue
		}
		if !least {
			return end, false
		}
		if e == nil || end.inFlight.Load() < e.inFlight.Load() {
			e = end
		}
	}
	if e == nil {
		e = last
	}
	return e, full && e == nil
}

// Find gives the first endpoint for which is true: a sticky session's, or the one a client names.
func (p *Pool) Find(is func(*Endpoint) bool) *Endpoint {
	for _, l := range p.leases() {
		if !l.end.replaced.Load() && is(l.end) {
			return l.end
		}
	}
	return nil
}
