// Package registry keeps the router's table in line with the registrations that come over NATS.
//
// It promises that messages are applied in their order, that a heartbeat of the same bytes costs no decoding, that a
// message with a reply subject is answered once it is applied, and that nothing is pruned while messages cannot arrive.
// It will not answer for a malformed or outdated message.
package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"ingot/cf"
	"ingot/routing/table"
)

// Intervals that router.start tells to those who register.
const (
	registerSeconds = 20
	pruneSeconds    = 120
	pruneEvery      = 10 * time.Second
)

// Registry follows registrations from Start to Stop.
type Registry struct {
	Table *table.Table
	NATS  *nats.Conn
	ID    string   // of the router
	Hosts []string // where it listens

	Registered, Unregistered, Ignored prometheus.Counter

	sub    *nats.Subscription
	known  map[uint64]*table.Lease // by the hash of the message; only the subscription's goroutine uses it
	seed   maphash.Seed
	swept  time.Time
	down   bool // messages could not arrive at the last step
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Start subscribes, asks all emitters for their registrations, and begins to prune what is no longer repeated.
func (r *Registry) Start(context.Context) error {
	r.known, r.seed = map[uint64]*table.Lease{}, maphash.MakeSeed()
	// One subscription for all subjects: two would be applied in no order.
	sub, err := r.NATS.Subscribe("router.*", r.handle)
	if err != nil {
		return fmt.Errorf("router: subscribe: %w", err)
	}
	if err := sub.SetPendingLimits(1<<20, 512<<20); err != nil {
		return fmt.Errorf("router: subscribe: %w", err)
	}
	r.sub = sub
	if err := r.NATS.Flush(); err != nil {
		return fmt.Errorf("router: subscribe: %w", err)
	}
	r.hello()
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.wg.Go(func() { r.prune(ctx) })
	return nil
}

// Stop no longer listens; the table stays as it is.
func (r *Registry) Stop() error {
	r.cancel()
	r.wg.Wait()
	if err := r.sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("router: unsubscribe: %w", err)
	}
	return nil
}

// hello makes all emitters send their registrations.
func (r *Registry) hello() {
	if err := r.NATS.Publish("router.start", r.greeting()); err != nil {
		slog.Warn("router: router.start", "error", err)
	}
}

func (r *Registry) greeting() []byte {
	b, err := json.Marshal(cf.RouterStart{ID: r.ID, Hosts: r.Hosts, IntervalSeconds: registerSeconds, PruneSeconds: pruneSeconds})
	if err != nil {
		panic("router: a greeting is no JSON: " + err.Error()) // cannot happen
	}
	return b
}

func (r *Registry) handle(m *nats.Msg) {
	now := time.Now()
	switch m.Subject {
	case "router.register":
		if !r.register(m.Data, now) {
			r.Ignored.Inc()
			return
		}
		r.Registered.Inc()
		reply(m, nil)
	case "router.unregister":
		var msg cf.RouteMessage
		if json.Unmarshal(m.Data, &msg) != nil {
			r.Ignored.Inc()
			return
		}
		r.Table.Unregister(msg, now)
		r.Unregistered.Inc()
		reply(m, nil)
	case "router.greet":
		reply(m, r.greeting())
	}
}

func (r *Registry) register(data []byte, now time.Time) bool {
	if now.Sub(r.swept) > time.Minute {
		r.swept = now
		maps.DeleteFunc(r.known, func(_ uint64, l *table.Lease) bool { return !l.Live() })
	}
	key := maphash.Bytes(r.seed, data)
	if l := r.known[key]; l != nil && l.Refresh(now) {
		return true
	}
	var msg cf.RouteMessage
	if json.Unmarshal(data, &msg) != nil {
		return false
	}
	if msg.Tags == nil {
		msg.Tags = map[string]string{}
	}
	msg.Tags["source_type"] = cf.SourceRouter // they are the tags of the router's lines
	l := r.Table.Register(msg, now)
	if l == nil {
		return false
	}
	r.known[key] = l
	return true
}

func reply(m *nats.Msg, b []byte) {
	if m.Reply == "" {
		return
	}
	if err := m.Respond(b); err != nil {
		slog.Warn("router: reply", "error", err) // the sender asks again
	}
}

// prune drops what is stale, until ctx ends.
func (r *Registry) prune(ctx context.Context) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			r.step(now, r.NATS.IsConnected())
		}
	}
}

// step prunes once, but not while messages cannot arrive, nor before they could be repeated after that.
func (r *Registry) step(now time.Time, connected bool) {
	if !connected {
		r.down = true
		return
	}
	if r.down {
		r.down = false
		r.Table.Grace(now)
		r.hello()
	}
	if n := r.Table.Prune(now); n > 0 {
		slog.Info("router: pruned stale registrations", "count", n)
	}
}
