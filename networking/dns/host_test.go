package dns

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"ingot/kit/need"
)

const theirs = "# made by dhclient\nsearch example.org\nnameserver 10.1.1.1\nnameserver  fe80::1%eth0 \noptions ndots:2 edns0" // no newline at the end

func host(t *testing.T, text string) *Host {
	t.Helper()
	dir := t.TempDir()
	h := &Host{Domain: "ingot.test", Server: "127.0.0.1", Data: filepath.Join(dir, "data"), ResolvConf: filepath.Join(dir, "etc", "resolv.conf"),
		Resolved: filepath.Join(dir, "no-socket")}
	ok(t, os.MkdirAll(filepath.Dir(h.ResolvConf), 0o755))
	ok(t, os.MkdirAll(h.Data, 0o700))
	if text != "" {
		ok(t, os.WriteFile(h.ResolvConf, []byte(text), 0o640))
	}
	return h
}

func (h *Host) read(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(h.ResolvConf)
	ok(t, err)
	return string(b)
}

// clean fails unless nothing of ours is left.
func (h *Host) clean(t *testing.T, text string) {
	t.Helper()
	if got := h.read(t); got != text {
		t.Errorf("resolv.conf is %q, was %q", got, text)
	}
	for _, dir := range []string{h.Data, filepath.Dir(h.ResolvConf)} {
		left, err := os.ReadDir(dir)
		ok(t, err)
		for _, e := range left {
			if e.Name() != "resolv.conf" || dir == h.Data {
				t.Errorf("left: %s/%s", dir, e.Name())
			}
		}
	}
}

var ctx = context.Background()

func TestInstallAndRestore(t *testing.T) {
	h := host(t, theirs)
	for range 2 { // the second time it is there already
		ok(t, h.Install(ctx))
		got := h.read(t)
		if !strings.HasSuffix(got, theirs) || got[:len(got)-len(theirs)] != mark+"nameserver 127.0.0.1\n" {
			t.Fatalf("%q", got)
		}
		saved, err := os.ReadFile(filepath.Join(h.Data, "resolv.conf", "original"))
		if err != nil || string(saved) != theirs {
			t.Fatalf("saved %q %v", saved, err)
		}
		up, err := h.Upstreams()
		if err != nil || !slices.Equal(up, []string{"10.1.1.1:53", "[fe80::1%eth0]:53"}) {
			t.Errorf("upstreams %v %v", up, err)
		}
	}
	info, err := os.Stat(h.ResolvConf)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	for range 2 {
		ok(t, h.Restore(ctx))
		h.clean(t, theirs)
		if info, _ := os.Stat(h.ResolvConf); info.Mode().Perm() != 0o640 {
			t.Errorf("mode %v", info.Mode())
		}
	}
}

func TestUpstreamsNeverNameUs(t *testing.T) {
	h := host(t, "nameserver 127.0.0.1\nnameserver 0.0.0.0\nnameserver ::\nnameserver x\nnameserver\n#nameserver 9.9.9.9\nnameserver 8.8.8.8 # dns\n")
	up, err := h.Upstreams()
	if err != nil || !slices.Equal(up, []string{"8.8.8.8:53"}) {
		t.Errorf("%v %v", up, err)
	}
	none := host(t, "")
	if up, err := none.Upstreams(); err != nil || len(up) != 0 {
		t.Errorf("%v %v", up, err)
	}
}

func TestLinkAndNothing(t *testing.T) {
	h := host(t, "")
	target := filepath.Join(filepath.Dir(h.Data), "run-resolv.conf")
	ok(t, os.WriteFile(target, []byte(theirs), 0o644))
	ok(t, os.Symlink("../run-resolv.conf", h.ResolvConf))
	ok(t, h.Install(ctx))
	ok(t, h.Install(ctx))
	if info, err := os.Lstat(h.ResolvConf); err != nil || !info.Mode().IsRegular() || !strings.HasSuffix(h.read(t), theirs) {
		t.Fatalf("%v %v", info, err)
	}
	if b, err := os.ReadFile(target); err != nil || string(b) != theirs {
		t.Errorf("the link's target was changed: %q %v", b, err)
	}
	ok(t, h.Restore(ctx))
	h.clean(t, theirs)
	if to, err := os.Readlink(h.ResolvConf); err != nil || to != "../run-resolv.conf" {
		t.Errorf("link to %q %v", to, err)
	}

	dangling := host(t, "")
	ok(t, os.Symlink("nowhere", dangling.ResolvConf))
	ok(t, dangling.Install(ctx))
	ok(t, dangling.Restore(ctx))
	if to, err := os.Readlink(dangling.ResolvConf); err != nil || to != "nowhere" {
		t.Errorf("link to %q %v", to, err)
	}

	absent := host(t, "")
	ok(t, absent.Install(ctx))
	if !strings.Contains(absent.read(t), "nameserver 127.0.0.1") {
		t.Error(absent.read(t))
	}
	ok(t, absent.Restore(ctx))
	if _, err := os.Lstat(absent.ResolvConf); !os.IsNotExist(err) {
		t.Errorf("there was no file: %v", err)
	}
}

