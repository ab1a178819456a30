package router

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"ingot/cf"
	"ingot/routing/router/affinity"
	"ingot/routing/router/backend"
	"ingot/routing/router/h1"
	"ingot/routing/router/trace"
	"ingot/routing/table"
)

// exchange is one request and its response.
type exchange struct {
	c        *client
	req      h1.Head
	resp     h1.Head
	body     h1.Body // of the request
	start    time.Time
	id       string // X-Vcap-Request-Id
	name     string // the host, lower case, without port
	pool     *table.Pool
	end      *table.Endpoint // that answers; nil: none did
	b        *backend.Conn
	keep     bool // the client's connection can go on
	upgrade  string
	wanted   want
	sticky   affinity.Set // what the response's cookies say
	b3       trace.B3
	status   int
	sent     int64 // response body bytes
	received atomic.Int64
	sentAt   time.Time // the request left for the instance
	gotAt    time.Time // the response's head came
	reason   string    // X-Cf-RouterError
	pump     *pump     // sends a request body beside the response
	watching chan struct{}
	gone     atomic.Bool // the client went away
	settled  atomic.Bool // the watcher's findings no longer matter
	spent    bool        // the body is no longer there to be sent again
}

const (
	maxTries = 3
	failure  = "Registered endpoint failed to handle the request."
)

// errGone is the end of an exchange whose client went away.
var errGone = errors.New("client went away")

// run serves one request; true: the connection can serve another.
func (x *exchange) run(c *client) bool {
	*x = exchange{c: c, req: h1.Head{Fields: x.req.Fields}, resp: h1.Head{Fields: x.resp.Fields}, start: time.Now()}
	head, err := h1.ReadHead(c.br, func() { c.deadlineIn(c.rt.Limits.Header) })
	if err == nil {
		err = x.req.ParseRequest(head)
	}
	x.id = cf.NewGUID()
	if err != nil {
		return x.refuse(err)
	}
	x.keep = !x.req.Close
	x.body = x.req.Request(c.br)
	x.serve()
	x.finish()
	return x.keep
}

// serve finds who answers, and lets them.
func (x *exchange) serve() {
	switch {
	case x.req.Method == "CONNECT":
		x.keep = false
		x.fail(405, "", "CONNECT is not supported.")
		return
	case x.req.Host == "":
		x.keep = false
		x.fail(400, "empty_host", "Request had empty Host header")
		return
	}
	// Upgrading to h2c would hide the requests behind it from the router; one with a body has two readings.
	if x.body.Done() && !strings.Contains(strings.ToLower(x.req.Upgrade), "h2c") {
		x.upgrade = x.req.Upgrade
	}
	rt := x.c.rt
	x.name = nameOf(x.req.Host)
	if _, ours := rt.system.names[x.name]; !ours {
		x.pool = rt.Table.Lookup(x.req.Host, x.req.Target)
		if !x.readWishes() {
			return
		}
		if x.pool == nil {
			x.fail(404, "unknown_route", "Requested route ('"+x.req.Host+"') does not exist.")
			return
		}
	}
	x.try()
}

// try sends the request to instances until one answers, or none may be tried any more.
func (x *exchange) try() {
	rt := x.c.rt
	var room [maxTries]*table.Endpoint
	tried := room[:0]
	for fresh := false; len(tried) < maxTries; {
		e, full := x.choose(tried)
		if e == nil && full {
			x.fail(503, "Connection Limit Reached", "Requested route ('"+x.req.Host+"') has reached the connection limit.")
			return
		}
		if e == nil && len(tried) == 0 {
			x.fail(503, "no_endpoints", "Requested route ('"+x.req.Host+"') has no available endpoints.")
			return
		}
		if e == nil {
			break
		}
		b, err := x.connect(e, fresh)
		if err != nil {
			rt.counts.dialErrors.Inc()
			e.Failed(time.Now())
			tried, fresh = append(tried, e), false
			continue
		}
		x.end = e
		e.Begin()
		again := x.attempt(b)
		e.End()
		if !again {
			return
		}
		// A connection that was closed while idle says nothing about the instance: the next is a new one.
		if fresh = b.Reused; !fresh {
			e.Failed(time.Now())
			tried = append(tried, e)
		}
	}
	x.fail(502, "endpoint_failure", failure)
}

