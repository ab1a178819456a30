package table

import (
	"fmt"
	"math"
	"testing"
	"time"

	"ingot/cf"
)

// destination is an app of n instances on a.test with a weight.
func destination(tb *Table, app string, n, weight int) (leases []*Lease) {
	for i := range n {
		leases = append(leases, tb.Register(cf.RouteMessage{Host: "10." + app + ".0." + fmt.Sprint(i), Port: 8080, App: app, InstanceID: fmt.Sprint(app, "-", i),
			URIs: []string{"a.test"}, Weight: weight, Tags: map[string]string{"process_type": "web"}}, t0))
	}
	return leases
}

func picks(t *testing.T, p *Pool, n int, c Pick, by func(*Endpoint) string) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		e, _ := p.Pick(c)
		if e == nil {
			t.Fatal("nobody was chosen")
		}
		got[by(e)]++
	}
	return got
}

func byApp(e *Endpoint) string      { return e.App }
func byInstance(e *Endpoint) string { return e.Instance }

// TestWeights: shares are exact over each round, whatever number of instances a destination has, and even in between.
func TestWeights(t *testing.T) {
	var tb Table
	ones := destination(&tb, "1", 1, 50)
	destination(&tb, "2", 3, 30)
	destination(&tb, "3", 7, 20)
	p := tb.Lookup("a.test", "/")
	for range 5 {
		if got := picks(t, p, 10, Pick{Now: t0}, byApp); got["1"] != 5 || got["2"] != 3 || got["3"] != 2 {
			t.Fatal(got)
		}
	}
	if got := picks(t, p, 7*5*30, Pick{Now: t0}, byInstance); got["2-0"] != 105 || got["2-1"] != 105 || got["2-2"] != 105 || got["3-0"] != 30 || got["3-6"] != 30 {
		t.Fatal(got)
	}
	// A destination with nobody healthy loses no request, and takes no share.
	ones[0].end.Failed(t0)
	if got := picks(t, p, 100, Pick{Now: t0.Add(time.Second)}, byApp); got["1"] != 0 {
		t.Fatal(got)
	}
	if e, _ := p.Pick(Pick{Now: t0, Only: func(e *Endpoint) bool { return e.App == "1" }}); e != ones[0].end {
		t.Fatal("the last one must be tried even so", e)
	}
	if e, full := p.Pick(Pick{Now: t0, Only: func(e *Endpoint) bool { return e.App == "4" }}); e != nil || full {
		t.Fatal(e, full)
	}
	ones[0].end.Begin()
	if e, full := p.Pick(Pick{Now: t0, Limit: 1, Only: func(e *Endpoint) bool { return e.App == "1" }}); e != nil || !full {
		t.Fatal(e, full)
	}
	ones[0].end.Works()
	ones[0].end.End()
	// Two processes of one type are one destination, as in a deployment; weights that change count at once.
	m := cf.RouteMessage{Host: "10.9.9.9", Port: 8080, App: "1", InstanceID: "new", URIs: []string{"a.test"}, Weight: 90, Tags: map[string]string{"process_type": "web"}}
	tb.Register(m, t0)
	destination(&tb, "1", 1, 90)
	destination(&tb, "2", 3, 10)
	tb.Unregister(cf.RouteMessage{Host: "10.3.0.0", Port: 8080, URIs: []string{"a.test"}}, t0)
	for i := range 7 {
		tb.Unregister(cf.RouteMessage{Host: fmt.Sprint("10.3.0.", i), Port: 8080, URIs: []string{"a.test"}}, t0)
	}
	if got := picks(t, p, 200, Pick{Now: t0}, byInstance); got["new"] != 90 || got["1-0"] != 90 || got["2-0"]+got["2-1"]+got["2-2"] != 20 {
		t.Fatal(got)
	}
	// Without weights all instances are equal again.
	m.Weight = 0
	tb.Register(m, t0)
	destination(&tb, "1", 1, 0)
	destination(&tb, "2", 3, 0)
	if got := picks(t, p, 50, Pick{Now: t0}, byInstance); got["new"] != 10 || got["2-2"] != 10 {
		t.Fatal(got)
	}
}

