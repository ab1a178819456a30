package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Uninstall ends all containers and takes away everything of them that lies outside the data folder: processes, mounts,
// loop devices, control groups, links, rules, sockets, and what was changed of the host's settings. The engine may be open
// (it is closed first) or not; it needs neither containerd nor a sound data folder, and it may be called again.
func (e *Engine) Uninstall(ctx context.Context) error {
	if e.ctx != nil {
		if err := e.Close(ctx); err != nil {
			return err
		}
	}
	if err := e.settle(); err != nil {
		return fmt.Errorf("garden: %w", err)
	}
	e.stop()
	errs := []error{e.killShims(func(string) bool { return true }), e.host.Cgroups.RemoveAll()}
	left, err := e.leftovers()
	errs = append(errs, err)
	for _, h := range left {
		errs = append(errs, e.purgeBundle(h), e.disks.Remove(h), remove(e.exitFile(h)))
	}
	errs = append(errs, e.net.Uninstall(ctx), unmountAll(e.daemon.Temp()))
	if err := errors.Join(errs...); err != nil { // never remove files below what may still be mounted
		return fmt.Errorf("garden: uninstall: %w", err)
	}
	if err := os.RemoveAll(e.run); err != nil {
		return fmt.Errorf("garden: uninstall: %w", err)
	}
	_ = os.Remove(filepath.Dir(e.run)) // another data folder's may be there
	return nil
}
