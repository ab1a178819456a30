package cell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ingot/cf"
)

func (w *world) startLRP(d cf.DesiredLRP, a cf.ActualLRP) {
	w.t.Helper()
	if err := w.StartLRP(w.t.Context(), w.ID, d, a); err != nil {
		w.t.Fatal(err)
	}
}

func TestInstanceRunsAndStops(t *testing.T) {
	w := newWorld(t)
	w.host.main = func(ctx context.Context, p cf.Program, s cf.Streams, sig <-chan int) int {
		_, _ = io.WriteString(s.Out, "hello\nunfinished")
		return untilSignal(ctx, p, s, sig)
	}
	w.start()
	d, a := w.lrp()
	w.startLRP(d, a)
	w.startLRP(d, a) // twice is once
	w.hears("started i-1")
	got := w.board.started[0]
	if got.State != cf.LRPRunning || !got.Ready || got.Cell != "cell-1" || got.Host != "10.0.0.9" || got.Address != "127.0.0.1" || len(got.Ports) != 1 || got.Ports[0].Container != 8080 {
		t.Errorf("started as %+v", got)
	}
	cells, err := w.List(t.Context())
	if err != nil || len(cells) != 1 || cells[0].Processes["p-1"] != 1 || cells[0].Free.MemoryMB != 4096-64 || cells[0].Stacks[0] != "cflinuxfs4" {
		t.Errorf("cells %+v, %v", cells, err)
	}
	if err := w.StopLRP(t.Context(), w.ID, "i-1"); err != nil {
		t.Fatal(err)
	}
	w.hears("stopped i-1")
	want := []string{
		"[CELL] Cell cell-1 creating container for instance i-1",
		"[CELL] Cell cell-1 successfully created container for instance i-1",
		"[APP/PROC/WEB] hello",
		"[CELL] Cell cell-1 stopping instance i-1",
		"[APP/PROC/WEB] Exit status 143",
		"[APP/PROC/WEB] unfinished",
		"[CELL] Cell cell-1 destroying container for instance i-1",
		"[CELL] Cell cell-1 successfully destroyed container for instance i-1",
	}
	for _, line := range want {
		if !w.logs.has(line) {
			t.Errorf("the log lacks %q:\n%s", line, strings.Join(w.logs.lines(), "\n"))
		}
	}
	if w.host.count() != 0 {
		t.Error("the container stays")
	}
	cells, _ = w.List(t.Context())
	if cells[0].Free.MemoryMB != 4096 || len(cells[0].Processes) != 0 {
		t.Errorf("room was not given back: %+v", cells[0])
	}
	for _, e := range w.logs.all {
		for k, v := range map[string]string{"instance_id": "1", "process_instance_id": "i-1", "process_id": "p", "process_type": "web", "app_name": "dora", "source_id": "app", "origin": "rep"} {
			if e.Tags[k] != v || e.InstanceID != "1" || e.SourceID != "app" {
				t.Fatalf("tags %v of %s", e.Tags, e.Log.Payload)
			}
		}
	}
}

