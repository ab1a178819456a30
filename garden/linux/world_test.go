package linux

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"ingot/cf"
	"ingot/garden/linux/cgroup"
	"ingot/kit/need"
)

// The tests that need a world run in one: process, mount and network namespaces of their own, whose first process ends
// with `go test`, however that ends, and takes everything with it but control groups and files. These have fixed names,
// and the next run removes them.

const roleVar = "INGOT_GARDEN_TEST_ROLE"

// worldFolder holds the data folders of the tests; it must not be a tmpfs, which cannot be an overlay's disk for long.
const worldFolder = "/var/tmp/ingot-garden-test"

// tempFolder is where temporary files go in the world: a killed run leaves none elsewhere.
const tempFolder = worldFolder + "-tmp"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVar) {
	case "holder":
		os.Exit(holdWorld())
	case "engine":
		os.Exit(serveEngine())
	case "inside":
		code := m.Run()
		os.Exit(max(code, leaveWorld()))
	}
	if os.Getenv("INGOT_WORLD") != "1" || os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(a string) bool {
		return strings.HasPrefix(a, "-test.testlogfile=") // it lies in the other world's /tmp; without it, results are not cached
	})
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), roleVar+"=holder")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the death signal is that of this thread
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "world:", err)
		os.Exit(1)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

// holdWorld is process 1 of the world: it prepares it, runs the tests and reaps.
func holdWorld() int {
	for _, mnt := range []struct{ typ, at string }{{"proc", "/proc"}, {"tmpfs", "/run"}} {
		if err := unix.Mount(mnt.typ, mnt.at, mnt.typ, 0, ""); err != nil {
			fmt.Fprintln(os.Stderr, "world: mount", mnt.at, err)
			return 1
		}
	}
	err := errors.Join(os.RemoveAll(tempFolder), os.MkdirAll(tempFolder, 0o755), os.Setenv("TMPDIR", tempFolder), os.Setenv(roleVar, "inside"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "world:", err)
		return 1
	}
	pid, err := syscall.ForkExec("/proc/self/exe", os.Args, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	if err != nil {
		fmt.Fprintln(os.Stderr, "world:", err)
		return 1
	}
	for {
		var ws syscall.WaitStatus
		got, err := syscall.Wait4(-1, &ws, 0, nil)
		if err == nil && got == pid {
			return ws.ExitStatus()
		}
	}
}

// leaveWorld removes what outlives the world.
func leaveWorld() int {
	if one.e != nil {
		if err := one.e.Uninstall(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "world:", err)
			return 1
		}
	}
	folders := []string{tempFolder}
	if shared.turn != nil {
		folders = append(folders, worldFolder)
	}
	for _, f := range folders {
		if err := os.RemoveAll(f); err != nil {
			fmt.Fprintln(os.Stderr, "world:", err)
			return 1
		}
	}
	return 0
}

// shared is what all tests of a world use: made once.
var shared struct {
	once  sync.Once
	stack string // tar of a small stack image
	turn  *os.File
	err   error
}

// world prepares for a test that runs engines.
func world(t *testing.T, why string) {
	t.Helper()
	need.World(t, why)
	shared.once.Do(func() { shared.stack, shared.err = prepareWorld() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
}

func prepareWorld() (string, error) {
	turn, err := os.OpenFile(worldFolder+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	if err := syscall.Flock(int(turn.Fd()), syscall.LOCK_EX); err != nil { // of another clone's run; held until we end
		return "", err
	}
	shared.turn = turn
	left, _ := filepath.Glob(filepath.Join(worldFolder, "*")) // of a killed run
	for _, data := range left {
		g := cgroup.Open("ingot-" + folderID(data))
		for _, h := range g.Handles() {
			if err := g.Remove(h); err != nil {
				return "", err
			}
		}
		if err := g.RemoveAll(); err != nil {
			return "", err
		}
	}
	if err := os.RemoveAll(worldFolder); err != nil {
		return "", err
	}
	if err := os.MkdirAll(worldFolder, 0o700); err != nil {
		return "", err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return "", err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return "", err
	}
	program := filepath.Join(worldFolder, "program")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./testdata/program")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build program: %w: %s", err, out)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return "", err
	}
	path := filepath.Join(worldFolder, "stack.tar")
	return path, os.WriteFile(path, archiveOf(
		dir("proc", 0), dir("sys", 0), dir("dev", 0), dir("etc", 0), dir("home", 0), dir("home/vcap", 2000), dir("tmp", 0),
		tarFile("program", 0o755, string(text)), tarFile("rootonly", 0o600, "secret")), 0o600)
}

// entry is a file of a test's archive.
type entry struct {
	tar.Header
	text string
}

func dir(name string, owner int) entry {
	return entry{Header: tar.Header{Name: "./" + name + "/", Typeflag: tar.TypeDir, Mode: 0o755, Uid: owner, Gid: owner}}
}

func tarFile(name string, mode int64, text string) entry {
	return entry{tar.Header{Name: "./" + name, Typeflag: tar.TypeReg, Mode: mode, Size: int64(len(text))}, text}
}

func archiveOf(entries ...entry) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			panic(err)
		}
		if _, err := io.WriteString(w, e.text); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// droplet is a layer and its bytes.
