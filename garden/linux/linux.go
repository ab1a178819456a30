// Package linux is the body of the door cf.Containers on Linux: containers in their own user namespace, with limits,
// a network of their own and a file system shared up to the part they write.
//
// It promises that containers outlive this process and are taken up again by the next one with their output and exit
// codes, that Delete leaves nothing, and that whatever a killed process left half made is removed at the next start.
// It does not lock the data folder (its owner does), decides nothing about what should run, and starts nothing again.
// Why things are as they are stands in DESIGN.md.
package linux

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/v2/client"
	"golang.org/x/sys/unix"

	"ingot/cf"
	"ingot/garden/image"
	"ingot/garden/linux/cgroup"
	"ingot/garden/linux/containerd"
	"ingot/garden/linux/disk"
	"ingot/garden/linux/network"
	"ingot/garden/linux/spec"
)

// Engine drives the containers of one host. Set the fields, then Open it, once in a process.
type Engine struct {
	Data        string       // folder of this room; everything that lasts is below it
	Network     netip.Prefix // of the containers' addresses; zero = 10.254.0.0/16
	HostAddress netip.Addr   // where host ports are offered; zero = the gateway, so to this host alone
	DiskReserve int64        // bytes that containers must leave free; 0 = 1 GiB
	LayerBytes  int64        // unpacked layers to keep although nobody uses them; 0 = 8 GiB
	Log         *slog.Logger // nil = slog.Default()

	run     string // sockets and pipes
	helpers helpers
	host    spec.Host
	daemon  *containerd.Server
	images  *image.Store
	disks   *disk.Disks
	leases  *network.Leases
	net     *network.Network
	ctx     context.Context // ends with Close
	stop    context.CancelFunc

	layers sync.RWMutex // held to read while a container is made, to write while layers are dropped
	mu     sync.Mutex   // guards all
	all    map[string]*container
}

var _ cf.Containers = (*Engine)(nil)

// Open brings the engine up: containerd, then the containers of an earlier process, then the sweeper.
func (e *Engine) Open(ctx context.Context) (err error) {
	if err := e.prepare(); err != nil {
		return fmt.Errorf("garden: %w", err)
	}
	defer func() {
		if err != nil {
			e.stop()
			e.daemon.Stop()
		}
	}()
	if err := e.salvage(); err != nil {
		return fmt.Errorf("garden: look at what is left: %w", err)
	}
	if err := e.daemon.Start(e.ctx); err != nil {
		return fmt.Errorf("garden: %w", err)
	}
	e.images.Snapshots = e.daemon.Client.SnapshotService(containerd.Snapshotter)
	if err := e.images.Start(e.ctx); err != nil {
		return fmt.Errorf("garden: images: %w", err)
	}
	present, err := e.load(ctx)
	if err != nil {
		return fmt.Errorf("garden: take up containers: %w", err)
	}
	if err := e.net.Start(ctx, present); err != nil {
		return fmt.Errorf("garden: network: %w", err)
	}
	if err := e.sweep(); err != nil {
		return fmt.Errorf("garden: sweep: %w", err)
	}
	return nil
}

// settle fills in what the fields leave open and derives what hangs on the data folder.
func (e *Engine) settle() error {
	if e.Log == nil {
		e.Log = slog.Default()
	}
	if !e.Network.IsValid() {
		e.Network = netip.MustParsePrefix("10.254.0.0/16")
	}
	if !e.Network.Addr().Is4() || e.Network.Bits() > 29 {
		return fmt.Errorf("network %s: an IPv4 prefix of at most 29 bits is needed", e.Network)
	}
	if e.DiskReserve == 0 {
		e.DiskReserve = 1 << 30
	}
	if e.LayerBytes == 0 {
		e.LayerBytes = 8 << 30
	}
	data, err := filepath.Abs(e.Data)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(data))
	id := hex.EncodeToString(sum[:4])
	e.Data, e.run, e.all = data, filepath.Join("/run/ingot", id), map[string]*container{}
	e.helpers.folder = filepath.Join(e.Data, "bin")
	e.host = spec.Host{ID: id, Cgroups: cgroup.Open("ingot-" + id)}
	e.daemon = &containerd.Server{Root: filepath.Join(e.Data, "containerd"), State: filepath.Join(e.run, "state"), Run: e.run, Log: e.Log}
	e.ctx, e.stop = context.WithCancel(e.daemon.Context(context.Background()))
	e.images = &image.Store{Log: e.Log, Collect: e.daemon.Collect}
	e.disks = &disk.Disks{Folder: filepath.Join(e.Data, "disks"), Mounts: filepath.Join(e.run, "m")}
	e.leases = &network.Leases{Network: e.Network}
	e.net = &network.Network{ID: id, Pool: e.Network, HostAddress: e.HostAddress, Memory: filepath.Join(e.Data, "sysctl.json"), Log: e.Log}
	return nil
}

