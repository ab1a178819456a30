package router

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"ingot/cf"
)

// secure is a client that speaks HTTP/2 alone.
func (w *world) secure() *http.Client {
	var only http.Protocols
	only.SetHTTP2(true)
	t := &http.Transport{Protocols: &only, TLSClientConfig: &tls.Config{RootCAs: w.ca.Pool()}, DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, w.tlsAddr)
		}}
	w.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, Timeout: 30 * time.Second}
}

// appH2C registers an app that speaks HTTP/2 without TLS, and nothing else.
func (w *world) appH2C(host string, h http.HandlerFunc) *httptest.Server {
	w.t.Helper()
	s := httptest.NewUnstartedServer(h)
	var plain http.Protocols
	plain.SetUnencryptedHTTP2(true)
	s.Config.Protocols = &plain
	s.Start()
	w.t.Cleanup(s.Close)
	m := w.message(host, s.Listener.Addr().String(), 0)
	m.Protocol = "http2"
	w.Table.Register(m, time.Now())
	return s
}

func body(t testing.TB, res *http.Response, err error) string {
	t.Helper()
	must(t, err)
	b, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	must(t, err)
	return string(b)
}

// TestProtocols goes all four ways: each protocol of a client to each of an app.
func TestProtocols(t *testing.T) {
	w := start(t, func(rt *Router) {
		rt.System = map[string]http.Handler{"api.test": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprint(w, "system ", r.TLS != nil, r.RemoteAddr != "")
		})}
	})
	app := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Announced")
		w.Header().Set("X-Proto", r.Proto)
		w.Header()["Date"] = nil
		echo(w, r)
		w.Header().Set("X-Announced", "1")
		w.Header().Set(http.TrailerPrefix+"X-Sudden", "2")
	}
	w.app("one.test", app)
	w.appH2C("two.test", app)
	for _, c := range []struct {
		client *http.Client
		host   string
		front  int
		back   string
	}{{w.client(), "one.test", 1, "HTTP/1.1"}, {w.client(), "two.test", 1, "HTTP/2.0"}, {w.secure(), "one.test", 2, "HTTP/1.1"}, {w.secure(), "two.test", 2, "HTTP/2.0"}} {
		q, err := http.NewRequest("POST", "https://"+c.host+"//a%2Fb/../c?q=%2F&&x", io.MultiReader(strings.NewReader("hel"), strings.NewReader("lo")))
		must(t, err)
		q.Header.Set("X-Cf-ApplicationID", "forged")
		q.Header.Set("X-Forwarded-For", "1.2.3.4")
		q.Header.Set("Cookie", "a=b; c=d")
		q.Trailer = http.Header{"X-Sent": {"3"}}
		res, err := c.client.Do(q)
		text := body(t, res, err)
		name := fmt.Sprintf("HTTP/%d to %s", c.front, c.back)
		if res.StatusCode != 200 || res.ProtoMajor != c.front || res.Header.Get("X-Proto") != c.back || res.Header["X-Vcap-Request-Id"] == nil {
			t.Errorf("%s: %s %v", name, res.Proto, res.Header)
		}
		for _, want := range []string{"POST //a%2Fb/../c?q=%2F&&x host=" + c.host + "\n", "X-Cf-Applicationid: " + guidOf("app", c.host) + "\r\n", "Cookie: a=b; c=d\r\n",
			"X-Forwarded-For: 1.2.3.4, 127.0.0.1\r\n", "X-Forwarded-Proto: https\r\n", "body=hello trailer=map[X-Sent:[3]]", "X-B3-Traceid: "} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", name, want, text)
			}
		}
		if res.Trailer.Get("X-Announced") != "1" || res.Trailer.Get("X-Sudden") != "2" {
			t.Errorf("%s: trailer %v", name, res.Trailer)
		}
		line := w.logs.wait(t, func(e cf.Envelope) bool {
			return e.Log != nil && e.SourceID == guidOf("app", c.host) && strings.Contains(string(e.Log.Payload), fmt.Sprintf(" HTTP/%d.", c.front))
		})
		if !strings.Contains(string(line.Log.Payload), fmt.Sprintf(`"POST //a%%2Fb/../c?q=%%2F&&x HTTP/%d`, c.front)) || !strings.Contains(string(line.Log.Payload), " 200 5 ") {
			t.Errorf("%s: %s", name, line.Log.Payload)
		}
	}
	res, err := w.secure().Get("https://api.test/")
	if got := body(t, res, err); got != "system true true" {
		t.Error(got)
	}
	res, err = w.secure().Get("https://none.test/")
	if got := body(t, res, err); res.StatusCode != 404 || res.Header.Get("X-Cf-Routererror") != "unknown_route" || got != "404 Not Found: Requested route ('none.test') does not exist.\n" {
		t.Error(got, res.Header)
	}
	res, err = w.secure().Head("https://two.test/")
	if got := body(t, res, err); res.StatusCode != 200 || got != "" {
		t.Error("HEAD", res)
	}
}