func TestContainerSpec(t *testing.T) {
	w := newWorld(t).start()
	d, a := w.lrp(8080, 9090)
	d.Env = append(d.Env, "LANG=C", "PORT=1", "broken", "VCAP_SERVICES={}")
	d.VCAPApp["uris"] = []string{"a=b&c"}
	d.Egress = []cf.EgressRule{{Protocol: "all", Destinations: []string{"0.0.0.0-255.255.255.255"}}}
	w.startLRP(d, a)
	w.hears("started i-1")
	b, err := w.host.box("i-1")
	if err != nil {
		t.Fatal(err)
	}
	s := b.info.Spec
	if s.Image != "cflinuxfs4" || !slices.Equal(s.Program.Args, []string{"/tmp/lifecycle/lifecycle", "launch", "./run"}) || s.Program.User != "vcap" || s.CPUShares != 64 ||
		len(s.Layers) != 1 || s.Layers[0].Prefix != "home/vcap" || s.Limits.Pids != 1024 || s.Limits.FileDescriptors != 16384 || len(s.Egress) != 1 {
		t.Errorf("spec %+v", s)
	}
	if s.Mounts[0].Target != "/tmp/lifecycle/lifecycle" || s.Mounts[1].Target != "/etc/cf-system-certificates" {
		t.Errorf("mounts %v", s.Mounts)
	}
	got := vars(s.Program.Env)
	want := map[string]string{
		"FOO": "bar", "LANG": "C", "USER": "vcap", "HOME": "/home/vcap", "PATH": "/usr/local/bin:/usr/bin:/bin", "MEMORY_LIMIT": "64m",
		"PORT": "8080", "VCAP_APP_PORT": "8080", "VCAP_APP_HOST": "0.0.0.0", "CF_SYSTEM_CERT_PATH": "/etc/cf-system-certificates",
		"CF_INSTANCE_GUID": "i-1", "CF_INSTANCE_INDEX": "1", "INSTANCE_GUID": "i-1", "INSTANCE_INDEX": "1",
		"CF_INSTANCE_IP": "10.0.0.9", "CF_INSTANCE_INTERNAL_IP": "127.0.0.1", "CF_INSTANCE_PORT": "61000", "CF_INSTANCE_ADDR": "10.0.0.9:61000",
		"CF_INSTANCE_PORTS": `[{"external":61000,"internal":8080},{"external":61001,"internal":9090}]`, "VCAP_SERVICES": "{}",
		"VCAP_APPLICATION": `{"application_name":"dora","host":"0.0.0.0","instance_id":"i-1","instance_index":1,"port":8080,"uris":["a\u003db&c"]}`,
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is %q, want %q", k, got[k], v)
		}
	}
	if _, there := got["DATABASE_URL"]; there || len(got) != len(s.Program.Env) || len(got) != len(want) {
		t.Errorf("environment %q", s.Program.Env)
	}
	if strings.Contains(s.Properties[propertyWhat], "FOO") {
		t.Error("the properties hold the environment")
	}
}

func TestCrash(t *testing.T) {
	for name, c := range map[string]struct {
		oom        bool
		code       int
		text, line string
	}{
		"exit 1": {false, 1, "APP/PROC/WEB: Exited with status 1", "[APP/PROC/WEB] Exit status 1"},
		"exit 0": {false, 0, "APP/PROC/WEB: Exited with status 0", "[APP/PROC/WEB] Exit status 0"},
		"memory": {true, 137, "APP/PROC/WEB: Exited with status 137 (out of memory)", "[APP/PROC/WEB] Exit status 137 (out of memory)"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.host.main = func(context.Context, cf.Program, cf.Streams, <-chan int) int { return c.code }
			w.host.oom = c.oom
			w.start()
			w.startLRP(w.lrp())
			w.hears("crashed i-1")
			got := w.board.crashes[0]
			if got.ExitCode != c.code || got.Text != c.text || got.At.IsZero() || got.Cell != "cell-1" {
				t.Errorf("crash %+v", got)
			}
			w.says(c.line)
			w.says("[CELL] Cell cell-1 successfully destroyed container for instance i-1")
		})
	}
}

func TestRoomIsFreeWhenTheCrashIsReported(t *testing.T) {
	w := newWorld(t)
	w.host.main = func(context.Context, cf.Program, cf.Streams, <-chan int) int { return 1 }
	w.Limit = cf.Resources{MemoryMB: 64}
	w.start()
	d, a := w.lrp()
	w.startLRP(d, a)
	w.hears("crashed i-1")
	a.Instance = "i-2"
	w.startLRP(d, a)
	w.hears("crashed i-2")
}