// TestKilled puts the machine into each state that a kill can leave, and expects the original back.
func TestKilled(t *testing.T) {
	for name, leave := range map[string]func(t *testing.T, h *Host){
		"nothing done": func(*testing.T, *Host) {},
		"in the middle of saving": func(t *testing.T, h *Host) {
			ok(t, os.MkdirAll(h.folder()+".new", 0o755))
			ok(t, os.WriteFile(filepath.Join(h.folder()+".new", "original"), []byte("ha"), 0o644))
		},
		"saved, not written": func(t *testing.T, h *Host) {
			now, err := look(h.path())
			ok(t, err)
			ok(t, now.keep(h.folder()))
		},
		"saved, new file half made": func(t *testing.T, h *Host) {
			now, err := look(h.path())
			ok(t, err)
			ok(t, now.keep(h.folder()))
			ok(t, os.WriteFile(h.path()+half, []byte(mark), 0o600))
		},
		"written": func(t *testing.T, h *Host) { ok(t, h.Install(ctx)) },
		"written, save lost": func(t *testing.T, h *Host) {
			ok(t, h.Install(ctx))
			ok(t, os.RemoveAll(h.Data))
			ok(t, os.MkdirAll(h.Data, 0o700))
		},
		"written, save half removed": func(t *testing.T, h *Host) {
			ok(t, h.Install(ctx))
			ok(t, os.Remove(filepath.Join(h.folder(), "about.json")))
		},
		"restored, save not removed": func(t *testing.T, h *Host) {
			ok(t, h.Install(ctx))
			ok(t, os.WriteFile(h.path(), []byte(theirs), 0o640))
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, again := range []int{0, 1, 2} { // restored at once, or after further starts
				h := host(t, theirs)
				leave(t, h)
				for range again {
					ok(t, h.Install(ctx))
					if got := h.read(t); strings.Count(got, mark) != 1 || !strings.HasSuffix(got, theirs) {
						t.Fatalf("%q", got)
					}
				}
				up, err := h.Upstreams()
				if err != nil || !slices.Equal(up, []string{"10.1.1.1:53", "[fe80::1%eth0]:53"}) {
					t.Errorf("upstreams %v %v", up, err)
				}
				ok(t, h.Restore(ctx))
				h.clean(t, theirs)
			}
		})
	}
}

func TestSomebodyElseWrites(t *testing.T) {
	const newer = "nameserver 10.2.2.2\n"
	h := host(t, theirs)
	ok(t, h.Install(ctx))
	ok(t, os.WriteFile(h.ResolvConf, []byte(newer), 0o640)) // a DHCP client
	if up, err := h.Upstreams(); err != nil || !slices.Equal(up, []string{"10.2.2.2:53"}) {
		t.Errorf("%v %v", up, err)
	}
	ok(t, h.Install(ctx))
	ok(t, h.Restore(ctx))
	h.clean(t, newer)

	ok(t, h.Install(ctx))
	ok(t, os.WriteFile(h.ResolvConf, []byte(theirs), 0o640))
	ok(t, h.Restore(ctx))
	h.clean(t, theirs)
}

func TestReadOnlyData(t *testing.T) {
	h := host(t, theirs)
	h.Data = filepath.Join(h.ResolvConf, "not a folder")
	if err := h.Install(ctx); err == nil || h.read(t) != theirs {
		t.Errorf("%v, resolv.conf %q", err, h.read(t))
	}
}

// TestTorn: whatever byte a write in place is cut at, forth or back, the state is known for ours.
func TestTorn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		original := []byte(rapid.StringN(0, 200, 400).Draw(t, "original"))
		mine := compose("127.0.0.1", original)
		from, to := original, mine
		if rapid.Bool().Draw(t, "back") {
			from, to = mine, original
		}
		n := rapid.IntRange(0, len(to)).Draw(t, "written")
		state := bytes.Clone(to[:n])
		if n < len(from) {
			state = append(state, from[n:]...)
		}
		if !torn(state, original, mine) {
			t.Fatalf("%q is not recognized", state)
		}
		back, ours := strip(mine)
		if !ours || !bytes.Equal(back, original) && !bytes.HasPrefix(original, []byte(mark)) {
			t.Fatalf("%q of %q", back, mine)
		}
	})
	if torn([]byte("nameserver 9.9.9.9\n"), []byte(theirs), compose("127.0.0.1", []byte(theirs))) {
		t.Error("a foreign file is taken for torn")
	}
}

