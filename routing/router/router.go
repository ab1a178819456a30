// Package router is CF's HTTP router: it takes requests on TLS and plain listeners, finds the route in its table, and
// passes each to one of the route's instances.
//
// It promises that a message has one meaning on both sides (see h1), that bodies stream in flat memory, that a request
// is tried on another instance while nothing of it can have been processed, that a client's forged X-Cf-*,
// X-Forwarded-Proto and certificate headers reach no app, and that system names cannot be taken by a route.
// It will not cache, compress, or decide who may register a route. DESIGN.md says why it is as it is.
package router

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"ingot/cf"
	"ingot/routing/router/backend"
	"ingot/routing/router/h2"
	"ingot/routing/router/registry"
	"ingot/routing/table"
)

// Router serves requests from Start to Stop. All fields may be left zero but the listeners.
type Router struct {
	Table   *table.Table            // nil: its own
	NATS    *nats.Conn              // where registrations come from; nil: nowhere
	Logs    cf.Logs                 // where access lines go; nil: nowhere
	System  map[string]http.Handler // host name -> handler served in this process, before any route
	HTTPS   []net.Listener          // TLS is done here, with TLS
	HTTP    []net.Listener
	Open    <-chan struct{}       // nil, or closed once connections may be taken; until then they wait in the sockets
	TLS     *tls.Config           // needs GetCertificate or Certificates
	Metrics prometheus.Registerer // nil: not published
	Limits  Limits
	ID      string   // in router.start; "" = made up
	Cookies []string // names of the apps' session cookies that make sessions sticky; nil: JSESSIONID
	Index   string   // of this router among routers, the instance id of its log lines; "" = 0

	conns   backend.Pool
	system  *system
	front   h2.Front
	back    h2.Back
	counts  *counts
	mu      sync.Mutex
	clients map[*client]struct{}
	wg      sync.WaitGroup
	closing atomic.Bool
	cancel  context.CancelFunc
	feed    *registry.Registry // nil without NATS
}

// Limits of what clients and instances may use. A zero field means the default beside it.
type Limits struct {
	Connections int           // from clients, and streams of HTTP/2, 16384; more are closed at once
	PerInstance int           // requests under way at one instance, 500
	Header      time.Duration // for a request's head once it began, and for the TLS handshake, 20 s
	Idle        time.Duration // for the next request on a connection, 90 s
	Stall       time.Duration // without progress while a body is sent or a response taken, 60 s
	Response    time.Duration // for an instance to go on with its response, 900 s
	Dial        time.Duration // to connect to an instance, 5 s
}

func (l *Limits) settle() {
	l.Connections = cmp.Or(l.Connections, 16384)
	l.PerInstance = cmp.Or(l.PerInstance, 500)
	l.Header = cmp.Or(l.Header, 20*time.Second)
	l.Idle = cmp.Or(l.Idle, 90*time.Second)
	l.Stall = cmp.Or(l.Stall, 60*time.Second)
	l.Response = cmp.Or(l.Response, 900*time.Second)
	l.Dial = cmp.Or(l.Dial, 5*time.Second)
}

// Start serves the listeners and follows registrations, until Stop.
func (rt *Router) Start(context.Context) error {
	rt.Limits.settle()
	rt.Index = cmp.Or(rt.Index, "0")
	rt.ID = cmp.Or(rt.ID, rt.Index+"-"+cf.NewGUID())
	if rt.Table == nil {
		rt.Table = &table.Table{}
	}
	if len(rt.HTTPS) > 0 {
		if rt.TLS == nil {
			return errors.New("router: HTTPS needs certificates")
		}
		rt.TLS = rt.TLS.Clone()
		rt.TLS.NextProtos = []string{"h2", "http/1.1"}
		rt.TLS.MinVersion = max(rt.TLS.MinVersion, tls.VersionTLS12)
	}
	rt.clients = map[*client]struct{}{}
	rt.counts = newCounts(rt)
	ctx, cancel := context.WithCancel(context.Background())
	rt.cancel = cancel
	rt.system = newSystem(rt.System)
	rt.wg.Go(rt.system.serve)
	rt.front = h2.Front{Open: rt.open, Idle: rt.Limits.Idle, Stall: rt.Limits.Stall}
	rt.front.Start()
	rt.back = h2.Back{Timeout: rt.Limits.Dial}
	rt.back.Start()
	if err := rt.follow(); err != nil {
		rt.front.Stop(ctx)
		rt.shut()
		return err
	}
	rt.wg.Go(func() { rt.conns.Sweep(ctx) })
	for _, l := range rt.HTTPS {
		rt.wg.Go(func() { rt.accept(ctx, l, true) })
	}
	for _, l := range rt.HTTP {
		rt.wg.Go(func() { rt.accept(ctx, l, false) })
	}
	return nil
}