func TestHealthByPort(t *testing.T) {
	w := newWorld(t).start()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	d, a := w.lrp(port)
	d.Health = cf.HealthCheck{Type: "port", Interval: 20 * time.Millisecond, InvocationTimeout: time.Second}
	w.startLRP(d, a)
	w.hears("started i-1")
	w.says("[CELL] Container became healthy")
	_ = l.Close()
	w.hears("crashed i-1")
	if got := w.board.crashes[0].Text; !strings.HasPrefix(got, fmt.Sprintf("Instance became unhealthy: Liveness check unsuccessful: failed to make TCP connection to 127.0.0.1:%d: ", port)) {
		t.Errorf("crash %q", got)
	}
	w.says("[CELL]! Container became unhealthy")
	w.says("[APP/PROC/WEB] Exit status 143")
}

func TestNeverHealthy(t *testing.T) {
	w := newWorld(t)
	w.host.main = func(ctx context.Context, _ cf.Program, _ cf.Streams, _ <-chan int) int { <-ctx.Done(); return 137 } // deaf to SIGTERM
	w.start()
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	d, a := w.lrp(s.Listener.Addr().(*net.TCPAddr).Port)
	d.Health = cf.HealthCheck{Type: "http", Endpoint: "/up", Timeout: 100 * time.Millisecond}
	w.startLRP(d, a)
	w.hears("crashed i-1")
	got := w.board.crashes[0].Text
	if !strings.HasPrefix(got, "Instance never healthy after 100ms: Timed out after 100ms (") || !strings.Contains(got, "waiting for startup check to succeed: failed to make HTTP request to '/up' on port ") ||
		!strings.Contains(got, ": received status code 404 in ") {
		t.Errorf("crash %q", got)
	}
	w.says("[CELL]! Failed after 100ms: startup health check never passed.")
	w.says("[APP/PROC/WEB] Exit status 137 (exceeded 200ms graceful shutdown interval)")
	if w.board.heard("started i-1") {
		t.Error("it was reported as started")
	}
}

func TestReadiness(t *testing.T) {
	w := newWorld(t).start()
	var ready atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer s.Close()
	d, a := w.lrp(s.Listener.Addr().(*net.TCPAddr).Port)
	d.Readiness = cf.HealthCheck{Type: "http", Endpoint: "/ready", Interval: 10 * time.Millisecond}
	w.startLRP(d, a)
	last := func(ready bool, n int) func() bool {
		return func() bool {
			w.board.mu.Lock()
			defer w.board.mu.Unlock()
			return len(w.board.started) == n && w.board.started[n-1].Ready == ready
		}
	}
	w.await("not ready", last(false, 1))
	ready.Store(true)
	w.await("ready", last(true, 2))
	w.says("[HEALTH] Container passed the readiness health check. Container marked ready and added to route pool.")
	ready.Store(false)
	w.await("not ready again", last(false, 3))
	w.says("[HEALTH] Container failed the readiness health check. Container marked not ready and removed from route pool.")
	if w.board.heard("crashed i-1") {
		t.Error("not ready is no crash")
	}
}

func TestBoardThatDoesNotWantIt(t *testing.T) {
	conflict := cf.Errorf(cf.KindConflict, "", "not current")
	for _, verb := range []string{"claimed", "started"} {
		t.Run(verb, func(t *testing.T) {
			w := newWorld(t).start()
			w.board.set(verb, conflict)
			w.startLRP(w.lrp())
			w.says("[CELL] Cell cell-1 successfully destroyed container for instance i-1")
			if w.host.count() != 0 || w.board.heard("crashed i-1") || w.board.heard("stopped i-1") {
				t.Errorf("containers %d, heard %q", w.host.count(), w.board.said)
			}
		})
	}
}

func TestBoardThatIsDeafForAWhile(t *testing.T) {
	w := newWorld(t).start()
	w.board.set("claimed", errors.New("database is away"))
	w.startLRP(w.lrp())
	w.board.set("claimed", nil)
	w.board.set("started", errors.New("database is away"))
	w.says("[CELL] Cell cell-1 successfully created container for instance i-1")
	w.board.set("started", nil)
	w.hears("started i-1")
}

