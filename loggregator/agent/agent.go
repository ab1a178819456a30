// Package agent is the first station of every log line and metric: cf.Logs for all rooms of this process.
//
// It promises that Emit never blocks and never fails; that lines of one instance keep their order; that memory is bounded
// in envelopes and bytes; and that every envelope that could not be taken is counted, in a metric and in a counter
// envelope of source "loggregator-agent". It will not store anything: sinks do.
package agent

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ingot/cf"
)

// Sink takes what was emitted. Take may block, and so makes the agent drop; it must not keep the slice.
type Sink interface {
	Take(batch []cf.Envelope)
}

// Agent takes envelopes from its making on, and hands them to the sinks from Start to Stop.
type Agent struct {
	Sinks   []Sink
	Metrics prometheus.Registerer // nil: not published

	rings [shards]ring
	seed  maphash.Seed
	once  sync.Once
	wg    sync.WaitGroup
	stop  chan struct{}
}

// Bounds of each ring. All rings together hold at most 32,768 envelopes and 32 MB.
const (
	shards       = 4
	maxEnvelopes = 8192
	maxBytes     = 8 << 20
	reportEvery  = time.Second
)

// SourceID is the agent's own.
const SourceID = "loggregator-agent"

// ring is a bounded queue: one half is filled while the other is handed to the sinks.
type ring struct {
	mu       sync.Mutex
	filling  []cf.Envelope
	bytes    int
	taken    uint64
	dropped  uint64
	reported uint64 // of dropped
	closed   bool
	wake     chan struct{}
}

func (a *Agent) ready() {
	a.once.Do(func() {
		a.seed = maphash.MakeSeed()
		for i := range a.rings {
			a.rings[i].wake = make(chan struct{}, 1)
		}
	})
}

// Emit takes e. Its tags and payload must not change any more.
func (a *Agent) Emit(e cf.Envelope) {
	a.ready()
	// The source picks the ring, so that its lines stay in order.
	r := &a.rings[maphash.String(a.seed, e.SourceID)%shards]
	size := 0
	if e.Log != nil {
		size = len(e.Log.Payload)
	}
	r.mu.Lock()
	if r.closed || len(r.filling) >= maxEnvelopes || r.bytes+size > maxBytes {
		r.dropped++
		r.mu.Unlock()
		return
	}
	r.filling = append(r.filling, e)
	r.bytes += size
	r.taken++
	first := len(r.filling) == 1
	r.mu.Unlock()
	if first {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// Start begins to hand over.
func (a *Agent) Start(context.Context) error {
	a.ready()
	a.stop = make(chan struct{})
	if a.Metrics != nil {
		for name, read := range map[string]func() uint64{"taken": a.Taken, "dropped": a.Dropped} {
			a.Metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "ingot_agent_envelopes_" + name + "_total",
				Help: "Envelopes " + name + " by the log agent."}, func() float64 { return float64(read()) }))
		}
	}
	for i := range a.rings {
		a.wg.Go(func() { a.hand(&a.rings[i]) })
	}
	return nil
}

// Stop hands over what was taken and ends; what comes later is dropped and counted.
func (a *Agent) Stop(context.Context) error {
	for i := range a.rings {
		r := &a.rings[i]
		r.mu.Lock()
		r.closed = true
		r.mu.Unlock()
	}
	close(a.stop)
	a.wg.Wait()
	return nil
}

// Dropped is the number of envelopes lost so far.
func (a *Agent) Dropped() uint64 { return a.sum(func(r *ring) uint64 { return r.dropped }) }

// Taken is the number of envelopes taken so far.
func (a *Agent) Taken() uint64 { return a.sum(func(r *ring) uint64 { return r.taken }) }

func (a *Agent) sum(of func(*ring) uint64) (n uint64) {
	for i := range a.rings {
		r := &a.rings[i]
		r.mu.Lock()
		n += of(r)
		r.mu.Unlock()
	}
	return n
}

// hand gives a ring's envelopes to the sinks until Stop, and reports its drops.
func (a *Agent) hand(r *ring) {
	report := time.NewTicker(reportEvery)
	defer report.Stop()
	var spare []cf.Envelope
	for stopping := false; ; {
		r.mu.Lock()
		batch := r.filling
		r.filling, r.bytes = spare[:0], 0
		r.mu.Unlock()
		if len(batch) > 0 {
			for _, s := range a.Sinks {
				s.Take(batch)
			}
			clear(batch) // holds no line longer than needed
		}
		spare = batch
		if stopping {
			a.report(r)
			return
		}
		select {
		case <-r.wake:
		case <-report.C:
			a.report(r)
		case <-a.stop:
			stopping = true
		}
	}
}

// report tells the sinks of drops since the last report.
func (a *Agent) report(r *ring) {
	r.mu.Lock()
	delta := r.dropped - r.reported
	r.reported = r.dropped
	r.mu.Unlock()
	if delta == 0 {
		return
	}
	e := cf.Envelope{Time: time.Now(), SourceID: SourceID, Tags: map[string]string{"direction": "ingress"},
		Counter: &cf.CounterValue{Name: "dropped", Delta: delta, Total: a.Dropped()}}
	for _, s := range a.Sinks {
		s.Take([]cf.Envelope{e})
	}
}
