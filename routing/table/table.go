// Package table is the router's memory: which endpoints answer for which host and path.
//
// It promises that a lookup takes no lock and allocates nothing, that a change costs the same whatever the size of the
// table, that a refresh of an unchanged registration is one atomic store (Lease.Refresh), and that an older message
// never undoes a newer one. It does no I/O and starts nothing: its owner tells it the time.
// It will not decide which requests may be retried, nor hold connections.
package table

import (
	"maps"
	"math"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ingot/cf"
	"ingot/kit/clock"
)

// Table holds the routes. The zero value works.
type Table struct {
	Stale    time.Duration // a registration not repeated this long is dropped; 0 = 120 s (CF's droplet_stale_threshold)
	EmptyFor time.Duration // how long a route without endpoints still answers "no endpoints" before it is unknown; 0 = 10 s

	mu     sync.Mutex // held by writers; readers take no lock
	hosts  [64]index[host, *host]
	ends   [2]index[Endpoint, *Endpoint] // by protocol: an instance may be registered with both
	grace  int64                         // registrations count as seen at least then, clock.Nanos
	routes atomic.Int64
}

// host is what one name (or wildcard, whose name begins with a dot) serves.
type host struct {
	name string
	root Pool                    // of the name without a path; there only while known
	sub  atomic.Pointer[[]*Pool] // context paths, longest first; never changed once published
}

func (h *host) key() string { return h.name }
func (h *host) dead() bool  { return !h.root.known.Load() && h.sub.Load() == nil }

// Lease is one registration: an endpoint for all the URIs of one message. It is dead once any of them was taken away
// or taken over, so that the same message, sent again, is applied again.
type Lease struct {
	end   *Endpoint
	seen  atomic.Int64 // clock.Nanos
	stale uint16       // seconds
	share uint16       // weight of the destination that end belongs to; 0 = no opinion
	dead  atomic.Bool
}

// Refresh tells that the same message came again. False: the message must be registered anew.
func (l *Lease) Refresh(now time.Time) bool {
	if l.dead.Load() || l.end.replaced.Load() {
		return false
	}
	l.seen.Store(clock.Nanos(now))
	return true
}

// Live tells whether Refresh can still succeed.
func (l *Lease) Live() bool { return !l.dead.Load() && !l.end.replaced.Load() }

// Register applies a router.register message. It returns nil when the message is older than what the table knows of the
// endpoint, or names no endpoint.
func (t *Table) Register(m cf.RouteMessage, now time.Time) *Lease {
	if m.Host == "" || m.Port <= 0 || m.Port > 65535 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.endpoint(m)
	if e == nil {
		return nil
	}
	stale := int(t.Stale / time.Second)
	if m.StaleSeconds > 0 {
		stale = m.StaleSeconds
	} else if stale == 0 {
		stale = 120
	}
	l := &Lease{end: e, stale: uint16(min(stale, math.MaxUint16)), share: uint16(min(max(m.Weight, 0), maxWeight))}
	l.seen.Store(clock.Nanos(now))
	o := readOptions(m.Options)
	for _, uri := range m.URIs {
		name, path := split(uri)
		if name == "" {
			continue
		}
		p := t.pool(name, path)
		p.setOptions(o)
		p.put(l)
	}
	return l
}

// endpoint finds or makes the endpoint that m speaks of; nil when m is out of date.
func (t *Table) endpoint(m cf.RouteMessage) *Endpoint {
	var room [64]byte
	addr, protocol := appendAddr(room[:0], m.Host, m.Port), protocolOf(m)
	for i := range t.ends {
		switch other := t.ends[i].get(addr); {
		case other == nil:
		case m.UpdatedNS != 0 && m.UpdatedNS < other.updated:
			return nil
		case other.Instance != m.InstanceID || other.App != m.App:
			other.replaced.Store(true) // somebody else lives at this address now: its old routes must not lead here
		}
	}
	if old := t.ends[protocol].get(addr); old != nil && old.same(m) {
		old.updated = max(old.updated, m.UpdatedNS)
		return old
	}
	// One allocation for all the names.
	all := string(addr) + m.App + m.InstanceID + m.InstanceIndex
	cut := func(n int) string { s := all[:n]; all = all[n:]; return s }
	e := &Endpoint{Addr: cut(len(addr)), App: cut(len(m.App)), Instance: cut(len(m.InstanceID)), Index: cut(len(m.InstanceIndex)),
		Tags: m.Tags, HTTP2: protocol == 1, updated: m.UpdatedNS}
	t.ends[protocol].put(e)
	return e
}

