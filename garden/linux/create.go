package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/typeurl/v2"

	"ingot/cf"
	"ingot/garden/image"
	"ingot/garden/linux/disk"
	"ingot/garden/linux/network"
	"ingot/garden/linux/spec"
)

// Reserve leases address and host ports; they are kept in memory until Create, so a restart gives them back.
func (e *Engine) Reserve(_ context.Context, handle string, ports []int) (cf.ContainerInfo, error) {
	if err := errors.Join(spec.CheckHandle(handle), spec.CheckPorts(ports)); err != nil {
		return cf.ContainerInfo{}, err
	}
	l, err := e.leases.Take(handle, ports)
	if err != nil {
		return cf.ContainerInfo{}, err
	}
	return cf.ContainerInfo{Spec: cf.ContainerSpec{Handle: handle, Ports: ports}, Address: l.Address.String(), Ports: l.Ports}, nil
}

// Create makes the container; after an error nothing of it is left but what Reserve gave.
func (e *Engine) Create(ctx context.Context, s cf.ContainerSpec) (cf.ContainerInfo, error) {
	if err := spec.Check(&s); err != nil {
		return cf.ContainerInfo{}, err
	}
	_, reserved := e.leases.Held(s.Handle)
	lease, err := e.leases.Take(s.Handle, s.Ports)
	if err != nil {
		return cf.ContainerInfo{}, err
	}
	c := newContainer(record{Spec: s, Lease: lease})
	if err = e.enter(c); err == nil {
		err = e.complete(ctx, c)
	}
	if err != nil {
		if !reserved { // nor held by a container of that handle
			e.leases.Give(s.Handle)
		}
		return cf.ContainerInfo{}, fmt.Errorf("create container %s: %w", s.Handle, err)
	}
	return c.info(), nil
}

// complete makes a container that is in the books, or takes it out again.
func (e *Engine) complete(ctx context.Context, c *container) error {
	if err := e.make(ctx, c); err != nil {
		if e := e.purge(c.Spec.Handle, c); e != nil {
			err = errors.Join(err, fmt.Errorf("clean up: %w", e))
		}
		e.leave(c.Spec.Handle)
		return err
	}
	e.mu.Lock()
	c.made = true
	e.mu.Unlock()
	c.mu.Unlock()
	return nil
}

// enter puts a container into the books, locked, so that a second Create finds it and a Delete waits; and it sees to it
// that its disk, fully written, leaves the reserve free.
func (e *Engine) enter(c *container) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.all[c.Spec.Handle]; ok {
		return cf.Errorf(cf.KindConflict, "", "container %q is there already", c.Spec.Handle)
	}
	free, err := e.unpromised()
	if err != nil {
		return err
	}
	if int64(c.Spec.Limits.DiskMB)<<20 > free {
		return cf.Errorf(cf.KindNoRoom, "", "no disk is left for container %q", c.Spec.Handle)
	}
	c.mu.Lock()
	e.all[c.Spec.Handle] = c
	return nil
}

func (e *Engine) leave(handle string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c, ok := e.all[handle]; ok {
		c.gone = true
		c.mu.Unlock()
		delete(e.all, handle)
	}
}

// unpromised is the disk that is free, less the reserve and what containers may still write within their limits: a
// sparse file that cannot grow loses data without a word. e.mu is held.
func (e *Engine) unpromised() (int64, error) {
	free, err := e.disks.Free()
	if err != nil {
		return 0, err
	}
	left := free - e.DiskReserve
	for h, c := range e.all {
		left -= max(0, int64(c.Spec.Limits.DiskMB)<<20-e.disks.Used(h))
	}
	return left, nil
}

// make does the work of Create: disk, record, task, network.
func (e *Engine) make(ctx context.Context, c *container) error {
	e.layers.RLock()
	defer e.layers.RUnlock()
	refs, lowers, err := e.images.Lowers(e.ctx, c.Spec.Image, c.Spec.Layers)
	if err != nil {
		return err
	}
	c.Lowers = refs
	base := e.host.UserBase(c.Lease.Slot)
	up, err := e.disks.Make(c.Spec.Handle, c.Spec.Limits.DiskMB, base)
	if err != nil {
		return err
	}
	if err := e.names(up.Upper, c.record, base); err != nil {
		return err
	}
	if err := e.keep(c); err != nil {
		return err
	}
	if err := e.newTask(ctx, c, lowers, up); err != nil {
		return err
	}
	if err := up.Release(); err != nil {
		return err
	}
	return e.net.Connect(int(c.task.Pid()), c.endpoint())
}

// names writes the container's name files into its upper folder.
func (e *Engine) names(upper string, r record, base uint32) error {
	etc := filepath.Join(upper, "etc")
	if err := errors.Join(os.Mkdir(etc, 0o755), os.Chown(etc, int(base), int(base))); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"hostname":    r.Spec.Handle + "\n",
		"hosts":       fmt.Sprintf("127.0.0.1 localhost\n%s %s\n", r.Lease.Address, r.Spec.Handle),
		"resolv.conf": fmt.Sprintf("nameserver %s\n", network.Gateway(e.Network)),
	} {
		f := filepath.Join(etc, name)
		if err := errors.Join(os.WriteFile(f, []byte(text), 0o644), os.Chown(f, int(base), int(base))); err != nil {
			return err
		}
	}
	return nil
}

// keep writes the container into containerd's database: from here on a restart knows of it.
func (e *Engine) keep(c *container) error {
	oci, err := e.host.Container(c.Spec, c.Lease.Slot)
	if err != nil {
		return err
	}
	packed, err := typeurl.MarshalAny(oci)
	if err != nil {
		return err
	}
	user := e.host.UserBase(c.Lease.Slot)
	if c.Spec.Program.User != "root" {
		user += image.VCAP
	}
	opts, err := typeurl.MarshalAny(&options.Options{BinaryName: e.helpers.runc, Root: e.runcRoot(), IoUid: user, IoGid: user})
	if err != nil {
		return err
	}
	ext, err := c.extensions()
	if err != nil {
		return err
	}
	_, err = e.daemon.Client.ContainerService().Create(e.ctx, containers.Container{ID: c.Spec.Handle, Spec: packed, Extensions: ext,
		Runtime: containers.RuntimeInfo{Name: e.helpers.shim, Options: opts}})
	return err
}

func (e *Engine) runcRoot() string { return filepath.Join(e.run, "runc") }

// newTask starts the shim, which mounts the root file system, and makes the container without running its program.
func (e *Engine) newTask(ctx context.Context, c *container, lowers []string, up *disk.Upper) error {
	ct, err := e.daemon.Client.LoadContainer(e.ctx, c.Spec.Handle)
	if err != nil {
		return err
	}
	ids := fmt.Sprintf("0:%d:%d", e.host.UserBase(c.Lease.Slot), spec.PerSlot)
	root := []mount.Mount{{Type: "overlay", Source: "overlay", Options: []string{
		"lowerdir=" + strings.Join(lowers, ":"), "upperdir=" + up.Upper, "workdir=" + up.Work, "index=off", "uidmap=" + ids, "gidmap=" + ids}}}
	c.task, err = ct.NewTask(e.daemon.Context(ctx), c.out.Create(e.pipes(c.Spec.Handle)), client.WithRootFS(root))
	if err != nil {
		return fmt.Errorf("new task: %w", err)
	}
	return e.follow(c)
}

// follow begins to wait for the end of the task.
func (e *Engine) follow(c *container) error {
	end, err := c.task.Wait(e.ctx)
	if err != nil {
		return fmt.Errorf("wait for task: %w", err)
	}
	go e.watch(c, end)
	return nil
}
