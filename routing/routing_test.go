package routing_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ingot/cf"
	"ingot/kit/nats"
	"ingot/routing/emit"
	"ingot/routing/router"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// oneLRP is a feed of a single instance that tells when it became routable.
type oneLRP struct {
	events chan cf.LRPEvent
	marks  chan bool
}

func (f *oneLRP) Follow(context.Context) (<-chan cf.LRPEvent, error) { return f.events, nil }

func (f *oneLRP) MarkRoutable(_ context.Context, _ cf.InstanceID, routable bool) error {
	f.marks <- routable
	return nil
}

// TestInstanceToRoutable goes the whole way: the scheduler's event, the emitter, NATS, the table, and back.
func TestInstanceToRoutable(t *testing.T) {
	defer goleak.VerifyNone(t)
	var srv nats.Server
	must(t, srv.Start())
	defer srv.Stop()
	own, err := srv.Connect("router")
	must(t, err)
	defer own.Close()
	other, err := srv.Connect("emit")
	must(t, err)
	defer other.Close()
	front, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	rt := &router.Router{HTTP: []net.Listener{front}, NATS: own}
	must(t, rt.Start(t.Context()))
	defer func() { must(t, rt.Stop(t.Context())) }()
	feed := &oneLRP{events: make(chan cf.LRPEvent, 10), marks: make(chan bool, 10)}
	e := &emit.Emitter{Feed: feed, NATS: other}
	must(t, e.Start(t.Context()))
	defer func() { must(t, e.Stop(t.Context())) }()

	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Cf-InstanceID"))
	}))
	defer app.Close()
	at := app.Listener.Addr().(*net.TCPAddr)
	get := func() (int, string) {
		q, err := http.NewRequest("GET", "http://"+front.Addr().String(), nil)
		must(t, err)
		q.Host = "a.test"
		res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(q)
		must(t, err)
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		must(t, err)
		return res.StatusCode, string(b)
	}
	a := cf.ActualLRP{LRP: "p-1", AppID: "app", Process: "p", Instance: "i", State: cf.LRPRunning, Ready: true, Since: time.Now(), Address: at.IP.String(), Version: 1}
	d := cf.DesiredLRP{ID: "p-1", AppID: "app", Routes: []cf.LRPRoute{{URI: "a.test", Port: at.Port}}}
	began := time.Now()
	feed.events <- cf.LRPEvent{Desired: d, Actual: &a}
	if !<-feed.marks {
		t.Fatal("marked not routable")
	}
	t.Logf("routable after %s", time.Since(began))
	if code, body := get(); code != 200 || body != "i" {
		t.Fatal(code, body)
	}
	a.Version = 2
	feed.events <- cf.LRPEvent{Desired: d, Actual: &a, Gone: true}
	if <-feed.marks {
		t.Fatal("still marked routable")
	}
	if code, _ := get(); code != 503 {
		t.Fatal("the route outlived its instance:", code)
	}
}
