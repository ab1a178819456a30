package emit

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"ingot/cf"
	"ingot/kit/nats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// feed is a scheduler's feed that a test writes.
type feed struct {
	mu     sync.Mutex
	events chan cf.LRPEvent
	fail   error // of the next MarkRoutable
	marks  chan mark
	opened chan struct{} // one for each Follow
}

type mark struct {
	id       cf.InstanceID
	routable bool
}

func (f *feed) Follow(context.Context) (<-chan cf.LRPEvent, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = make(chan cf.LRPEvent, 100)
	f.opened <- struct{}{}
	return f.events, nil
}

func (f *feed) MarkRoutable(_ context.Context, id cf.InstanceID, routable bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail; err != nil {
		f.fail = nil
		return err
	}
	f.marks <- mark{id, routable}
	return nil
}

func (f *feed) send(evs ...cf.LRPEvent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range evs {
		f.events <- e
	}
}

// world is an emitter and a stand-in router that answers as a test says.
type world struct {
	*Emitter
	feed   *feed
	router *natsgo.Conn
	got    chan message
	mute   func(message) bool
	mu     sync.Mutex
	t      *testing.T
}

type message struct {
	subject string
	cf.RouteMessage
	asks bool
}

func start(t *testing.T, set func(*Emitter)) *world {
	t.Helper()
	var srv nats.Server
	must(t, srv.Start())
	t.Cleanup(srv.Stop)
	own, err := srv.Connect("emit")
	must(t, err)
	t.Cleanup(own.Close)
	w := &world{feed: &feed{marks: make(chan mark, 100), opened: make(chan struct{}, 10)}, got: make(chan message, 1000), t: t}
	w.router, err = srv.Connect("router")
	must(t, err)
	t.Cleanup(w.router.Close)
	_, err = w.router.Subscribe("router.*", func(m *natsgo.Msg) {
		if m.Subject == "router.start" {
			return
		}
		var r cf.RouteMessage
		if err := json.Unmarshal(m.Data, &r); err != nil {
			t.Error(err)
		}
		one := message{m.Subject, r, m.Reply != ""}
		w.mu.Lock()
		quiet := w.mute != nil && w.mute(one)
		w.mu.Unlock()
		if m.Reply != "" && !quiet {
			_ = m.Respond(nil)
		}
		w.got <- one
	})
	must(t, err)
	must(t, w.router.Flush())
	w.Emitter = &Emitter{Feed: w.feed, NATS: own, Interval: time.Hour}
	if set != nil {
		set(w.Emitter)
	}
	must(t, w.Start(t.Context()))
	t.Cleanup(func() { must(t, w.Stop(context.Background())) })
	<-w.feed.opened
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) next(subject string) message {
	w.t.Helper()
	select {
	case m := <-w.got:
		if m.subject != subject {
			w.t.Fatalf("%+v, want %s", m, subject)
		}
		return m
	case <-time.After(time.Minute):
		w.t.Fatal("no " + subject)
	}
	panic("not reached")
}

func TestWeightsAreSentAndChangeInPlace(t *testing.T) {
	w := start(t, nil)
	up := running("i", 1)
	weighted := func(weight int) cf.DesiredLRP {
		d := lrp("a.test")
		d.Routes[0].Weight = weight
		return d
	}
	w.feed.send(synced, cf.LRPEvent{Desired: weighted(30), Actual: &up})
	if m := w.next("router.register"); m.Weight != 30 {
		t.Fatalf("%+v", m)
	}
	w.marked("i", true)
	for _, weight := range []int{70, 0} { // no moment without the route
		w.feed.send(cf.LRPEvent{Desired: weighted(weight)})
		if m := w.next("router.register"); m.Weight != weight || !slices.Equal(m.URIs, []string{"a.test"}) {
			t.Fatalf("%+v", m)
		}
	}
	w.nothing()
}

func (w *world) marked(id cf.InstanceID, routable bool) {
	w.t.Helper()
	select {
	case m := <-w.feed.marks:
		if m != (mark{id, routable}) {
			w.t.Fatalf("%+v, want %s %v", m, id, routable)
		}
	case <-time.After(time.Minute):
		w.t.Fatal("never marked")
	}
}

// nothing tells that no message is under way: the emitter has taken in all events before it answers a later one.
func (w *world) nothing() {
	w.t.Helper()
	probe := running("probe", 99)
	w.feed.send(cf.LRPEvent{Desired: lrp("probe.test"), Actual: &probe})
	if m := w.next("router.register"); m.InstanceID != "probe" {
		w.t.Fatalf("unexpected %+v", m)
	}
	w.marked("probe", true)
}

