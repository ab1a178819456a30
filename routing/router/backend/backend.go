// Package backend keeps connections to instances for the next request.
//
// It promises that a connection is handed out to one request at a time, and only while it looks alive, and that idle
// ones are closed after a few seconds, before the usual servers close them. It will not read or write them.
package backend

import (
	"bufio"
	"context"
	"hash/maphash"
	"net"
	"sync"
	"syscall"
	"time"

	"ingot/routing/table"
)

// Conn is a connection to an instance.
type Conn struct {
	net.Conn
	Reader   *bufio.Reader // of Conn
	Endpoint *table.Endpoint
	Reused   bool // it served a request before

	raw   syscall.RawConn // nil where liveness cannot be asked
	idle  time.Time       // since when
	until time.Time       // the write deadline
}

// New makes a Conn of a fresh connection to e.
func New(nc net.Conn, e *table.Endpoint) *Conn {
	c := &Conn{Conn: nc, Reader: bufio.NewReader(nc), Endpoint: e}
	if t, ok := nc.(*net.TCPConn); ok {
		c.raw, _ = t.SyscallConn() // nil: it is taken to be alive
	}
	return c
}

// WriteWithin lets writes fail after about d.
func (c *Conn) WriteWithin(d time.Duration) { Within(c.SetWriteDeadline, &c.until, d) }

// Within moves a deadline to d from now, unless it already is about there: setting it each time would cost more.
func Within(set func(time.Time) error, until *time.Time, d time.Duration) {
	now := time.Now()
	if left := until.Sub(now); left < d-d/10 || left > d {
		*until = now.Add(d)
		_ = set(*until) // fails with the connection, as the next use of it will
	}
}

// Pool holds idle connections. The zero value works.
type Pool struct{ shards [16]shelf }

type shelf struct {
	mu   sync.Mutex
	idle map[*table.Endpoint][]*Conn
}

const (
	maxIdle   = 100                    // connections kept for one instance
	idleFor   = 4 * time.Second        // less than the 5 s after which Node closes
	freshFor  = time.Second            // the same for a request that cannot be sent twice
	sureFor   = 500 * time.Microsecond // so short that asking whether the connection is alive is not worth it
	sweepTime = time.Second
)

// seed spreads endpoints over shelves.
var seed = maphash.MakeSeed()

func (p *Pool) shelf(e *table.Endpoint) *shelf {
	return &p.shards[maphash.Comparable(seed, e)%uint64(len(p.shards))]
}

// Get takes an idle connection, nil if there is none. A request that cannot be sent twice (once) gets only a connection
// that was used a moment ago and is alive for sure.
func (p *Pool) Get(e *table.Endpoint, once bool) *Conn {
	old, sure := idleFor, sureFor
	if once {
		old, sure = freshFor, 0
	}
	s := p.shelf(e)
	for {
		s.mu.Lock()
		list := s.idle[e]
		if len(list) == 0 {
			s.mu.Unlock()
			return nil
		}
		c := list[len(list)-1]
		list[len(list)-1] = nil
		s.idle[e] = list[:len(list)-1]
		s.mu.Unlock()
		age := time.Since(c.idle)
		if age <= old && (age < sure || c.alive()) {
			c.Reused = true
			return c
		}
		_ = c.Close()
	}
}

func (p *Pool) Put(c *Conn) {
	c.idle = time.Now()
	s := p.shelf(c.Endpoint)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.idle[c.Endpoint]) >= maxIdle {
		_ = c.Close()
		return
	}
	if s.idle == nil {
		s.idle = map[*table.Endpoint][]*Conn{}
	}
	s.idle[c.Endpoint] = append(s.idle[c.Endpoint], c)
}

// Sweep closes what was idle too long, until ctx ends.
func (p *Pool) Sweep(ctx context.Context) {
	tick := time.NewTicker(sweepTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			p.closeBefore(now.Add(-idleFor))
		}
	}
}

func (p *Pool) Close() { p.closeBefore(time.Now().Add(time.Hour)) }

func (p *Pool) closeBefore(t time.Time) {
	for i := range p.shards {
		s := &p.shards[i]
		s.mu.Lock()
		for e, list := range s.idle {
			n := 0
			for n < len(list) && list[n].idle.Before(t) { // the oldest stand first
				_ = list[n].Close()
				n++
			}
			if n == len(list) {
				delete(s.idle, e)
			} else if n > 0 {
				s.idle[e] = append([]*Conn(nil), list[n:]...)
			}
		}
		s.mu.Unlock()
	}
}
