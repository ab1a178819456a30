// Package h2 lets the router speak HTTP/2 (RFC 9113) with clients and instances while it routes HTTP/1.1 messages: each
// stream becomes one request and its response on a connection in memory.
//
// It promises that bodies stream both ways at once with HTTP/2's flow control, that trailers pass, that a stream that
// is reset ends its request and the other way round, and that streams, headers and buffers are bounded (net/http's
// HTTP/2, which also answers floods of resets, settings and pings).
// It will not upgrade from HTTP/1.1, push, or tunnel WebSockets over HTTP/2: clients use HTTP/1.1 for these.
package h2

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ingot/routing/router/h1"
	"ingot/routing/router/inside"
)

const (
	maxStreams = 250 // of one client's connection, at a time
	pingAfter  = 30 * time.Second
	pingWithin = 15 * time.Second
)

// Front serves clients' connections. Its fields must be set before Start.
type Front struct {
	// Open gives a connection in memory whose other end reads one HTTP/1.1 request and answers it; nil: no room for it.
	Open  func(*http.Request) net.Conn
	Idle  time.Duration // after which a connection without streams is closed
	Stall time.Duration // for a client to take something of what is sent

	srv  *http.Server
	in   *inside.Listener
	open sync.Map // net.Conn -> *served
}

// served is a connection that Serve waits for.
type served struct {
	busy, used *atomic.Bool
	end        chan struct{} // closed with the connection
}

// tally counts the streams of one connection. A client that resets most of them costs the apps more than itself
// (CVE-2023-44487), and is sent away.
type tally struct {
	conn        net.Conn
	used        *atomic.Bool
	ended, left atomic.Int64 // as they should, and by a reset
}

const freeResets = 300 // before the tally counts

type tallyOf struct{}

func (t *tally) count(r *http.Request) {
	if r.Context().Err() == nil {
		t.ended.Add(1)
	} else if t.left.Add(1) > freeResets+t.ended.Load() {
		_ = t.conn.Close()
	}
}

// Start must be called before Serve.
func (f *Front) Start() {
	var only http.Protocols
	only.SetHTTP2(true)
	f.in = inside.Listen("h2")
	f.srv = &http.Server{
		Handler: f, Protocols: &only, IdleTimeout: f.Idle, MaxHeaderBytes: h1.MaxHead, ConnState: f.changed,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxStreams, SendPingTimeout: pingAfter, PingTimeout: pingWithin, WriteByteTimeout: f.Stall},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			v, _ := f.open.Load(c)
			return context.WithValue(ctx, tallyOf{}, &tally{conn: c, used: v.(*served).used})
		},
		ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
	}
	go func() { _ = f.srv.Serve(f.in) }() // until Stop
}

// Stop announces the end to all clients (GOAWAY) and waits for their streams, but not longer than ctx.
func (f *Front) Stop(ctx context.Context) {
	if f.srv.Shutdown(ctx) != nil {
		_ = f.srv.Close()
	}
}

// Serve serves a connection that has agreed on h2, until it ends. busy is kept true while it has streams, used from the
// first on.
func (f *Front) Serve(c *tls.Conn, busy, used *atomic.Bool) {
	s := &served{busy, used, make(chan struct{})}
	f.open.Store(c, s)
	if f.in.Give(c) != nil {
		f.open.Delete(c)
		return
	}
	<-s.end
}

func (f *Front) changed(c net.Conn, state http.ConnState) {
	v, ok := f.open.Load(c)
	if !ok {
		return
	}
	s := v.(*served)
	s.busy.Store(state == http.StateActive)
	if state == http.StateClosed {
		f.open.Delete(c)
		close(s.end)
	}
}

// moment is what a client gets to send the rest of a body that was answered before its end.
const moment = time.Second

// ServeHTTP serves one stream.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn := r.Context().Value(tallyOf{}).(*tally)
	conn.used.Store(true)
	near := f.Open(r)
	if near == nil {
		http.Error(w, "503 Service Unavailable: too many requests", http.StatusServiceUnavailable)
		return
	}
	stop := context.AfterFunc(r.Context(), func() { _ = near.Close() })
	defer stop()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if send(near, r) != nil {
			_ = near.Close() // half a request must not look whole
		}
	}()
	err := answer(w, r, near)
	conn.count(r)
	_ = near.Close()
	if r.ContentLength > 0 && err == nil { // an answer that does not care for the body: the reset that follows could overtake it
		late := time.AfterFunc(moment, func() { _ = r.Body.Close() })
		<-sent
		_, _ = io.Copy(io.Discard, r.Body)
		late.Stop()
	}
	_ = r.Body.Close()
	<-sent
	if err != nil {
		panic(http.ErrAbortHandler) // resets the stream
	}
}

