package router

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ingot/cf"
	"ingot/kit/mtls"
	"ingot/routing/table"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines is a log pipeline that keeps everything.
type lines struct {
	mu  sync.Mutex
	all []cf.Envelope
	got chan struct{}
}

func (l *lines) Emit(e cf.Envelope) {
	l.mu.Lock()
	l.all = append(l.all, e)
	l.mu.Unlock()
	select {
	case l.got <- struct{}{}:
	default:
	}
}

// wait returns the first envelope that is.
func (l *lines) wait(t *testing.T, is func(cf.Envelope) bool) cf.Envelope {
	t.Helper()
	late := time.After(time.Minute)
	for {
		l.mu.Lock()
		for _, e := range l.all {
			if is(e) {
				l.mu.Unlock()
				return e
			}
		}
		l.mu.Unlock()
		select {
		case <-l.got:
		case <-late:
			t.Fatal("the envelope never came")
		}
	}
}

// world is a running router on loopback.
type world struct {
	*Router
	addr, tlsAddr string
	ca            *mtls.CA
	logs          *lines
	t             testing.TB
}

func start(t testing.TB, set func(*Router)) *world {
	t.Helper()
	ca, err := mtls.LoadCA(t.TempDir(), "test")
	must(t, err)
	cert, err := ca.Issue("router", []string{"*.test", "*.apps.test"}, nil, time.Hour)
	must(t, err)
	plain, secure := listen(t), listen(t)
	logs := &lines{got: make(chan struct{}, 1)}
	rt := &Router{Table: &table.Table{}, Logs: logs, HTTP: []net.Listener{plain}, HTTPS: []net.Listener{secure},
		TLS: &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }}}
	if set != nil {
		set(rt)
	}
	must(t, rt.Start(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		must(t, rt.Stop(ctx))
	})
	return &world{rt, plain.Addr().String(), secure.Addr().String(), ca, logs, t}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	return l
}

// app registers an http.Handler under a host and gives its server.
func (w *world) app(host string, h http.HandlerFunc) *httptest.Server {
	w.t.Helper()
	s := httptest.NewServer(h)
	w.t.Cleanup(s.Close)
	w.route(host, s.Listener.Addr().String(), 0)
	return s
}

// guidOf makes up a GUID, always the same.
func guidOf(kind, host string) string {
	h := sha256.Sum256([]byte(kind + host))
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

func (w *world) route(host, addr string, index int) cf.RouteMessage {
	w.t.Helper()
	m := w.message(host, addr, index)
	w.Table.Register(m, time.Now())
	return m
}

func (w *world) message(host, addr string, index int) cf.RouteMessage {
	w.t.Helper()
	a, err := net.ResolveTCPAddr("tcp", addr)
	must(w.t, err)
	return cf.RouteMessage{Host: a.IP.String(), Port: a.Port, App: guidOf("app", host), InstanceID: fmt.Sprintf("inst-%s-%d", host, index),
		InstanceIndex: fmt.Sprint(index), URIs: []string{host}, Tags: map[string]string{"source_type": "RTR", "process_id": guidOf("process", host)}}
}

// raw speaks bytes with each connection that arrives and registers under a host.
func (w *world) raw(host string, index int, talk func(c net.Conn, r *bufio.Reader)) {
	w.t.Helper()
	l := listen(w.t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				talk(c, bufio.NewReader(c))
			})
		}
	})
	w.t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	w.route(host, l.Addr().String(), index)
}

// send writes text to the router and reads all that comes until it closes the connection.
func (w *world) send(text string) string {
	w.t.Helper()
	c, err := net.Dial("tcp", w.addr)
	must(w.t, err)
	defer func() { _ = c.Close() }()
	must(w.t, c.SetDeadline(time.Now().Add(10*time.Second)))
	go func() { _, _ = io.WriteString(c, text) }() // the router may answer before it has read all
	b, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && len(b) == 0 {
		w.t.Fatal(err)
	}
	return string(b)
}

func (w *world) client() *http.Client {
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true,
		TLSClientConfig: &tls.Config{RootCAs: w.ca.Pool()},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			to := w.addr
			if strings.HasSuffix(addr, ":443") {
				to = w.tlsAddr
			}
			return (&net.Dialer{}).DialContext(ctx, network, to)
		}}}
}

