package cell

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ingot/cf"
	"ingot/diego/cell/result"
	"ingot/diego/cell/show"
)

const helper = show.Program

func (w *world) startTask(t cf.Task) {
	w.t.Helper()
	if err := w.StartTask(w.t.Context(), w.ID, t); err != nil {
		w.t.Fatal(err)
	}
}

// program1 is a one-off task.
func (w *world) program1(id cf.TaskID) cf.Task {
	return cf.Task{ID: id, AppID: "app", Stack: "cflinuxfs4", Droplet: w.blob(cf.BlobDroplet, []byte("droplet")), Start: "rake", Env: []string{"A=b"},
		Limits: cf.Limits{MemoryMB: 64, DiskMB: 64, LogBytesPerSec: -1}, SourceType: "APP/TASK/mreow"}
}

func TestTask(t *testing.T) {
	w := newWorld(t)
	w.host.main = func(_ context.Context, p cf.Program, s cf.Streams, _ <-chan int) int {
		_, _ = io.WriteString(s.Out, strings.Join(p.Args[1:], " ")+"\n"+strings.Join(p.Env, "\n")+"\n")
		return 0
	}
	w.start()
	w.startTask(w.program1("t-1"))
	w.hears("task done t-1")
	if got := w.board.done[0]; got.Failed || got.Reason != "" || got.State != cf.TaskCompleted || got.Cell != "cell-1" {
		t.Errorf("done %+v", got)
	}
	for _, line := range []string{"launch rake", "A=b", "CF_INSTANCE_ADDR=", "CF_INSTANCE_PORT=", "CF_INSTANCE_PORTS=[]", "CF_INSTANCE_IP=10.0.0.9", "CF_INSTANCE_INTERNAL_IP=127.0.0.1",
		"LANG=en_US.UTF-8", "VCAP_APPLICATION={}", "MEMORY_LIMIT=64m", "Exit status 0"} {
		w.says("[APP/TASK/mreow] " + line)
	}
	w.says("[CELL] Cell cell-1 successfully destroyed container for instance t-1")
}

func TestTaskFails(t *testing.T) {
	w := newWorld(t)
	w.host.main = func(context.Context, cf.Program, cf.Streams, <-chan int) int { return 4 }
	w.start()
	w.startTask(w.program1("t-1"))
	w.hears("task done t-1")
	if got := w.board.done[0]; !got.Failed || got.Reason != "APP/TASK/mreow: Exited with status 4" {
		t.Errorf("done %+v", got)
	}
}

func TestTaskIsCancelledOrLate(t *testing.T) {
	w := newWorld(t).start()
	w.startTask(w.program1("t-1"))
	late := w.program1("t-2")
	late.Timeout = 30 * time.Millisecond
	w.startTask(late)
	w.hears("task done t-2")
	if got := w.board.done[0]; !got.Failed || got.Reason != "exceeded 30ms timeout" {
		t.Errorf("late: %+v", got)
	}
	if err := w.CancelTask(t.Context(), w.ID, "t-1"); err != nil {
		t.Fatal(err)
	}
	w.hears("task done t-1")
	if got := w.board.done[1]; !got.Failed || got.Reason != "task was cancelled" {
		t.Errorf("cancelled: %+v", got)
	}
	w.await("no container", func() bool { return w.host.count() == 0 })
	if err := w.CancelTask(t.Context(), w.ID, "t-1"); err != nil {
		t.Errorf("an ended task: %v", err)
	}
}

func TestTaskThatTheBoardDoesNotWant(t *testing.T) {
	w := newWorld(t).start()
	w.board.set("task started", cf.Errorf(cf.KindConflict, "", "ended"))
	w.startTask(w.program1("t-1"))
	w.await("room", func() bool { s, _ := w.List(t.Context()); return s[0].Free.MemoryMB == 4096 })
	if w.host.count() != 0 || w.board.heard("task done t-1") {
		t.Errorf("it ran: %q", w.board.said)
	}
}

func zipOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, n := range slices.Sorted(maps.Keys(files)) {
		h := &zip.FileHeader{Name: n}
		h.SetMode(0o777)
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = io.WriteString(f, files[n])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (w *world) staging() cf.Task {
	pack := zipOf(w.t, map[string]string{"bin/detect": "#!/bin/sh\n"})
	sum := sha256.Sum256(pack)
	return cf.Task{ID: "b-1", AppID: "app", Stack: "cflinuxfs4", Env: []string{"CF_STACK=cflinuxfs4"}, Limits: cf.Limits{MemoryMB: 1024, DiskMB: 1024, LogBytesPerSec: -1}, SourceType: "STG",
		Staging: &cf.Staging{Package: w.blob(cf.BlobPackage, []byte("package")), Cache: "app-cflinuxfs4", AppDiskMB: 64,
			Buildpacks: []cf.BuildpackRef{{Name: "ruby_buildpack", Blob: w.blob(cf.BlobBuildpack, pack), Digest: hex.EncodeToString(sum[:]), SkipDetect: true}, {Name: "go_buildpack", Blob: w.blob(cf.BlobBuildpack, pack)}}}}
}

const document = `{"lifecycle_metadata":{"buildpack_key":"go_buildpack","detected_buildpack":"go","buildpacks":[{"key":"ruby_buildpack","name":"ruby","version":"1.2"},{"key":"go_buildpack","name":"go","detect_output":"go"}]},` +
	`"process_types":{"web":"./go"},"sidecars":[{"name":"agent","process_types":["web"],"command":"./agent","memory":10}],"execution_metadata":"","lifecycle_type":"buildpack"}`

// builds makes Exec behave as a staging container does.
func (w *world) builds(build func(ctx context.Context, p cf.Program, s cf.Streams) int) {
	w.host.exec = func(ctx context.Context, p cf.Program, s cf.Streams) int {
		if p.Args[0] == helper {
			return build(ctx, p, s)
		}
		files := map[string]string{"/tmp/result.json": document, "/tmp/droplet": "droplet bytes", "/tmp/output-cache": "cache bytes"}
		_, _ = io.WriteString(s.Out, files[p.Args[1]])
		return 0
	}
}

func TestStaging(t *testing.T) {
	w := newWorld(t)
	k := w.staging()
	var program cf.Program
	var spec cf.ContainerSpec
	seen := map[string]string{}
	w.builds(func(_ context.Context, p cf.Program, s cf.Streams) int {
		program = p
		b, _ := w.host.box("b-1")
		spec = b.info.Spec
		for _, m := range spec.Mounts {
			if text, err := os.ReadFile(m.Source); err == nil {
				seen[m.Target] = string(text)
			} else if text, err := os.ReadFile(filepath.Join(m.Source, "bin/detect")); err == nil {
				seen[m.Target] = string(text)
			}
		}
		_, _ = io.WriteString(s.Out, "-----> Building\n")
		_, _ = io.WriteString(s.Err, "a warning\n")
		return 0
	})
	w.store.blobs["buildpack_cache/app-cflinuxfs4"] = []byte("old cache")
	w.start()
	w.startTask(k)
	w.hears("task done b-1")
	got := w.board.done[0]
	sum := sha256.Sum256([]byte("droplet bytes"))
	digest := hex.EncodeToString(sum[:])
	r := got.Result
	if got.Failed || r == nil || r.Droplet != "droplets/"+digest || r.SHA256 != digest || r.Size != 13 || r.ProcessTypes["web"] != "./go" || len(r.Buildpacks) != 2 ||
		r.Buildpacks[0] != (cf.DetectedBuildpack{Key: "ruby_buildpack", Name: "ruby", Version: "1.2"}) || r.Buildpacks[1].DetectOutput != "go" ||
		len(r.Sidecars) != 1 || r.Sidecars[0].Name != "agent" || r.Sidecars[0].Command != "./agent" || r.Sidecars[0].ProcessTypes[0] != "web" || r.Sidecars[0].MemoryMB != 10 {
		t.Errorf("done %+v, result %+v", got, r)
	}
	if string(w.store.blobs["buildpack_cache/app-cflinuxfs4"]) != "cache bytes" {
		t.Error("the cache was not kept")
	}
	w.await("the droplet is unpacked before anybody starts it", func() bool {
		has, _ := w.host.HasLayer(t.Context(), "cflinuxfs4", cf.Layer{Digest: digest, Prefix: "home/vcap"})
		return has
	})
	if want := []string{helper, "build", "-buildpack=ruby_buildpack", "-buildpack=go_buildpack", "-skipDetect=true"}; !slices.Equal(program.Args, want) || program.User != "vcap" {
		t.Errorf("program %+v", program)
	}
	e := vars(program.Env)
	for k, v := range map[string]string{"CF_STACK": "cflinuxfs4", "CF_INSTANCE_ADDR": "", "CF_INSTANCE_PORT": "", "CF_INSTANCE_PORTS": "[]", "LANG": "en_US.UTF-8", "CF_INSTANCE_INTERNAL_IP": "127.0.0.1", "MEMORY_LIMIT": "1024m"} {
		if got, ok := e[k]; !ok || got != v {
			t.Errorf("%s is %q (there: %v), want %q", k, got, ok, v)
		}
	}
	if !slices.Equal(spec.Program.Args, []string{helper, "idle"}) || len(spec.Layers) != 0 || slices.Contains(spec.Program.Env, "CF_STACK=cflinuxfs4") {
		t.Errorf("spec %+v", spec)
	}
	for target, text := range map[string]string{helper: "helper", "/tmp/package.zip": "package", "/tmp/cache.tgz": "old cache", "/tmp/buildpacks/0": "#!/bin/sh\n", "/tmp/buildpacks/1": "#!/bin/sh\n"} {
		if seen[target] != text {
			t.Errorf("the container saw %q at %s, want %q", seen[target], target, text)
		}
	}
	for _, line := range []string{"[STG] Cell cell-1 creating container for instance b-1", "[STG] Downloaded app package (7B)", "[STG] Downloaded ruby_buildpack", "[STG] -----> Building", "[STG]! a warning",
		"[STG] Exit status 0", "[STG] Uploading droplet...", "[STG] Uploaded droplet (13B)", "[STG] Uploading complete", "[STG] Cell cell-1 successfully destroyed container for instance b-1"} {
		w.says(line)
	}
	w.await("no container", func() bool { return w.host.count() == 0 })
	if left, err := os.ReadDir(filepath.Join(w.data, "tasks")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if packs, err := os.ReadDir(filepath.Join(w.data, "buildpacks")); err != nil || len(packs) != 1 {
		t.Errorf("buildpacks %v, %v", packs, err)
	}
}

func TestStagingFails(t *testing.T) {
	cases := map[string]struct {
		change func(w *world, k *cf.Task)
		build  func(context.Context, cf.Program, cf.Streams) int
		want   string
	}{
		"detect":   {build: func(context.Context, cf.Program, cf.Streams) int { return 222 }, want: "STG: Exited with status 222"},
		"compile":  {build: func(context.Context, cf.Program, cf.Streams) int { return 223 }, want: "STG: Exited with status 223"},
		"too late": {change: func(_ *world, k *cf.Task) { k.Timeout = 20 * time.Millisecond }, build: func(ctx context.Context, _ cf.Program, _ cf.Streams) int { <-ctx.Done(); return 137 }, want: "exceeded 20ms timeout"},
		"package":  {change: func(_ *world, k *cf.Task) { k.Staging.Package = "packages/gone" }, want: "Downloading failed: no blob packages/gone"},
		"buildpack": {change: func(w *world, k *cf.Task) {
			k.Staging.Buildpacks = k.Staging.Buildpacks[:1]
			k.Staging.Buildpacks[0].Blob = k.Staging.Package
		}, want: "Downloading failed: buildpack ruby_buildpack: the archive's digest is"},
		"no zip": {change: func(w *world, k *cf.Task) {
			k.Staging.Buildpacks = []cf.BuildpackRef{{Name: "x", Blob: k.Staging.Package}}
		}, want: "Downloading failed: buildpack x: bad archive"},
		"container": {change: func(w *world, _ *cf.Task) {
			w.host.create = func(cf.ContainerSpec) error { return errors.New("disk broke") }
		}, want: "failed to initialize container: create container: disk broke"},
		"store": {build: func(context.Context, cf.Program, cf.Streams) int { return 0 }, change: func(w *world, _ *cf.Task) { w.store.put = cf.Errorf(cf.KindUnavailable, "", "store is full") }, want: "Uploading failed: store is full"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			k := w.staging()
			if c.change != nil {
				c.change(w, &k)
			}
			w.builds(c.build)
			w.start()
			w.startTask(k)
			w.hears("task done b-1")
			if got := w.board.done[0]; !got.Failed || !strings.HasPrefix(got.Reason, c.want) || got.Result != nil {
				t.Errorf("done %+v, want %q", got, c.want)
			}
			w.await("no container", func() bool { return w.host.count() == 0 })
			w.await("room", func() bool { s, _ := w.List(t.Context()); return s[0].Free.MemoryMB == 4096 })
		})
	}
}

// What garden has no room for goes back to the board, and may come again at once.
func TestTaskWithoutRoomGoesBack(t *testing.T) {
	for name, task := range map[string]func(*world) cf.Task{
		"staging": (*world).staging,
		"program": func(w *world) cf.Task { return w.program1("b-1") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			k := task(w)
			var room atomic.Bool
			w.host.create = func(cf.ContainerSpec) error {
				if !room.Load() {
					return cf.Errorf(cf.KindNoRoom, "", "no disk is left")
				}
				return nil
			}
			w.host.main = func(context.Context, cf.Program, cf.Streams, <-chan int) int { return 0 }
			w.builds(func(context.Context, cf.Program, cf.Streams) int { return 0 })
			w.start()
			w.startTask(k)
			w.hears("task refused b-1")
			s, err := w.List(t.Context())
			if err != nil || s[0].Free != s[0].Total || w.board.why != "insufficient resources: no disk is left" || w.board.heard("task done b-1") {
				t.Errorf("free %+v (%v), said %q: %s", s, err, w.board.said, w.board.why)
			}
			room.Store(true)
			w.startTask(k)
			w.hears("task done b-1")
			if got := w.board.done[0]; got.Failed {
				t.Errorf("done %+v", got)
			}
			w.hears("room cell-1")
		})
	}
}

