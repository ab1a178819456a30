package router

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ingot/cf"
	"ingot/kit/nats"
)

func startNATS(t *testing.T) *nats.Server {
	t.Helper()
	srv := &nats.Server{}
	must(t, srv.Start())
	t.Cleanup(srv.Stop)
	return srv
}

func TestRegistrations(t *testing.T) {
	srv := startNATS(t)
	own, err := srv.Connect("router")
	must(t, err)
	t.Cleanup(own.Close)
	c, err := srv.Connect("emitter")
	must(t, err)
	t.Cleanup(c.Close)
	starts, err := c.SubscribeSync("router.start")
	must(t, err)
	must(t, c.Flush())
	reg := prometheus.NewRegistry()
	w := start(t, func(rt *Router) { rt.NATS, rt.Metrics = own, reg })

	m, err := starts.NextMsg(5 * time.Second)
	must(t, err)
	var hello cf.RouterStart
	must(t, json.Unmarshal(m.Data, &hello))
	if hello.IntervalSeconds != 20 || hello.PruneSeconds != 120 || hello.ID == "" || len(hello.Hosts) == 0 {
		t.Fatalf("%s", m.Data)
	}
	if m, err = c.Request("router.greet", nil, 5*time.Second); err != nil || !strings.Contains(string(m.Data), hello.ID) {
		t.Fatal(m, err)
	}

	srvApp := w.app("other.test", echo)
	msg := w.route("other.test", srvApp.Listener.Addr().String(), 0)
	msg.URIs = []string{"a.test"}
	body, err := json.Marshal(msg)
	must(t, err)
	for range 3 { // a heartbeat is answered, too
		_, err = c.Request("router.register", body, 5*time.Second)
		must(t, err)
		if got := w.send(get("a.test", "")); !strings.Contains(got, "200 OK") {
			t.Fatal("answered before it was applied:", got)
		}
	}
	_, err = c.Request("router.unregister", body, 5*time.Second)
	must(t, err)
	if got := w.send(get("a.test", "")); !strings.Contains(got, "503 ") {
		t.Fatal(got)
	}
	_, err = c.Request("router.register", body, 5*time.Second) // the same bytes must work after an unregister
	must(t, err)
	if got := w.send(get("a.test", "")); !strings.Contains(got, "200 OK") {
		t.Fatal(got)
	}
	must(t, c.Publish("router.register", []byte("{nonsense")))
	must(t, c.Publish("router.register", []byte(`{"host":"","port":0}`)))
	_, err = c.Request("router.register", body, 5*time.Second)
	must(t, err)
	all, err := reg.Gather()
	must(t, err)
	for _, f := range all {
		if f.GetName() == "ingot_router_registrations_ignored_total" && f.GetMetric()[0].GetCounter().GetValue() != 2 {
			t.Fatal(f)
		}
	}
}