func get(host, more string) string {
	return "GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n" + more + "\r\n"
}

func echo(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprintf(w, "%s %s host=%s\n", r.Method, r.RequestURI, r.Host)
	_ = r.Header.Write(w)
	b, _ := io.ReadAll(r.Body)
	_, _ = fmt.Fprintf(w, "body=%s trailer=%v", b, r.Trailer)
}

func TestRequestHeaders(t *testing.T) {
	w := start(t, nil)
	w.app("a.test", echo)
	got := w.send(get("A.test:80", "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\nX-Forwarded-Proto: https\r\nX-Cf-ApplicationID: forged\r\n"+
		"X_Cf_InstanceID: forged\r\nX-Forwarded-Client-Cert: forged\r\nX-Vcap-Request-Id: forged\r\nX-Request-Id: mine\r\nX-Request-Start: 17\r\n"+
		"Connection: X-Drop, keep-alive\r\nX-Drop: dropped\r\nKeep-Alive: dropped\r\nProxy-Authorization: dropped\r\nX-Kept: kept\r\n"))
	for _, want := range []string{"GET / host=A.test:80\n", "X-Forwarded-For: 1.2.3.4, 5.6.7.8, 127.0.0.1\r\n", "X-Forwarded-Proto: http\r\n",
		"X-Cf-Applicationid: " + guidOf("app", "a.test") + "\r\n", "X-Cf-Instanceid: inst-a.test-0\r\n", "X-Cf-Instanceindex: 0\r\n", "X-Request-Id: mine\r\n",
		"X-Request-Start: 17\r\n", "X-Kept: kept\r\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "forged") || strings.Contains(got, "dropped") {
		t.Errorf("passed on:\n%s", got)
	}
}

func TestRawPathAndTLS(t *testing.T) {
	w := start(t, nil)
	w.app("a.test", echo)
	w.app("a.test/x%2Fy", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "context "+r.RequestURI) })
	res, err := w.client().Get("https://a.test/x%2Fz/%41//./?q=%2F#f")
	must(t, err)
	b, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if !strings.HasPrefix(string(b), "GET /x%2Fz/%41//./?q=%2F host=a.test\n") || !strings.Contains(string(b), "X-Forwarded-Proto: https") {
		t.Errorf("%s", b)
	}
	if got := w.send(strings.Replace(get("a.test", ""), "/ ", "/x%2Fy/z ", 1)); !strings.HasSuffix(got, "context /x%2Fy/z") {
		t.Error(got)
	}
}

