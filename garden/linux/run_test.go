package linux

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ingot/cf"
)

var ctx = context.Background()

func TestProgramRunsAsVcapUnderInit(t *testing.T) {
	e := engine(t)
	s := tiny("about", "about")
	s.Program.Env = []string{"COLOUR=blue", "PATH=/bin"}
	i, out := start(t, e, s)
	if x := wait(t, e, "about"); x.Code != 0 || x.OOM {
		t.Fatalf("exit %+v, output %s", x, out)
	}
	for _, want := range []string{"uid 2000 gid 2000 host about dir /home/vcap ", "COLOUR=blue", "HOME=/home/vcap", "PATH=/bin ",
		"NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "nameserver 10.254.0.1\n",
		i.Address + " about\n", "file /proc/self/oom_score_adj <nil>\n500\n", "file /proc/keys <nil>\n\n", "Max open files            16384                16384"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if !strings.Contains(out.String(), fmt.Sprintf("0 %d      65536", e.host.UserBase(e.all["about"].Lease.Slot))) {
		t.Error("not in its own user namespace:", out)
	}
}

func TestForbiddenThingsDoNotWork(t *testing.T) {
	e := engine(t)
	start(t, e, tiny("forbidden", "sleep"))
	for _, user := range []string{"vcap", "root"} {
		out := &text{}
		_, err := e.Exec(ctx, "forbidden", cf.Program{Args: []string{"/program", "forbidden"}, User: user}, cf.Streams{Out: out, Err: out})
		if err != nil || out.String() != "tried\n" {
			t.Error(user, err, out)
		}
	}
}

func TestExitCodesAndSignals(t *testing.T) {
	e := engine(t)
	for i, c := range []struct {
		args   []string
		signal int
		code   int
	}{
		{[]string{"/program", "exit", "7"}, 0, 7},
		{[]string{"/none"}, 0, 127},
		{[]string{"none"}, 0, 127},
		{[]string{"/home"}, 0, 126},
		{[]string{"/program", "serve", "8080"}, 15, 21},
		{[]string{"/program", "sleep"}, 15, 143},
		{[]string{"/program", "sleep"}, 9, 137},
	} {
		s := tiny(fmt.Sprintf("exit-%d", i))
		s.Program.Args = c.args
		_, out := start(t, e, s)
		if c.signal == 15 && c.code == 21 {
			await(t, "the program's handler", func() bool { return strings.Contains(out.String(), "ready") })
		} else if c.signal == 15 {
			await(t, "the program itself", func() bool { st, err := e.Stats(ctx, s.Handle); return err == nil && st.Pids > 8 })
		}
		if c.signal != 0 {
			if err := e.Kill(ctx, s.Handle, c.signal); err != nil {
				t.Error(err)
			}
		}
		if x := wait(t, e, s.Handle); x.Code != c.code || x.OOM || x.At.IsZero() {
			t.Errorf("%v after signal %d: %+v, output %q", c.args, c.signal, x, out)
		}
		if err := e.Kill(ctx, s.Handle, 9); err != nil {
			t.Error("signal to one that has ended:", err)
		}
	}
}

func TestOrphansAreReaped(t *testing.T) {
	e := engine(t)
	_, out := start(t, e, tiny("orphans", "orphans", "20"))
	await(t, "orphans", func() bool { return strings.Contains(out.String(), "left") })
	await(t, "reaping", func() bool { st, err := e.Stats(ctx, "orphans"); return err == nil && st.Pids < 40 })
}

func TestOutputIsWholeWhenWaitReturns(t *testing.T) {
	e := engine(t)
	_, out := start(t, e, tiny("lines", "lines", "0", "20000"))
	if x := wait(t, e, "lines"); x.Code != 33 {
		t.Fatal(x)
	}
	if n := strings.Count(out.String(), "\n"); n != 20000 || !strings.HasSuffix(out.String(), "line 19999\n") {
		t.Fatal(n, "lines")
	}
}

// broken fails as a client that has gone away does.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestBrokenWriterDoesNotBlockTheProgram(t *testing.T) {
	e := engine(t)
	create(t, e, tiny("broken", "lines", "0", "200000"))
	if err := e.Start(ctx, "broken", cf.Streams{Out: broken{}}); err != nil {
		t.Fatal(err)
	}
	if x := wait(t, e, "broken"); x.Code != 33 {
		t.Fatal(x)
	}
}

