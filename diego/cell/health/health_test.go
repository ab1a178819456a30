package health

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ingot/cf"
)

func check(kind string, port int) Check {
	return Check{HealthCheck: cf.HealthCheck{Type: kind, InvocationTimeout: 200 * time.Millisecond}, Address: "127.0.0.1", Ports: []int{port}}
}

func portOf(s *httptest.Server) int { return s.Listener.Addr().(*net.TCPAddr).Port }

// closedPort is one where nothing listens.
func closedPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

func TestTry(t *testing.T) {
	var redirected atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { redirected.Store(true) }))
	defer other.Close()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			if r.UserAgent() != "diego-healthcheck" || r.Header.Get("X-Forwarded-Proto") != "https" {
				w.WriteHeader(http.StatusTeapot)
			}
		case "/here":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case "/there":
			http.Redirect(w, r, other.URL, http.StatusFound)
		case "/slow":
			<-r.Context().Done()
		default:
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer app.Close()
	closed := closedPort(t)
	for name, c := range map[string]struct {
		check    Check
		endpoint string
		want     string
	}{
		"process":      {check: check("process", closed)},
		"none":         {check: check("", closed)},
		"port":         {check: check("port", portOf(app))},
		"closed port":  {check: check("port", closed), want: "failed to make TCP connection to 127.0.0.1:"},
		"http":         {check: check("http", portOf(app)), endpoint: "/ok"},
		"http, broken": {check: check("http", portOf(app)), want: "failed to make HTTP request to '/' on port "},
		"http, closed": {check: check("http", closed), endpoint: "/x", want: "failed to make HTTP request to '/x' on port "},
		"http, slow":   {check: check("http", portOf(app)), endpoint: "/slow", want: "failed to make HTTP request to '/slow' on port "},
		"redirect":     {check: check("http", portOf(app)), endpoint: "/here"},
		"redirect out": {check: check("http", portOf(app)), endpoint: "/there", want: "failed to make HTTP request to '/there' on port "},
		"broken path":  {check: check("http", portOf(app)), endpoint: "/%zz", want: "failed to create an HTTP request to '/%zz' on port "},
		"another host": {check: check("http", portOf(app)), endpoint: "@" + other.Listener.Addr().String() + "/", want: "failed to make HTTP request to '/@127.0.0.1:"},
	} {
		t.Run(name, func(t *testing.T) {
			c.check.Endpoint = c.endpoint
			err := c.check.Try(t.Context())
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if redirected.Load() {
		t.Error("an app sent the host elsewhere")
	}
}

func TestAllPortsMustAnswer(t *testing.T) {
	app := httptest.NewServer(http.NotFoundHandler())
	defer app.Close()
	c := check("port", portOf(app))
	c.Ports = append(c.Ports, closedPort(t))
	if c.Try(t.Context()) == nil {
		t.Error("one port is closed")
	}
}

func TestAwaitSeesAReadyAppSoon(t *testing.T) {
	var tries atomic.Int32
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if tries.Add(1) < 4 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer app.Close()
	start := time.Now()
	if err := check("http", portOf(app)).Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); tries.Load() != 4 || took < 60*time.Millisecond || took > 2*time.Second {
		t.Errorf("%d tries in %s", tries.Load(), took)
	}
}

func TestAwaitEnds(t *testing.T) {
	c := check("port", closedPort(t))
	c.Timeout = 50 * time.Millisecond
	err := c.Await(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "Timed out after 50ms (") || !strings.Contains(err.Error(), "waiting for startup check to succeed: failed to make TCP connection to 127.0.0.1:") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := check("port", c.Ports[0]).Await(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestDefaults(t *testing.T) {
	var c Check
	if c.StartIn() != time.Minute || c.Every() != 30*time.Second || Between(0, time.Second) != 20*time.Millisecond || Between(time.Second, time.Minute) != 100*time.Millisecond || Between(time.Minute, 250*time.Millisecond) != 250*time.Millisecond {
		t.Error("not CF's figures")
	}
}