func TestErrors(t *testing.T) {
	w := start(t, nil)
	w.app("a.test", echo)
	m := w.route("empty.test", "127.0.0.1:1", 0)
	w.Table.Unregister(m, time.Now())
	w.route("down.test", "127.0.0.1:1", 0)
	w.route("taken.test", "127.0.0.1:2", 0)
	w.route("over.test", "127.0.0.1:2", 0) // by another instance at the same address
	app := guidOf("app", "a.test")
	for _, c := range []struct{ host, more, status, reason, text string }{
		{"no.test", "", "404 Not Found", "unknown_route", "404 Not Found: Requested route ('no.test') does not exist.\n"},
		{"NO.test:80", "", "404 Not Found", "unknown_route", "404 Not Found: Requested route ('NO.test:80') does not exist.\n"},
		{"empty.test", "", "503 Service Unavailable", "no_endpoints", "503 Service Unavailable: Requested route ('empty.test') has no available endpoints.\n"},
		{"taken.test", "", "503 Service Unavailable", "no_endpoints", "503 Service Unavailable: Requested route ('taken.test') has no available endpoints.\n"},
		{"down.test", "", "502 Bad Gateway", "endpoint_failure", "502 Bad Gateway: Registered endpoint failed to handle the request.\n"},
		{"a.test", "X-Cf-App-Instance: " + app + ":7\r\n", "400 Bad Request", "unknown_route",
			"400 Bad Request: Requested instance ('7') with guid ('" + app + "') does not exist for route ('a.test')\n"},
		{"no.test", "X-Cf-App-Instance: " + app + ":0\r\n", "400 Bad Request", "unknown_route",
			"400 Bad Request: Requested instance ('0') with guid ('" + app + "') does not exist for route ('no.test')\n"},
		{"a.test", "X-CF-Process-Instance: " + app + "\r\n", "400 Bad Request", "unknown_route",
			"400 Bad Request: Requested instance with process guid ('" + app + "') does not exist for route ('a.test')\n"},
		{"a.test", "X-CF-Process-Instance: " + app + ":3\r\n", "400 Bad Request", "unknown_route",
			"400 Bad Request: Requested instance ('3') with process guid ('" + app + "') does not exist for route ('a.test')\n"},
		{"a.test", "X-Cf-App-Instance: nonsense\r\n", "400 Bad Request", "invalid_cf_app_instance_header", "400 Bad Request: Invalid X-CF-App-Instance Header\n"},
		{"a.test", "X-Cf-App-Instance: " + app + "\r\n", "400 Bad Request", "invalid_cf_app_instance_header", "400 Bad Request: Invalid X-CF-App-Instance Header\n"},
		{"a.test", "X-Cf-App-Instance: " + app + ":x\r\n", "400 Bad Request", "invalid_cf_app_instance_header", "400 Bad Request: Invalid X-CF-App-Instance Header\n"},
		{"a.test", "X-CF-Process-Instance: " + app + ":\r\n", "400 Bad Request", "invalid_cf_process_instance_header", "400 Bad Request: Invalid X-CF-Process-Instance Header\n"},
		{"", "", "400 Bad Request", "empty_host", "400 Bad Request: Request had empty Host header\n"},
	} {
		got := w.send(get(c.host, c.more))
		head, body, _ := strings.Cut(got, "\r\n\r\n")
		if !strings.HasPrefix(head, "HTTP/1.1 "+c.status+"\r\n") || !strings.Contains(head, "\r\nX-Cf-RouterError: "+c.reason+"\r\n") || body != c.text {
			t.Errorf("%s %s: %s", c.host, c.more, got)
		}
	}
}

func TestInstanceChoice(t *testing.T) {
	w := start(t, nil)
	for i := range 3 {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/login" {
				http.SetCookie(w, &http.Cookie{Name: "JSESSIONID", Value: "s", Path: "/", Secure: true})
			}
			_, _ = fmt.Fprint(w, i)
		}))
		t.Cleanup(s.Close)
		w.route("a.test", s.Listener.Addr().String(), i)
	}
	for range 5 {
		if got := w.send(get("a.test", "X-Cf-App-Instance: "+guidOf("app", "a.test")+":2\r\n")); !strings.HasSuffix(got, "\r\n2") {
			t.Fatal(got)
		}
		if got := w.send(get("a.test", "X-Cf-Process-Instance: "+guidOf("process", "a.test")+":1\r\n")); !strings.HasSuffix(got, "\r\n1") {
			t.Fatal(got)
		}
	}
	got := w.send(strings.Replace(get("a.test", ""), "/ ", "/login ", 1))
	want := "__VCAP_ID__=inst-a.test-" + got[len(got)-1:]
	if !strings.Contains(got, "Set-Cookie: "+want+"; Path=/; HttpOnly; Secure\r\n") {
		t.Fatal(got)
	}
	for range 5 {
		if again := w.send(get("a.test", "Cookie: x=y; JSESSIONID=s; "+want+"\r\n")); again[len(again)-1] != got[len(got)-1] {
			t.Fatal("left its session's instance")
		}
	}
	moved := w.send(get("a.test", "Cookie: JSESSIONID=s; __VCAP_ID__=gone\r\n"))
	if !strings.Contains(moved, "Set-Cookie: __VCAP_ID__=inst-a.test-"+moved[len(moved)-1:]+"; Path=/; HttpOnly\r\n") {
		t.Fatal("a session of a gone instance did not move:", moved)
	}
	seen := map[byte]bool{}
	for range 6 {
		one := w.send(get("a.test", "Cookie: "+want+"\r\n"))
		seen[one[len(one)-1]] = true
	}
	if len(seen) != 3 {
		t.Fatal("without a session cookie the others must be used, too", seen)
	}
}

