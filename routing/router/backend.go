package router

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

// backend is a connection to an instance.
type backend struct {
	nc         net.Conn
	br         *bufio.Reader
	end        *table.Endpoint
	raw        syscall.RawConn // nil where liveness cannot be asked
	reused     bool
	idle       time.Time // since when
	writeUntil time.Time
}

// pool keeps idle connections to instances for a short time.
type pool struct{ shards [16]shelf }

type shelf struct {
	mu   sync.Mutex
	idle map[*table.Endpoint][]*backend
}

const (
	maxIdle   = 100                    // connections kept for one instance
	idleFor   = 4 * time.Second        // less than the 5 s after which Node closes
	freshFor  = time.Second            // a request that cannot be repeated takes no connection that was idle longer
	sureFor   = 500 * time.Microsecond // so short that asking whether the connection is alive is not worth it
	sweepTime = time.Second
)

// seed spreads endpoints over shelves.
var seed = maphash.MakeSeed()

func (p *pool) shelf(e *table.Endpoint) *shelf {
	return &p.shards[maphash.Comparable(seed, e)%uint64(len(p.shards))]
}

// get takes an idle connection, nil if there is none that is at most old.
func (p *pool) get(e *table.Endpoint, old time.Duration) *backend {
	s := p.shelf(e)
	for {
		s.mu.Lock()
		list := s.idle[e]
		if len(list) == 0 {
			s.mu.Unlock()
			return nil
		}
		b := list[len(list)-1]
		list[len(list)-1] = nil
		s.idle[e] = list[:len(list)-1]
		s.mu.Unlock()
		age := time.Since(b.idle)
		if age <= old && (age < sureFor || b.alive()) {
			b.reused = true
			return b
		}
		_ = b.nc.Close()
	}
}

func (p *pool) put(b *backend) {
	b.idle = time.Now()
	s := p.shelf(b.end)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.idle[b.end]) >= maxIdle {
		_ = b.nc.Close()
		return
	}
	if s.idle == nil {
		s.idle = map[*table.Endpoint][]*backend{}
	}
	s.idle[b.end] = append(s.idle[b.end], b)
}

// sweep closes what was idle too long, until ctx ends.
func (p *pool) sweep(ctx context.Context) {
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

func (p *pool) close() { p.closeBefore(time.Now().Add(time.Hour)) }

func (p *pool) closeBefore(t time.Time) {
	for i := range p.shards {
		s := &p.shards[i]
		s.mu.Lock()
		for e, list := range s.idle {
			n := 0
			for n < len(list) && list[n].idle.Before(t) { // the oldest stand first
				_ = list[n].nc.Close()
				n++
			}
			if n == len(list) {
				delete(s.idle, e)
			} else if n > 0 {
				s.idle[e] = append([]*backend(nil), list[n:]...)
			}
		}
		s.mu.Unlock()
	}
}

// dial opens a connection to an instance, or to the system's own handlers.
func (rt *Router) dial(e *table.Endpoint) (*backend, error) {
	b := &backend{end: e}
	if e == rt.system.end {
		nc, err := rt.system.dial()
		if err != nil {
			return nil, err
		}
		b.nc = nc
	} else {
		nc, err := net.DialTimeout("tcp", e.Addr, rt.Limits.Dial)
		if err != nil {
			return nil, err
		}
		b.nc = nc
		if t, ok := nc.(*net.TCPConn); ok {
			b.raw, _ = t.SyscallConn()
		}
	}
	b.br = bufio.NewReader(b.nc)
	return b, nil
}

func (b *backend) writeWithin(d time.Duration) { within(b.nc.SetWriteDeadline, &b.writeUntil, d) }
