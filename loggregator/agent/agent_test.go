package agent

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"ingot/cf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink counts; it holds the agent up while held.
type sink struct {
	held    sync.Mutex
	mu      sync.Mutex
	last    map[string]int
	count   uint64
	dropped uint64
	t       *testing.T
}

func (s *sink) Take(batch []cf.Envelope) {
	s.held.Lock()
	defer s.held.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range batch {
		if e.Counter != nil {
			s.dropped += e.Counter.Delta
			continue
		}
		s.count++
		var n int
		if _, err := fmt.Sscan(string(e.Log.Payload), &n); err != nil || n <= s.last[e.SourceID] {
			s.t.Errorf("%s: %d after %d", e.SourceID, n, s.last[e.SourceID])
		}
		s.last[e.SourceID] = n
	}
}

func line(source string, n int) cf.Envelope {
	return cf.Envelope{SourceID: source, Log: &cf.LogLine{Payload: fmt.Append(nil, n)}}
}

func TestEveryEnvelopeIsDeliveredOrCounted(t *testing.T) {
	s := &sink{last: map[string]int{}, t: t}
	reg := prometheus.NewRegistry()
	a := &Agent{Sinks: []Sink{s}, Metrics: reg}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	const emitters, each = 8, 20000
	s.held.Lock() // the sink stands still: the rings must overflow
	var wg sync.WaitGroup
	for i := range emitters {
		wg.Go(func() {
			for n := 1; n <= each; n++ {
				a.Emit(line(fmt.Sprint("source-", i), n))
			}
		})
	}
	wg.Wait()
	s.held.Unlock()
	if err := a.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if s.dropped == 0 || s.count+s.dropped != emitters*each || a.Dropped() != s.dropped || a.Taken() != s.count {
		t.Fatalf("%d delivered + %d dropped of %d; the agent says %d taken, %d dropped", s.count, s.dropped, emitters*each, a.Taken(), a.Dropped())
	}
	a.Emit(line("source-1", each+1))
	if a.Dropped() != s.dropped+1 {
		t.Fatal("an envelope after Stop was not counted")
	}
	if all, err := reg.Gather(); err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
}

func TestBytesAreBounded(t *testing.T) {
	a := &Agent{}
	big := cf.Envelope{SourceID: "s", Log: &cf.LogLine{Payload: make([]byte, 1<<20)}}
	for range 20 {
		a.Emit(big)
	}
	if a.Taken() != 8 || a.Dropped() != 12 {
		t.Fatal(a.Taken(), a.Dropped())
	}
}

func BenchmarkEmit(b *testing.B) {
	a := &Agent{}
	if err := a.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	e := line("source", 1)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			a.Emit(e)
		}
	})
	if err := a.Stop(b.Context()); err != nil {
		b.Fatal(err)
	}
}
