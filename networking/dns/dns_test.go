package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	wire "github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listen takes one port, 0 for a free one, over TCP and UDP.
func listen(t testing.TB, addr, answer string) Listener {
	t.Helper()
	tcp, err := net.Listen("tcp", addr)
	ok(t, err)
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	ok(t, err)
	return Listener{tcp, udp, netip.MustParseAddr(answer)}
}

// serve starts a server on two loopback addresses: the second plays the gateway.
func serve(t *testing.T, upstreams ...string) *Server {
	t.Helper()
	s := &Server{Domain: "Ingot.Test", Upstreams: upstreams, Timeout: 200 * time.Millisecond, Listeners: []Listener{
		listen(t, "127.0.0.1:0", "127.0.0.1"),
		listen(t, "127.0.0.2:0", "10.254.0.1"),
	}}
	ok(t, s.Start(context.Background()))
	t.Cleanup(func() { ok(t, s.Stop(context.Background())) })
	return s
}

func ask(t testing.TB, network, server, name string, kind uint16) *wire.Msg {
	t.Helper()
	c := wire.Client{Net: network, Timeout: 5 * time.Second}
	a, _, err := c.Exchange(new(wire.Msg).SetQuestion(name, kind), server)
	ok(t, err)
	return a
}

// upstream is a server of the test: it counts, and answers as it is told.
type upstream struct {
	asked  atomic.Int64
	mu     sync.Mutex
	answer func(w wire.ResponseWriter, q *wire.Msg)
}

func (u *upstream) tell(answer func(w wire.ResponseWriter, q *wire.Msg)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answer = answer
}

func (u *upstream) start(t *testing.T) string {
	t.Helper()
	h := wire.HandlerFunc(func(w wire.ResponseWriter, q *wire.Msg) {
		u.asked.Add(1)
		u.mu.Lock()
		answer := u.answer
		u.mu.Unlock()
		answer(w, q)
	})
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	ok(t, err)
	var running sync.WaitGroup
	t.Cleanup(running.Wait) // after both have been shut down
	for _, s := range []*wire.Server{{Listener: tcp, Handler: h}, {PacketConn: udp, Handler: h}} {
		ready := make(chan struct{})
		s.NotifyStartedFunc = func() { close(ready) }
		running.Go(func() { _ = s.ActivateAndServe() })
		<-ready
		t.Cleanup(func() { ok(t, s.Shutdown()) })
	}
	return tcp.Addr().String()
}

// txt answers with n texts.
func txt(n int) func(w wire.ResponseWriter, q *wire.Msg) {
	return func(w wire.ResponseWriter, q *wire.Msg) {
		a := new(wire.Msg).SetReply(q)
		for i := range n {
			rr, _ := wire.NewRR(fmt.Sprintf("%s 60 IN TXT \"%d %s\"", q.Question[0].Name, i, strings.Repeat("x", 100)))
			a.Answer = append(a.Answer, rr)
		}
		if w.RemoteAddr().Network() == "udp" {
			a.Truncate(wire.MinMsgSize)
		}
		_ = w.WriteMsg(a)
	}
}

func rcode(code int) func(w wire.ResponseWriter, q *wire.Msg) {
	return func(w wire.ResponseWriter, q *wire.Msg) { _ = w.WriteMsg(new(wire.Msg).SetRcode(q, code)) }
}

func silent(wire.ResponseWriter, *wire.Msg) {}

func TestOurNames(t *testing.T) {
	up := &upstream{answer: rcode(wire.RcodeSuccess)}
	s := serve(t, up.start(t))
	for i, want := range []string{"127.0.0.1", "10.254.0.1"} {
		for _, network := range []string{"udp", "tcp"} {
			for _, name := range []string{"ingot.test.", "api.ingot.test.", "a.b.apps.INGOT.test.", "xn--bcher-kva.apps.ingot.test."} {
				a := ask(t, network, s.Listeners[i].TCP.Addr().String(), name, wire.TypeA)
				if a.Rcode != wire.RcodeSuccess || len(a.Answer) != 1 || a.Answer[0].(*wire.A).A.String() != want || a.Answer[0].Header().Name != name ||
					!a.RecursionAvailable {
					t.Errorf("%s %s: %v", network, name, a)
				}
				for _, kind := range []uint16{wire.TypeAAAA, wire.TypeMX, wire.TypeTXT, wire.TypeHTTPS} {
					a = ask(t, network, s.Listeners[i].TCP.Addr().String(), name, kind)
					if a.Rcode != wire.RcodeSuccess || len(a.Answer) != 0 || len(a.Ns) != 1 {
						t.Errorf("%s %s: %v", name, wire.TypeToString[kind], a)
					}
				}
			}
		}
	}
	for _, name := range []string{"apps.internal.", "x.apps.internal.", "0.x.Apps.Internal."} {
		if a := ask(t, "udp", s.Listeners[1].TCP.Addr().String(), name, wire.TypeA); a.Rcode != wire.RcodeNameError || len(a.Ns) != 1 {
			t.Errorf("%s: %v", name, a)
		}
	}
	if n := up.asked.Load(); n != 0 {
		t.Errorf("the upstream was asked %d times for names of ours", n)
	}
	for _, name := range []string{"notingot.test.", "ingot.test.example.org.", "internal.", "xapps.internal.", "."} {
		ask(t, "udp", s.Listeners[0].TCP.Addr().String(), name, wire.TypeA)
	}
	if n := up.asked.Load(); n != 5 {
		t.Errorf("the upstream was asked %d times for 5 foreign names", n)
	}
}

