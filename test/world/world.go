// Package world makes a machine of its own for a test: a holder process in new network, mount, pid and ipc namespaces,
// with its own ports, /etc, /run and data folder, and a way out to the package registries that leaves the host alone.
//
// It promises that ending the test process, however, ends everything inside, and that the next world removes what a
// dead one left. It knows nothing of Ingot's inside: it runs the binary.
package world

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// World is one machine.
type World struct {
	Dir  string // everything of this world on disk
	Data string // Ingot's data folder
	Root string // the repository
	// Proxy is an HTTP proxy that containers of this world reach: the way to the package registries.
	Proxy string
	// Binary is the ingot to run; empty: the one in Root.
	Binary string

	holder *exec.Cmd
	stdin  io.Closer
	ingot  *exec.Cmd
	ended  chan error
}

// A world is big and has thousands of files: /tmp may be memory, and a crowded one is slow.
const parent, prefix = "/var/tmp", "ingot-world-"

// New makes a world that ends with t.
func New(t testing.TB) *World {
	t.Helper()
	sweepDead(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(parent, prefix)
	if err != nil {
		t.Fatal(err)
	}
	w := &World{Dir: dir, Data: filepath.Join(dir, "data"), Root: root}
	t.Cleanup(func() { w.end(t) })
	if err := w.hold(); err != nil {
		t.Fatal(err)
	}
	if w.Proxy, err = wayOut(w.holder.Process.Pid); err != nil {
		t.Fatal(err)
	}
	return w
}

// hold starts the holder: this program again, which Holder turns into pid 1 of the new namespaces.
func (w *World) hold() error {
	h := exec.Command("/proc/self/exe")
	h.Env = append(os.Environ(), holderEnv+"="+w.Dir)
	h.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC}
	h.Stderr = os.Stderr
	in, err := h.StdinPipe()
	if err != nil {
		return err
	}
	out, err := h.StdoutPipe()
	if err != nil {
		return err
	}
	if err := h.Start(); err != nil {
		return fmt.Errorf("world: %w", err)
	}
	w.holder, w.stdin = h, in
	if err := os.WriteFile(filepath.Join(w.Dir, "holder"), fmt.Append(nil, h.Process.Pid), 0o600); err != nil {
		return err
	}
	var b [3]byte
	if _, err := io.ReadFull(out, b[:]); err != nil {
		return fmt.Errorf("world: holder did not come up: %w", err)
	}
	return nil
}

// enter is the command line prefix that takes a command into the world.
func (w *World) enter() []string {
	return []string{"nsenter", "-t", fmt.Sprint(w.holder.Process.Pid), "-n", "-m", "-p", "-i"}
}