func lrp(uris ...string) cf.DesiredLRP {
	d := cf.DesiredLRP{ID: "p-1", AppID: "app", Type: "web", MetricTags: map[string]string{"app_name": "x"}}
	for _, u := range uris {
		d.Routes = append(d.Routes, cf.LRPRoute{URI: u, Port: 8080})
	}
	return d
}

func running(id cf.InstanceID, version int64) cf.ActualLRP {
	return cf.ActualLRP{LRP: "p-1", AppID: "app", Process: "p", Index: 2, Instance: id, State: cf.LRPRunning, Ready: true,
		Since: time.Unix(50, 7), Address: "10.1.2.3", Ports: []cf.PortMapping{{Container: 8080, Host: 61000}}, Version: version}
}

var synced = cf.LRPEvent{}

func TestLifeOfAnInstance(t *testing.T) {
	w := start(t, nil)
	claimed := running("i", 1)
	claimed.State, claimed.Ready = cf.LRPClaimed, false
	up := running("i", 2)
	w.feed.send(synced, cf.LRPEvent{Desired: lrp("a.test", "b.test/x"), Actual: &claimed}, cf.LRPEvent{Desired: lrp("a.test", "b.test/x"), Actual: &up})
	m := w.next("router.register")
	if m.Host != "10.1.2.3" || m.Port != 8080 || !slices.Equal(m.URIs, []string{"a.test", "b.test/x"}) || m.App != "app" || m.InstanceID != "i" ||
		m.InstanceIndex != "2" || m.UpdatedNS != 50_000_000_007 || m.Tags["app_name"] != "x" || m.Tags["process_id"] != "p" || !m.asks {
		t.Fatalf("%+v", m)
	}
	w.marked("i", true)

	// A route is unmapped: it is taken away, the other stays.
	w.feed.send(cf.LRPEvent{Desired: lrp("a.test")})
	if m := w.next("router.unregister"); !slices.Equal(m.URIs, []string{"b.test/x"}) {
		t.Fatalf("%+v", m)
	}
	if m := w.next("router.register"); !slices.Equal(m.URIs, []string{"a.test"}) {
		t.Fatalf("%+v", m)
	}

	// It is about to be stopped.
	last := running("i", 3)
	w.feed.send(cf.LRPEvent{Desired: lrp("a.test"), Actual: &last, Gone: true})
	if m := w.next("router.unregister"); !slices.Equal(m.URIs, []string{"a.test"}) || !m.asks {
		t.Fatalf("%+v", m)
	}
	w.marked("i", false)

	// Late news must not bring it back.
	late := running("i", 4)
	w.feed.send(cf.LRPEvent{Desired: lrp("a.test"), Actual: &late})
	w.nothing()
}

// TestSettled: the routers know what runs once they answered for each instance of the first listing, or it went.
func TestSettled(t *testing.T) {
	w := start(t, nil)
	w.mu.Lock()
	w.mute = func(message) bool { return true }
	w.mu.Unlock()
	d, a, b := lrp("a.test"), running("i1", 1), running("i2", 1)
	w.feed.send(cf.LRPEvent{Desired: d, Actual: &a}, cf.LRPEvent{Desired: d, Actual: &b}, cf.LRPEvent{})
	w.next("router.register")
	w.next("router.register")
	gone := b
	gone.Version++
	w.feed.send(cf.LRPEvent{Desired: d, Actual: &gone, Gone: true})
	w.next("router.unregister")
	select {
	case <-w.Settled():
		t.Fatal("settled although no router answered")
	default:
	}
	w.mu.Lock()
	w.mute = nil
	w.mu.Unlock()
	select {
	case <-w.Settled():
	case <-time.After(5 * time.Second):
		t.Fatal("not settled")
	}
}

func TestUnreadyInstanceLeaves(t *testing.T) {
	w := start(t, nil)
	a := running("i", 1)
	w.feed.send(cf.LRPEvent{Desired: lrp("a.test"), Actual: &a}, synced)
	w.next("router.register")
	w.marked("i", true)
	a.Ready, a.Version = false, 2
	w.feed.send(cf.LRPEvent{Desired: lrp("a.test"), Actual: &a})
	w.next("router.unregister")
	w.marked("i", false)
	a.Ready, a.Version = true, 3
	w.feed.send(cf.LRPEvent{Desired: lrp("a.test"), Actual: &a})
	w.next("router.register")
	w.marked("i", true)
}

func TestNoRoutesNoMessages(t *testing.T) {
	w := start(t, nil)
	a := running("i", 1)
	w.feed.send(cf.LRPEvent{Desired: lrp(), Actual: &a}, synced)
	w.nothing()
}

func TestGoneWithoutRoutesIsSaidAtOnce(t *testing.T) {
	w := start(t, nil)
	a := running("i", 1)
	w.feed.send(cf.LRPEvent{Desired: lrp(), Actual: &a}, synced, cf.LRPEvent{Desired: lrp(), Actual: &a, Gone: true})
	w.marked("i", false)
}