func (rt *Router) follow() error {
	if rt.NATS == nil {
		return nil
	}
	rt.feed = &registry.Registry{Table: rt.Table, NATS: rt.NATS, ID: rt.ID, Registered: rt.counts.registered,
		Unregistered: rt.counts.unregistered, Ignored: rt.counts.ignored}
	for _, l := range slices.Concat(rt.HTTPS, rt.HTTP) {
		if host, _, err := net.SplitHostPort(l.Addr().String()); err == nil {
			rt.feed.Hosts = append(rt.feed.Hosts, host)
		}
	}
	return rt.feed.Start(context.Background())
}

// dial opens a connection to an instance, or to the system's own handlers. Upgrades are a matter of HTTP/1.1.
func (rt *Router) dial(e *table.Endpoint, upgrade bool) (*backend.Conn, error) {
	var nc net.Conn
	var err error
	switch {
	case e == rt.system.end:
		nc, err = rt.system.in.Dial()
	case e.HTTP2 && !upgrade:
		nc, err = rt.back.Dial(e, e.Addr)
	default:
		nc, err = net.DialTimeout("tcp", e.Addr, rt.Limits.Dial)
	}
	if err != nil {
		return nil, err
	}
	return backend.New(nc, e), nil
}

// Stop takes no new connections, lets running requests end, and cuts what is left when ctx ends.
func (rt *Router) Stop(ctx context.Context) error {
	rt.closing.Store(true)
	for _, l := range slices.Concat(rt.HTTPS, rt.HTTP) {
		_ = l.Close() // nothing is lost with it
	}
	var err error
	if rt.feed != nil {
		err, rt.feed = rt.feed.Stop(), nil
	}
	rt.drain(ctx)
	rt.shut()
	return err
}

// shut ends what the router has started for itself.
func (rt *Router) shut() {
	rt.cancel()
	rt.system.close()
	rt.back.Stop()
	rt.conns.Close()
	rt.wg.Wait()
}

const (
	// firstGrace is what a connection has for its first request when the router stops, as it was taken from a socket that
	// may have been handed to another process.
	firstGrace = 600 * time.Millisecond
	// hearing is what an idle connection of HTTP/2 has to hear of the end.
	hearing = 300 * time.Millisecond
)

// drain closes idle connections now, the others after their request or at the end of ctx. Clients that speak HTTP/2 are
// told of the end (GOAWAY) once all have had their first stream, as one that follows would not be answered.
func (rt *Router) drain(ctx context.Context) {
	tick, end := time.NewTicker(20*time.Millisecond), ctx.Done()
	defer tick.Stop()
	var heard time.Time // zero until they were told
	for began := time.Now(); ; {
		now := time.Now()
		late, fresh := now.Sub(began) > firstGrace, false
		rt.mu.Lock()
		left := len(rt.clients)
		for c := range rt.clients {
			served := c.served.Load()
			fresh = fresh || !served
			over := late || served
			if c.h2.Load() {
				over = !heard.IsZero() && now.After(heard)
			}
			if over && !c.busy.Load() || ctx.Err() != nil {
				_ = c.raw.Close()
			}
		}
		rt.mu.Unlock()
		if heard.IsZero() && (late || !fresh) {
			heard = now.Add(hearing)
			rt.wg.Go(func() { rt.front.Stop(ctx) })
		}
		if left == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			end = nil // from here on only the tick, or this would spin
		}
	}
}

