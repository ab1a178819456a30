package cell

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"ingot/cf"
)

// keepDiskMB of the real disk are never given to containers: their files are sparse, and a full disk loses data silently.
const keepDiskMB = 1024

// measure works out what the host has for containers.
func (c *Cell) measure(ctx context.Context) error {
	has, err := c.Containers.Capacity(ctx)
	if err != nil {
		return fmt.Errorf("capacity: %w", err)
	}
	pick := func(set, found, fallback int) int {
		switch {
		case set > 0:
			return set
		case found > 0:
			return found
		}
		return fallback
	}
	c.total = cf.Resources{MemoryMB: pick(c.Limit.MemoryMB, has.MemoryMB, 0), DiskMB: pick(c.Limit.DiskMB, has.DiskMB, 0),
		Containers: pick(c.Limit.Containers, has.Containers, maxContainers)}
	if c.total.MemoryMB == 0 || c.total.DiskMB == 0 {
		return fmt.Errorf("there is no room for containers here: %d MB of memory, %d MB of disk", c.total.MemoryMB, c.total.DiskMB)
	}
	c.cores = runtime.NumCPU()
	return nil
}

// free is what is left, by what was given away and by the real disk. The caller holds c.mu.
func (c *Cell) free() cf.Resources {
	f := c.total
	for _, r := range c.held {
		f.MemoryMB -= r.MemoryMB
		f.DiskMB -= r.DiskMB
		f.Containers--
	}
	var fs unix.Statfs_t
	if unix.Statfs(c.Data, &fs) == nil {
		real := int(fs.Bavail * uint64(fs.Bsize) >> 20)
		f.DiskMB = min(f.DiskMB, real-keepDiskMB)
	}
	f.DiskMB = max(f.DiskMB, 0)
	return f
}

// take reserves room under a handle, or says in Diego's words what is missing. The caller holds c.mu.
func (c *Cell) take(handle string, l cf.Limits) error {
	if !c.open {
		return errClosed
	}
	f, missing := c.free(), ""
	switch {
	case l.MemoryMB > f.MemoryMB:
		missing = "memory"
	case l.DiskMB > f.DiskMB:
		missing = "disk"
	case f.Containers < 1:
		missing = "containers"
	}
	if missing != "" {
		return cf.Errorf(cf.KindNoRoom, "InsufficientResources", "insufficient resources: %s", missing)
	}
	c.held[handle] = cf.Resources{MemoryMB: l.MemoryMB, DiskMB: l.DiskMB, Containers: 1}
	return nil
}

// give frees the room of a handle; twice is no error.
func (c *Cell) give(handle string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.held, handle)
}

// create waits for its turn and makes a container, which f does.
func (c *Cell) create(ctx context.Context, f func() error) error {
	c.mu.Lock()
	c.starting++
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.starting--
		c.mu.Unlock()
	}()
	select {
	case c.creating <- struct{}{}:
		defer func() { <-c.creating }()
		return f()
	case <-ctx.Done():
		return ctx.Err()
	}
}
