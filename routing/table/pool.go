package table

import (
	"slices"
	"sync/atomic"
	"time"

	"ingot/kit/clock"
)

// Endpoint is one instance at one address. Its fields do not change; all its routes share it.
type Endpoint struct {
	Addr     string // host:port
	App      string
	Instance string
	Index    string
	Tags     map[string]string // of the log lines about it; never changed
	HTTP2    bool              // it wants HTTP/2 without TLS

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

// failFor is how long an endpoint that failed is passed over while others are there, as gorouter's.
const failFor = 30 * time.Second

// Failed notes that the endpoint could not be reached.
func (e *Endpoint) Failed(now time.Time) { e.failed.Store(clock.Nanos(now)) }

// Works takes Failed back: it answered.
func (e *Endpoint) Works() {
	if e.failed.Load() != 0 {
		e.failed.Store(0)
	}
}

// Pool is the endpoints of one route.
type Pool struct {
	path    *string                  // nil: the root
	set     atomic.Pointer[[]*Lease] // never changed once published
	policy  atomic.Pointer[policy]   // nil: round robin over all; never changed once published
	emptied int64                    // when the last endpoint left, clock.Nanos; under Table.mu
	next    atomic.Uint32
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
func (p *Pool) Path() string {
	if p.path == nil {
		return ""
	}
	return *p.path
}

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
	p.publish(list)
}

// publish sets the pool's leases, and what follows from them.
func (p *Pool) publish(list []*Lease) {
	p.setPolicy(p.rules().options, share(list))
	p.set.Store(&list)
}

// policy is how a pool chooses.
type policy struct {
	options
	*shares // nil: no weights
}

// rules gives the policy by value.
func (p *Pool) rules() policy {
	if r := p.policy.Load(); r != nil {
		return *r
	}
	return policy{}
}

func (p *Pool) setOptions(o options) {
	if r := p.rules(); r.options != o {
		p.setPolicy(o, r.shares)
	}
}

func (p *Pool) setPolicy(o options, s *shares) {
	if s == nil && o == (options{}) {
		p.policy.Store(nil)
		return
	}
	p.policy.Store(&policy{o, s})
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
		p.emptied = clock.Nanos(now)
		p.setPolicy(p.rules().options, nil)
		p.set.Store(nil)
		return n
	}
	p.publish(list)
	return n
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