func TestCreationFails(t *testing.T) {
	w := newWorld(t)
	w.host.create = func(cf.ContainerSpec) error {
		return cf.Wrap(cf.KindUnavailable, "", "no loop device", errors.New("private"))
	}
	w.start()
	w.startLRP(w.lrp())
	w.hears("crashed i-1")
	if got := w.board.crashes[0].Text; got != "failed to initialize container: no loop device" {
		t.Errorf("crash %q", got)
	}
	w.says("[CELL]! Cell cell-1 failed to create container for instance i-1: no loop device")
}

// What garden has no room for is no crash.
func TestInstanceWithoutRoomGoesBack(t *testing.T) {
	w := newWorld(t)
	w.host.create = func(cf.ContainerSpec) error {
		return cf.Wrap(cf.KindNoRoom, "", "no disk is left", errors.New("private"))
	}
	w.start()
	w.startLRP(w.lrp())
	w.hears("refused i-1")
	s, err := w.List(t.Context())
	if err != nil || s[0].Free != s[0].Total || len(s[0].Processes) != 0 || w.board.why != "insufficient resources: no disk is left" {
		t.Errorf("free %+v (%v): %s", s, err, w.board.why)
	}
	if w.board.heard("crashed i-1") || w.board.heard("room cell-1") {
		t.Errorf("the board heard %q", w.board.said)
	}
}

// The memory of what ended is free at once, its disk when the container is gone; then the board hears that there is room.
func TestDiskIsTakenUntilTheContainerIsGone(t *testing.T) {
	w := newWorld(t)
	w.host.main = func(context.Context, cf.Program, cf.Streams, <-chan int) int { return 1 }
	w.board.set("crashed", errors.New("not now"))
	w.start()
	w.startLRP(w.lrp())
	free := func() cf.Resources {
		s, err := w.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s[0].Free
	}
	w.await("memory", func() bool { return w.host.count() == 1 && free().MemoryMB == 4096 && free().DiskMB == 8192-128 })
	w.board.set("crashed", nil)
	w.hears("room cell-1")
	if f := free(); f.DiskMB != 8192 || w.host.count() != 0 {
		t.Errorf("free %+v", f)
	}
}

func TestDropletIsGone(t *testing.T) {
	w := newWorld(t).start()
	d, a := w.lrp()
	d.Droplet = "droplets/" + strings.Repeat("0", 64)
	w.startLRP(d, a)
	w.hears("crashed i-1")
	if w.host.count() != 0 {
		t.Error("a container was made")
	}
}

func TestStopWhileCreating(t *testing.T) {
	w := newWorld(t)
	reached, goOn := make(chan struct{}), make(chan struct{})
	w.host.create = func(cf.ContainerSpec) error { close(reached); <-goOn; return nil }
	w.start()
	w.startLRP(w.lrp())
	<-reached
	if err := w.StopLRP(t.Context(), w.ID, "i-1"); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	w.hears("stopped i-1")
	if w.host.count() != 0 || w.board.heard("crashed i-1") {
		t.Error("it stays, or crashed")
	}
}

func TestUnknownInstanceIsStopped(t *testing.T) {
	w := newWorld(t).start()
	if err := w.StopLRP(t.Context(), w.ID, "i-9"); err != nil {
		t.Fatal(err)
	}
	w.hears("stopped i-9")
	if err := w.StopLRP(t.Context(), "cell-2", "i-9"); !cf.IsKind(err, cf.KindNotFound) {
		t.Errorf("another cell's: %v", err)
	}
}

func TestManyInstancesFetchTheDropletOnce(t *testing.T) {
	w := newWorld(t).start()
	d, a := w.lrp()
	for i := range 20 {
		a.Index, a.Instance = i, cf.InstanceID(fmt.Sprintf("i-%d", i))
		w.startLRP(d, a)
	}
	for i := range 20 {
		w.hears(fmt.Sprintf("started i-%d", i))
	}
	if w.host.adds != 1 || w.store.opens != 1 {
		t.Errorf("%d layers added, %d blobs opened", w.host.adds, w.store.opens)
	}
}