func TestExec(t *testing.T) {
	e := engine(t)
	start(t, e, tiny("exec", "sleep"))
	t.Run("stdin, stdout, stderr", func(t *testing.T) {
		in := make([]byte, 5<<20)
		_, _ = rand.Read(in)
		out, errs := &bytes.Buffer{}, &bytes.Buffer{}
		x, err := e.Exec(ctx, "exec", cf.Program{Args: []string{"/program", "cat"}}, cf.Streams{In: bytes.NewReader(in), Out: out, Err: errs})
		if err != nil || x.Code != 0 || !bytes.Equal(out.Bytes(), in) || errs.String() != "copied 5242880\n" {
			t.Fatal(x, err, out.Len(), errs)
		}
	})
	t.Run("code, user, env, dir", func(t *testing.T) {
		out := &text{}
		x, err := e.Exec(ctx, "exec", cf.Program{Args: []string{"/program", "about"}, User: "root", Dir: "/home", Env: []string{"A=1", "A=2"}}, cf.Streams{Out: out})
		if err != nil || x.Code != 0 || !strings.Contains(out.String(), "uid 0 gid 0 host exec dir /home ") || !strings.Contains(out.String(), "env A=2 HOME=/root") {
			t.Fatal(x, err, out)
		}
		if code, _ := run(t, e, "exec", "exit", "9"); code != 9 {
			t.Fatal(code)
		}
	})
	t.Run("ends with its context, children too", func(t *testing.T) {
		short, cancel := context.WithCancel(ctx)
		out := &text{}
		done := make(chan error, 1)
		go func() {
			_, err := e.Exec(short, "exec", cf.Program{Args: []string{"/program", "orphans", "3"}}, cf.Streams{Out: out})
			done <- err
		}()
		await(t, "exec", func() bool { return strings.Contains(out.String(), "left") })
		begin := time.Now()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) || time.Since(begin) > 2*time.Second {
			t.Fatal(err, time.Since(begin))
		}
	})
	t.Run("what cannot be run", func(t *testing.T) {
		_, err := e.Exec(ctx, "exec", cf.Program{Args: []string{"/none"}}, cf.Streams{})
		if !cf.IsKind(err, cf.KindUnprocessable) {
			t.Fatal(err)
		}
		if _, err := e.Exec(ctx, "exec", cf.Program{}, cf.Streams{}); !cf.IsKind(err, cf.KindInvalid) {
			t.Fatal(err)
		}
		if _, err := e.Exec(ctx, "nobody", cf.Program{Args: []string{"x"}}, cf.Streams{}); !cf.IsKind(err, cf.KindNotFound) {
			t.Fatal(err)
		}
	})
	t.Run("many at once", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				var out bytes.Buffer
				in := fmt.Sprint("input ", i)
				x, err := e.Exec(ctx, "exec", cf.Program{Args: []string{"/program", "cat"}}, cf.Streams{In: strings.NewReader(in), Out: &out})
				if err != nil || x.Code != 0 || out.String() != in {
					t.Error(x, err, out.String())
				}
			})
		}
		wg.Wait()
	})
}

