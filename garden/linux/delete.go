package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"ingot/garden/linux/containerd"
)

// deleteWithin bounds a Delete: a caller that goes away does not stop it half way.
const deleteWithin = 30 * time.Second

// Delete ends the container and removes all of it; after an error it may be called again.
func (e *Engine) Delete(_ context.Context, handle string) error {
	e.mu.Lock()
	c, ok := e.all[handle]
	e.mu.Unlock()
	if !ok {
		e.leases.Give(handle)
		return nil
	}
	c.mu.Lock() // waits for a Create
	if c.gone {
		c.mu.Unlock()
		return nil
	}
	if err := e.purge(handle, c); err != nil {
		c.mu.Unlock()
		return fmt.Errorf("delete container %s: %w", handle, err)
	}
	e.leases.Give(handle)
	e.leave(handle)
	return nil
}

// purge removes what there is of a container, known (c) or only by its name: nothing that is missing is an error.
func (e *Engine) purge(handle string, c *container) error {
	ctx, cancel := context.WithTimeout(e.daemon.Context(context.Background()), deleteWithin)
	defer cancel()
	errs := []error{e.purgeTask(ctx, handle, c)}
	if c != nil {
		c.out.Close()
		errs = append(errs, e.net.Disconnect(c.Lease.Slot))
	}
	errs = append(errs, e.purgeBundle(handle), e.disks.Remove(handle), e.host.Cgroups.Remove(handle),
		os.RemoveAll(e.pipes(handle)), remove(e.exitFile(handle)))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	// The record goes last: until then a restart knows that there is something to remove.
	if err := e.daemon.Client.ContainerService().Delete(ctx, handle); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

func (e *Engine) purgeTask(ctx context.Context, handle string, c *container) error {
	var task client.Task
	if c != nil {
		task = c.task
	}
	if task == nil {
		ct, err := e.daemon.Client.LoadContainer(ctx, handle)
		if errdefs.IsNotFound(err) {
			return nil
		} else if err != nil {
			return err
		}
		if task, err = ct.Task(ctx, nil); errdefs.IsNotFound(err) {
			return nil
		} else if err != nil {
			return err
		}
	}
	if c != nil && c.task != nil && !c.ended() {
		if err := task.Kill(ctx, unix.SIGKILL, client.WithKillAll); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsFailedPrecondition(err) {
			return fmt.Errorf("kill: %w", err)
		}
		c.out.To(nil, nil, nil) // of one that was never started
		select {
		case <-c.done:
		case <-ctx.Done():
			return fmt.Errorf("end of the program: %w", ctx.Err())
		}
	}
	if _, err := task.Delete(ctx, client.WithProcessKill); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("task: %w", err)
	}
	return nil
}

// purgeBundle removes what a task has left in folders, if containerd could not.
func (e *Engine) purgeBundle(handle string) error {
	bundle := filepath.Join(e.daemon.Bundles(), handle)
	if err := unmountAll(filepath.Join(bundle, "rootfs")); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(bundle), os.RemoveAll(filepath.Join(e.daemon.Work(), handle)),
		os.RemoveAll(filepath.Join(e.runcRoot(), containerd.Namespace, handle)))
}

// unmountAll unmounts everything at and below a folder; what is in use goes when its user does.
func unmountAll(folder string) error {
	err := mount.UnmountRecursive(folder, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, os.ErrNotExist) { // never there, or a dying shim was faster
		return fmt.Errorf("unmount %s: %w", folder, err)
	}
	return nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
