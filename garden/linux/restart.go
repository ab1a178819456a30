package linux

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"

	"ingot/cf"
	"ingot/garden/linux/containerd"
	"ingot/garden/linux/network"
	"ingot/garden/linux/output"
)

// A restart happens in this order: salvage (before containerd, which throws away what it cannot use), containerd itself,
// load, the network, sweep.

// salvage keeps the exit codes and the last output of programs that ended while nobody looked, for containerd drops such
// tasks with their shims when it starts, and ends what was being made when the last process died: a bundle without bootstrap.json has a shim, if any,
// that nobody can talk to.
func (e *Engine) salvage() error {
	bundles, err := os.ReadDir(e.daemon.Bundles())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, b := range bundles {
		handle, dir := b.Name(), filepath.Join(e.daemon.Bundles(), b.Name())
		var x struct { // as the shim writes it
			Status    int
			Timestamp time.Time
		}
		if b, err := os.ReadFile(filepath.Join(dir, "exit.json")); err == nil && json.Unmarshal(b, &x) == nil {
			if err := e.saveExit(handle, cf.Exit{Code: x.Status, OOM: e.host.Cgroups.OOM(handle), At: x.Timestamp}); err != nil {
				return err
			}
			if err := output.Keep(e.pipes(handle), handle); err != nil {
				e.Log.Warn("last output of a program is lost", "handle", handle, "error", err)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "bootstrap.json")); err == nil {
			continue
		}
		if err := e.killShims(func(cwd string) bool { return cwd == dir }); err != nil {
			return err
		}
		if err := errors.Join(e.host.Cgroups.Remove(handle), e.purgeBundle(handle)); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) exitFile(handle string) string { return filepath.Join(e.exits(), handle) }

func (e *Engine) saveExit(handle string, x cf.Exit) error {
	b, err := json.Marshal(x)
	if err != nil {
		return err
	}
	tmp := filepath.Join(e.exits(), "."+handle)
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, e.exitFile(handle))
}

func (e *Engine) readExit(handle string) (cf.Exit, bool) {
	var x cf.Exit
	b, err := os.ReadFile(e.exitFile(handle))
	return x, err == nil && json.Unmarshal(b, &x) == nil
}

// load takes the containers of an earlier process into the books: those that run and those whose exit is known. The
// others (half made, or never started, so that nobody was promised them) are removed.
func (e *Engine) load(ctx context.Context) ([]network.Endpoint, error) {
	all, err := e.daemon.Client.Containers(e.daemon.Context(ctx))
	if err != nil {
		return nil, err
	}
	var present []network.Endpoint
	var lost []string
	for _, ct := range all {
		c, err := e.revive(ct)
		if err != nil {
			return nil, fmt.Errorf("container %s: %w", ct.ID(), err)
		}
		if c == nil {
			lost = append(lost, ct.ID())
			continue
		}
		e.leases.Restore(ct.ID(), c.Lease)
		e.all[ct.ID()] = c
		if c.task != nil {
			present = append(present, c.endpoint())
		}
	}
	for _, h := range lost {
		if err := e.purge(h, nil); err != nil {
			e.Log.Warn("container of an earlier process is not quite removed", "handle", h, "error", err)
		}
	}
	return present, nil
}

// revive gives nil for a container that is to be removed.
func (e *Engine) revive(ct client.Container) (*container, error) {
	ext, err := ct.Extensions(e.ctx)
	if err != nil {
		return nil, err
	}
	r, err := readRecord(ext)
	if err != nil {
		e.Log.Warn("container without a readable record is removed", "handle", ct.ID(), "error", err)
		return nil, nil //nolint:nilnil // as said above
	}
	c := newContainer(r)
	c.made = true
	c.started.Store(true)
	task, err := ct.Task(e.ctx, nil)
	if err != nil && !errdefs.IsNotFound(err) {
		return nil, err
	}
	if err == nil {
		s, err := task.Status(e.ctx)
		if err != nil {
			return nil, err
		}
		if s.Status == client.Running || s.Status == client.Paused {
			c.task = task
			return c, e.follow(c)
		}
	}
	x, ok := e.readExit(ct.ID())
	if !ok {
		return nil, nil //nolint:nilnil // as said above
	}
	c.exit = x
	close(c.done)
	return c, nil
}

