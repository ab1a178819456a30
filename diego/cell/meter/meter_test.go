package meter

import (
	"context"
	"errors"
	"testing"
	"time"

	"ingot/cf"
	"ingot/diego/cell/line"
)

type host struct {
	cf.Containers
	stats cf.ContainerStats
	asked int
	err   error
}

func (h *host) Stats(context.Context, string) (cf.ContainerStats, error) {
	h.asked++
	return h.stats, h.err
}

type sink struct{ all []cf.Envelope }

func (s *sink) Emit(e cf.Envelope) { s.all = append(s.all, e) }

func newMeter() (*Meter, *host, *sink) {
	h, s := &host{}, &sink{}
	m := &Meter{Host: &Host{Containers: h, Logs: s, Cores: 4, MemoryMB: 1024}, App: "app", Handle: "i", Limits: cf.Limits{MemoryMB: 256, DiskMB: 10},
		Log: new(line.Crowd).Log(s, "app", "3", nil, -1)}
	return m, h, s
}

// ago makes as if the readings were taken so long ago.
func (m *Meter) ago(d time.Duration) {
	for i := range m.ticks {
		if !m.ticks[i].at.IsZero() {
			m.ticks[i].at = m.ticks[i].at.Add(-d)
		}
	}
	m.newest.at = m.newest.at.Add(-d)
}

func TestFigures(t *testing.T) {
	m, h, _ := newMeter()
	if got := m.entitlement(time.Second); got != time.Second {
		t.Fatalf("a quarter of the memory of 4 cores is entitled to %s a second", got)
	}
	h.stats = cf.ContainerStats{CPU: time.Second, Age: 10 * time.Second}
	m.Sample(t.Context())
	m.ago(15 * time.Second)
	if _, err := m.Log.Writer("APP", false).Write([]byte("0123456789\n")); err != nil {
		t.Fatal(err)
	}
	h.stats = cf.ContainerStats{CPU: 4 * time.Second, Age: 20 * time.Second, MemoryBytes: 7}
	s, ok := m.Fresh(t.Context())
	if !ok || s.CPU != 0.3 || s.CPUEntitlement != 0.3 || s.LogRate != 1 || s.MemoryBytes != 7 {
		t.Errorf("stats %+v, %v", s, ok)
	}
	// The next tick, and at once a question: it compares with the tick before, not with a moment ago.
	m.ago(time.Second)
	m.Sample(t.Context())
	m.ago(2 * time.Second)
	h.stats.CPU, h.stats.Age = 5*time.Second, 22*time.Second
	if s, _ := m.Fresh(t.Context()); s.CPU < 0.333 || s.CPU > 0.334 {
		t.Errorf("over 12 s and 4 s of work: %+v", s)
	}
}

func TestAsksAtMostOnceASecond(t *testing.T) {
	m, h, _ := newMeter()
	for range 100 {
		m.Fresh(t.Context())
	}
	if h.asked != 1 {
		t.Errorf("asked %d times", h.asked)
	}
}

func TestNoContainer(t *testing.T) {
	m, h, s := newMeter()
	h.err = errors.New("gone")
	if _, ok := m.Fresh(t.Context()); ok {
		t.Error("there is a reading of nothing")
	}
	m.Sample(t.Context())
	if len(s.all) != 0 {
		t.Errorf("gauges of nothing: %v", s.all)
	}
}

func TestGauges(t *testing.T) {
	m, h, s := newMeter()
	h.stats = cf.ContainerStats{CPU: time.Second, Age: 10 * time.Second}
	m.Sample(t.Context())
	if len(s.all) != 3 || len(s.all[0].Gauge) != 5 {
		t.Fatalf("envelopes %+v", s.all)
	}
	for _, e := range s.all {
		if e.SourceID != "app" || e.InstanceID != "3" || e.Tags["instance_id"] != "3" || e.Tags["source_type"] != "" {
			t.Errorf("envelope %+v", e)
		}
	}
	if got := s.all[1].Gauge["absolute_entitlement"]; got != (cf.GaugeValue{Unit: "nanoseconds", Value: 1e10}) {
		t.Errorf("entitled to %v", got)
	}
	if got := s.all[0].Gauge["cpu"]; got != (cf.GaugeValue{Unit: "percentage", Value: 10}) {
		t.Errorf("cpu %v", got)
	}
}