// TestGoResolver asks as programs do.
func TestGoResolver(t *testing.T) {
	s := serve(t)
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.Listeners[0].TCP.Addr().String())
	}}
	got, err := r.LookupHost(context.Background(), "app.apps.ingot.test")
	if err != nil || len(got) != 1 || got[0] != "127.0.0.1" {
		t.Errorf("%v %v", got, err)
	}
}

func TestForward(t *testing.T) {
	up := &upstream{answer: txt(1)}
	s := serve(t, up.start(t))
	for _, network := range []string{"udp", "tcp"} {
		if a := ask(t, network, s.Listeners[1].TCP.Addr().String(), "example.org.", wire.TypeTXT); len(a.Answer) != 1 || a.Rcode != wire.RcodeSuccess {
			t.Errorf("%s: %v", network, a)
		}
	}
	up.tell(txt(50)) // larger than a datagram: over UDP it says so, over TCP it is whole
	if a := ask(t, "udp", s.Listeners[0].TCP.Addr().String(), "example.org.", wire.TypeTXT); !a.Truncated || len(a.Answer) >= 50 {
		t.Errorf("truncated %v, %d answers", a.Truncated, len(a.Answer))
	}
	if a := ask(t, "tcp", s.Listeners[0].TCP.Addr().String(), "example.org.", wire.TypeTXT); a.Truncated || len(a.Answer) != 50 {
		t.Errorf("truncated %v, %d answers", a.Truncated, len(a.Answer))
	}
	up.tell(rcode(wire.RcodeNameError))
	if a := ask(t, "udp", s.Listeners[0].TCP.Addr().String(), "no.example.org.", wire.TypeA); a.Rcode != wire.RcodeNameError {
		t.Errorf("%v", a)
	}
}

func TestUpstreamsThatFail(t *testing.T) {
	good := &upstream{answer: txt(1)}
	liar := &upstream{answer: func(w wire.ResponseWriter, q *wire.Msg) { // answers another question
		a := new(wire.Msg).SetReply(q)
		a.Question[0].Name = "evil.example.org."
		_ = w.WriteMsg(a)
	}}
	mute, broken, refusing := &upstream{answer: silent}, &upstream{answer: rcode(wire.RcodeServerFailure)}, &upstream{answer: rcode(wire.RcodeRefused)}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	ok(t, gone.Close())
	s := serve(t, gone.Addr().String(), mute.start(t), liar.start(t), broken.start(t), refusing.start(t), good.start(t))
	if a := ask(t, "udp", s.Listeners[0].TCP.Addr().String(), "example.org.", wire.TypeTXT); len(a.Answer) != 1 {
		t.Errorf("%v", a)
	}
	if mute.asked.Load() == 0 || liar.asked.Load() == 0 || broken.asked.Load() == 0 || refusing.asked.Load() == 0 {
		t.Error("not in order")
	}
	alone := serve(t)
	if a := ask(t, "udp", alone.Listeners[0].TCP.Addr().String(), "example.org.", wire.TypeA); a.Rcode != wire.RcodeServerFailure {
		t.Errorf("without upstreams: %v", a)
	}
	if a := ask(t, "udp", alone.Listeners[0].TCP.Addr().String(), "api.ingot.test.", wire.TypeA); len(a.Answer) != 1 {
		t.Errorf("without upstreams: %v", a)
	}
}

func TestNeverOurselves(t *testing.T) {
	l := listen(t, "127.0.0.1:0", "127.0.0.1")
	addr := l.TCP.Addr().String()
	s := &Server{Domain: "ingot.test", Upstreams: []string{addr}, Listeners: []Listener{l}}
	ok(t, s.Start(context.Background()))
	defer func() { ok(t, s.Stop(context.Background())) }()
	begin := time.Now()
	if a := ask(t, "udp", addr, "example.org.", wire.TypeA); a.Rcode != wire.RcodeServerFailure || time.Since(begin) > time.Second {
		t.Errorf("after %v: %v", time.Since(begin), a)
	}
}

