package table

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ingot/cf"
)

var t0 = time.Unix(1_700_000_000, 0)

func reg(addr, inst string, uris ...string) cf.RouteMessage {
	return cf.RouteMessage{Host: addr, Port: 8080, InstanceID: inst, App: "app-" + inst, URIs: uris}
}

func insts(p *Pool) (out []string) {
	if p == nil {
		return nil
	}
	for _, l := range p.leases() {
		out = append(out, l.end.Instance)
	}
	return out
}

func TestLookup(t *testing.T) {
	var tb Table
	for _, u := range []string{"a.test", "a.test/ctx", "a.test/ctx/Deep/", "*.w.test", "*.x.w.test", "only.test/p", "*.only2.test/p", "UP.test"} {
		tb.Register(reg("addr-of-"+u, u, u), t0)
	}
	for _, c := range []struct{ host, path, want string }{
		{"a.test", "/", "a.test"},
		{"A.TeSt:8443", "/?x=/ctx", "a.test"},
		{"a.test.", "/ctxx", "a.test"},
		{"a.test", "/ctx", "a.test/ctx"},
		{"a.test", "/ctx?q", "a.test/ctx"},
		{"a.test", "/CTX/other", "a.test/ctx"},
		{"a.test", "/ctx%2Fdeep", "a.test"},
		{"a.test", "/ctx/deep/er", "a.test/ctx/Deep/"},
		{"one.w.test", "/", "*.w.test"},
		{"two.one.w.test", "/", "*.w.test"},
		{"two.x.w.test", "/", "*.x.w.test"},
		{"w.test", "/", ""},
		{".w.test", "/", ""},
		{"only.test", "/", ""},
		{"only.test", "/p/x", "only.test/p"},
		{"h.only2.test", "/p", "*.only2.test/p"},
		{"up.test", "*", "UP.test"},
		{"", "/", ""},
		{strings.Repeat("a", 300), "/", ""},
		{"[::1]:80", "/", ""},
		{"*.w.test", "/", "*.w.test"},
	} {
		// Every route has its own address, or the last registration would replace the others.
		p := tb.Lookup(c.host, c.path)
		if got := insts(p); (c.want == "") != (p == nil) || p != nil && got[0] != c.want {
			t.Errorf("%s%s: %v, want %q", c.host, c.path, got, c.want)
		}
	}
}

func TestOlderMessagesAreIgnored(t *testing.T) {
	var tb Table
	m := reg("10.0.0.1", "i", "a.test")
	m.UpdatedNS = 20
	tb.Register(m, t0)
	old := m
	old.UpdatedNS = 10
	tb.Unregister(old, t0)
	if tb.Lookup("a.test", "/").Len() != 1 {
		t.Fatal("an older unregister took the endpoint away")
	}
	old.URIs = []string{"b.test"}
	if tb.Register(old, t0) != nil || tb.Lookup("b.test", "/") != nil {
		t.Fatal("an older register was applied")
	}
	tb.Unregister(m, t0)
	if tb.Lookup("a.test", "/").Len() != 0 {
		t.Fatal("the unregister did nothing")
	}
}

func TestReusedAddressLeavesOldRoutes(t *testing.T) {
	var tb Table
	tb.Register(reg("10.0.0.1", "old", "a.test"), t0)
	tb.Register(reg("10.0.0.1", "new", "b.test"), t0)
	if e, _ := tb.Lookup("a.test", "/").Pick(Pick{Now: t0}); e != nil {
		t.Fatalf("a.test leads to %s", e.Instance)
	}
	if e, _ := tb.Lookup("b.test", "/").Pick(Pick{Now: t0}); e == nil || e.Instance != "new" {
		t.Fatal("b.test leads nowhere")
	}
}

func TestLease(t *testing.T) {
	var tb Table
	m := reg("10.0.0.1", "i", "a.test", "b.test")
	l := tb.Register(m, t0)
	for s := 60; s <= 600; s += 60 {
		now := t0.Add(time.Duration(s) * time.Second)
		if !l.Refresh(now) {
			t.Fatal("lease died")
		}
		tb.Prune(now)
	}
	if tb.Lookup("a.test", "/").Len() != 1 {
		t.Fatal("a refreshed route was pruned")
	}
	now := t0.Add(600 * time.Second)
	tb.Unregister(reg("10.0.0.1", "i", "b.test"), now)
	if l.Refresh(now) {
		t.Fatal("a lease of which a route was taken away must be registered again")
	}
	tb.Register(m, now)
	if tb.Lookup("b.test", "/").Len() != 1 {
		t.Fatal("register after unregister did nothing")
	}
}

