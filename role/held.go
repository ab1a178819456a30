package role

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// held are open files that outlive the worker, by name: "lock", "life", "trace", and the sockets, such as
// "tcp/127.0.0.1:443" and "udp/127.0.0.1:53".
type held map[string]*os.File

// heldEnv hands them to the next process: NAME=DESCRIPTOR, separated by blanks.
const heldEnv = "INGOT_HELD"

// adopt takes over what the process before this one, or above it, holds. Nothing that is started later inherits it.
func adopt() (held, error) {
	h := held{}
	for entry := range strings.FieldsSeq(os.Getenv(heldEnv)) {
		name, number, _ := strings.Cut(entry, "=")
		var fd int
		if _, err := fmt.Sscan(number, &fd); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", heldEnv, entry, err)
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", heldEnv, entry, err)
		}
		h[name] = os.NewFile(uintptr(fd), name)
	}
	return h, os.Unsetenv(heldEnv)
}

// listen opens the sockets of c that are not held yet, all or none, and closes those that c has no use for.
func (h held) listen(c Config) error {
	wanted := c.sockets()
	for name, f := range h {
		if strings.Contains(name, "/") && !slices.Contains(wanted, name) {
			_ = f.Close()
			delete(h, name)
		}
	}
	for _, name := range wanted {
		if h[name] != nil {
			continue
		}
		f, err := openSocket(name)
		if err != nil {
			return err
		}
		h[name] = f
	}
	return nil
}

// openSocket listens where name says. The address need not be there yet: the containers' gateway comes with the first link.
func openSocket(name string) (*os.File, error) {
	network, addr, _ := strings.Cut(name, "/")
	var free error
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		err := c.Control(func(fd uintptr) { free = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1) })
		return errors.Join(err, free)
	}}
	if network == "udp" {
		p, err := lc.ListenPacket(context.Background(), network, addr)
		if err != nil {
			return nil, listenFlagError(addr, err)
		}
		defer func() { _ = p.Close() }()
		return p.(*net.UDPConn).File()
	}
	l, err := lc.Listen(context.Background(), network, addr)
	if err != nil {
		return nil, listenFlagError(addr, err)
	}
	defer func() { _ = l.Close() }()
	return l.(*net.TCPListener).File()
}

// listeners are the held TCP sockets of a port, in the order of the addresses.
func (h held) listeners(addresses []string, port string) ([]net.Listener, error) {
	var out []net.Listener
	for _, a := range addresses {
		l, err := net.FileListener(h["tcp/"+net.JoinHostPort(a, port)])
		if err != nil {
			return nil, fmt.Errorf("%s port %s: %w", a, port, err)
		}
		out = append(out, l)
	}
	return out, nil
}

// pass is what a started process is given: the files that become its descriptors 3 and on, and the environment's entry.
func (h held) pass() (files []*os.File, env string) {
	for name, f := range h {
		env += fmt.Sprintf("%s=%d ", name, 3+len(files))
		files = append(files, f)
	}
	return files, heldEnv + "=" + env
}

// keep makes the files outlive an exec of this process, and returns the environment's entry.
func (h held) keep() (string, error) {
	env := heldEnv + "="
	for name, f := range h {
		if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFD, 0); err != nil {
			return "", err
		}
		env += fmt.Sprintf("%s=%d ", name, f.Fd())
	}
	return env, nil
}