// TestWeightOfARoute: an instance has another weight and protocol on each of its routes.
func TestWeightOfARoute(t *testing.T) {
	var tb Table
	reg := func(app, uri, protocol string, weight int) *Lease {
		return tb.Register(cf.RouteMessage{Host: "10.0.0." + app, Port: 8080, App: app, InstanceID: app, URIs: []string{uri}, Weight: weight, Protocol: protocol}, t0)
	}
	leases := []*Lease{reg("1", "a.test", "", 25), reg("2", "a.test", "", 75), reg("1", "b.test", "http2", 60), reg("2", "b.test", "http2", 40)}
	for range 3 { // heartbeats change nothing
		for i, l := range leases {
			if !l.Refresh(t0) {
				t.Fatal("the lease of", i, "died")
			}
		}
	}
	a, b := tb.Lookup("a.test", "/"), tb.Lookup("b.test", "/")
	if got := picks(t, a, 100, Pick{Now: t0}, byApp); got["1"] != 25 {
		t.Fatal(got)
	}
	if got := picks(t, b, 100, Pick{Now: t0}, byApp); got["1"] != 60 {
		t.Fatal(got)
	}
	ea, _ := a.Pick(Pick{Now: t0})
	eb, _ := b.Pick(Pick{Now: t0})
	if ea.HTTP2 || !eb.HTTP2 {
		t.Fatal("protocols")
	}
	// Somebody else at the address: neither protocol leads there any more.
	tb.Register(cf.RouteMessage{Host: "10.0.0.1", Port: 8080, App: "x", InstanceID: "x", URIs: []string{"c.test"}}, t0)
	for _, p := range []*Pool{a, b} {
		if got := picks(t, p, 20, Pick{Now: t0}, byApp); got["1"] != 0 {
			t.Fatal(got)
		}
	}
}

func hashed(n int, balance string) (*Table, *Pool) {
	tb := &Table{}
	for i := range n {
		tb.Register(cf.RouteMessage{Host: fmt.Sprint("10.0.0.", i), Port: 8080, App: "app", InstanceID: fmt.Sprint("inst-", i), URIs: []string{"a.test"},
			Options: map[string]string{"loadbalancing": "hash", "hash_header": "X-User", "hash_balance": balance}}, t0)
	}
	return tb, tb.Lookup("a.test", "/")
}

// TestHash: a value keeps its instance, values spread evenly, and only those of a lost instance move.
func TestHash(t *testing.T) {
	tb, p := hashed(5, "")
	if p.HashHeader() != "X-User" {
		t.Fatal(p.HashHeader())
	}
	const n = 10000
	home, count := map[string]string{}, map[string]int{}
	for i := range n {
		v := fmt.Sprint("user-", i)
		for range 2 {
			e, _ := p.Pick(Pick{Now: t0, Hash: v})
			if old := home[v]; old != "" && old != e.Instance {
				t.Fatal(v, "moved")
			}
			home[v] = e.Instance
		}
		count[home[v]]++
	}
	for id, c := range count {
		if math.Abs(float64(c)-n/5) > 5*math.Sqrt(n*.2*.8) {
			t.Error(id, c)
		}
	}
	first, _ := p.Pick(Pick{Now: t0, Hash: "user-1"})
	if second, _ := p.Pick(Pick{Now: t0, Hash: "user-1", Tried: []*Endpoint{first}}); second == nil || second == first {
		t.Error("a retry goes to the next one")
	}
	tb.Unregister(cf.RouteMessage{Host: "10.0.0.3", Port: 8080, URIs: []string{"a.test"}}, t0)
	for v, id := range home {
		e, _ := p.Pick(Pick{Now: t0, Hash: v})
		if id != "inst-3" && e.Instance != id {
			t.Fatal(v, "moved without need")
		}
	}
	if got := picks(t, p, 40, Pick{Now: t0}, byInstance); len(got) != 4 || got["inst-0"] != 10 {
		t.Fatal("without the header: round robin", got)
	}
	// The same on every router, of whatever build: known answers.
	for v, want := range map[string]string{"tenant": "inst-1", "user-17": "inst-0"} {
		if e, _ := p.Pick(Pick{Now: t0, Hash: v}); e.Instance != want {
			t.Error(v, e.Instance)
		}
	}
}

// TestHashBalance: an instance with more requests than its part sends its values to their next one.
func TestHashBalance(t *testing.T) {
	_, p := hashed(4, "1.25")
	held := map[*Endpoint]int{}
	for range 40 {
		e, _ := p.Pick(Pick{Now: t0, Hash: "one value"})
		e.Begin()
		held[e]++
	}
	for e, n := range held {
		if n > 13 { // ceil(1.25 * 40/4)
			t.Error(e.Instance, n)
		}
	}
	if len(held) != 4 {
		t.Error(held)
	}
	_, p = hashed(4, "0")
	for range 40 {
		e, _ := p.Pick(Pick{Now: t0, Hash: "one value"})
		e.Begin()
		if e.InFlight() == 40 {
			return
		}
	}
	t.Error("without a balance factor a value stays")
}

func BenchmarkPick(b *testing.B) {
	for name, weight := range map[string]int{"plain": 0, "weights": 10} {
		b.Run(name, func(b *testing.B) {
			var tb Table
			destination(&tb, "1", 10, weight)
			destination(&tb, "2", 10, weight*2)
			p := tb.Lookup("a.test", "/")
			b.ReportAllocs()
			for b.Loop() {
				p.Pick(Pick{Now: t0})
			}
		})
	}
	b.Run("hash", func(b *testing.B) {
		_, p := hashed(20, "1.25")
		b.ReportAllocs()
		for b.Loop() {
			p.Pick(Pick{Now: t0, Hash: "tenant-17"})
		}
	})
}