// Wrap makes a folder of wrappers that run the programs inside the world, in the caller's working directory: for PATH.
func (w *World) Wrap(t testing.TB, programs ...string) string {
	t.Helper()
	dir := filepath.Join(w.Dir, "wrap")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		real := filepath.Join(w.Root, "bin", p)
		if _, err := os.Stat(real); err != nil {
			if real, err = exec.LookPath(p); err != nil {
				t.Fatal(err)
			}
		}
		text := fmt.Sprintf("#!/bin/sh\nexec %s --wdns=\"$PWD\" -- %s \"$@\"\n", strings.Join(w.enter(), " "), real)
		if err := os.WriteFile(filepath.Join(dir, p), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Command is a command inside the world.
func (w *World) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	line := append(append(w.enter(), "--", name), args...)
	c := exec.CommandContext(ctx, line[0], line[1:]...)
	c.Env = append(os.Environ(), "PATH="+filepath.Join(w.Root, "bin")+":"+os.Getenv("PATH"), "CF_HOME="+w.Dir, "CF_COLOR=false")
	return c
}

// Ingot is the binary under test.
func (w *World) Ingot() string {
	if w.Binary != "" {
		return w.Binary
	}
	return filepath.Join(w.Root, "bin", "ingot")
}

// Up starts Ingot and waits until it is ready.
func (w *World) Up(t testing.TB, args ...string) {
	t.Helper()
	w.Start(t, nil, args...)
	w.AwaitReady(t)
}

// AwaitReady waits for a started Ingot.
func (w *World) AwaitReady(t testing.TB) {
	t.Helper()
	w.Await(t, 3*time.Minute, "ingot ready", func() error {
		select {
		case err := <-w.ended:
			w.ended <- err
			t.Fatalf("ingot ended: %v\n%s", err, w.Log())
		default:
		}
		return w.Command(t.Context(), w.Ingot(), "--data", w.Data, "status", "--json").Run()
	})
	w.Await(t, time.Minute, "readyz", func() error {
		return w.Command(t.Context(), "curl", "-sf", "http://127.0.0.1:2280/readyz").Run()
	})
}

// Start starts Ingot and does not wait. files become file descriptors 3 and on.
func (w *World) Start(t testing.TB, files []*os.File, args ...string) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(w.Dir, "ingot.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	c := w.Command(context.Background(), w.Ingot(), append([]string{"--data", w.Data, "up"}, args...)...)
	c.Stdout, c.Stderr, c.ExtraFiles = log, log, files
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	w.ingot, w.ended = c, make(chan error, 1)
	go func() { w.ended <- c.Wait() }()
}

// PID is Ingot's process id as the world numbers it, from the file it keeps.
func (w *World) PID() (int, error) {
	b, err := os.ReadFile(filepath.Join(w.Data, "ingot.pid"))
	if err != nil {
		return 0, err
	}
	var pid int
	_, err = fmt.Sscan(string(b), &pid)
	return pid, err
}

// Worker is the process id of the part of Ingot that does everything, below PID.
func (w *World) Worker(t testing.TB) int {
	t.Helper()
	var s struct{ Worker int }
	if err := json.Unmarshal([]byte(w.Run(t, w.Ingot(), "--data", w.Data, "status", "--json")), &s); err != nil {
		t.Fatal(err)
	}
	return s.Worker
}

// Kill ends Ingot, parent and worker, with SIGKILL and waits until it is gone; what it started lives on.
func (w *World) Kill(t testing.TB) {
	t.Helper()
	pid, err := w.PID()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := w.Command(t.Context(), "sh", "-c", fmt.Sprintf("kill -9 %[1]d $(cat /proc/%[1]d/task/*/children)", pid)).CombinedOutput(); err != nil {
		t.Fatalf("kill: %v %s", err, out)
	}
	if err := <-w.ended; err == nil {
		t.Fatal("ingot ended well before it was killed")
	}
}

// Log is what Ingot printed so far.
func (w *World) Log() string {
	b, err := os.ReadFile(filepath.Join(w.Dir, "ingot.log"))
	if err != nil {
		return err.Error()
	}
	if len(b) > 20_000 {
		b = b[len(b)-20_000:]
	}
	return string(b)
}

// Credentials are the generated admin's.
func (w *World) Credentials(t testing.TB) (c struct{ API, Username, Password string }) {
	t.Helper()
	b, err := w.Command(t.Context(), w.Ingot(), "--data", w.Data, "credentials", "--json").Output()
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		t.Fatalf("credentials: %v", err)
	}
	return c
}

// Run runs a command in the world and fails the test when it fails.
func (w *World) Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := w.Command(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Await repeats try until it answers nil.
func (w *World) Await(t testing.TB, limit time.Duration, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v\n%s", what, limit, err, w.Log())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (w *World) end(t testing.TB) {
	if t.Failed() {
		t.Logf("ingot's log:\n%s", w.Log())
	}
	if w.stdin != nil {
		_ = w.stdin.Close() // the holder ends with its standard input, and all inside with the holder
		_ = w.holder.Wait()
	}
	if err := clean(w.Dir); err != nil {
		t.Errorf("world: %v", err)
	}
}

// clean removes what a world whose holder is dead left outside its namespaces: cgroups and its folder.
func clean(dir string) error {
	sum := sha256.Sum256([]byte(filepath.Join(dir, "data", "garden"))) // as garden/linux names them
	groups, err := filepath.Glob("/sys/fs/cgroup/*/ingot-" + hex.EncodeToString(sum[:4]))
	if err != nil {
		return err
	}
	deadline := time.Now().Add(time.Minute)
	for _, g := range groups {
		for rmTree(g) != nil && time.Now().Before(deadline) { // the kernel may still be ending its processes
			time.Sleep(20 * time.Millisecond)
		}
	}
	return os.RemoveAll(dir)
}

// rmTree removes a cgroup and those below it.
func rmTree(dir string) error {
	sub, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range sub {
		if e.IsDir() {
			if err := rmTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return os.Remove(dir)
}

// sweepDead removes the worlds of test runs that were killed.
func sweepDead(t testing.TB) {
	dirs, err := filepath.Glob(filepath.Join(parent, prefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		b, err := os.ReadFile(filepath.Join(d, "holder"))
		if err != nil {
			continue // just being made
		}
		exe, err := os.ReadFile("/proc/" + string(b) + "/environ")
		if err == nil && strings.Contains(string(exe), holderEnv+"="+d) {
			continue
		}
		if err := clean(d); err != nil {
			t.Logf("world: sweep %s: %v", d, err)
		}
	}
}
