package cell

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"ingot/cf"
	"ingot/diego/cell/line"
)

// use is what an instance uses of the host.
type use struct {
	handle   string
	memoryMB int
	diskMB   int
	log      *line.Log

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

// fresh returns stats that are at most a second old; not ok when there is no container to ask.
func (u *use) fresh(ctx context.Context, c *Cell) (s cf.InstanceStats, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if time.Since(u.newest.at) < oftenest {
		return u.stats, true
	}
	return u.stats, u.read(ctx, c)
}

// read asks the container. The caller holds u.mu.
func (u *use) read(ctx context.Context, c *Cell) bool {
	got, err := c.Containers.Stats(ctx, u.handle)
	if err != nil {
		return false // not created yet, or gone: its run knows
	}
	now := reading{time.Now(), u.log.Bytes(), got}
	old := u.ticks[0]
	if now.at.Sub(old.at) < baseAge {
		old = u.ticks[1]
	}
	span := now.Age - old.Age
	u.newest = now
	u.stats = cf.InstanceStats{MemoryBytes: now.MemoryBytes, DiskBytes: now.DiskBytes, At: now.at}
	if span > 0 {
		u.stats.CPU = float64(now.CPU-old.CPU) / float64(span)
		u.stats.CPUEntitlement = float64(now.CPU-old.CPU) / max(float64(c.entitlement(u.memoryMB, span)), 1)
		u.stats.LogRate = uint64(float64(now.logged-old.logged) / span.Seconds())
	}
	return true
}

// entitlement is the CPU time that an instance may always have: the host's, by its share of the host's memory
// (systems.md §8.1).
func (c *Cell) entitlement(memoryMB int, span time.Duration) time.Duration {
	perShare := float64(c.cores) / float64(c.total.MemoryMB)
	return time.Duration(float64(memoryMB) * perShare * float64(span))
}

// sampleLoop takes the regular readings and sends them into the log pipeline.
func (c *Cell) sampleLoop() {
	tick := time.NewTicker(c.times.sample)
	defer tick.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-tick.C:
		}
		c.mu.Lock()
		all := slices.Collect(maps.Values(c.lrps))
		c.mu.Unlock()
		for _, l := range all {
			l.use.sample(c.ctx, c, l)
		}
	}
}

func (u *use) sample(ctx context.Context, c *Cell, l *lrp) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.read(ctx, c) {
		return
	}
	u.ticks = [2]reading{u.newest, u.ticks[0]}
	s, now := u.stats, u.newest
	gauge := func(m map[string]cf.GaugeValue) {
		c.Logs.Emit(cf.Envelope{Time: now.at, SourceID: string(l.actual.AppID), InstanceID: u.log.Tags()["instance_id"], Tags: u.log.Tags(), Gauge: m})
	}
	gauge(map[string]cf.GaugeValue{
		"cpu":          {Unit: "percentage", Value: s.CPU * 100},
		"memory":       {Unit: "bytes", Value: float64(s.MemoryBytes)},
		"memory_quota": {Unit: "bytes", Value: float64(u.memoryMB << 20)},
		"disk":         {Unit: "bytes", Value: float64(s.DiskBytes)},
		"disk_quota":   {Unit: "bytes", Value: float64(u.diskMB << 20)},
	})
	gauge(map[string]cf.GaugeValue{
		"container_age":        {Unit: "nanoseconds", Value: float64(now.Age)},
		"absolute_usage":       {Unit: "nanoseconds", Value: float64(now.CPU)},
		"absolute_entitlement": {Unit: "nanoseconds", Value: float64(c.entitlement(u.memoryMB, now.Age))},
		"cpu_entitlement":      {Unit: "percentage", Value: s.CPUEntitlement * 100},
	})
	gauge(map[string]cf.GaugeValue{
		"log_rate":       {Unit: "B/s", Value: float64(s.LogRate)},
		"log_rate_limit": {Unit: "B/s", Value: float64(u.log.Limit())},
	})
}