// TestHTTP2Retry: an app that cannot be reached is passed over by HTTP/2 as it is by HTTP/1.1, and a connection that
// ended is made anew.
func TestHTTP2Retry(t *testing.T) {
	w := start(t, nil)
	gone := listen(t)
	must(t, gone.Close())
	m := w.message("a.test", gone.Addr().String(), 1)
	m.Protocol = "http2"
	w.Table.Register(m, time.Now())
	s := w.appH2C("a.test", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "ok") })
	for range 6 {
		res, err := w.secure().Post("https://a.test/", "", io.MultiReader(strings.NewReader("x")))
		if got := body(t, res, err); got != "ok" {
			t.Fatal(res.StatusCode, got)
		}
		s.CloseClientConnections()
	}
}

// TestHTTP2ClientLeaves: a stream that is reset ends the app's request, whichever protocol it speaks, and is a 499.
func TestHTTP2ClientLeaves(t *testing.T) {
	w := start(t, nil)
	ended := make(chan struct{})
	wait := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		ended <- struct{}{}
	}
	w.app("one.test", wait)
	w.appH2C("two.test", wait)
	for _, host := range []string{"one.test", "two.test"} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		q, err := http.NewRequestWithContext(ctx, "GET", "https://"+host, nil)
		must(t, err)
		if _, err := w.secure().Do(q); err == nil { //nolint:bodyclose // there is none
			t.Error("an answer came")
		}
		cancel()
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			t.Fatal(host, "still works for nobody")
		}
		w.logs.wait(t, func(e cf.Envelope) bool {
			return e.Log != nil && e.SourceID == guidOf("app", host) && strings.Contains(string(e.Log.Payload), `HTTP/2.0" 499 `)
		})
	}
}

