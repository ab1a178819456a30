// Package cell is Diego's rep and executor for one host: it takes instances and tasks from the scheduler's brain, runs
// them in containers, watches their health, carries their logs and metrics, and reports what becomes of them.
//
// It promises that what it took is reported to its end, also when Ingot is killed at any moment: containers outlive the
// process and are taken up again at the next start. It will not decide what runs where, nor route to it. See DESIGN.md.
package cell

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"ingot/cf"
	"ingot/diego/cell/fetch"
	"ingot/diego/cell/line"
	"ingot/diego/cell/meter"
	"ingot/diego/cell/report"
	"ingot/diego/cell/room"
	"ingot/diego/cell/show"
	"ingot/kit/run"
)

// Bounds.
const (
	creatingAtOnce = 16
	defaultPids    = 1024
	defaultFiles   = 16384
	maxContainers  = 250
)

// Cell is one host. All fields but Zone, Address, Limit and CA must be set before Start.
type Cell struct {
	ID      cf.CellID
	Zone    string
	Address string       // the host's, as apps and the board see it; empty: its first IPv4 address
	Data    string       // a folder of the cell's own
	Limit   cf.Resources // where set, it replaces what Containers.Capacity says
	CA      []byte       // PEM certificates that apps trust beside the host's

	Containers cf.Containers
	Board      cf.LRPBoard
	Blobs      cf.Blobs
	Logs       cf.Logs
	Gate       *run.Gate // stops a push at its steps; nil in life

	times    times
	ctx      context.Context // ends with Stop
	cancel   context.CancelFunc
	work     sync.WaitGroup
	creating chan struct{}
	layers   singleflight.Group
	packs    fetch.Packs
	mounts   []cf.BindMount // what every container shows
	room     room.Room
	host     meter.Host
	crowd    line.Crowd
	helpers  fs.FS // in the place of the embedded ones: tests

	mu       sync.Mutex
	open     bool // it takes calls
	starting int
	lrps     map[cf.InstanceID]*lrp
	tasks    map[cf.TaskID]*task
}

// times are the cell's patience; tests are less patient.
type times struct {
	grace  time.Duration // between SIGTERM and SIGKILL
	sample time.Duration // between two readings
	retry  time.Duration // before the board is told again, at first
}

var errClosed = cf.Errorf(cf.KindUnavailable, "", "the cell is not ready")