// TestBindMount needs a mount namespace: there resolv.conf cannot be replaced.
func TestBindMount(t *testing.T) {
	need.World(t, "makes a mount namespace")
	done := make(chan struct{})
	go func() { // on a thread that ends with the namespace
		defer close(done)
		runtime.LockOSThread()
		h := host(t, "x")
		source := filepath.Join(filepath.Dir(h.Data), "source")
		if err := errorsOf(unix.Unshare(unix.CLONE_NEWNS|unix.CLONE_FS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			os.WriteFile(source, []byte(theirs), 0o640), unix.Mount(source, h.ResolvConf, "", unix.MS_BIND, "")); err != nil {
			t.Error(err)
			return
		}
		for n := range len(compose(h.Server, []byte(theirs))) {
			if err := h.Install(ctx); err != nil || !strings.HasPrefix(h.read(t), mark) {
				t.Error(err)
				return
			}
			mine := h.read(t)
			if n < len(theirs) { // killed while writing back
				if err := os.WriteFile(source, []byte(theirs[:n]+mine[n:]), 0o640); err != nil {
					t.Error(err)
				}
			}
			if n%2 == 0 {
				if err := h.Install(ctx); err != nil || h.read(t) != mine {
					t.Errorf("%v at %d: %q", err, n, h.read(t))
				}
			}
			if err := h.Restore(ctx); err != nil || h.read(t) != theirs {
				t.Errorf("%v at %d: %q", err, n, h.read(t))
				return
			}
		}
		if info, err := os.Stat(source); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("mode %v", info.Mode())
		}
	}()
	<-done
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestResolved needs a network namespace for the link. resolvectl is a script that writes down what it was told.
func TestResolved(t *testing.T) {
	need.World(t, "makes a link in a network namespace")
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		const stub = "nameserver 127.0.0.53\noptions edns0 trust-ad\n"
		h := host(t, stub)
		dir := filepath.Dir(h.Data)
		h.Resolved, h.Resolvectl = filepath.Join(dir, "s"), filepath.Join(dir, "resolvectl")
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		defer func() { _ = unix.Close(fd) }()
		told := filepath.Join(dir, "told")
		if err := errorsOf(err, unix.Bind(fd, &unix.SockaddrUnix{Name: h.Resolved}), unix.Listen(fd, 8),
			os.WriteFile(h.Resolvectl, []byte("#!/bin/sh\necho \"$@\" >> "+told+"\n"), 0o755)); err != nil {
			t.Error(err)
			return
		}
		link := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "probe"}}
		if err := netlink.LinkAdd(link); errors.Is(err, unix.EOPNOTSUPP) {
			wroteInstead(t, h, stub) // this kernel has no dummy links
			// The rest is tested with another kind of link, as if an earlier start had made it.
			err = netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: Link}, PeerName: "peer"})
			if err != nil {
				t.Error(err)
			}
		}
		for range 2 {
			if err := h.Install(ctx); err != nil {
				t.Error(err)
			}
		}
		b, err := os.ReadFile(told)
		want := "dns ingot-dns 127.0.0.1\ndomain ingot-dns ~ingot.test\ndefault-route ingot-dns no\n"
		if err != nil || string(b) != want+want {
			t.Errorf("%q %v", b, err)
		}
		if h.read(t) != stub {
			t.Errorf("resolv.conf was changed: %q", h.read(t))
		}
		l, err := netlink.LinkByName(Link)
		if err != nil || l.Attrs().Flags&net.FlagUp == 0 {
			t.Errorf("%v %v", l, err)
		}
		if up, err := h.Upstreams(); err != nil || !slices.Equal(up, []string{"127.0.0.53:53"}) {
			t.Errorf("%v %v", up, err)
		}
		for range 2 {
			if err := h.Restore(ctx); err != nil {
				t.Error(err)
			}
		}
		if _, err := netlink.LinkByName(Link); err == nil {
			t.Error("the link is still there")
		}
		h.Resolvectl = "/nowhere/resolvectl"
		wroteInstead(t, h, stub)
	}()
	<-done
}

// wroteInstead expects that resolv.conf is written where systemd-resolved cannot be told, and comes back.
func wroteInstead(t *testing.T, h *Host, original string) {
	t.Helper()
	if err := h.Install(ctx); err != nil || h.read(t) != string(compose(h.Server, []byte(original))) {
		t.Errorf("%v %q", err, h.read(t))
	}
	if _, err := netlink.LinkByName(Link); err == nil {
		t.Error("the link stays")
	}
	if err := h.Restore(ctx); err != nil || h.read(t) != original {
		t.Errorf("%v %q", err, h.read(t))
	}
}