func TestDoomedLRPKeepsItsRoutesUntilTheInstanceGoes(t *testing.T) {
	w := start(t, nil)
	a := running("i", 1)
	w.feed.send(cf.LRPEvent{Desired: lrp("a.test"), Actual: &a}, synced)
	w.next("router.register")
	w.marked("i", true)
	w.feed.send(cf.LRPEvent{Desired: cf.DesiredLRP{ID: "p-1"}, Gone: true}, cf.LRPEvent{Desired: cf.DesiredLRP{}, Actual: &a, Gone: true})
	w.next("router.unregister")
	w.marked("i", false)
}

func TestUnansweredIsSentAgain(t *testing.T) {
	w := start(t, nil)
	first := true
	w.mute = func(message) bool { was := first; first = false; return was }
	a := running("i", 1)
	w.feed.send(cf.LRPEvent{Desired: lrp("a.test"), Actual: &a}, synced)
	w.next("router.register")
	w.next("router.register")
	w.marked("i", true)
}

// TestNobodyListens: what the NATS server says for want of a router is no router's answer.
func TestNobodyListens(t *testing.T) {
	var srv nats.Server
	must(t, srv.Start())
	t.Cleanup(srv.Stop)
	conn, err := srv.Connect("emit")
	must(t, err)
	t.Cleanup(conn.Close)
	f := &feed{marks: make(chan mark, 100), opened: make(chan struct{}, 10)}
	e := &Emitter{Feed: f, NATS: conn, Interval: time.Hour}
	must(t, e.Start(t.Context()))
	t.Cleanup(func() { must(t, e.Stop(context.Background())) })
	<-f.opened
	up := running("i", 1)
	f.send(cf.LRPEvent{Desired: lrp("a.test"), Actual: &up}, synced)
	select {
	case m := <-f.marks:
		t.Errorf("marked %+v", m)
	case <-e.Settled():
		t.Error("settled")
	case <-time.After(500 * time.Millisecond): // the answer takes far less
	}
}

func TestFailedMarkIsRepeated(t *testing.T) {
	w := start(t, nil)
	w.feed.fail = errors.New("database is busy")
	a := running("i", 1)
	w.feed.send(cf.LRPEvent{Desired: lrp("a.test"), Actual: &a}, synced)
	w.next("router.register")
	w.marked("i", true)
}

func TestHeartbeatAndRouterStart(t *testing.T) {
	w := start(t, func(e *Emitter) { e.Interval = 50 * time.Millisecond })
	a := running("i", 1)
	w.feed.send(cf.LRPEvent{Desired: lrp("a.test"), Actual: &a}, synced)
	for !w.next("router.register").asks {
	}
	w.marked("i", true)
	for range 2 {
		if w.next("router.register").asks {
			t.Fatal("a heartbeat needs no answer")
		}
	}
	must(t, w.router.Publish("router.start", []byte(`{}`)))
	for !w.next("router.register").asks {
	}
}

func TestNewFeedDropsWhatIsNoLongerThere(t *testing.T) {
	w := start(t, nil)
	a, b := running("a", 1), running("b", 1)
	w.feed.send(cf.LRPEvent{Desired: lrp("a.test"), Actual: &a}, cf.LRPEvent{Desired: lrp("a.test"), Actual: &b}, synced)
	w.next("router.register")
	w.next("router.register")
	<-w.feed.marks
	<-w.feed.marks
	close(w.feed.events)
	<-w.feed.opened
	a.Routable = true
	w.feed.send(cf.LRPEvent{Desired: lrp("a.test"), Actual: &a})
	w.nothing() // before the mark nothing is taken away
	w.feed.send(synced)
	if m := w.next("router.unregister"); m.InstanceID != "b" {
		t.Fatalf("%+v", m)
	}
	w.marked("b", false)
}

func TestOptionsAndPortsMakeMessages(t *testing.T) {
	d := lrp("a.test", "b.test")
	d.Routes = append(d.Routes, cf.LRPRoute{URI: "c.test", Port: 9000}, cf.LRPRoute{URI: "d.test", Port: 8080, Options: map[string]string{"loadbalancing": "least-connection"}})
	r := newRegistration(running("i", 1), d)
	if len(r.bodies) != 3 || !slices.Equal(r.bodies[0].URIs, []string{"a.test", "b.test"}) && !slices.Equal(r.bodies[1].URIs, []string{"a.test", "b.test"}) || r.bodies[2].Port != 9000 {
		t.Fatalf("%+v", r.bodies)
	}
	if !newRegistration(running("i", 2), d).same(r) {
		t.Fatal("the same instance must make the same bytes")
	}
}