// send writes the request as HTTP/1.1. Its error means that the client did not send it whole; when the other end no
// longer wants it, that shows in its answer.
func send(c net.Conn, r *http.Request) error {
	w := bufio.NewWriterSize(c, 16<<10)
	length := r.ContentLength
	writeHead(w, r, length)
	if length == 0 {
		_ = w.Flush()
		return nil
	}
	var body io.Writer = w
	chunked := httputil.NewChunkedWriter(w)
	if length < 0 {
		body = chunked
	}
	room := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(room)
	for {
		if w.Flush() != nil {
			return nil
		}
		n, err := r.Body.Read(room[:])
		_, _ = body.Write(room[:n]) // Flush shows it
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if length < 0 {
		_ = chunked.Close()
		_ = r.Trailer.Write(w)
		_, _ = w.WriteString("\r\n")
	}
	_ = w.Flush()
	return nil
}

// writeHead writes a request's head. Everything in it is checked again by who reads it (h1).
func writeHead(w *bufio.Writer, r *http.Request, length int64) {
	for _, s := range []string{r.Method, " ", r.RequestURI, " HTTP/1.1\r\nHost: ", r.Host, "\r\n"} {
		_, _ = w.WriteString(s)
	}
	field := func(name, value string) {
		for _, s := range []string{name, ": ", value, "\r\n"} {
			_, _ = w.WriteString(s)
		}
	}
	for name, values := range r.Header {
		if name == "Content-Length" || name == "Expect" { // the client was told to go on by reading its body
			continue
		}
		for _, v := range values {
			field(name, v)
		}
	}
	if len(r.Trailer) > 0 {
		names := make([]string, 0, len(r.Trailer))
		for name := range r.Trailer {
			names = append(names, name)
		}
		slices.Sort(names)
		field("Trailer", strings.Join(names, ", "))
	}
	switch {
	case length > 0 || length == 0 && r.Header.Get("Content-Length") != "":
		field("Content-Length", strconv.FormatInt(length, 10))
	case length < 0:
		field("Transfer-Encoding", "chunked")
	}
	_, _ = w.WriteString("\r\n")
}

const pieceSize = 32 << 10

var (
	pieces  = sync.Pool{New: func() any { return new([pieceSize]byte) }}
	readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, pieceSize) }}
)

// answer passes the response on. Its error means that the response is not whole.
func answer(w http.ResponseWriter, r *http.Request, c net.Conn) error {
	br := readers.Get().(*bufio.Reader)
	br.Reset(c)
	defer func() {
		br.Reset(nil)
		readers.Put(br)
	}()
	var head h1.Head
	for {
		s, err := h1.ReadHead(br, func() {})
		if err == nil {
			err = head.ParseResponse(s)
		}
		if err != nil {
			return err
		}
		h := w.Header()
		clear(h)
		for i := range head.Fields {
			if f := &head.Fields[i]; !head.Hop(f) {
				h.Add(f.Name, f.Value)
			}
		}
		if head.Status >= 200 {
			break
		}
		if head.Status != http.StatusContinue { // that was sent with the first read of the body
			w.WriteHeader(head.Status)
		}
	}
	if w.Header()["Content-Type"] == nil {
		w.Header()["Content-Type"] = nil // or one would be guessed
	}
	w.WriteHeader(head.Status)
	body := head.Response(br, r.Method)
	return copyBody(w, &body)
}

func copyBody(w http.ResponseWriter, body *h1.Body) error {
	room := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(room)
	flush := http.NewResponseController(w).Flush
	for {
		if !body.Buffered() {
			if err := flush(); err != nil {
				return err
			}
		}
		n, err := body.Read(room[:])
		if n > 0 {
			if _, err := w.Write(room[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			for _, f := range body.Trailer {
				w.Header().Add(http.TrailerPrefix+f.Name, f.Value)
			}
			return nil
		case err != nil:
			return err
		}
	}
}
