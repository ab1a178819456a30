// Package emit tells the routers which instances serve which routes (CF's route-emitter).
//
// It follows the scheduler's instances, registers those that run and are ready, repeats that as a heartbeat, and takes
// an instance out of the routers before it is stopped. Once a router has answered that a registration is applied or
// taken away, it marks the instance routable or not.
// It promises that every message can be lost: unanswered ones are sent again, a router's start or a new connection
// brings all of them, and a lost feed never takes a route away. It will not decide what should run.
package emit

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"ingot/cf"
	"ingot/kit/run"
)

// Emitter works from Start to Stop.
type Emitter struct {
	Feed     cf.LRPFeed
	NATS     *nats.Conn
	Interval time.Duration // between heartbeats, 20 s
	Gate     *run.Gate     // stops a push at its last step; nil in life

	cancel  context.CancelFunc
	wg      sync.WaitGroup
	settled chan struct{}

	// The rest belongs to the goroutine of run.
	lrps     map[cf.ProcessID]cf.DesiredLRP
	actual   map[cf.InstanceID]cf.ActualLRP
	sent     map[cf.InstanceID]*registration
	leaving  map[cf.InstanceID]*registration // unregistered, no answer yet
	ended    map[cf.InstanceID]time.Time     // gone: late news of them must not bring them back
	doomed   map[cf.ProcessID]bool           // LRPs that are gone but for instances that still run
	inbox    string
	answers  chan *nats.Msg
	renew    chan struct{} // a router started, or the connection is new: send everything
	marks    *marker
	resync   map[cf.InstanceID]bool // seen since the feed began anew; nil = in step
	first    map[cf.InstanceID]bool // of the first listing, not answered yet; nil before it, and once all were
	interval time.Duration
}

// resendAfter is how long an answer may take.
const resendAfter = time.Second

// maxAsks is how often an unregistration is repeated until it counts as done: what waits for it must not wait for ever.
const maxAsks = 10

// Start follows the feed until Stop.
func (e *Emitter) Start(context.Context) error {
	e.interval = e.Interval
	if e.interval == 0 {
		e.interval = 20 * time.Second
	}
	e.lrps, e.actual = map[cf.ProcessID]cf.DesiredLRP{}, map[cf.InstanceID]cf.ActualLRP{}
	e.sent, e.leaving = map[cf.InstanceID]*registration{}, map[cf.InstanceID]*registration{}
	e.settled = make(chan struct{})
	e.ended, e.doomed = map[cf.InstanceID]time.Time{}, map[cf.ProcessID]bool{}
	e.inbox, e.answers, e.renew = e.NATS.NewInbox(), make(chan *nats.Msg, 4096), make(chan struct{}, 1)
	e.marks = &marker{feed: e.Feed, gate: e.Gate, want: map[cf.InstanceID]bool{}, wake: make(chan struct{}, 1)}
	answers, err := e.NATS.ChanSubscribe(e.inbox+".*", e.answers)
	if err != nil {
		return err
	}
	starts, err := e.NATS.Subscribe("router.start", func(*nats.Msg) { e.wakeRenew() })
	if err != nil {
		_ = answers.Unsubscribe()
		return err
	}
	connected := e.NATS.StatusChanged(nats.CONNECTED)
	ctx, cancel := context.WithCancel(context.Background())
	e.cancel = func() {
		cancel()
		_, _ = answers.Unsubscribe(), starts.Unsubscribe() // a closed connection has none left
		e.NATS.RemoveStatusListener(connected)
	}
	e.wg.Go(func() { e.run(ctx, connected) })
	e.wg.Go(func() { e.marks.run(ctx) })
	return nil
}

// Stop ends the emitter. The routers keep what they know until it is stale.
func (e *Emitter) Stop(context.Context) error {
	e.cancel()
	e.wg.Wait()
	return nil
}

// Settled is closed once a router has applied all that runs at the start: before that, a router knows too little to say
// of a host that nobody serves it.
func (e *Emitter) Settled() <-chan struct{} { return e.settled }

