package h2

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"ingot/routing/router/h1"
	"ingot/routing/router/inside"
)

// idleFor is how long a connection to an instance is kept without streams.
const idleFor = 60 * time.Second

// Back reaches instances that speak HTTP/2 without TLS (prior knowledge). Its fields must be set before Start.
type Back struct {
	Timeout time.Duration // to connect

	srv   *http.Server
	in    *inside.Listener
	via   *http.Transport
	mu    sync.Mutex // held for the map alone
	conns map[any][]*http.ClientConn
}

// Start must be called before Dial.
func (k *Back) Start() {
	var plain http.Protocols
	plain.SetUnencryptedHTTP2(true)
	k.conns = map[any][]*http.ClientConn{}
	k.via = &http.Transport{Protocols: &plain, DialContext: (&net.Dialer{Timeout: k.Timeout}).DialContext, DisableCompression: true,
		IdleConnTimeout: idleFor, MaxResponseHeaderBytes: h1.MaxHead,
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingWithin}}
	k.in = inside.Listen("h2c")
	k.srv = &http.Server{Handler: k, MaxHeaderBytes: 2 * h1.MaxHead, ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
		ConnContext: func(_ context.Context, c net.Conn) context.Context { return c.(*leg).ctx }}
	k.srv.SetKeepAlivesEnabled(false)     // one request for each reserved stream
	go func() { _ = k.srv.Serve(k.in) }() // until Stop
}

// Stop cuts what is left.
func (k *Back) Stop() {
	_ = k.srv.Close()
	k.mu.Lock()
	all := slices.Concat(slices.Collect(maps.Values(k.conns))...)
	k.conns = map[any][]*http.ClientConn{}
	k.mu.Unlock()
	for _, cc := range all {
		_ = cc.Close()
	}
}

// leg is the far end of a connection in memory.
type leg struct {
	net.Conn
	ctx context.Context
	cc  *http.ClientConn // with a stream reserved
}

type legOf struct{}

// near is the other end: closing it ends the stream.
type near struct {
	net.Conn
	cancel func()
}

func (n near) Close() error {
	n.cancel()
	return n.Conn.Close()
}

// Dial gives a connection in memory for one HTTP/1.1 request to addr, once a connection to it has a stream to spare.
// Connections are shared by who: those of one instance must not serve another that has its address later.
func (k *Back) Dial(who any, addr string) (net.Conn, error) {
	cc, err := k.reserve(who, addr)
	if err != nil {
		return nil, err
	}
	a, b := net.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	l := &leg{Conn: b, cc: cc}
	l.ctx = context.WithValue(ctx, legOf{}, l)
	if err := k.in.Give(l); err != nil {
		cancel()
		cc.Release()
		return nil, err
	}
	return near{a, cancel}, nil
}

func (k *Back) reserve(who any, addr string) (*http.ClientConn, error) {
	k.mu.Lock()
	list := k.conns[who]
	k.mu.Unlock()
	for _, cc := range list {
		if cc.Reserve() == nil {
			return cc, nil
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), k.Timeout)
	defer cancel()
	cc, err := k.via.NewClientConn(ctx, "http", addr)
	if err != nil {
		return nil, err
	}
	if err := cc.Reserve(); err != nil {
		_ = cc.Close()
		return nil, err
	}
	k.mu.Lock()
	k.conns[who] = append(slices.Clip(k.conns[who]), cc)
	k.mu.Unlock()
	cc.SetStateHook(func(cc *http.ClientConn) {
		if cc.Err() != nil {
			k.forget(who, cc)
		}
	})
	return cc, nil
}

func (k *Back) forget(who any, cc *http.ClientConn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(k.conns[who]), func(o *http.ClientConn) bool { return o == cc })
	if len(list) == 0 {
		delete(k.conns, who)
		return
	}
	k.conns[who] = list
}

// ServeHTTP passes the request of a leg on, and its response back.
func (k *Back) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l := r.Context().Value(legOf{}).(*leg)
	out := &http.Request{Method: r.Method, Host: r.Host, Header: r.Header, Body: r.Body, ContentLength: r.ContentLength, Trailer: r.Trailer,
		// Opaque keeps the path as it was sent.
		URL: &url.URL{Scheme: "http", Host: r.Host, Opaque: "//" + r.Host + r.RequestURI}}
	if r.ContentLength == 0 {
		out.Body = nil
	}
	r.Header.Del("Expect") // reading the body says it
	if r.Header["User-Agent"] == nil {
		r.Header["User-Agent"] = []string{""} // or one would be made up
	}
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex()
	res, err := l.cc.RoundTrip(out.WithContext(r.Context()))
	if err != nil {
		panic(http.ErrAbortHandler) // the connection ends without an answer
	}
	defer func() { _ = res.Body.Close() }()
	if res.Trailer != nil || res.ContentLength != 0 && r.Header.Get("TE") != "" {
		res.Header.Del("Content-Length") // with one, HTTP/1.1 has no trailer
		res.ContentLength = -1
	}
	if passOn(w, res, control.Flush) != nil {
		panic(http.ErrAbortHandler)
	}
}

func passOn(w http.ResponseWriter, res *http.Response, flush func() error) error {
	h := w.Header()
	maps.Copy(h, res.Header)
	for _, own := range []string{"Content-Type", "Date"} {
		if h[own] == nil {
			h[own] = nil // or one would be made up
		}
	}
	w.WriteHeader(res.StatusCode)
	room := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(room)
	for first := res.ContentLength != 0; ; first = false {
		if first {
			if err := flush(); err != nil {
				return err
			}
		}
		n, err := res.Body.Read(room[:])
		if n > 0 {
			if _, err := w.Write(room[:n]); err != nil {
				return err
			}
			if err := flush(); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	for name, values := range res.Trailer {
		h[http.TrailerPrefix+name] = values
	}
	return nil
}