func TestBodies(t *testing.T) {
	w := start(t, nil)
	w.app("a.test", echo)
	big := strings.Repeat("0123456789abcdef", 64<<10) // 1 MB
	for _, c := range []struct{ name, text, want string }{
		{"length", "POST /p HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", "body=hello trailer=map[]"},
		{"chunked", "POST /p HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-T, X-Cf-Evil\r\n\r\n3;ext=1\r\nhel\r\n2\r\nlo\r\n0\r\nX-T: v\r\nX-Cf-Evil: v\r\n\r\n",
			"body=hello trailer=map[X-Cf-Evil:[] X-T:[v]]"},
		{"big", fmt.Sprintf("POST /p HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(big), big), big + " trailer"},
		{"http/1.0", "POST /p HTTP/1.0\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello", "body=hello"},
	} {
		if got := w.send(c.text); !strings.Contains(got, "200 OK") || !strings.Contains(strings.ReplaceAll(got, "\r\n", ""), c.want) && !strings.Contains(unchunk(got), c.want) {
			t.Errorf("%s: %d bytes: %.300s", c.name, len(got), got)
		}
	}
}

// unchunk reads the response's body as a client does.
func unchunk(text string) string {
	res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text)), nil)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func TestResponses(t *testing.T) {
	w := start(t, nil)
	reply := map[string]string{
		"/length": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Cf-RouterError: forged\r\nX-Vcap-Request-Id: forged\r\nConnection: X-Hop\r\nX-Hop: forged\r\n\r\nhello",
		"/chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nX-T: v\r\n\r\n",
		"/close":  "HTTP/1.0 200 OK\r\n\r\nhello",
		"/204":    "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
		"/304":    "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
		"/early":  "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"/head":   "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n",
	}
	w.raw("a.test", 0, func(c net.Conn, r *bufio.Reader) {
		if req, err := http.ReadRequest(r); err == nil {
			_, _ = io.WriteString(c, reply[req.URL.Path])
		}
	})
	for _, c := range []struct{ method, path, version, want string }{
		{"GET", "/length", "1.1", "hello"}, {"GET", "/chunks", "1.1", "hello"}, {"GET", "/close", "1.1", "hello"},
		{"GET", "/204", "1.1", ""}, {"GET", "/304", "1.1", ""}, {"HEAD", "/head", "1.1", ""}, {"GET", "/early", "1.1", "ok"},
		{"GET", "/chunks", "1.0", "hello"}, {"GET", "/close", "1.0", "hello"},
	} {
		got := w.send(c.method + " " + c.path + " HTTP/" + c.version + "\r\nHost: a.test\r\nConnection: close\r\n\r\n")
		if strings.Contains(got, "forged") {
			t.Error(got)
		}
		if c.path == "/204" && strings.Contains(got, "Content-Length") {
			t.Error("a length without a body:", got)
		}
		if c.path == "/early" {
			hint, rest, _ := strings.Cut(got, "\r\n\r\n")
			if hint != "HTTP/1.1 103 Early Hints\r\nLink: </a>" {
				t.Errorf("%s", got)
			}
			got = rest
		}
		res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(got)), &http.Request{Method: c.method})
		must(t, err)
		b, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || string(b) != c.want || c.version == "1.0" && len(res.TransferEncoding) > 0 {
			t.Errorf("%s %s: %v %q\n%s", c.method, c.path, err, b, got)
		}
		if c.path == "/chunks" && c.version == "1.1" && res.Trailer.Get("X-T") != "v" {
			t.Error("the trailer was lost:", got)
		}
	}
}

func TestKeepAliveAndPipelining(t *testing.T) {
	w := start(t, nil)
	w.app("a.test", echo)
	text := "POST /1 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\nA" + "GET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n" +
		"POST /3 HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nB\r\n0\r\n\r\n" + strings.Replace(get("a.test", ""), "/ ", "/4 ", 1)
	r := bufio.NewReader(strings.NewReader(w.send(text)))
	for i := 1; i <= 4; i++ {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(i, err)
		}
		b, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || !strings.Contains(string(b), fmt.Sprintf(" /%d host", i)) {
			t.Fatalf("%d: %v %s", i, err, b)
		}
	}
}

