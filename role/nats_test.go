package role

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"ingot/cf"
	"ingot/routing/emit"
	"ingot/routing/router"
)

// pipes leads to the NATS server that runs just now; none may.
type pipes struct{ at atomic.Pointer[server.Server] }

func (p *pipes) InProcessConn() (net.Conn, error) {
	if s := p.at.Load(); s != nil {
		return s.InProcessConn()
	}
	return nil, io.ErrClosedPipe
}

func (p *pipes) start(t *testing.T) {
	t.Helper()
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS does not start")
	}
	p.at.Store(s)
}

func (p *pipes) stop() {
	s := p.at.Swap(nil)
	s.Shutdown()
	s.WaitForShutdown()
}

func (p *pipes) connect(t *testing.T, name string) *natsgo.Conn {
	t.Helper()
	c, err := natsgo.Connect("", natsgo.Name(name), natsgo.InProcessServer(p), natsgo.MaxReconnects(-1), natsgo.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

type feed struct {
	events chan cf.LRPEvent
	marks  chan string
}

func (f *feed) Follow(context.Context) (<-chan cf.LRPEvent, error) { return f.events, nil }

func (f *feed) MarkRoutable(_ context.Context, id cf.InstanceID, routable bool) error {
	if !routable {
		id = "not " + id
	}
	f.marks <- string(id)
	return nil
}

// TestNATSEnds: routes stay while NATS is away, and what came meanwhile is routed when it is back.
func TestNATSEnds(t *testing.T) {
	p := &pipes{}
	p.start(t)
	t.Cleanup(func() { p.stop() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rt := &router.Router{NATS: p.connect(t, "router"), HTTP: []net.Listener{l}}
	f := &feed{events: make(chan cf.LRPEvent, 10), marks: make(chan string, 10)}
	em := &emit.Emitter{Feed: f, NATS: p.connect(t, "emitter")}
	for _, start := range []func(context.Context) error{rt.Start, em.Start} {
		if err := start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _, _ = em.Stop(context.Background()), rt.Stop(context.Background()) })
	runs := func(name string) {
		app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "well") }))
		t.Cleanup(app.Close)
		at := app.Listener.Addr().(*net.TCPAddr)
		f.events <- cf.LRPEvent{
			Desired: cf.DesiredLRP{ID: cf.ProcessID(name), AppID: cf.AppID(name), Routes: []cf.LRPRoute{{URI: name + ".test", Port: at.Port}}},
			Actual: &cf.ActualLRP{LRP: cf.ProcessID(name), AppID: cf.AppID(name), Instance: cf.InstanceID(name), State: cf.LRPRunning, Ready: true,
				Since: time.Now(), Host: at.IP.String(), Address: at.IP.String(), Ports: []cf.PortMapping{{Container: at.Port, Host: at.Port}}, Version: 1},
		}
	}
	routed := func(name string) {
		t.Helper()
		select {
		case got := <-f.marks:
			if got != name {
				t.Errorf("%s is routable, not %s", got, name)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s is not routable", name)
		}
	}
	answer := func(name string) string {
		r := httptest.NewRequest(http.MethodGet, "http://"+l.Addr().String()+"/", nil)
		r.RequestURI, r.Host = "", name+".test"
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return err.Error()
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	f.events <- cf.LRPEvent{} // the listing is whole
	runs("before")
	routed("before")
	for _, name := range []string{"meanwhile", "again"} {
		p.stop()
		runs(name)
		if got := answer("before"); got != "well" {
			t.Errorf("while NATS is away: %s", got)
		}
		if got := answer(name); !strings.HasPrefix(got, "404 ") {
			t.Errorf("%s before NATS is back: %s", name, got)
		}
		p.start(t)
		routed(name)
		for _, name := range []string{"before", name} {
			if got := answer(name); got != "well" {
				t.Errorf("%s, when NATS is back: %s", name, got)
			}
		}
	}
}
