package registry

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"ingot/cf"
	"ingot/kit/nats"
	"ingot/routing/table"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func counter() prometheus.Counter { return prometheus.NewCounter(prometheus.CounterOpts{Name: "x"}) }

func start(t testing.TB) (*Registry, *nats.Server) {
	t.Helper()
	srv := &nats.Server{}
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Stop)
	c, err := srv.Connect("router")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	r := &Registry{Table: &table.Table{}, NATS: c, ID: "r", Registered: counter(), Unregistered: counter(), Ignored: counter()}
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	return r, srv
}

func message(i int) []byte {
	b, err := json.Marshal(cf.RouteMessage{Host: "10.0.0.1", Port: 1024 + i%60000, App: cf.NewGUID(), InstanceID: fmt.Sprint("i-", i), InstanceIndex: "0",
		URIs: []string{fmt.Sprintf("app-%d.test", i)}, UpdatedNS: 1, Tags: map[string]string{"app_name": "x", "space_name": "y"}})
	if err != nil {
		panic(err)
	}
	return b
}

func TestNothingIsPrunedWhileMessagesCannotArrive(t *testing.T) {
	r, srv := start(t)
	c, err := srv.Connect("emitter")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	starts, err := c.SubscribeSync("router.start")
	if err != nil || c.Flush() != nil {
		t.Fatal(err)
	}
	if _, err := c.Request("router.register", message(1), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	known := func() bool { p := r.Table.Lookup("app-1.test", "/"); return p != nil && p.Len() == 1 }
	t0 := time.Now()
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	for _, s := range []int{60, 130, 3600} {
		if r.step(at(s), false); !known() {
			t.Fatal("pruned while NATS was down, after", s)
		}
	}
	if r.step(at(3610), true); !known() {
		t.Fatal("pruned before the emitters could repeat themselves")
	}
	if m, err := starts.NextMsg(5 * time.Second); err != nil || !strings.Contains(string(m.Data), `"id":"r"`) {
		t.Fatal("the emitters were not asked", m, err)
	}
	if r.step(at(3610+119), true); !known() {
		t.Fatal("pruned in the grace time")
	}
	if r.step(at(3610+121), true); known() {
		t.Fatal("a stale route stayed")
	}
}

func BenchmarkHeartbeat(b *testing.B) {
	r, _ := start(b)
	m, now := message(1), time.Now()
	r.register(m, now)
	b.ReportAllocs()
	for b.Loop() {
		r.register(m, now)
	}
}

func BenchmarkRegister(b *testing.B) {
	r, _ := start(b)
	ms := make([][]byte, 50000)
	for i := range ms {
		ms[i] = message(i)
	}
	now := time.Now()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%len(ms) == 0 {
			r.Table = &table.Table{}
			clear(r.known)
		}
		r.register(ms[i%len(ms)], now)
	}
}