func (x *exchange) choose(tried []*table.Endpoint) (e *table.Endpoint, full bool) {
	rt := x.c.rt
	if x.pool == nil {
		if len(tried) > 0 {
			return nil, false
		}
		return rt.system.end, false
	}
	if len(tried) == 0 && x.wanted.sticky != "" {
		e := x.pool.Find(func(e *table.Endpoint) bool { return e.Instance == x.wanted.sticky })
		if e != nil && e.InFlight() < rt.Limits.PerInstance {
			return e, false
		}
	}
	return x.pool.Pick(table.Pick{Now: x.start, Limit: rt.Limits.PerInstance, Tried: tried, Only: x.wanted.only, Hash: x.wanted.hash})
}

// connect takes an idle connection or makes one.
func (x *exchange) connect(e *table.Endpoint, fresh bool) (*backend.Conn, error) {
	if !fresh {
		if b := x.c.rt.conns.Get(e, !x.arrived() || !x.idempotent()); b != nil {
			return b, nil
		}
	}
	return x.c.rt.dial(e, x.upgrade != "")
}

// arrived tells that the whole body came with the head, or that there is none. Nobody else may be reading it.
func (x *exchange) arrived() bool {
	_, whole := x.body.Peek()
	return whole
}

// attempt sends the request on b and delivers the response. True: nothing of it reached the client or can have taken
// effect, so that it may be sent again.
func (x *exchange) attempt(b *backend.Conn) (again bool) {
	x.b, x.sentAt = b, time.Now()
	clean := false
	defer func() {
		x.pump.stop(x)
		if clean && b.Reader.Buffered() == 0 {
			x.c.rt.conns.Put(b)
		} else {
			_ = b.Close()
		}
		x.unwatch()
	}()
	small, whole := x.body.Peek()
	x.c.out = append(x.requestHead(x.c.out[:0], whole), small...)
	b.WriteWithin(x.c.rt.Limits.Stall)
	_, err := b.Write(x.c.out)
	unsent := err != nil
	if err == nil {
		if !whole {
			x.pump = startPump(x, b)
		}
		err = x.head()
	}
	if err != nil {
		return x.failed(err, whole && !x.spent && (x.idempotent() || unsent && b.Reused))
	}
	b.Endpoint.Works()
	if whole {
		x.received.Store(int64(len(small)))
		x.body.Take()
	}
	clean = x.deliver()
	return false
}

// failed settles an attempt that brought no response; safe tells that it may be repeated.
func (x *exchange) failed(err error, safe bool) (again bool) {
	if bad := x.pump.badBody(); bad != nil {
		x.keep = false
		x.fail(bad.Status, "", bad.Text)
		return false
	}
	var broken *h1.Error
	switch {
	case x.gone.Load():
		x.status, x.keep = 499, false
	case errors.Is(err, os.ErrDeadlineExceeded):
		x.fail(502, "endpoint_failure", failure) // gorouter's answer to its own timeout, too
	case safe && !errors.As(err, &broken):
		return true
	default:
		x.fail(502, "endpoint_failure", failure)
	}
	return false
}

