// Package meter reads what an instance uses of its host, and makes of it CF's figures: of a core, of its entitlement, of
// its log rate (systems.md §8.1).
//
// It promises to ask a container at most once a second, however often it is asked itself. It will not decide when.
package meter

import (
	"context"
	"sync"
	"time"

	"ingot/cf"
	"ingot/diego/cell/line"
)

// Host is what instances share.
type Host struct {
	Containers cf.Containers
	Logs       cf.Logs
	Cores      int
	MemoryMB   int
}

// Meter is the meter of one instance.
type Meter struct {
	Host   *Host
	App    cf.AppID
	Handle string
	Limits cf.Limits
	Log    *line.Log

	mu     sync.Mutex
	ticks  [2]reading // the newest two of the regular ones, the newer first
	newest reading
	stats  cf.InstanceStats // as of newest
}

type reading struct {
	at     time.Time
	logged uint64
	cf.ContainerStats
}

// oftenest bounds how often a container is asked.
const oftenest = time.Second

// baseAge is how long ago the older one of two compared readings is at least, where there is one.
const baseAge = 5 * time.Second

// Fresh returns stats that are at most a second old; not ok when there is no container to ask.
func (m *Meter) Fresh(ctx context.Context) (s cf.InstanceStats, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.newest.at) < oftenest {
		return m.stats, true
	}
	ok = m.read(ctx)
	return m.stats, ok
}

// read asks the container. The caller holds m.mu.
func (m *Meter) read(ctx context.Context) bool {
	got, err := m.Host.Containers.Stats(ctx, m.Handle)
	if err != nil {
		return false // not created yet, or gone: its run knows
	}
	now := reading{time.Now(), m.Log.Bytes(), got}
	old := m.ticks[0]
	if now.at.Sub(old.at) < baseAge {
		old = m.ticks[1]
	}
	span := now.Age - old.Age
	m.newest = now
	m.stats = cf.InstanceStats{MemoryBytes: now.MemoryBytes, DiskBytes: now.DiskBytes, At: now.at}
	if span > 0 {
		m.stats.CPU = float64(now.CPU-old.CPU) / float64(span)
		m.stats.CPUEntitlement = float64(now.CPU-old.CPU) / max(float64(m.entitlement(span)), 1)
		m.stats.LogRate = uint64(float64(now.logged-old.logged) / span.Seconds())
	}
	return true
}

// entitlement is the CPU time that an instance may always have: the host's, by its share of the host's memory
// (systems.md §8.1).
func (m *Meter) entitlement(span time.Duration) time.Duration {
	perShare := float64(m.Host.Cores) / float64(m.Host.MemoryMB)
	return time.Duration(float64(m.Limits.MemoryMB) * perShare * float64(span))
}

// Sample takes a regular reading and sends it into the log pipeline, as Diego's executor does.
func (m *Meter) Sample(ctx context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.read(ctx) {
		return
	}
	m.ticks = [2]reading{m.newest, m.ticks[0]}
	s, now := m.stats, m.newest
	gauge := func(values map[string]cf.GaugeValue) {
		m.Host.Logs.Emit(cf.Envelope{Time: now.at, SourceID: string(m.App), InstanceID: m.Log.Tags()["instance_id"], Tags: m.Log.Tags(), Gauge: values})
	}
	gauge(map[string]cf.GaugeValue{
		"cpu":          {Unit: "percentage", Value: s.CPU * 100},
		"memory":       {Unit: "bytes", Value: float64(s.MemoryBytes)},
		"memory_quota": {Unit: "bytes", Value: float64(m.Limits.MemoryMB << 20)},
		"disk":         {Unit: "bytes", Value: float64(s.DiskBytes)},
		"disk_quota":   {Unit: "bytes", Value: float64(m.Limits.DiskMB << 20)},
	})
	gauge(map[string]cf.GaugeValue{
		"container_age":        {Unit: "nanoseconds", Value: float64(now.Age)},
		"absolute_usage":       {Unit: "nanoseconds", Value: float64(now.CPU)},
		"absolute_entitlement": {Unit: "nanoseconds", Value: float64(m.entitlement(now.Age))},
		"cpu_entitlement":      {Unit: "percentage", Value: s.CPUEntitlement * 100},
	})
	gauge(map[string]cf.GaugeValue{
		"log_rate":       {Unit: "B/s", Value: float64(s.LogRate)},
		"log_rate_limit": {Unit: "B/s", Value: float64(m.Log.Limit())},
	})
}