// told: the routers have heard of an instance, or need not any more.
func (e *Emitter) told(id cf.InstanceID) {
	if delete(e.first, id); e.first != nil && len(e.first) == 0 {
		e.first = nil
		close(e.settled)
	}
}

func (e *Emitter) wakeRenew() {
	select {
	case e.renew <- struct{}{}:
	default:
	}
}

func (e *Emitter) run(ctx context.Context, connected <-chan nats.Status) {
	beat, retry := time.NewTicker(e.interval), time.NewTicker(resendAfter)
	defer beat.Stop()
	defer retry.Stop()
	events := e.follow(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case ev, ok := <-events:
			if !ok { // too far behind, or the scheduler ended: begin anew with the next tick
				events = nil
				continue
			}
			e.apply(ev)
		case m := <-e.answers:
			e.answered(m)
		case <-beat.C:
			e.all(false)
			e.forget()
		case _, ok := <-connected:
			if !ok {
				connected = nil
				continue
			}
			e.all(true)
		case <-e.renew:
			e.all(true)
		case now := <-retry.C:
			e.resend(now)
			if events == nil {
				events = e.follow(ctx)
			}
		}
	}
}

// follow begins the feed anew; nil when it cannot be had now.
func (e *Emitter) follow(ctx context.Context) <-chan cf.LRPEvent {
	events, err := e.Feed.Follow(ctx)
	if err != nil {
		if ctx.Err() == nil {
			slog.Warn("emit: the instances cannot be followed", "error", err)
		}
		return nil
	}
	e.resync = map[cf.InstanceID]bool{}
	return events
}

// apply takes one event in.
func (e *Emitter) apply(ev cf.LRPEvent) {
	switch {
	case ev.Actual == nil && ev.Desired.ID == "":
		e.synced()
	case ev.Actual == nil && ev.Gone:
		e.doomed[ev.Desired.ID] = true // its instances keep their routes until they go, one by one
	case ev.Actual == nil:
		delete(e.doomed, ev.Desired.ID)
		e.desire(ev.Desired)
		for id, a := range e.actual {
			if a.LRP == ev.Desired.ID {
				e.settle(id)
			}
		}
	default:
		if ev.Desired.ID != "" {
			e.desire(ev.Desired)
		}
		e.change(*ev.Actual, ev.Gone)
	}
}

func (e *Emitter) desire(d cf.DesiredLRP) {
	d.Env, d.Egress, d.VCAPApp = nil, nil, nil // not needed here
	e.lrps[d.ID] = d
}

func (e *Emitter) change(a cf.ActualLRP, gone bool) {
	id := a.Instance
	if id == "" {
		return // waits for a cell: it has no address yet
	}
	if old, ok := e.actual[id]; ok && old.Version > a.Version {
		return
	}
	if _, ended := e.ended[id]; ended {
		return
	}
	if e.resync != nil {
		e.resync[id] = true
	}
	if !gone {
		e.actual[id] = a
		e.settle(id)
		return
	}
	e.ended[id] = time.Now()
	delete(e.actual, id)
	if e.sent[id] == nil && a.Routable && len(e.lrps[a.LRP].Routes) > 0 { // an earlier emitter registered it
		e.sent[id] = newRegistration(a, e.lrps[a.LRP])
	}
	switch r := e.leaving[id]; {
	case e.sent[id] != nil:
		e.settle(id)
	case r != nil:
		r.quiet = false // now somebody waits for the answer
	default:
		e.marks.mark(id, false) // no router knows it: who waits to stop it can go on
	}
}

// forget drops what is only kept against late news.
func (e *Emitter) forget() {
	for id, at := range e.ended {
		if time.Since(at) > 10*time.Minute {
			delete(e.ended, id)
		}
	}
	held := map[cf.ProcessID]bool{}
	for _, a := range e.actual {
		held[a.LRP] = true
	}
	for id := range e.doomed {
		if !held[id] {
			delete(e.lrps, id)
			delete(e.doomed, id)
		}
	}
}