func droplet(text string) (cf.Layer, []byte) {
	b := archiveOf(dir("app", 0), tarFile("app/hello", 0o644, text))
	sum := sha256.Sum256(b)
	return cf.Layer{Digest: hex.EncodeToString(sum[:]), Prefix: "home/vcap"}, b
}

func folderID(data string) string {
	sum := sha256.Sum256([]byte(data))
	return hex.EncodeToString(sum[:4])
}

// one is the engine that most tests share, for containerd starts only once in a process.
var one struct {
	once sync.Once
	e    *Engine
	err  error
}

func engine(t *testing.T) *Engine {
	t.Helper()
	world(t, "containers, user namespaces, loop devices, nftables")
	one.once.Do(func() {
		one.e = testEngine(filepath.Join(worldFolder, "one"), netip.MustParsePrefix("10.254.0.0/16"))
		if one.err = one.e.Open(context.Background()); one.err == nil {
			one.err = one.e.ImportImage(context.Background(), "tiny", shared.stack)
		}
	})
	if one.err != nil {
		t.Fatal(one.err)
	}
	return one.e
}

func testEngine(data string, pool netip.Prefix) *Engine {
	return &Engine{Data: data, Network: pool, DiskReserve: 1 << 20,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
}

func tiny(handle string, args ...string) cf.ContainerSpec {
	return cf.ContainerSpec{Handle: handle, Image: "tiny", Program: cf.Program{Args: append([]string{"/program"}, args...)},
		Limits: cf.Limits{MemoryMB: 64, DiskMB: 64, Pids: 64}}
}

// text collects output.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *text) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *text) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func create(t *testing.T, e *Engine, s cf.ContainerSpec) cf.ContainerInfo {
	t.Helper()
	i, err := e.Create(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Delete(context.Background(), s.Handle); err != nil {
			t.Error(err)
		}
	})
	return i
}

// start makes and starts a container and gives its output.
func start(t *testing.T, e *Engine, s cf.ContainerSpec) (cf.ContainerInfo, *text) {
	t.Helper()
	i, out := create(t, e, s), &text{}
	if err := e.Start(context.Background(), s.Handle, cf.Streams{Out: out, Err: out}); err != nil {
		t.Fatal(err)
	}
	return i, out
}

// wait gives a container's exit.
func wait(t *testing.T, e *Engine, handle string) cf.Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	x, err := e.Wait(ctx, handle)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// run executes the program in a container and gives its exit code and output.
func run(t *testing.T, e *Engine, handle string, args ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out := &text{}
	x, err := e.Exec(ctx, handle, cf.Program{Args: append([]string{"/program"}, args...)}, cf.Streams{Out: out, Err: out})
	if err != nil {
		t.Fatal(err)
	}
	return x.Code, out.String()
}

// await polls for a condition.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within 20 s: " + what)
		}
	}
}

// outside is a host that the world reaches over a link, at 192.0.2.2 and 198.51.100.7, with a server on some ports.
func outside(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	there, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := netns.Set(home); err != nil {
			panic(err)
		}
	}()
	setUp := func(name string, addrs ...string) {
		l, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addrs {
			addr, err := netlink.ParseAddr(a)
			if err != nil {
				t.Fatal(err)
			}
			if err := netlink.AddrReplace(l, addr); err != nil {
				t.Fatal(err)
			}
		}
		if err := netlink.LinkSetUp(l); err != nil {
			t.Fatal(err)
		}
	}
	if err := netns.Set(home); err != nil {
		t.Fatal(err)
	}
	la := netlink.NewLinkAttrs()
	la.Name, la.MTU = "uplink", 1400
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: la, PeerName: "outside", PeerNamespace: netlink.NsFd(there)}); err != nil {
		t.Fatal(err)
	}
	setUp("uplink", "192.0.2.1/24")
	if err := netlink.RouteReplace(&netlink.Route{Gw: net.IPv4(192, 0, 2, 2)}); err != nil {
		t.Fatal(err)
	}
	if err := netns.Set(there); err != nil {
		t.Fatal(err)
	}
	setUp("lo")
	setUp("outside", "192.0.2.2/24", "198.51.100.7/32")
	for _, port := range []string{"80", "443", "8080"} {
		greet(t, ":"+port)
	}
	u, err := net.ListenPacket("udp", "192.0.2.2:53")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		b := make([]byte, 64)
		for {
			_, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = u.WriteTo([]byte("pong"), from)
		}
	}()
	t.Cleanup(func() {
		_ = u.Close()
		if l, err := netlink.LinkByName("uplink"); err == nil {
			_ = netlink.LinkDel(l)
		}
	})
}

// greet answers each connection with the address it came from.
func greet(t *testing.T, addr string) {
	t.Helper()
	l, err := net.Listen("tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := strings.Cut(c.RemoteAddr().String(), ":")
			_, _ = io.WriteString(c, "from "+host)
			_ = c.Close()
		}
	}()
}