func TestOurselves(t *testing.T) {
	own := "127.0.0.1"
	addrs, err := net.InterfaceAddrs()
	ok(t, err)
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() {
			own = p.Addr().String()
		}
	}
	for _, c := range []struct {
		listen, upstream string
		want             bool
	}{
		{"127.0.0.1:53", "127.0.0.1:53", true}, {"127.0.0.1:53", "127.0.0.53:53", false}, {"127.0.0.1:53", "127.0.0.1:5353", false},
		{"127.0.0.1:53", "[::ffff:127.0.0.1]:53", true}, {"0.0.0.0:53", "127.0.0.53:53", true}, {"[::]:53", own + ":53", true},
		{"[::]:53", "192.0.2.1:53", false}, {"[::]:53", "[fe80::1%eth0]:53", false}, {"0.0.0.0:53", "not an address", false},
	} {
		s := &Server{addrs: []string{c.listen}}
		if got := s.ourselves(c.upstream); got != c.want {
			t.Errorf("listening on %s, asking %s: %v", c.listen, c.upstream, got)
		}
	}
}

// TestForwardsAreBounded: with every place taken by a mute upstream, others are told at once, and our names go on.
func TestForwardsAreBounded(t *testing.T) {
	hold, entered := make(chan struct{}), make(chan struct{}, 4*maxForwards)
	up := &upstream{answer: func(w wire.ResponseWriter, q *wire.Msg) {
		entered <- struct{}{}
		<-hold
		rcode(wire.RcodeSuccess)(w, q)
	}}
	s := &Server{Domain: "ingot.test", Upstreams: []string{up.start(t)}, Timeout: time.Minute,
		Listeners: []Listener{listen(t, "127.0.0.1:0", "127.0.0.1")}}
	ok(t, s.Start(context.Background()))
	t.Cleanup(func() { ok(t, s.Stop(context.Background())) })
	var wg sync.WaitGroup
	for range maxForwards {
		wg.Go(func() {
			c := wire.Client{Timeout: time.Minute}
			_, _, err := c.Exchange(new(wire.Msg).SetQuestion("example.org.", wire.TypeA), s.Listeners[0].TCP.Addr().String())
			if err != nil {
				t.Error(err)
			}
		})
	}
	for range maxForwards {
		<-entered
	}
	if a := ask(t, "udp", s.Listeners[0].TCP.Addr().String(), "example.org.", wire.TypeA); a.Rcode != wire.RcodeServerFailure {
		t.Errorf("%v", a)
	}
	if a := ask(t, "udp", s.Listeners[0].TCP.Addr().String(), "api.ingot.test.", wire.TypeA); len(a.Answer) != 1 {
		t.Errorf("%v", a)
	}
	close(hold)
	wg.Wait()
}

func TestBadQuestions(t *testing.T) {
	s := serve(t)
	send := func(raw []byte) {
		c, err := net.Dial("udp", s.Listeners[0].TCP.Addr().String())
		ok(t, err)
		_, err = c.Write(raw)
		ok(t, err)
		ok(t, c.Close())
	}
	q := new(wire.Msg).SetQuestion("api.ingot.test.", wire.TypeA)
	raw, err := q.Pack()
	ok(t, err)
	for _, b := range [][]byte{{}, {0}, raw[:5], raw[:len(raw)-3], append(raw[:len(raw)-1:len(raw)-1], 255), []byte(strings.Repeat("\xff", 600)), []byte(strings.Repeat("\xc0\x0c", 200))} {
		send(b)
	}
	c := wire.Client{Timeout: 5 * time.Second}
	for name, change := range map[string]func(*wire.Msg){
		"two questions": func(m *wire.Msg) { m.Question = append(m.Question, m.Question[0]) },
		"no question":   func(m *wire.Msg) { m.Question = nil },
		"update":        func(m *wire.Msg) { m.Opcode = wire.OpcodeUpdate },
		"notify":        func(m *wire.Msg) { m.Opcode = wire.OpcodeNotify },
		"chaos":         func(m *wire.Msg) { m.Question[0].Qclass = wire.ClassCHAOS },
	} {
		m := new(wire.Msg).SetQuestion("api.ingot.test.", wire.TypeA)
		change(m)
		a, _, err := c.Exchange(m, s.Listeners[0].TCP.Addr().String())
		if err != nil || a.Rcode == wire.RcodeSuccess {
			t.Errorf("%s: %v %v", name, a, err)
		}
	}
	if a := ask(t, "udp", s.Listeners[0].TCP.Addr().String(), "api.ingot.test.", wire.TypeA); len(a.Answer) != 1 {
		t.Errorf("afterwards: %v", a)
	}
}