func TestStagingLosesNothingHalfRead(t *testing.T) {
	w := newWorld(t)
	k := w.staging()
	w.host.exec = func(_ context.Context, p cf.Program, s cf.Streams) int {
		switch {
		case p.Args[0] == helper:
			return 0
		case p.Args[1] == resultAt:
			_, _ = io.WriteString(s.Out, document)
			return 0
		}
		_, _ = io.WriteString(s.Out, "half of the dro")
		_, _ = io.WriteString(s.Err, "cat: input/output error")
		return 1
	}
	w.start()
	w.startTask(k)
	w.hears("task done b-1")
	if got := w.board.done[0]; !got.Failed || !strings.HasPrefix(got.Reason, "Uploading failed: upload droplet: read /tmp/droplet: status 1: cat: input/output error") {
		t.Errorf("done %+v", got)
	}
}

func TestStagingOfABadResult(t *testing.T) {
	for _, text := range []string{"", "{", strings.Repeat(" ", result.Max) + "{}"} {
		w := newWorld(t)
		w.host.exec = func(_ context.Context, p cf.Program, s cf.Streams) int {
			if p.Args[0] != helper {
				_, _ = io.WriteString(s.Out, text)
			}
			return 0
		}
		w.start()
		w.startTask(w.staging())
		w.hears("task done b-1")
		if got := w.board.done[0]; !got.Failed || got.Reason != "failed to fetch result" {
			t.Errorf("done %+v", got)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0B", 512: "512B", 1024: "1K", 1536: "1.5K", 20 << 20: "20M", 3 << 40: "3T"} {
		if got := size(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}
