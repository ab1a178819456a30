package world

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const holderEnv = "INGOT_WORLD_HOLDER"

// Holder must be called first in the TestMain of every package that makes worlds: in the holder process it never returns.
func Holder() {
	dir := os.Getenv(holderEnv)
	if dir == "" {
		return
	}
	if err := becomeMachine(dir); err != nil {
		fmt.Fprintln(os.Stderr, "world:", err)
		os.Exit(1)
	}
	fmt.Println("up")
	go reap()
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test process closes it or dies
	os.Exit(0)
}

// becomeMachine gives the new namespaces their own /proc, /etc, /run and loopback.
func becomeMachine(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	upper, work := filepath.Join(dir, "etc"), filepath.Join(dir, "etc-work")
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("overlay", "/etc", "overlay", 0, "lowerdir=/etc,upperdir="+upper+",workdir="+work); err != nil {
		return fmt.Errorf("etc: %w", err)
	}
	if err := os.Remove("/etc/resolv.conf"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.WriteFile("/etc/resolv.conf", []byte("nameserver "+outside+"\n"), 0o644); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// reap collects the children of processes that died, as pid 1 must.
func reap() {
	for {
		if _, err := unix.Wait4(-1, nil, 0, nil); errors.Is(err, unix.ECHILD) {
			_ = unix.Nanosleep(&unix.Timespec{Nsec: 50e6}, nil) // no child now; wait4 cannot wait for one to appear
		}
	}
}