func TestWebSocket(t *testing.T) {
	w := start(t, nil)
	w.raw("a.test", 0, func(c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil || req.Header.Get("Upgrade") != "websocket" || req.Header.Get("Connection") != "Upgrade" {
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nfirst")
		_, _ = io.Copy(c, r)
	})
	c, err := net.Dial("tcp", w.addr)
	must(t, err)
	defer func() { _ = c.Close() }()
	_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
	must(t, err)
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	must(t, err)
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != 101 || res.Header.Get("Upgrade") != "websocket" || res.Header.Get("Connection") != "Upgrade" {
		t.Fatal(res)
	}
	b := make([]byte, 10)
	_, err = io.ReadFull(r, b)
	must(t, err)
	if string(b) != "firstearly" {
		t.Fatalf("%s", b)
	}
	must(t, c.(*net.TCPConn).CloseWrite())
	if _, err := io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	e := w.logs.wait(t, func(e cf.Envelope) bool { return e.Log != nil })
	if !strings.Contains(string(e.Log.Payload), `"GET / HTTP/1.1" 101 5 10 `) {
		t.Fatalf("%s", e.Log.Payload)
	}
}

func TestNoUpgradeToH2C(t *testing.T) {
	w := start(t, nil)
	w.app("a.test", echo)
	if got := w.send(get("a.test", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n")); strings.Contains(got, "h2c") || strings.Contains(got, "Settings") {
		t.Fatal(got)
	}
}

func TestExpectContinue(t *testing.T) {
	w := start(t, nil)
	w.app("a.test", func(w http.ResponseWriter, r *http.Request) { // reads first: Go's server sends its 100 then
		b, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "body=%s", b)
	})
	w.app("no.test", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(413) })
	for host, want := range map[string]string{"a.test": "HTTP/1.1 100 Continue\r\n", "no.test": "HTTP/1.1 413 Request Entity Too Large\r\n"} {
		c, err := net.Dial("tcp", w.addr)
		must(t, err)
		defer func() { _ = c.Close() }()
		must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
		_, err = io.WriteString(c, "POST / HTTP/1.1\r\nHost: "+host+"\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
		must(t, err)
		r := bufio.NewReader(c)
		line, err := r.ReadString('\n')
		must(t, err)
		if line != want {
			t.Fatalf("%s: %s", host, line)
		}
		if host == "a.test" {
			_, _ = r.ReadString('\n')
			_, err = io.WriteString(c, "hello")
			must(t, err)
			res, err := http.ReadResponse(r, nil)
			must(t, err)
			b := make([]byte, res.ContentLength)
			_, err = io.ReadFull(res.Body, b)
			_ = res.Body.Close()
			must(t, err)
			if !bytes.Contains(b, []byte("body=hello")) {
				t.Fatalf("%s", b)
			}
		}
	}
}

func TestAccessLine(t *testing.T) {
	w := start(t, nil)
	s := w.app("a.test", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(201)
		_, _ = io.WriteString(w, "hello")
	})
	got := w.send("POST /p?q=1 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 3\r\nUser-Agent: a \"b\"\r\nX-Forwarded-For: 9.9.9.9\r\n\r\nabc")
	_, id, _ := strings.Cut(got, "X-Vcap-Request-Id: ")
	id, _, _ = strings.Cut(id, "\r\n")
	e := w.logs.wait(t, func(e cf.Envelope) bool { return e.Log != nil })
	if e.SourceID != guidOf("app", "a.test") || e.InstanceID != "0" || e.Tags["source_type"] != "RTR" || e.Log.Err {
		t.Errorf("%+v", e)
	}
	line := string(e.Log.Payload)
	for _, want := range []string{"a.test - [20", `] "POST /p?q=1 HTTP/1.1" 201 3 5 "-" "a \"b\"" "127.0.0.1:`, `" "` + s.Listener.Addr().String() + `" x_forwarded_for:"9.9.9.9, 127.0.0.1" ` +
		`x_forwarded_proto:"http" vcap_request_id:"` + id + `" response_time:0.`, ` gorouter_time:0.0`,
		` app_id:"` + guidOf("app", "a.test") + `" app_index:"0" instance_id:"inst-a.test-0" route_service_url:"-" x_cf_routererror:"-" x_b3_traceid:"`} {
		if !strings.Contains(line, want) {
			t.Errorf("no %s in\n%s", want, line)
		}
	}
	timer := w.logs.wait(t, func(e cf.Envelope) bool { return e.Timer != nil })
	if timer.Timer.Name != "http" || timer.Tags["status_code"] != "201" || timer.Tags["uri"] != "http://a.test/p?q=1" || timer.Tags["process_id"] != guidOf("process", "a.test") {
		t.Errorf("%+v", timer)
	}
}