func TestLimits(t *testing.T) {
	e := engine(t)
	t.Run("memory", func(t *testing.T) {
		start(t, e, tiny("memory", "eat", "200"))
		if x := wait(t, e, "memory"); x.Code != 137 || !x.OOM {
			t.Fatalf("%+v", x)
		}
	})
	t.Run("processes", func(t *testing.T) {
		s := tiny("processes", "sleep")
		s.Limits.Pids = 40
		start(t, e, s)
		if _, out := run(t, e, "processes", "fork", "1000"); !strings.Contains(out, "forked ") || strings.Contains(out, "forked 1000") {
			t.Fatal(out)
		}
		st, err := e.Stats(ctx, "processes")
		if err != nil || st.Pids > 40 {
			t.Fatal(st, err)
		}
	})
	t.Run("disk", func(t *testing.T) {
		start(t, e, tiny("disk", "sleep"))
		_, out := run(t, e, "disk", "fill", "/home/vcap/big", "200")
		var n int
		if _, err := fmt.Sscanf(out, "filled %d", &n); err != nil || n < 58 || n > 66 {
			t.Fatal("of 64 MiB could be written:", out, err)
		}
		st, err := e.Stats(ctx, "disk")
		if err != nil || st.DiskBytes < 58<<20 || st.DiskBytes > 70<<20 {
			t.Fatal(st, err)
		}
	})
	t.Run("refused", func(t *testing.T) {
		s := tiny("refused", "sleep")
		s.Limits.DiskMB = 100_000_000
		if _, err := e.Create(ctx, s); !cf.IsKind(err, cf.KindNoRoom) {
			t.Fatal(err)
		}
		if _, held := e.leases.Held("refused"); held {
			t.Error("a refused container holds an address")
		}
		for name, spoil := range map[string]func(*cf.ContainerSpec){
			"handle":  func(s *cf.ContainerSpec) { s.Handle = "../x" },
			"program": func(s *cf.ContainerSpec) { s.Program.Args = nil },
			"limit":   func(s *cf.ContainerSpec) { s.Limits.Pids = -1 },
			"mount":   func(s *cf.ContainerSpec) { s.Mounts = []cf.BindMount{{Source: "etc", Target: "/x"}} },
			"port":    func(s *cf.ContainerSpec) { s.Ports = []int{70000} },
			"ports":   func(s *cf.ContainerSpec) { s.Ports = []int{80, 80} },
			"egress":  func(s *cf.ContainerSpec) { s.Egress = []cf.EgressRule{{Protocol: "sctp"}} },
			"user":    func(s *cf.ContainerSpec) { s.Program.User = "www" },
			"env":     func(s *cf.ContainerSpec) { s.Program.Env = []string{"=x"} },
		} {
			s := tiny("refused", "sleep")
			spoil(&s)
			if _, err := e.Create(ctx, s); !cf.IsKind(err, cf.KindInvalid) {
				t.Error(name, err)
			}
		}
	})
}