// sweep removes everything of ours that belongs to no container in the books.
func (e *Engine) sweep() error {
	known := map[string]bool{}
	e.mu.Lock()
	for h := range e.all {
		known[h] = true
	}
	e.mu.Unlock()
	err := e.killShims(func(cwd string) bool {
		return strings.HasSuffix(cwd, " (deleted)") || !known[filepath.Base(cwd)]
	})
	if err != nil {
		return err
	}
	left, err := e.leftovers()
	if err != nil {
		return err
	}
	var errs []error
	for _, h := range left {
		if !known[h] {
			errs = append(errs, e.purge(h, nil))
		}
	}
	errs = append(errs, unmountAll(e.daemon.Temp()), empty(e.daemon.Temp()), e.deadSockets(), e.oldHelpers())
	for _, dir := range []string{containerd.Namespace, ""} { // a shim whose options were lost asks runc for its own folder
		_ = os.Remove(filepath.Join("/run/containerd/runc", dir)) // if it is empty; another containerd's is not
	}
	return errors.Join(errs...)
}

// leftovers names all handles of which something can be seen.
func (e *Engine) leftovers() ([]string, error) {
	out, err := e.disks.Names()
	if err != nil {
		return nil, err
	}
	out = append(out, e.host.Cgroups.Handles()...)
	for _, dir := range []string{e.daemon.Bundles(), e.daemon.Work(), e.pipes(""), e.exits(), filepath.Join(e.runcRoot(), containerd.Namespace)} {
		found, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		for _, f := range found {
			out = append(out, f.Name())
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// killShims ends those of our shims whose working folder, their bundle, is to go, and waits until they are gone.
func (e *Engine) killShims(doomed func(cwd string) bool) error {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		exe, err := os.Readlink(filepath.Join("/proc", p.Name(), "exe"))
		if err != nil || !strings.HasPrefix(exe, e.helpers.folder+"/") || !strings.HasPrefix(filepath.Base(exe), "shim") {
			continue // gone, a kernel thread, or somebody else
		}
		cwd, err := os.Readlink(filepath.Join("/proc", p.Name(), "cwd"))
		if err != nil || !doomed(cwd) {
			continue
		}
		e.Log.Info("ending a shim without a container", "pid", pid, "folder", cwd)
		if err := killAndAwait(pid); err != nil {
			return err
		}
	}
	return nil
}

// killAndAwait ends a process that is not our child.
func killAndAwait(pid int) error {
	_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by now
	for end := time.Now().Add(5 * time.Second); ; {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return nil
		}
		if i := bytes.LastIndexByte(b, ')'); i > 0 && i+2 < len(b) && b[i+2] == 'Z' {
			return nil // its parent will reap it
		}
		if time.Now().After(end) {
			return fmt.Errorf("process %d does not end", pid)
		}
		time.Sleep(time.Millisecond) // not our child: nothing to wait on
	}
}

// deadSockets removes the sockets that no shim listens on.
func (e *Engine) deadSockets() error {
	found, err := os.ReadDir(filepath.Join(e.run, "s"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var errs []error
	for _, f := range found {
		path := filepath.Join(e.run, "s", f.Name())
		conn, err := net.Dial("unix", path)
		if err == nil {
			errs = append(errs, conn.Close())
		} else if errors.Is(err, syscall.ECONNREFUSED) {
			errs = append(errs, remove(path))
		}
	}
	return errors.Join(errs...)
}

// oldHelpers removes helper programs of versions that no bundle names.
func (e *Engine) oldHelpers() error {
	used := map[string]bool{filepath.Dir(e.helpers.shim): true}
	found, err := filepath.Glob(filepath.Join(e.daemon.Bundles(), "*", "shim-binary-path"))
	if err != nil {
		return err
	}
	for _, f := range found {
		if b, err := os.ReadFile(f); err == nil {
			used[filepath.Dir(string(b))] = true
		}
	}
	versions, err := filepath.Glob(filepath.Join(e.helpers.folder, "*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, v := range versions {
		if !used[v] {
			errs = append(errs, os.RemoveAll(v))
		}
	}
	return errors.Join(errs...)
}

// empty removes what is in a folder.
func empty(dir string) error {
	found, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range found {
		errs = append(errs, os.Remove(filepath.Join(dir, f.Name()))) // never below: it could be a mount
	}
	return errors.Join(errs...)
}