func (rt *Router) accept(ctx context.Context, l net.Listener, https bool) {
	if rt.Open != nil {
		select {
		case <-rt.Open:
		case <-ctx.Done(): // the listener is closed too
		}
	}
	for {
		nc, err := l.Accept()
		if err != nil {
			if rt.closing.Load() || errors.Is(err, net.ErrClosed) {
				return
			}
			slog.Warn("router: accept", "error", err) // out of descriptors, mostly: it passes
			time.Sleep(50 * time.Millisecond)
			continue
		}
		c := rt.newClient(nc, nc.RemoteAddr().String())
		c.https = https
		if !rt.enter(c) {
			_ = nc.Close()
			continue
		}
		rt.wg.Go(func() {
			defer rt.leave(c)
			c.serve()
		})
	}
}

func (rt *Router) newClient(nc net.Conn, remote string) *client {
	c := &client{rt: rt, raw: nc, nc: nc, remote: remote}
	c.ip, _, _ = net.SplitHostPort(remote)
	return c
}

// open serves one stream of a client that speaks HTTP/2.
func (rt *Router) open(r *http.Request) net.Conn {
	near, far := net.Pipe()
	c := rt.newClient(far, r.RemoteAddr)
	c.https, c.stream = true, true
	c.busy.Store(true)
	c.served.Store(true)
	if !rt.enter(c) {
		return nil
	}
	rt.wg.Go(func() {
		defer rt.leave(c)
		c.serve()
	})
	return near
}

func (rt *Router) enter(c *client) bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if len(rt.clients) >= rt.Limits.Connections {
		rt.counts.refused.Inc()
		return false
	}
	rt.clients[c] = struct{}{}
	return true
}

func (rt *Router) leave(c *client) {
	_ = c.nc.Close()
	_ = c.raw.Close() // where TLS would wait for its peer
	rt.mu.Lock()
	delete(rt.clients, c)
	rt.mu.Unlock()
}

// client is one connection from outside.
type client struct {
	rt         *Router
	raw        net.Conn // as accepted
	nc         net.Conn // raw, or TLS on it
	br         *bufio.Reader
	https      bool
	remote, ip string
	stream     bool        // one request of a connection that speaks HTTP/2
	h2         atomic.Bool // its requests are streams, each with a client of its own
	busy       atomic.Bool // a request is under way
	served     atomic.Bool // it had a request

	ex         exchange
	out        []byte    // scratch
	readUntil  time.Time // the deadlines as set last; zero = unknown
	writeUntil time.Time
}

func (c *client) serve() {
	defer func() {
		// A fault in one request must not end the platform; it ends this connection.
		if r := recover(); r != nil {
			c.rt.counts.panics.Inc()
			slog.Error("router: panic", "cause", r, "remote", c.remote, "stack", string(debug.Stack()))
		}
	}()
	if c.https && !c.stream {
		how := c.rt.TLS
		if c.rt.closing.Load() { // HTTP/2 takes no new connections any more
			how = how.Clone()
			how.NextProtos = []string{"http/1.1"}
		}
		t := tls.Server(c.nc, how)
		_ = c.nc.SetDeadline(time.Now().Add(c.rt.Limits.Header))
		if err := t.Handshake(); err != nil {
			c.rt.counts.handshakes.Inc()
			return
		}
		_ = c.nc.SetDeadline(time.Time{})
		c.nc = t
		if t.ConnectionState().NegotiatedProtocol == "h2" {
			c.h2.Store(true)
			c.rt.front.Serve(t, &c.busy, &c.served)
			return
		}
	}
	c.br = bufio.NewReader(c.nc)
	for c.request() && !c.stream {
	}
}

// request serves one request and tells whether another may follow.
func (c *client) request() bool {
	c.readWithin(c.rt.Limits.Idle)
	if _, err := c.br.Peek(1); err != nil {
		return false
	}
	c.busy.Store(true)
	c.served.Store(true)
	defer c.busy.Store(false)
	again := c.ex.run(c)
	if cap(c.out) > 64<<10 { // a large head must not stay with an idle connection
		c.out = nil
	}
	return again
}

// readWithin lets reads fail after about d (up to a tenth less): setting a deadline each time would cost more.
func (c *client) readWithin(d time.Duration) { backend.Within(c.nc.SetReadDeadline, &c.readUntil, d) }

// writeWithin is the same for writes.
func (c *client) writeWithin(d time.Duration) {
	backend.Within(c.nc.SetWriteDeadline, &c.writeUntil, d)
}

// interrupt ends a blocked read of the client.
func (c *client) interrupt() {
	c.readUntil = time.Time{}
	_ = c.nc.SetReadDeadline(time.Unix(1, 0))
}