func TestNoRoom(t *testing.T) {
	for name, c := range map[string]struct {
		limit cf.Resources
		want  string
	}{
		"memory":     {cf.Resources{MemoryMB: 100}, "insufficient resources: memory"},
		"disk":       {cf.Resources{DiskMB: 200}, "insufficient resources: disk"},
		"containers": {cf.Resources{Containers: 1}, "insufficient resources: containers"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.Limit = c.limit
			w.start()
			d, a := w.lrp()
			w.startLRP(d, a)
			a.Instance = "i-2"
			err := w.StartLRP(t.Context(), w.ID, d, a)
			if !cf.IsKind(err, cf.KindNoRoom) || err.Error() != c.want {
				t.Errorf("got %v", err)
			}
			if err := w.StartTask(t.Context(), w.ID, cf.Task{ID: "t", Limits: d.Limits}); !cf.IsKind(err, cf.KindNoRoom) {
				t.Errorf("task: %v", err)
			}
		})
	}
}

func TestUpdateChangesTags(t *testing.T) {
	w := newWorld(t)
	more := make(chan string)
	w.host.main = func(ctx context.Context, p cf.Program, s cf.Streams, sig <-chan int) int {
		for {
			select {
			case text := <-more:
				_, _ = io.WriteString(s.Out, text)
			case <-ctx.Done():
				return 0
			}
		}
	}
	w.start()
	d, a := w.lrp()
	w.startLRP(d, a)
	w.hears("started i-1")
	more <- "before\n"
	w.says("[APP/PROC/WEB] before")
	d.MetricTags = map[string]string{"app_name": "dora-2"}
	if err := w.UpdateLRP(t.Context(), w.ID, d); err != nil {
		t.Fatal(err)
	}
	more <- "after\n"
	w.says("[APP/PROC/WEB] after")
	for _, e := range w.logs.all {
		if e.Log != nil && (string(e.Log.Payload) == "before" && e.Tags["app_name"] != "dora" || string(e.Log.Payload) == "after" && e.Tags["app_name"] != "dora-2") {
			t.Errorf("%s has tags %v", e.Log.Payload, e.Tags)
		}
	}
}

func TestStats(t *testing.T) {
	w := newWorld(t)
	w.times.sample = 5 * time.Millisecond
	w.host.stats = cf.ContainerStats{CPU: 2 * time.Second, Age: 4 * time.Second, MemoryBytes: 100, DiskBytes: 200}
	w.start()
	d, a := w.lrp()
	w.startLRP(d, a)
	w.hears("started i-1")
	got, err := w.Stats(t.Context(), w.ID, "app")
	if err != nil {
		t.Fatal(err)
	}
	s := got["i-1"]
	entitled := float64(w.Cell.host.Cores) * 64 / 4096
	if s.CPU != 0.5 || s.MemoryBytes != 100 || s.DiskBytes != 200 || s.CPUEntitlement < 0.5/entitled*0.99 || s.CPUEntitlement > 0.5/entitled*1.01 {
		t.Errorf("stats %+v, entitled to %f cores", s, entitled)
	}
	if other, _ := w.Stats(t.Context(), w.ID, "other"); len(other) != 0 {
		t.Errorf("stats of another app: %v", other)
	}
	gauges := map[string]cf.GaugeValue{}
	w.await("gauges", func() bool {
		w.logs.mu.Lock()
		defer w.logs.mu.Unlock()
		for _, e := range w.logs.all {
			for k, v := range e.Gauge {
				gauges[k] = v
			}
		}
		return len(gauges) == 11
	})
	for k, want := range map[string]cf.GaugeValue{"memory_quota": {Unit: "bytes", Value: 64 << 20}, "disk_quota": {Unit: "bytes", Value: 128 << 20}, "memory": {Unit: "bytes", Value: 100},
		"absolute_usage": {Unit: "nanoseconds", Value: 2e9}, "container_age": {Unit: "nanoseconds", Value: 4e9}, "log_rate_limit": {Unit: "B/s", Value: -1}} {
		if gauges[k] != want {
			t.Errorf("%s is %v, want %v", k, gauges[k], want)
		}
	}
}