// Start makes the cell ready and takes up what an earlier Ingot left running.
func (c *Cell) Start(ctx context.Context) error {
	if c.times == (times{}) {
		c.times = times{grace: 10 * time.Second, sample: 15 * time.Second, retry: 100 * time.Millisecond}
	}
	if err := c.prepare(ctx); err != nil {
		return fmt.Errorf("cell %s: %w", c.ID, err)
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if err := c.reconcile(ctx); err != nil {
		return errors.Join(fmt.Errorf("cell %s: %w", c.ID, err), c.Stop(ctx))
	}
	c.work.Go(c.sampleLoop)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = true
	return nil
}

// Stop ends the cell's own work. Containers of apps run on.
func (c *Cell) Stop(ctx context.Context) error {
	if c.cancel == nil {
		return nil
	}
	c.mu.Lock()
	c.open = false
	c.mu.Unlock()
	c.cancel()
	done := make(chan struct{})
	go func() { c.work.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// prepare lays out the cell's folder and asks for the size of the host.
func (c *Cell) prepare(ctx context.Context) error {
	c.lrps, c.tasks = map[cf.InstanceID]*lrp{}, map[cf.TaskID]*task{}
	c.creating = make(chan struct{}, creatingAtOnce)
	if err := os.MkdirAll(c.Data, 0o755); err != nil {
		return err
	}
	// What an earlier run was building is worth nothing now.
	if err := os.RemoveAll(c.taskFolder("")); err != nil {
		return err
	}
	c.packs.Folder, c.packs.Blobs = filepath.Join(c.Data, "buildpacks"), c.Blobs
	if err := c.packs.Tidy(); err != nil {
		return err
	}
	program, err := c.helper()
	if err != nil {
		return err
	}
	if c.mounts, err = show.Files(c.Data, program, c.CA); err != nil {
		return err
	}
	if c.Address == "" {
		c.Address = hostAddress()
	}
	return c.measure(ctx)
}

// measure works out what the host has for containers.
func (c *Cell) measure(ctx context.Context) error {
	has, err := c.Containers.Capacity(ctx)
	if err != nil {
		return fmt.Errorf("capacity: %w", err)
	}
	total := cf.Resources{MemoryMB: cmp.Or(c.Limit.MemoryMB, has.MemoryMB), DiskMB: cmp.Or(c.Limit.DiskMB, has.DiskMB),
		Containers: cmp.Or(c.Limit.Containers, has.Containers, maxContainers)}
	if total.MemoryMB <= 0 || total.DiskMB <= 0 {
		return fmt.Errorf("there is no room for containers here: %d MB of memory, %d MB of disk", total.MemoryMB, total.DiskMB)
	}
	c.room.Total, c.room.Disk = total, func() int {
		now, _ := c.Containers.Capacity(context.WithoutCancel(ctx)) // a disk that cannot be measured counts as full
		return now.DiskMB
	}
	c.host = meter.Host{Containers: c.Containers, Logs: c.Logs, Cores: runtime.NumCPU(), MemoryMB: total.MemoryMB}
	return nil
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

// sampleLoop takes the regular readings of all instances.
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
			l.use.Sample(c.ctx)
		}
	}
}

// hostAddress is the host's first IPv4 address that others can reach.
func hostAddress() string {
	as, _ := net.InterfaceAddrs() // none: as good as an error
	for _, a := range as {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	return "127.0.0.1"
}

func (c *Cell) mine(id cf.CellID) error {
	if id != c.ID {
		return cf.Errorf(cf.KindNotFound, "", "cell %s is not here", id)
	}
	return nil
}

// List implements cf.Cells.
func (c *Cell) List(ctx context.Context) ([]cf.CellState, error) {
	stacks, err := c.Containers.Images(ctx)
	if err != nil {
		return nil, fmt.Errorf("stacks of cell %s: %w", c.ID, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return nil, nil
	}
	s := cf.CellState{ID: c.ID, Zone: c.Zone, Stacks: stacks, Total: c.room.Total, Free: c.room.Free(),
		Starting: c.starting, Processes: map[cf.ProcessID]int{}}
	for _, l := range c.lrps {
		s.Processes[l.desired.Load().ID]++
	}
	return []cf.CellState{s}, nil
}

// StartLRP implements cf.Cells.
func (c *Cell) StartLRP(_ context.Context, id cf.CellID, d cf.DesiredLRP, a cf.ActualLRP) error {
	if err := c.mine(id); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return errClosed
	}
	if c.lrps[a.Instance] != nil {
		return nil
	}
	if err := c.room.Take(string(a.Instance), d.Limits); err != nil {
		return err
	}
	l := c.newLRP(d, a)
	c.lrps[a.Instance] = l
	c.work.Go(func() { l.run(c.ctx) })
	return nil
}

// StartTask implements cf.Cells.
func (c *Cell) StartTask(_ context.Context, id cf.CellID, t cf.Task) error {
	if err := c.mine(id); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return errClosed
	}
	if c.tasks[t.ID] != nil {
		return nil
	}
	if err := c.room.Take(string(t.ID), t.Limits); err != nil {
		return err
	}
	k := c.newTask(t)
	c.tasks[t.ID] = k
	c.work.Go(func() { k.run(c.ctx) })
	return nil
}

// StopLRP implements cf.Cells. It returns at once; the board hears when the instance is gone, also when the cell did not
// know it.
func (c *Cell) StopLRP(_ context.Context, id cf.CellID, i cf.InstanceID) error {
	if err := c.mine(id); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return errClosed
	}
	if l := c.lrps[i]; l != nil {
		l.stop()
		return nil
	}
	c.work.Go(func() {
		c.report(c.ctx, "stopped", func(ctx context.Context) error {
			return c.Board.Stopped(ctx, cf.ActualLRP{Instance: i, Cell: c.ID})
		})
	})
	return nil
}

// UpdateLRP implements cf.Cells.
func (c *Cell) UpdateLRP(_ context.Context, id cf.CellID, d cf.DesiredLRP) error {
	if err := c.mine(id); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lrps {
		if l.desired.Load().ID == d.ID {
			l.update(d)
		}
	}
	return nil
}

// CancelTask implements cf.Cells.
func (c *Cell) CancelTask(_ context.Context, id cf.CellID, t cf.TaskID) error {
	if err := c.mine(id); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.tasks[t]; k != nil {
		k.cancel(errCancelled)
	}
	return nil
}

// Stats implements cf.Cells.
func (c *Cell) Stats(ctx context.Context, id cf.CellID, app cf.AppID) (map[cf.InstanceID]cf.InstanceStats, error) {
	if err := c.mine(id); err != nil {
		return nil, err
	}
	c.mu.Lock()
	all := maps.Clone(c.lrps)
	c.mu.Unlock()
	out := map[cf.InstanceID]cf.InstanceStats{}
	for i, l := range all {
		if l.desired.Load().AppID != app {
			continue
		}
		if s, ok := l.use.Fresh(ctx); ok {
			out[i] = s
		}
	}
	return out, nil
}

// report tells the board, again and again until it has heard: see report.Tell. heard is false when the cell stops before.
func (c *Cell) report(ctx context.Context, what string, tell func(context.Context) error) (heard, wanted bool) {
	return report.Tell(ctx, c.times.retry, slog.With("cell", c.ID, "report", what), tell)
}

// destroy leaves nothing of a container and takes its room back. What cannot be removed now is found at the next start.
func (c *Cell) destroy(ctx context.Context, handle string) error {
	var err error
	for wait := c.times.retry; wait < 30*c.times.retry; wait *= 2 {
		if err = c.Containers.Delete(ctx, handle); err == nil {
			c.room.Give(handle)
			return nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
	slog.Error("container stays behind until the next start", "cell", c.ID, "handle", handle, "error", err)
	return err
}