func TestSystemNames(t *testing.T) {
	w := start(t, func(rt *Router) {
		rt.System = map[string]http.Handler{"api.test": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, "%s tls=%v hidden=%q ", r.RemoteAddr, r.TLS != nil, r.Header.Get(remoteHeader))
			echo(w, r)
		})}
	})
	w.app("api.test", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "taken over") })
	w.app("*.test", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "taken over") })
	res, err := w.client().Post("https://API.test/v3", "text/plain", strings.NewReader(strings.Repeat("x", 1<<20)))
	must(t, err)
	b, err := io.ReadAll(res.Body)
	must(t, err)
	_ = res.Body.Close()
	if !strings.HasPrefix(string(b), "127.0.0.1:") || !strings.Contains(string(b), ` tls=true hidden="" POST /v3 host=API.test`) || len(b) < 1<<20 {
		t.Fatalf("%.300s", b)
	}
	if got := w.send(get("api.test", "X-Cf-Remote: 6.6.6.6:1\r\nX-Forwarded-Proto: https\r\n")); !strings.Contains(got, "127.0.0.1:") || !strings.Contains(got, "tls=false") {
		t.Fatal(got)
	}
}

// TestStickyCookie: the cookie has the route's context path, and what the app's own cookie says of safety and end.
func TestStickyCookie(t *testing.T) {
	w := start(t, func(rt *Router) { rt.Cookies = []string{"JSESSIONID", "MYSESSION"} })
	for i := range 2 {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for _, c := range r.URL.Query()["c"] {
				w.Header().Add("Set-Cookie", c)
			}
			_, _ = fmt.Fprint(w, i)
		}))
		t.Cleanup(s.Close)
		m := w.message("a.test/Ctx", s.Listener.Addr().String(), i)
		m.InstanceID = "inst"
		w.Table.Register(m, time.Now())
	}
	for set, want := range map[string]string{
		"JSESSIONID=1":        "__VCAP_ID__=inst; Path=/Ctx; HttpOnly",
		"MYSESSION=1; secure": "__VCAP_ID__=inst; Path=/Ctx; HttpOnly; Secure",
		"JSESSIONID=1; Path=/; Domain=x.test; SameSite=Strict; Secure; Partitioned": "__VCAP_ID__=inst; Path=/Ctx; HttpOnly; Secure; SameSite=Strict; Partitioned",
		"JSESSIONID=1; Expires=Wed, 21 Oct 2099 07:28:00 GMT":                       "__VCAP_ID__=inst; Path=/Ctx; Expires=Wed, 21 Oct 2099 07:28:00 GMT; HttpOnly",
		"JSESSIONID=1; Max-Age=100":                                                 "__VCAP_ID__=inst; Path=/Ctx; HttpOnly",
		"JSESSIONID=; Max-Age=0":                                                    "__VCAP_ID__=inst; Path=/Ctx; Max-Age=0; HttpOnly",
		"jsessionid=1":                                                              "",
		"OTHER=1":                                                                   "",
		"JSESSIONID=1&c=__VCAP_ID__=own":                                            "__VCAP_ID__=own",
	} {
		q := strings.NewReplacer(" ", "%20", ";", "%3B").Replace(set)
		got := w.send(strings.Replace(get("a.test", ""), "/ ", "/Ctx/login?c="+q+" ", 1))
		_, line, _ := strings.Cut(got, "Set-Cookie: __VCAP_ID__")
		line, _, _ = strings.Cut(line, "\r\n")
		if line != strings.TrimPrefix(want, "__VCAP_ID__") || strings.Count(got, "Set-Cookie: __VCAP_ID__") > 1 {
			t.Errorf("%s: %q, want %q\n%s", set, line, want, got)
		}
	}
}