func TestLayersAndMounts(t *testing.T) {
	e := engine(t)
	host := filepath.Join(worldFolder, "mounted")
	if err := os.MkdirAll(host, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(host, "f"), []byte("of the host"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, b := droplet("first")
	if has, err := e.HasLayer(ctx, "tiny", l); err != nil || has {
		t.Fatal(has, err)
	}
	if err := e.AddLayer(ctx, "tiny", l, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	if has, err := e.HasLayer(ctx, "tiny", l); err != nil || !has {
		t.Fatal(has, err)
	}
	if _, err := e.HasLayer(ctx, "none", l); !cf.IsKind(err, cf.KindNotFound) {
		t.Fatal(err)
	}
	var specs []cf.ContainerSpec
	for _, h := range []string{"layer-a", "layer-b"} {
		s := tiny(h, "sleep")
		s.Layers, s.Mounts = []cf.Layer{l}, []cf.BindMount{{Source: host, Target: "/tools/here"}}
		start(t, e, s)
		specs = append(specs, s)
	}
	if _, out := run(t, e, "layer-a", "read", "/home/vcap/app/hello"); out != "uid 2000 gid 2000 mode -rw-r--r-- text first\n" {
		t.Error(out)
	}
	if _, out := run(t, e, "layer-a", "read", "/rootonly"); !strings.Contains(out, "permission denied") {
		t.Error(out)
	}
	if _, out := run(t, e, "layer-a", "read", "/tools/here/f"); !strings.Contains(out, "of the host") {
		t.Error(out)
	}
	if code, out := run(t, e, "layer-a", "touch", "/tools/here/f", "x"); code == 0 {
		t.Error("wrote to the host", out)
	}
	if code, out := run(t, e, "layer-a", "touch", "/home/vcap/app/hello", "changed"); code != 0 {
		t.Error(out)
	}
	if _, out := run(t, e, "layer-b", "read", "/home/vcap/app/hello"); !strings.HasSuffix(out, "text first\n") {
		t.Error("a neighbour's write is seen:", out)
	}
	if err := e.dropUnusedLayers(0); err != nil {
		t.Fatal(err)
	}
	if _, out := run(t, e, "layer-b", "read", "/home/vcap/app/hello"); !strings.HasSuffix(out, "text first\n") {
		t.Error("a layer in use was dropped:", out)
	}
	for _, s := range specs {
		if err := e.Delete(ctx, s.Handle); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.dropUnusedLayers(0); err != nil {
		t.Fatal(err)
	}
	if has, _ := e.HasLayer(ctx, "tiny", l); has {
		t.Error("an unused layer stayed")
	}
	s := tiny("layer-c", "sleep")
	s.Layers = []cf.Layer{l}
	if _, err := e.Create(ctx, s); !cf.IsKind(err, cf.KindNotFound) {
		t.Error(err)
	}
}

func TestBooks(t *testing.T) {
	e := engine(t)
	if err := e.Delete(ctx, "nobody"); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"start": e.Start(ctx, "nobody", cf.Streams{}), "attach": e.Attach(ctx, "nobody", cf.Streams{}), "kill": e.Kill(ctx, "nobody", 9),
		"wait":  func() error { _, err := e.Wait(ctx, "nobody"); return err }(),
		"stats": func() error { _, err := e.Stats(ctx, "nobody"); return err }(),
	} {
		if !cf.IsKind(err, cf.KindNotFound) {
			t.Error(name, err)
		}
	}
	r, err := e.Reserve(ctx, "booked", []int{8080, 2222})
	if err != nil || len(r.Ports) != 2 {
		t.Fatal(r, err)
	}
	s := tiny("booked", "sleep")
	s.Ports, s.Properties = []int{8080, 2222}, map[string]string{"kind": "test"}
	i := create(t, e, s)
	if i.Address != r.Address || fmt.Sprint(i.Ports) != fmt.Sprint(r.Ports) || i.Started {
		t.Fatal(i, r)
	}
	if _, err := e.Create(ctx, s); !cf.IsKind(err, cf.KindConflict) {
		t.Error("twice:", err)
	}
	if err := e.Start(ctx, "booked", cf.Streams{}); err != nil {
		t.Fatal(err)
	}
	if err := e.Start(ctx, "booked", cf.Streams{}); !cf.IsKind(err, cf.KindConflict) {
		t.Error("started twice:", err)
	}
	list, err := e.List(ctx)
	if err != nil || len(list) != 1 || !list[0].Started || list[0].Exited || list[0].Spec.Properties["kind"] != "test" {
		t.Fatalf("%+v %v", list, err)
	}
	st, err := e.Stats(ctx, "booked")
	if err != nil || st.MemoryBytes == 0 || st.CPU == 0 || st.Pids == 0 || st.Age <= 0 || st.Age > time.Minute {
		t.Fatalf("%+v %v", st, err)
	}
	c, err := e.Capacity(ctx)
	if err != nil || c.MemoryMB < 100 || c.DiskMB < 100 || c.Containers != 250 {
		t.Fatal(c, err)
	}
}

func TestFailedCreateLeavesNothing(t *testing.T) {
	e := engine(t)
	s := tiny("failed", "sleep")
	s.Mounts = []cf.BindMount{{Source: filepath.Join(worldFolder, "not-there"), Target: "/x"}}
	if _, err := e.Create(ctx, s); err == nil {
		t.Fatal("created")
	}
	if got := leaks(t, e.Data); got != "" {
		t.Fatal(got)
	}
	s.Mounts = nil
	create(t, e, s)
}

func BenchmarkOneMoreInstance(b *testing.B) {
	t := &testing.T{}
	e := engine(t)
	l, bytesOf := droplet("bench")
	if err := e.AddLayer(ctx, "tiny", l, bytes.NewReader(bytesOf)); err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() {
		n++
		s := tiny(fmt.Sprint("bench-", n), "sleep")
		s.Layers = []cf.Layer{l}
		if _, err := e.Create(ctx, s); err != nil {
			b.Fatal(err)
		}
		if err := e.Start(ctx, s.Handle, cf.Streams{Out: io.Discard, Err: io.Discard}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := e.Delete(ctx, s.Handle); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
