package router

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"ingot/routing/router/h1"
)

// deliver passes the response on. True: the instance's connection is at the start of a next response.
func (x *exchange) deliver() (clean bool) {
	x.status = x.resp.Status
	if x.status == 101 {
		x.tunnel()
		return false
	}
	x.keep = x.keep && !x.c.rt.closing.Load()
	body := x.resp.Response(x.b.Reader, x.req.Method)
	clean = !x.resp.Close && !body.UntilClose()
	chunk := false
	if body.Chunked() && !body.Done() || body.UntilClose() {
		if chunk = x.req.Minor == 1; !chunk {
			x.keep = false
		}
	}
	x.c.out = x.responseHead(x.c.out[:0], chunk)
	if p, whole := body.Peek(); whole {
		x.c.out = append(x.c.out, p...)
		x.sent = int64(len(p))
		body.Take()
		return x.flush(x.c.out) == nil && clean
	}
	if err := x.stream(&body, chunk); err != nil {
		x.keep = false // the client sees the cut: no last chunk, or fewer bytes than announced
		return false
	}
	return clean && x.pump.finished()
}

// stream passes a body on as it comes. What has arrived goes out in one write with the head that stands in c.out.
func (x *exchange) stream(body *h1.Body, chunk bool) error {
	room := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(room)
	held := x.c.out
	slice, quiet := 100*time.Millisecond, time.Now()
	for {
		if len(held) > 0 && !body.Buffered() {
			if err := x.flush(held); err != nil {
				return err
			}
			held = held[:0]
		}
		if !body.Buffered() {
			_ = x.b.SetReadDeadline(time.Now().Add(slice))
		}
		n, err := body.Read(room[h1.ChunkHead : pieceSize-h1.ChunkTail])
		if n > 0 {
			x.sent += int64(n)
			quiet = time.Now()
			piece := room[h1.ChunkHead : h1.ChunkHead+n]
			if chunk {
				piece = h1.Chunk(room[:h1.ChunkHead+n+h1.ChunkTail], n)
			}
			if len(held) > 0 || n < 4096 && body.Buffered() {
				held = append(held, piece...)
				piece = held
			}
			if len(held) == 0 || len(held) > pieceSize/2 {
				if err := x.flush(piece); err != nil {
					return err
				}
				held = held[:0]
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			if chunk {
				held = appendTrailer(held, body.Trailer)
			}
			return x.flush(held)
		case errors.Is(err, os.ErrDeadlineExceeded) && !x.gone.Load() && time.Since(quiet) < x.c.rt.Limits.Response:
			x.watch()
			slice = time.Second
		case err != nil:
			return err
		}
	}
}

// flush writes to the client.
func (x *exchange) flush(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	x.c.writeWithin(x.c.rt.Limits.Stall)
	_, err := x.c.nc.Write(p)
	if err != nil {
		x.gone.Store(true)
		x.keep = false
	}
	return err
}

// interim passes a 1xx response on.
func (x *exchange) interim() error {
	x.c.out = appendStatus(x.c.out[:0], x.resp.Status, x.resp.Reason)
	for i := range x.resp.Fields {
		if f := &x.resp.Fields[i]; !x.resp.Hop(f) && f.Kind != h1.ContentLength {
			x.c.out = appendField(x.c.out, f.Name, f.Value)
		}
	}
	x.c.out = append(x.c.out, '\r', '\n')
	return x.flush(x.c.out)
}

// tunnel joins the two connections after a 101 until both sides have ended, or one has and the other is silent.
func (x *exchange) tunnel() {
	x.keep = false
	x.unwatch()
	x.c.out = x.responseHead(x.c.out[:0], false)
	if x.flush(x.c.out) != nil {
		return
	}
	_ = x.c.nc.SetDeadline(time.Time{})
	_ = x.b.SetDeadline(time.Time{})
	x.c.rt.counts.tunnels.Inc()
	defer x.c.rt.counts.tunnels.Dec()
	up := make(chan struct{})
	go func() {
		defer close(up)
		n, _ := io.Copy(x.b.Conn, x.c.br)
		x.received.Store(n)
		halfClose(x.b.Conn, x.c.rt.Limits.Stall)
	}()
	x.sent, _ = io.Copy(x.c.nc, x.b.Reader)
	halfClose(x.c.nc, x.c.rt.Limits.Stall)
	<-up
}

// halfClose tells the peer that no more comes, and gives it some time to end its own side.
func halfClose(nc net.Conn, last time.Duration) {
	if w, ok := nc.(interface{ CloseWrite() error }); !ok || w.CloseWrite() != nil {
		_ = nc.Close()
		return
	}
	_ = nc.SetReadDeadline(time.Now().Add(last))
}