// TestHTTP2Cut: half an answer never looks whole.
func TestHTTP2Cut(t *testing.T) {
	w := start(t, nil)
	w.raw("one.test", 0, func(c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
	})
	w.appH2C("two.test", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	for _, host := range []string{"one.test", "two.test"} {
		for _, client := range []*http.Client{w.secure(), w.client()} {
			res, err := client.Get("https://" + host)
			if err != nil { // cut before the head was sent
				continue
			}
			if b, err := io.ReadAll(res.Body); err == nil {
				t.Errorf("%s over %s looks whole: %q", host, res.Proto, b)
			}
			_ = res.Body.Close()
		}
	}
}

// TestHTTP2Streams: both directions flow at once, with flow control: memory stays flat for a slow reader.
func TestHTTP2Streams(t *testing.T) {
	w := start(t, nil)
	const size = 256 << 20
	both := func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		w.WriteHeader(200)
		_ = rc.Flush()
		if r.URL.Path == "/echo" {
			room := make([]byte, 1024)
			for {
				n, err := r.Body.Read(room)
				_, _ = w.Write(room[:n])
				_ = rc.Flush()
				if err != nil {
					return
				}
			}
		}
		_, _ = io.Copy(w, io.LimitReader(zeros{}, size))
	}
	w.app("one.test", both)
	w.appH2C("two.test", both)
	for _, host := range []string{"one.test", "two.test"} {
		pr, pw := io.Pipe()
		q, err := http.NewRequest("POST", "https://"+host+"/echo", pr)
		must(t, err)
		res, err := w.secure().Do(q)
		must(t, err)
		for i := range 3 {
			_, err := fmt.Fprintf(pw, "turn %d", i)
			must(t, err)
			b := make([]byte, 6)
			if _, err := io.ReadFull(res.Body, b); err != nil || string(b) != fmt.Sprint("turn ", i) {
				t.Fatal(string(b), err)
			}
		}
		_ = pw.Close()
		if b := body(t, res, nil); b != "" {
			t.Fatal(b)
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		res, err = w.secure().Get("https://" + host + "/big")
		must(t, err)
		n, err := io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		runtime.ReadMemStats(&after)
		if err != nil || n != size {
			t.Fatal(host, n, err)
		}
		if grown := int64(after.HeapInuse) - int64(before.HeapInuse); grown > 64<<20 {
			t.Errorf("%s: the heap grew by %d MB for a stream", host, grown>>20)
		}
	}
}

// dialH2 opens a connection to write frames by hand.
func (w *world) dialH2() (net.Conn, *http2.Framer) {
	w.t.Helper()
	c, err := tls.Dial("tcp", w.tlsAddr, &tls.Config{RootCAs: w.ca.Pool(), ServerName: "a.test", NextProtos: []string{"h2"}})
	must(w.t, err)
	w.t.Cleanup(func() { _ = c.Close() })
	_, err = io.WriteString(c, http2.ClientPreface)
	must(w.t, err)
	f := http2.NewFramer(c, c)
	must(w.t, f.WriteSettings())
	return c, f
}

func headers(fields ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return b.Bytes()
}

// TestRapidReset: a client that only opens and resets streams is sent away before it has cost much, and others are served.
func TestRapidReset(t *testing.T) {
	w := start(t, nil)
	var asked atomic.Int32
	w.app("a.test", func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path == "/slow" {
			<-r.Context().Done()
		}
	})
	c, f := w.dialH2()
	over := make(chan struct{})
	go func() {
		for {
			if _, err := f.ReadFrame(); err != nil {
				close(over)
				return
			}
		}
	}()
	block := headers(":method", "GET", ":scheme", "https", ":authority", "a.test", ":path", "/slow")
	_ = c.SetWriteDeadline(time.Now().Add(20 * time.Second))
	for i := range 20000 {
		id := uint32(2*i + 1)
		if f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: true, EndHeaders: true}) != nil || f.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			break
		}
	}
	select {
	case <-over:
	case <-time.After(20 * time.Second):
		t.Error("a client that only resets was kept")
	}
	if n := asked.Load(); n > 2000 {
		t.Error(n, "requests reached the app")
	}
	res, err := w.secure().Get("https://a.test/")
	body(t, res, err)
}

// TestHTTP2Smuggling: what HTTP/2 can carry but HTTP/1.1 cannot express never reaches an app.
func TestHTTP2Smuggling(t *testing.T) {
	w := start(t, nil)
	var mu sync.Mutex
	var seen []string
	w.app("a.test", func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r.Method+" "+r.RequestURI+" "+r.Header.Get("X"))
	})
	for _, more := range [][]string{
		{":method", "GET", ":path", "/ HTTP/1.1\r\nHost: b.test\r\n\r\nGET /evil"},
		{":method", "GET", ":path", "/evil x"},
		{":method", "GET /evil HTTP/1.1\r\n", ":path", "/"},
		{":method", "GET /evil", ":path", "/"},
		{":method", "GET", ":path", "/evil", "x", "a\r\nX-Cf-Evil: b"},
		{":method", "GET", ":path", "/evil", "transfer-encoding", "chunked"},
		{":method", "GET", ":path", "/evil", "connection", "close"},
		{":method", "GET", ":path", "/evil", "x y", "z"},
		{":method", "GET", ":path", "/evil", "X-Upper", "z"},
		{":method", "GET", ":path", "evil"},
	} {
		_, f := w.dialH2()
		fields := append(append([]string{}, more[:4]...), ":scheme", "https", ":authority", "a.test")
		must(t, f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headers(append(fields, more[4:]...)...), EndStream: true, EndHeaders: true}))
		dec := hpack.NewDecoder(4096, nil)
		for {
			fr, err := f.ReadFrame()
			if err != nil {
				break
			}
			if h, ok := fr.(*http2.HeadersFrame); ok {
				got, err := dec.DecodeFull(h.HeaderBlockFragment())
				must(t, err)
				if got[0].Value < "400" {
					t.Errorf("%q: %v", more, got[0])
				}
				break
			}
			if _, ok := fr.(*http2.RSTStreamFrame); ok {
				break
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) > 0 {
		t.Errorf("the app saw %q", seen)
	}
}