func TestPrune(t *testing.T) {
	var tb Table
	tb.Register(reg("10.0.0.1", "i", "a.test"), t0)
	short := reg("10.0.0.2", "j", "s.test")
	short.StaleSeconds = 10
	tb.Register(short, t0)
	if n := tb.Prune(t0.Add(11 * time.Second)); n != 1 || tb.Lookup("s.test", "/").Len() != 0 {
		t.Fatal("the message's own threshold was not used", n)
	}
	if n := tb.Prune(t0.Add(120 * time.Second)); n != 0 || tb.Lookup("s.test", "/") != nil || tb.Len() != 1 {
		t.Fatal("the empty route stayed, or another went", n)
	}
	tb.Grace(t0.Add(121 * time.Second))
	if n := tb.Prune(t0.Add(240 * time.Second)); n != 0 {
		t.Fatal("pruned in grace")
	}
	if n := tb.Prune(t0.Add(242 * time.Second)); n != 1 {
		t.Fatal("not pruned after grace")
	}
	if p := tb.Lookup("a.test", "/"); p == nil || p.Len() != 0 {
		t.Fatal("an emptied route must be known for a while")
	}
	tb.Prune(t0.Add(300 * time.Second))
	if tb.Lookup("a.test", "/") != nil || tb.Len() != 0 {
		t.Fatal("an empty route stayed")
	}
	tb.Register(reg("10.0.0.1", "i", "a.test", "a.test/p"), t0.Add(301*time.Second))
	if tb.Lookup("a.test", "/p").Len() != 1 || tb.Len() != 2 {
		t.Fatal("a forgotten host did not come back")
	}
}

func TestBalance(t *testing.T) {
	var tb Table
	for i := range 4 {
		m := reg(fmt.Sprintf("10.0.0.%d", i), fmt.Sprint(i), "a.test")
		tb.Register(m, t0)
	}
	p := tb.Lookup("a.test", "/")
	count := func(n int, c Pick) map[string]int {
		got := map[string]int{}
		for range n {
			e, _ := p.Pick(c)
			if e == nil {
				got["none"]++
			} else {
				got[e.Instance]++
			}
		}
		return got
	}
	if got := count(400, Pick{Now: t0}); got["0"] != 100 || got["1"] != 100 || got["2"] != 100 || got["3"] != 100 {
		t.Fatal("round robin:", got)
	}
	one := p.Find(func(e *Endpoint) bool { return e.Instance == "1" })
	one.Failed(t0)
	if got := count(100, Pick{Now: t0.Add(time.Second)}); got["1"] != 0 || got["none"] != 0 {
		t.Fatal("a failed endpoint was chosen:", got)
	}
	if got := count(100, Pick{Now: t0.Add(29 * time.Second)}); got["1"] != 0 {
		t.Fatal("a failed endpoint came back too early:", got)
	}
	if got := count(100, Pick{Now: t0.Add(31 * time.Second)}); got["1"] != 25 {
		t.Fatal("a failed endpoint never came back:", got)
	}
	if got := count(10, Pick{Now: t0.Add(time.Second), Only: func(e *Endpoint) bool { return e == one }}); got["1"] != 10 {
		t.Fatal("the last endpoint must be tried even after a failure:", got)
	}
	if got := count(10, Pick{Now: t0, Tried: []*Endpoint{one}}); got["1"] != 0 {
		t.Fatal("tried again:", got)
	}
	one.Begin()
	if e, full := p.Pick(Pick{Now: t0.Add(time.Minute), Limit: 1, Only: func(e *Endpoint) bool { return e == one }}); e != nil || !full {
		t.Fatal("limit")
	}
	for i := range 4 {
		m := reg(fmt.Sprintf("10.0.0.%d", i), fmt.Sprint(i), "a.test")
		m.Options = map[string]string{"loadbalancing": "least-connection"}
		tb.Register(m, t0)
	}
	for _, l := range p.leases() {
		if l.end.Instance != "3" {
			l.end.Begin()
		}
	}
	if got := count(50, Pick{Now: t0.Add(time.Minute)}); got["3"] != 50 {
		t.Fatal("least connection:", got)
	}
}

// model is the table as one would write it without regard to speed.
type model map[string]map[string]known // route -> addr -> entry

type known struct {
	inst string
	seen time.Time
}

func TestLikeTheModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tb, m, now := Table{EmptyFor: -time.Second}, model{}, t0
		updated := map[string]int64{}
		uris := []string{"a.test", "a.test/x", "a.test/x/y", "*.a.test", "b.a.test", "*.b.a.test/x", "c.test"}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			addr := rapid.SampledFrom([]string{"h1", "h2", "h3"}).Draw(rt, "addr")
			set := rapid.SliceOfNDistinct(rapid.SampledFrom(uris), 1, 4, rapid.ID[string]).Draw(rt, "uris")
			msg := cf.RouteMessage{Host: addr, Port: 1, InstanceID: addr, URIs: set, UpdatedNS: int64(rapid.IntRange(1, 5).Draw(rt, "ns"))}
			switch rapid.IntRange(0, 3).Draw(rt, "op") {
			case 0, 1:
				tb.Register(msg, now)
				if msg.UpdatedNS >= updated[addr] {
					updated[addr] = msg.UpdatedNS
					for _, u := range set {
						if m[u] == nil {
							m[u] = map[string]known{}
						}
						m[u][addr] = known{addr, now}
					}
				}
			case 2:
				tb.Unregister(msg, now)
				if msg.UpdatedNS >= updated[addr] {
					for _, u := range set {
						delete(m[u], addr)
					}
				}
			case 3:
				now = now.Add(time.Duration(rapid.IntRange(1, 90).Draw(rt, "s")) * time.Second)
				tb.Prune(now)
				for u := range m {
					for a, e := range m[u] {
						if now.Sub(e.seen) > 120*time.Second {
							delete(m[u], a)
						}
					}
					if len(m[u]) == 0 {
						delete(m, u)
					}
				}
				if tb.Len() != len(m) {
					rt.Fatalf("%d routes, want %d", tb.Len(), len(m))
				}
			}
			for _, host := range []string{"a.test", "b.a.test", "z.b.a.test", "q.a.test", "c.test", "test"} {
				for _, path := range []string{"/", "/x", "/xx", "/x/y/z"} {
					want := m.lookup(host, path)
					got := insts(tb.Lookup(host, path))
					slices.Sort(got)
					if !slices.Equal(got, want) {
						rt.Fatalf("%s%s: %v, want %v", host, path, got, want)
					}
				}
			}
		}
	})
}

func (m model) lookup(host, path string) []string {
	for name, first := host, true; ; first = false {
		if !first {
			_, rest, ok := strings.Cut(name, ".")
			if !ok {
				return nil
			}
			name = rest
		}
		key := name
		if !first {
			key = "*." + name
		}
		best := -1
		var found map[string]known
		for route, ends := range m {
			h, p, _ := strings.Cut(route, "/")
			if h == key && len(p) > best && (p == "" || path == "/"+p || strings.HasPrefix(path, "/"+p+"/")) {
				best, found = len(p), ends
			}
		}
		if best >= 0 {
			var out []string
			for a := range found {
				out = append(out, a)
			}
			slices.Sort(out)
			return out
		}
	}
}

func TestConcurrent(t *testing.T) {
	var tb Table
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if p := tb.Lookup(fmt.Sprintf("h%d.test", i%500), "/p/q"); p != nil {
					p.Pick(Pick{Now: t0})
				}
				if p := tb.Lookup("fix.test", "/"); p != nil && p.Len() == 0 {
					panic("fix.test lost its endpoint")
				}
			}
		})
	}
	tb.Register(reg("fix", "fix", "fix.test"), t0)
	for i := range 5000 {
		m := reg(fmt.Sprintf("e%d", i%700), fmt.Sprint(i), fmt.Sprintf("h%d.test", i%500), fmt.Sprintf("h%d.test/p", i%300))
		tb.Register(m, t0)
		if i%3 == 0 {
			tb.Unregister(m, t0)
		}
		if i%500 == 0 {
			tb.Prune(t0.Add(time.Duration(i) * time.Millisecond))
		}
	}
	close(stop)
	wg.Wait()
}

func messages(n int) []cf.RouteMessage {
	ms := make([]cf.RouteMessage, n)
	for i := range ms {
		ms[i] = cf.RouteMessage{Host: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), Port: 8080, App: cf.NewGUID(), InstanceID: string(cf.NewInstanceID()),
			InstanceIndex: "0", URIs: []string{fmt.Sprintf("app-%d.apps.ingot.test", i)}, UpdatedNS: 1}
	}
	return ms
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// TestBytesPerRoute holds goal R4: at most 400 B a route, each route with an endpoint of its own.
func TestBytesPerRoute(t *testing.T) {
	const n = 100_000
	ms := messages(n)
	before := heap()
	var tb Table
	for _, m := range ms {
		tb.Register(m, t0)
	}
	per := float64(heap()-before) / n
	runtime.KeepAlive(&tb)
	runtime.KeepAlive(ms)
	t.Logf("%.0f B a route", per)
	if per > 400 {
		t.Errorf("%.0f B a route, want at most 400", per)
	}
}

func BenchmarkRegister100k(b *testing.B) {
	ms := messages(100_000)
	for b.Loop() {
		var tb Table
		for _, m := range ms {
			tb.Register(m, t0)
		}
	}
}

func BenchmarkRefresh(b *testing.B) {
	var tb Table
	l := tb.Register(reg("10.0.0.1", "i", "a.test"), t0)
	b.ReportAllocs()
	for b.Loop() {
		l.Refresh(t0)
	}
}

func BenchmarkPrune100k(b *testing.B) {
	var tb Table
	for _, m := range messages(100_000) {
		tb.Register(m, t0)
	}
	for b.Loop() {
		tb.Prune(t0)
	}
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var tb Table
			for _, m := range messages(n) {
				tb.Register(m, t0)
			}
			names := make([]string, n)
			for i := range names {
				names[i] = fmt.Sprintf("app-%d.apps.ingot.test:443", i*7919%n)
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if e, _ := tb.Lookup(names[i%n], "/some/path?q").Pick(Pick{Now: t0}); e == nil {
						b.Fail()
					}
				}
			})
		})
	}
}
