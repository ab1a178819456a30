package router

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ingot/cf"
)

// quickBackend answers every request on a connection with the same bytes, so that the proxies' cost shows.
func quickBackend(b *testing.B, l net.Listener) {
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n" + strings.Repeat("x", 1024))
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				r := bufio.NewReader(c)
				for {
					for {
						line, err := r.ReadSlice('\n')
						if err != nil {
							return
						}
						if len(line) == 2 {
							break
						}
					}
					if _, err := c.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	b.Cleanup(func() { _ = l.Close() })
}

// load sends requests over keep-alive connections, one for each goroutine of the benchmark.
func load(b *testing.B, addr string) {
	request := []byte("GET /some/path HTTP/1.1\r\nHost: a.test\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n\r\n")
	b.SetParallelism(16)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		room := make([]byte, 8192)
		for pb.Next() {
			if _, err := c.Write(request); err != nil {
				b.Error(err)
				return
			}
			// The answer ends with the 1024 bytes of the body.
			for got, want := 0, 0; want == 0 || got < want; {
				n, err := c.Read(room[got:])
				if err != nil {
					b.Error(err)
					return
				}
				got += n
				if i := bytes.Index(room[:got], []byte("\r\n\r\n")); i >= 0 {
					want = i + 4 + 1024
				}
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

type nowhere struct{}

func (nowhere) Emit(cf.Envelope) {}

// BenchmarkProxy compares the router with all its features to a bare httputil.ReverseProxy in one run.
func BenchmarkProxy(b *testing.B) {
	back := listen(b)
	quickBackend(b, back)
	b.Run("direct", func(b *testing.B) { load(b, back.Addr().String()) })
	w := start(b, func(rt *Router) { rt.Logs, rt.Metrics = nowhere{}, prometheus.NewRegistry() })
	w.route("a.test", back.Addr().String(), 0)
	b.Run("router", func(b *testing.B) { load(b, w.addr) })
	u, err := url.Parse("http://" + back.Addr().String())
	must(b, err)
	p := httputil.NewSingleHostReverseProxy(u)
	p.Transport = &http.Transport{MaxIdleConnsPerHost: 100, IdleConnTimeout: time.Minute}
	front := listen(b)
	srv := &http.Server{Handler: p}
	go func() { _ = srv.Serve(front) }()
	defer func() { _ = srv.Close() }()
	b.Run("ReverseProxy", func(b *testing.B) { load(b, front.Addr().String()) })
	p.Transport.(*http.Transport).CloseIdleConnections()
}