// TestHTTP2HeadLimit: a head that is too large is refused with 431, or with the end of the connection if even the rest of
// it is too much to read.
func TestHTTP2HeadLimit(t *testing.T) {
	w := start(t, nil)
	w.app("a.test", echo)
	for n, want := range map[int]int{10: 200, 40: 431} {
		q, err := http.NewRequest("GET", "https://a.test", nil)
		must(t, err)
		for i := range n {
			q.Header.Set(fmt.Sprint("X-", i), strings.Repeat("x", 60<<10))
		}
		res, err := w.secure().Do(q)
		if err != nil && want == 431 && (strings.Contains(err.Error(), "GOAWAY") || strings.Contains(err.Error(), "advertised limit")) {
			continue
		}
		if text := body(t, res, err); res.StatusCode != want {
			t.Error(n, res.Status, len(text))
		}
	}
}

// TestHTTP2Drain: Stop sends GOAWAY, lets a running stream end, and answers streams that came before it.
func TestHTTP2Drain(t *testing.T) {
	w := start(t, nil)
	begun, end := make(chan struct{}), make(chan struct{})
	w.appH2C("a.test", func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-end
		_, _ = io.WriteString(w, "done")
	})
	_, idle := w.dialH2()
	got := make(chan string, 1)
	client := w.secure()
	go func() {
		res, err := client.Get("https://a.test")
		if err != nil {
			got <- err.Error()
			return
		}
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		got <- string(b)
	}()
	<-begun
	stopped := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		stopped <- w.Stop(ctx)
	}()
	for {
		fr, err := idle.ReadFrame()
		must(t, err)
		if g, ok := fr.(*http2.GoAwayFrame); ok {
			if g.ErrCode != http2.ErrCodeNo {
				t.Error(g)
			}
			break
		}
	}
	close(end)
	if text := <-got; text != "done" {
		t.Error(text)
	}
	must(t, <-stopped)
}

// TestHTTP2DrainIdle: clients that only keep their connection do not hold up the end.
func TestHTTP2DrainIdle(t *testing.T) {
	w := start(t, nil)
	w.app("a.test", echo)
	res, err := w.secure().Get("https://a.test")
	body(t, res, err)
	w.dialH2()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	began := time.Now()
	must(t, w.Stop(ctx))
	if took := time.Since(began); took > 3*time.Second {
		t.Error("Stop took", took)
	}
}

// TestHTTP2DrainFresh: a connection that was taken, and has agreed on HTTP/2, before the end began gets its first answer.
func TestHTTP2DrainFresh(t *testing.T) {
	w := start(t, nil)
	w.app("a.test", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	stopped := make(chan error)
	client := w.secure()
	client.Transport.(*http.Transport).DialTLSContext = func(context.Context, string, string) (net.Conn, error) {
		c, err := tls.Dial("tcp", w.tlsAddr, &tls.Config{RootCAs: w.ca.Pool(), ServerName: "a.test", NextProtos: []string{"h2"}})
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			stopped <- w.Stop(ctx)
		}()
		for !w.closing.Load() {
			runtime.Gosched()
		}
		time.Sleep(50 * time.Millisecond) // what a slow client needs to say something
		return c, err
	}
	res, err := client.Get("https://a.test/")
	if got := body(t, res, err); got != "ok" {
		t.Error(got)
	}
	must(t, <-stopped)
}

// TestUpgradeBesideHTTP2: WebSockets reach an app that is registered for HTTP/2 by HTTP/1.1, and clients that could
// speak HTTP/2 by their own choice.
func TestUpgradeBesideHTTP2(t *testing.T) {
	w := start(t, nil)
	l := listen(t)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_ = rw.Flush()
		_, _ = io.Copy(c, rw)
	})}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	m := w.message("a.test", l.Addr().String(), 0)
	m.Protocol = "http2"
	w.Table.Register(m, time.Now())
	c, err := tls.Dial("tcp", w.tlsAddr, &tls.Config{RootCAs: w.ca.Pool(), ServerName: "a.test", NextProtos: []string{"http/1.1"}})
	must(t, err)
	defer func() { _ = c.Close() }()
	_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nping")
	must(t, err)
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	must(t, err)
	_ = res.Body.Close()
	b := make([]byte, 4)
	if _, err := io.ReadFull(r, b); err != nil || res.StatusCode != 101 || string(b) != "ping" {
		t.Fatal(res.Status, string(b), err)
	}
	must(t, c.CloseWrite())
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}