// protocolOf is the place in Table.ends for the message's protocol.
func protocolOf(m cf.RouteMessage) int {
	if m.Protocol == "http2" {
		return 1
	}
	return 0
}

func (e *Endpoint) same(m cf.RouteMessage) bool {
	return !e.replaced.Load() && e.Instance == m.InstanceID && e.App == m.App && e.Index == m.InstanceIndex && maps.Equal(e.Tags, m.Tags)
}

func appendAddr(b []byte, host string, port int) []byte {
	if strings.IndexByte(host, ':') >= 0 {
		return append(b, net.JoinHostPort(host, strconv.Itoa(port))...)
	}
	b = append(b, host...)
	b = append(b, ':')
	return strconv.AppendInt(b, int64(port), 10)
}

// Unregister applies a router.unregister message: the endpoint is taken out of the named URIs, unless it was
// registered by a newer message.
func (t *Table) Unregister(m cf.RouteMessage, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	addr := string(appendAddr(nil, m.Host, m.Port))
	for _, uri := range m.URIs {
		name, path := split(uri)
		h := t.shard(name).get([]byte(name))
		if h == nil {
			continue
		}
		p := h.find(path)
		if p == nil {
			continue
		}
		p.remove(now, func(l *Lease) bool {
			return l.end.Addr == addr && (m.InstanceID == "" || l.end.Instance == m.InstanceID) &&
				(m.UpdatedNS == 0 || m.UpdatedNS >= l.end.updated)
		})
	}
}

// Prune drops registrations that were not repeated in time, and routes that have had no endpoint for EmptyFor.
func (t *Table) Prune(now time.Time) (dropped int) {
	emptyFor := t.EmptyFor
	if emptyFor == 0 {
		emptyFor = 10 * time.Second
	}
	ns := clock.Nanos(now)
	before := ns - int64(emptyFor)
	for i := range t.hosts {
		t.mu.Lock()
		t.hosts[i].each(func(h *host) {
			gone := false
			for _, p := range h.pools() {
				dropped += p.remove(now, func(l *Lease) bool {
					return l.end.replaced.Load() || ns-max(l.seen.Load(), t.grace) > int64(l.stale)*int64(time.Second)
				})
				if p.Len() == 0 && p.emptied <= before {
					gone = true
				}
			}
			if gone {
				t.sweep(h, before)
			}
		})
		t.mu.Unlock()
	}
	return dropped
}

// Grace counts all registrations as repeated now: after a time in which messages could not arrive.
func (t *Table) Grace(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.grace = clock.Nanos(now)
}

// Len is the number of routes, those without endpoints included.
func (t *Table) Len() int { return int(t.routes.Load()) }

func (t *Table) shard(name string) *index[host, *host] { return &t.hosts[hash([]byte(name))>>58] }

// pool finds or makes the pool of a route.
func (t *Table) pool(name, path string) *Pool {
	s := t.shard(name)
	h := s.get([]byte(name))
	if h == nil {
		h = &host{name: strings.Clone(name)}
		defer s.put(h) // with its first pool, so that it is not seen dead
	} else if p := h.find(path); p != nil {
		return p
	}
	t.routes.Add(1)
	if path == "" {
		h.root.known.Store(true)
		return &h.root
	}
	path = strings.Clone(path)
	p := &Pool{path: &path}
	h.setSub(append(h.subs(), p))
	return p
}

// sweep forgets the pools of h that have been empty since before.
func (t *Table) sweep(h *host, before int64) {
	gone := func(p *Pool) bool { return p.Len() == 0 && p.emptied <= before }
	if h.root.known.Load() && gone(&h.root) {
		h.root.known.Store(false)
		t.routes.Add(-1)
	}
	var keep []*Pool
	for _, p := range h.subs() {
		if gone(p) {
			t.routes.Add(-1)
		} else {
			keep = append(keep, p)
		}
	}
	h.setSub(keep)
}