// prepare makes the folders and extracts the helper programs.
func (e *Engine) prepare() error {
	if err := e.settle(); err != nil {
		return err
	}
	unix.Umask(0o022) // what containers are shown must be readable by their users
	for _, dir := range []string{e.Data, e.exits()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := errors.Join(os.MkdirAll(e.pipes(""), 0o711), e.disks.Start()); err != nil {
		return err
	}
	var err error
	e.helpers, err = extract(bin, e.helpers.folder)
	e.host.Init = e.helpers.pid1
	return err
}

// Close ends the engine; the containers go on, and those that write wait for the next engine once their pipe is full.
func (e *Engine) Close(context.Context) error {
	e.stop()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.all {
		c.out.Close()
	}
	e.daemon.Stop()
	return nil
}

func (e *Engine) exits() string { return filepath.Join(e.Data, "exits") }

func (e *Engine) pipes(handle string) string { return filepath.Join(e.run, "io", handle) }

// ImportImage makes the tar at tarPath, plain or gzipped, the stack image of that name.
func (e *Engine) ImportImage(_ context.Context, name, tarPath string) error {
	return e.images.Import(e.ctx, name, tarPath)
}

// Images names the stack images.
func (e *Engine) Images(context.Context) ([]string, error) { return e.images.Images(), nil }

// HasLayer tells whether both the image and the layer are there.
func (e *Engine) HasLayer(_ context.Context, img string, l cf.Layer) (bool, error) {
	for _, n := range e.images.Images() {
		if n == img {
			return e.images.Has(l), nil
		}
	}
	return false, cf.Errorf(cf.KindNotFound, "", "no image %q", img)
}

// AddLayer unpacks r, then drops layers that have long been unused if there are too many.
func (e *Engine) AddLayer(ctx context.Context, img string, l cf.Layer, r io.Reader) error {
	if has, err := e.HasLayer(ctx, img, l); err != nil || has {
		return err
	}
	if err := e.images.Add(e.ctx, l, stopped{ctx, r}); err != nil {
		return err
	}
	if e.images.Layers() <= e.LayerBytes {
		return nil
	}
	return e.dropUnusedLayers(e.LayerBytes)
}

// stopped ends a reader with its caller.
type stopped struct {
	ctx context.Context
	r   io.Reader
}

func (s stopped) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}

// dropUnusedLayers drops layers and replaced images that no container uses, the longest unused first, until the rest has
// at most so many bytes.
func (e *Engine) dropUnusedLayers(budget int64) error {
	e.layers.Lock()
	defer e.layers.Unlock()
	used := map[string]bool{}
	e.mu.Lock()
	for _, c := range e.all {
		for _, ref := range c.Lowers {
			used[ref] = true
		}
	}
	e.mu.Unlock()
	return e.images.DropUnused(e.ctx, used, budget)
}

// get finds a container that Create has finished.
func (e *Engine) get(handle string) (*container, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, ok := e.all[handle]
	if !ok || !c.made {
		return nil, cf.Errorf(cf.KindNotFound, "", "no container %q", handle)
	}
	return c, nil
}

// running finds a container whose task is there.
func (e *Engine) running(handle string) (*container, client.Task, error) {
	c, err := e.get(handle)
	if err != nil {
		return nil, nil, err
	}
	if c.task == nil || c.ended() {
		return nil, nil, cf.Errorf(cf.KindNotFound, "", "container %q has ended", handle)
	}
	return c, c.task, nil
}
