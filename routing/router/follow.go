package router

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"time"

	"github.com/nats-io/nats.go"

	"ingot/cf"
	"ingot/routing/table"
)

// Intervals that router.start tells to those who register.
const (
	registerSeconds = 20
	pruneSeconds    = 120
	pruneEvery      = 10 * time.Second
)

// follower applies registrations to the table. It runs in the one goroutine of its subscription: the order of messages
// is the order of their application.
type follower struct {
	rt    *Router
	known map[uint64]*table.Lease // by the hash of the message: a heartbeat is the same bytes again
	swept time.Time
}

// follow subscribes, says hello, and prunes what is no longer repeated.
func (rt *Router) follow(ctx context.Context) error {
	if rt.NATS == nil {
		return nil
	}
	f := &follower{rt: rt, known: map[uint64]*table.Lease{}}
	// One subscription for all subjects: two would be applied in no order.
	sub, err := rt.NATS.Subscribe("router.*", f.handle)
	if err != nil {
		return fmt.Errorf("router: subscribe: %w", err)
	}
	if err := sub.SetPendingLimits(1<<20, 512<<20); err != nil {
		return fmt.Errorf("router: subscribe: %w", err)
	}
	rt.sub = sub
	if err := rt.NATS.Flush(); err != nil {
		return fmt.Errorf("router: subscribe: %w", err)
	}
	rt.hello()
	rt.wg.Go(func() { rt.prune(ctx) })
	return nil
}

// hello makes all emitters send their registrations.
func (rt *Router) hello() {
	b, err := json.Marshal(rt.greeting())
	if err == nil {
		err = rt.NATS.Publish("router.start", b)
	}
	if err != nil {
		slog.Warn("router: router.start", "error", err)
	}
}

func (rt *Router) greeting() cf.RouterStart {
	g := cf.RouterStart{ID: rt.ID, IntervalSeconds: registerSeconds, PruneSeconds: pruneSeconds}
	for _, l := range append(rt.HTTPS, rt.HTTP...) {
		if host, _, err := net.SplitHostPort(l.Addr().String()); err == nil {
			g.Hosts = append(g.Hosts, host)
		}
	}
	return g
}

func (f *follower) handle(m *nats.Msg) {
	now := time.Now()
	switch m.Subject {
	case "router.register":
		f.register(m, now)
	case "router.unregister":
		var r cf.RouteMessage
		if err := json.Unmarshal(m.Data, &r); err != nil {
			f.rt.counts.outdated.Inc()
			return
		}
		f.rt.Table.Unregister(r, now)
		f.rt.counts.unregistered.Inc()
		f.reply(m, nil)
	case "router.greet":
		b, err := json.Marshal(f.rt.greeting())
		if err == nil {
			f.reply(m, b)
		}
	}
}

func (f *follower) register(m *nats.Msg, now time.Time) {
	key := maphash.Bytes(seed, m.Data)
	if l := f.known[key]; l == nil || !l.Refresh(now) {
		var r cf.RouteMessage
		if err := json.Unmarshal(m.Data, &r); err != nil {
			f.rt.counts.outdated.Inc()
			return
		}
		if r.Tags == nil {
			r.Tags = map[string]string{}
		}
		r.Tags["source_type"] = cf.SourceRouter // they are the tags of this router's lines
		if l = f.rt.Table.Register(r, now); l == nil {
			f.rt.counts.outdated.Inc()
			return
		}
		f.known[key] = l
	}
	f.rt.counts.registered.Inc()
	f.reply(m, nil)
	if now.Sub(f.swept) > time.Minute {
		f.swept = now
		for k, l := range f.known {
			if !l.Live() {
				delete(f.known, k)
			}
		}
	}
}

func (f *follower) reply(m *nats.Msg, b []byte) {
	if m.Reply == "" {
		return
	}
	if err := m.Respond(b); err != nil {
		slog.Warn("router: reply", "error", err) // the sender asks again
	}
}

// prune drops what is stale, but not while messages cannot arrive, nor soon after.
func (rt *Router) prune(ctx context.Context) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	down := false
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if !rt.NATS.IsConnected() {
				down = true
				continue
			}
			if down {
				down = false
				rt.Table.Grace(now)
				rt.hello()
			}
			if n := rt.Table.Prune(now); n > 0 {
				slog.Info("router: pruned stale registrations", "count", n)
			}
		}
	}
}