// TestTrace: an app always sees a trace; the client's own is kept.
func TestTrace(t *testing.T) {
	w := start(t, nil)
	w.app("a.test", echo)
	const trace, span = "463ac35c9f6413ad48485a3953bb6124", "a2fb4a1d1a96d312"
	field := func(text, name string) string {
		_, v, _ := strings.Cut(text, "\n"+name+": ")
		v, _, _ = strings.Cut(v, "\r\n")
		return v
	}
	got := w.send(get("a.test", "traceparent: 00-x-y-01\r\n"))
	id := strings.ReplaceAll(field(got, "X-Vcap-Request-Id"), "-", "")
	if f := field(got, "X-B3-Traceid"); f != id || len(f) != 32 || len(field(got, "X-B3-Spanid")) != 16 || field(got, "B3") != f+"-"+field(got, "X-B3-Spanid") || field(got, "Traceparent") != "00-x-y-01" {
		t.Error(got)
	}
	for sent, want := range map[string]map[string]string{
		"b3: " + trace + "-" + span + "-1":                                          {"B3": trace + "-" + span + "-1", "X-B3-Traceid": ""},
		"X-B3-TraceId: " + trace + "\r\nX-B3-SpanId: " + span:                       {"B3": trace + "-" + span, "X-B3-Traceid": trace, "X-B3-Spanid": span},
		"X-B3-TraceId: " + trace + "\r\nX-B3-SpanId: " + span + "\r\nX-B3-Flags: 1": {"B3": trace + "-" + span + "-d", "X-B3-Flags": "1"},
		"X-B3-TraceId: nonsense\r\nX-B3-SpanId: x":                                  {"B3": "", "X-B3-Traceid": "nonsense", "X-B3-Spanid": "x"},
		"b3: 0": {"B3": "0", "X-B3-Traceid": ""},
	} {
		got := w.send(get("a.test", sent+"\r\n"))
		for name, v := range want {
			if f := field(got, name); f != v {
				t.Errorf("%s: %s is %q, want %q", sent, name, f, v)
			}
		}
	}
	if got := w.send(get("a.test", "b3: nonsense\r\nX-B3-TraceId: "+trace+"\r\n")); len(field(got, "B3")) != 49 || field(got, "X-B3-Traceid") == trace {
		t.Error(got)
	}
}

// TestHashRoute goes by a header of the request.
func TestHashRoute(t *testing.T) {
	w := start(t, nil)
	for i := range 3 {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, i) }))
		t.Cleanup(s.Close)
		m := w.message("a.test", s.Listener.Addr().String(), i)
		m.Options = map[string]string{"loadbalancing": "hash", "hash_header": "X-Tenant"}
		w.Table.Register(m, time.Now())
	}
	seen := map[byte]int{}
	for n := range 30 {
		first := w.send(get("a.test", fmt.Sprintf("x-tenant: %d\r\n", n)))
		again := w.send(get("a.test", fmt.Sprintf("X-Tenant: %d\r\n", n)))
		if first[len(first)-1] != again[len(again)-1] {
			t.Fatal("a tenant moved")
		}
		seen[first[len(first)-1]]++
	}
	if len(seen) != 3 {
		t.Error(seen)
	}
}

// TestWeightedRoute: exact shares, and no request lost when a destination's only instance is down.
func TestWeightedRoute(t *testing.T) {
	w := start(t, nil)
	for i, weight := range []int{70, 20, 10} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, i) }))
		m := w.message("a.test", s.Listener.Addr().String(), i)
		m.App, m.Weight = fmt.Sprint("app-", i), weight
		w.Table.Register(m, time.Now())
		if i == 2 {
			defer func() {
				s.Close()
				for range 50 {
					if got := w.send(get("a.test", "")); !strings.HasPrefix(got, "HTTP/1.1 200") {
						t.Fatal(got)
					}
				}
			}()
			continue
		}
		t.Cleanup(s.Close)
	}
	seen := map[byte]int{}
	for range 100 {
		got := w.send(get("a.test", ""))
		seen[got[len(got)-1]]++
	}
	if seen['0'] != 70 || seen['1'] != 20 || seen['2'] != 10 {
		t.Error(seen)
	}
}
