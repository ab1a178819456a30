package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
)

func TestJSON(t *testing.T) {
	w := httptest.NewRecorder()
	if err := JSON(w, http.StatusCreated, map[string]string{"href": "https://a/?b=1&c=<2>"}); err != nil {
		t.Fatal(err)
	}
	if w.Code != http.StatusCreated || w.Body.String() != `{"href":"https://a/?b=1&c=<2>"}`+"\n" ||
		w.Header().Get("Content-Type") != "application/json; charset=utf-8" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	w = httptest.NewRecorder()
	if err := JSON(w, http.StatusOK, func() {}); err == nil || w.Body.Len() > 0 || len(w.Header()) > 0 {
		t.Errorf("half an answer: %v %v %s", err, w.Header(), w.Body)
	}
}

func TestErrors(t *testing.T) {
	refused := errors.New("refused")
	e := Errors{Write: func(w http.ResponseWriter, _ *http.Request, err error) { http.Error(w, err.Error(), http.StatusTeapot) }}
	for _, want := range []error{nil, refused} {
		w := httptest.NewRecorder()
		e.Handle(func(http.ResponseWriter, *http.Request) error { return want }).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if got := w.Code == http.StatusTeapot && w.Body.String() == "refused\n"; got != (want != nil) {
			t.Errorf("%v: %d %q", want, w.Code, w.Body)
		}
	}
}

func TestRequestID(t *testing.T) {
	own := `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`
	for client, want := range map[string]string{
		"": own, "abc-1_Z": "abc-1_Z::" + own, "a b\"c\n<script>": "abcscript::" + own, "<>": own, strings.Repeat("a", 300): "a{255}::" + own,
	} {
		var inside string
		r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
		r.Header.Set("X-Vcap-Request-Id", client)
		WithRequestID(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { inside = RequestID(r.Context()) })).ServeHTTP(w, r)
		if got := w.Header().Get("X-Vcap-Request-Id"); got != inside || !regexp.MustCompile("^"+want+"$").MatchString(got) {
			t.Errorf("%q: answered %q, inside %q", client, got, inside)
		}
	}
	if id := RequestID(context.Background()); id != "" {
		t.Errorf("an id from nowhere: %q", id)
	}
}

func TestLog(t *testing.T) {
	var out bytes.Buffer
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewJSONHandler(&out, nil)))
	defer slog.SetDefault(old)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v3/apps/{guid}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	mux.HandleFunc("GET /text", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "text") })
	mux.HandleFunc("GET /silent", func(http.ResponseWriter, *http.Request) {})
	h := Log("api", func(*http.Request) string { return "admin" }, mux)
	for path, want := range map[string]struct {
		route  string
		status float64
	}{"/v3/apps/1": {"GET /v3/apps/{guid}", 404}, "/text": {"GET /text", 200}, "/silent": {"GET /silent", 200}} {
		out.Reset()
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
		var line map[string]any
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v: %s", path, err, &out)
		}
		if line["role"] != "api" || line["user"] != "admin" || line["route"] != want.route || line["status"] != want.status || line["path"] != path {
			t.Errorf("%s: %s", path, &out)
		}
	}
}

// pipes is a listener in memory.
type pipes struct {
	net.Listener
	conns chan net.Conn
}

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error { close(p.conns); return nil }

// A server that is told to stop lets the running request end, and only then is Serve over.
func TestServeWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, goOn, over := pipes{conns: make(chan net.Conn)}, make(chan bool), make(chan error, 1)
		ctx, stop := context.WithCancel(t.Context())
		go func() {
			over <- Serve(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				<-goOn
				_, _ = io.WriteString(w, "whole")
			}))
		}()
		client, server := net.Pipe()
		l.conns <- server
		if _, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		stop()
		synctest.Wait()
		if len(over) > 0 {
			t.Fatalf("over before the request was: %v", <-over)
		}
		close(goOn)
		b, err := io.ReadAll(client)
		if !strings.HasSuffix(string(b), "whole") || err != nil {
			t.Errorf("answered %q: %v", b, err)
		}
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
}

func TestServeTellsWhatFailed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if err := Serve(t.Context(), l, http.NotFoundHandler()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