// head reads the response's head and passes interim responses on.
func (x *exchange) head() error {
	for range 32 {
		if err := x.await(); err != nil {
			return err
		}
		s, err := h1.ReadHead(x.b.Reader, func() { _ = x.b.SetReadDeadline(time.Now().Add(x.c.rt.Limits.Stall)) })
		if err == nil {
			err = x.resp.ParseResponse(s)
		}
		if err != nil {
			return err
		}
		x.gotAt = time.Now()
		switch {
		case x.resp.Status == 101 && (x.upgrade == "" || x.resp.Upgrade == ""):
			return &h1.Error{Status: 502, Text: "upgrade that nobody asked for"}
		case x.resp.Status >= 200 || x.resp.Status == 101:
			return nil
		case x.req.Minor == 1 && (x.resp.Status != 100 || x.req.Expect):
			if err := x.interim(); err != nil {
				x.gone.Store(true)
				return errGone
			}
		}
	}
	return &h1.Error{Status: 502, Text: "too many interim responses"}
}

// await waits until the instance sends something. When that takes long it begins to watch whether the client is still
// there; most requests never pay for that.
func (x *exchange) await() error {
	if x.b.Reader.Buffered() > 0 {
		return nil
	}
	slice, began := 100*time.Millisecond, time.Now()
	for {
		_ = x.b.SetReadDeadline(time.Now().Add(slice))
		_, err := x.b.Reader.Peek(1)
		switch {
		case err == nil:
			return nil
		case x.gone.Load():
			return errGone
		case !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) > x.c.rt.Limits.Response:
			return err
		}
		x.watch()
		slice = time.Second
	}
}

// watch begins to watch the client's connection, unless its body is still being read or more of it already came.
func (x *exchange) watch() {
	if x.pump == nil && !x.body.Done() { // it was sent whole, and will not be sent again
		x.body.Take()
		x.spent = true
	}
	if x.watching != nil || !x.pump.finished() || x.c.br.Buffered() > 0 {
		return
	}
	x.c.readUntil = time.Time{}
	_ = x.c.nc.SetReadDeadline(time.Time{})
	x.watching = make(chan struct{})
	go func() {
		defer close(x.watching)
		if _, err := x.c.br.Peek(1); err != nil && !x.settled.Load() {
			x.gone.Store(true)
			_ = x.b.SetReadDeadline(time.Unix(1, 0))
		}
	}()
}

func (x *exchange) unwatch() {
	if x.watching == nil {
		return
	}
	x.settled.Store(true)
	x.c.interrupt()
	<-x.watching
	x.watching = nil
	x.settled.Store(false)
}

// refuse answers a request that could not be read.
func (x *exchange) refuse(err error) bool {
	var bad *h1.Error
	switch {
	case errors.As(err, &bad):
		x.c.rt.counts.malformed.Inc()
		x.fail(bad.Status, "", bad.Text)
		x.finish()
	case errors.Is(err, os.ErrDeadlineExceeded):
		x.fail(408, "", "the request took too long to arrive")
		x.finish()
	}
	return false
}

// finish counts and logs, and clears up after a body that nobody read.
func (x *exchange) finish() {
	if x.arrived() {
		x.body.Take()
	} else {
		x.keep = false
	}
	x.record()
	if !x.keep && x.status != 499 && x.status != 101 {
		x.c.linger()
	}
}

// linger lets the client read the answer before the connection goes: closing with unread input would reset it.
func (c *client) linger() {
	if w, ok := c.nc.(interface{ CloseWrite() error }); !ok || w.CloseWrite() != nil {
		return
	}
	c.deadlineIn(time.Second)
	_, _ = io.CopyN(io.Discard, c.br, 256<<10)
}

func (c *client) deadlineIn(d time.Duration) {
	c.readUntil = time.Time{}
	_ = c.nc.SetReadDeadline(time.Now().Add(d))
}

// idempotent tells whether the request may be sent again although it may have been processed, as gorouter sees it: PUT and
// DELETE are not among them, because their second answer can differ.
func (x *exchange) idempotent() bool {
	switch x.req.Method {
	case "GET", "HEAD", "OPTIONS", "TRACE":
		return true
	}
	return slices.ContainsFunc(x.req.Fields, func(f h1.Field) bool {
		return f.Value != "" && (strings.EqualFold(f.Name, "Idempotency-Key") || strings.EqualFold(f.Name, "X-Idempotency-Key"))
	})
}
