package router

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"ingot/routing/router/backend"
	"ingot/routing/router/h1"
)

// pump sends a request's body to the instance while the response may already come back. A nil *pump has nothing to do.
type pump struct {
	x    *exchange
	b    *backend.Conn
	done chan struct{}
	err  error // of the client's side; set before done is closed
}

const pieceSize = 32 << 10

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

func startPump(x *exchange, b *backend.Conn) *pump {
	p := &pump{x: x, b: b, done: make(chan struct{})}
	go p.run()
	return p
}

func (p *pump) run() {
	err := p.copy()
	p.err = err
	if err != nil {
		p.x.gone.Store(true)
	}
	close(p.done)
	if err != nil {
		_ = p.b.SetReadDeadline(time.Unix(1, 0)) // wake who waits for a response
	}
}

// copy answers the error of the client's side; the instance's own shows when its response is read.
func (p *pump) copy() error {
	room := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(room)
	x, chunked := p.x, p.x.body.Chunked()
	for {
		x.c.readWithin(x.c.rt.Limits.Stall)
		n, err := x.body.Read(room[h1.ChunkHead : pieceSize-h1.ChunkTail])
		if n > 0 {
			x.received.Add(int64(n))
			piece := room[h1.ChunkHead : h1.ChunkHead+n]
			if chunked {
				piece = h1.Chunk(room[:h1.ChunkHead+n+h1.ChunkTail], n)
			}
			p.b.WriteWithin(x.c.rt.Limits.Stall)
			if _, err := p.b.Write(piece); err != nil {
				return nil
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			if chunked {
				_, _ = p.b.Write(appendTrailer(nil, x.body.Trailer))
			}
			return nil
		case err != nil:
			return err
		}
	}
}

// appendTrailer ends a chunked body.
func appendTrailer(b []byte, fields []h1.Field) []byte {
	b = append(b, "0\r\n"...)
	for _, f := range fields {
		b = appendField(b, f.Name, f.Value)
	}
	return append(b, '\r', '\n')
}

func (p *pump) finished() bool {
	if p == nil {
		return true
	}
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// badBody is what to answer when the client's body is at fault.
func (p *pump) badBody() *h1.Error {
	if p == nil || !p.finished() {
		return nil
	}
	var bad *h1.Error
	if errors.As(p.err, &bad) {
		return bad
	}
	if errors.Is(p.err, os.ErrDeadlineExceeded) {
		return &h1.Error{Status: 408, Text: "the request body took too long to arrive"}
	}
	return nil
}

// stop ends the sending after the response has ended. The client gets a moment to finish by itself, so that an answer
// that does not care for the body costs it no connection.
func (p *pump) stop(x *exchange) {
	if p == nil {
		return
	}
	if !x.gone.Load() {
		select {
		case <-p.done:
		case <-time.After(100 * time.Millisecond):
		}
	}
	if !p.finished() {
		x.c.interrupt()
		_ = p.b.Close()
		<-p.done
	}
	if !x.body.Done() {
		x.keep = false
	}
}