// synced: what the new listing did not name no longer exists.
func (e *Emitter) synced() {
	for id, a := range e.actual {
		if !e.resync[id] {
			e.change(a, true)
		}
	}
	e.resync = nil
	select {
	case <-e.settled:
		return
	default:
	}
	e.first = map[cf.InstanceID]bool{"": true} // until all others are in
	for id, r := range e.sent {
		if r.waiting > 0 {
			e.first[id] = true
		}
	}
	e.told("")
}

// settle brings what the routers know of an instance in line with what it is now.
func (e *Emitter) settle(id cf.InstanceID) {
	a, ok := e.actual[id]
	now := time.Now()
	old := e.sent[id]
	if !ok || a.State != cf.LRPRunning || !a.Ready || len(e.lrps[a.LRP].Routes) == 0 {
		if old != nil {
			delete(e.sent, id)
			e.told(id)
			old.goodbye(ok && len(e.lrps[a.LRP].Routes) == 0)
			e.leaving[id] = old
			e.publish(old, now, true)
		}
		return
	}
	delete(e.leaving, id)
	next := newRegistration(a, e.lrps[a.LRP])
	if old != nil {
		if old.same(next) {
			if old.waiting == 0 && !a.Routable { // the scheduler did not hear of it
				e.marks.mark(id, true)
			}
			return
		}
		next.take(old)
		for _, m := range old.without(next) {
			e.send("router.unregister", "", m)
		}
	}
	e.sent[id] = next
	e.publish(next, now, true)
}

// all sends every registration: as a heartbeat, or asking for an answer again.
func (e *Emitter) all(ask bool) {
	now := time.Now()
	for _, r := range e.sent {
		if ask {
			r.ask()
		}
		e.publish(r, now, ask)
	}
}

// resend repeats what was not answered.
func (e *Emitter) resend(now time.Time) {
	for _, set := range []map[cf.InstanceID]*registration{e.sent, e.leaving} {
		for id, r := range set {
			if r.waiting == 0 || now.Sub(r.asked) < resendAfter {
				continue
			}
			if r.asks++; r.leaving && r.asks > maxAsks { // no router is there to forget it
				delete(e.leaving, id)
				if !r.quiet {
					e.marks.mark(id, false)
				}
				continue
			}
			e.publish(r, now, true)
		}
	}
}

func (e *Emitter) publish(r *registration, now time.Time, ask bool) {
	subject := "router.register"
	if r.leaving {
		subject = "router.unregister"
	}
	if ask {
		r.asked = now
	}
	for i, m := range r.messages {
		reply := ""
		if ask {
			reply = e.inbox + "." + string(r.instance) + "_" + strconv.Itoa(r.serial) + "_" + strconv.Itoa(i)
		}
		e.send(subject, reply, m)
	}
}

func (e *Emitter) send(subject, reply string, m []byte) {
	if err := e.NATS.PublishMsg(&nats.Msg{Subject: subject, Reply: reply, Data: m}); err != nil {
		slog.Warn("emit: publish", "subject", subject, "error", err) // sent again with the next heartbeat
	}
}

// answered takes a router's answer in.
func (e *Emitter) answered(m *nats.Msg) {
	if m.Header.Get("Status") != "" { // the server's own word that no router listens: it is asked again
		return
	}
	token := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	parts := strings.Split(token, "_")
	if len(parts) != 3 {
		return
	}
	id := cf.InstanceID(parts[0])
	serial, _ := strconv.Atoi(parts[1])
	part, _ := strconv.Atoi(parts[2])
	for _, set := range []map[cf.InstanceID]*registration{e.sent, e.leaving} {
		r := set[id]
		if r == nil || r.serial != serial || !r.answer(part) {
			continue
		}
		if r.leaving {
			delete(e.leaving, id)
		} else {
			e.told(id)
		}
		if !r.quiet && r.marked == r.leaving {
			r.marked = !r.leaving
			e.marks.mark(id, r.marked)
		}
	}
}
