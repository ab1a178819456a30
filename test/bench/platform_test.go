// Package bench measures the whole platform from outside, in a world of its own: `make bench`. What the figures mean
// and what they must reach is in docs/performance.md; test/bench/table prints them.
package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/kit/need"
	"ingot/test/world"
)

func TestMain(m *testing.M) {
	world.Holder()
	reverseProxy()
	os.Exit(m.Run())
}

// BenchmarkPlatform runs all in one world, the quiet figures first.
func BenchmarkPlatform(b *testing.B) {
	need.World(b, "runs ingot")
	w := world.New(b)
	w.Up(b)
	cred := w.Credentials(b)
	w.Run(b, "cf", "api", cred.API, "--skip-ssl-validation")
	w.Run(b, "cf", "auth", cred.Username, cred.Password)
	w.Run(b, "cf", "create-org", "o")
	w.Run(b, "cf", "create-space", "s", "-o", "o")
	w.Run(b, "cf", "target", "-o", "o", "-s", "s")
	compile(b, w, "bin", "examples/go-binary")
	push(b, w, "bin")
	b.Run("Ready", func(b *testing.B) { ready(b, w) })
	b.Run("Push", func(b *testing.B) { pushes(b, w) })
	b.Run("ScaleOut", func(b *testing.B) { scaleOut(b, w) })
	b.Run("Router", func(b *testing.B) { router(b, w) })
	sources(b, w)
	b.Run("Used", func(b *testing.B) {
		idle(b, w)
		b.ReportMetric(0, "ns/op")
	})
}

// compile builds a program of the repository into a folder of its own, ready to be pushed under that name.
func compile(b *testing.B, w *world.World, name, pkg string) {
	b.Helper()
	c := exec.Command("go", "build", "-o", filepath.Join(w.Dir, name, "app"), "./"+pkg)
	c.Dir, c.Env = w.Root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		b.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
}

func push(b *testing.B, w *world.World, name string) {
	b.Helper()
	w.Run(b, "cf", "push", name, "-p", filepath.Join(w.Dir, name), "-b", "binary_buildpack", "-c", "./app", "-m", "64M")
}

// ready is the time from the start of a set-up Ingot, killed before, with an app that runs, until a program that asks
// is told that it is ready. Then what it costs to do nothing.
func ready(b *testing.B, w *world.World) {
	var took []float64
	for b.Loop() {
		w.Kill(b)
		begin := time.Now()
		w.Up(b)
		took = append(took, time.Since(begin).Seconds())
	}
	report(b, took, "s/ready")
	idle(b, w)
}

// pushes is `cf push` of an unchanged prebuilt binary with everything that the CLI waits for, staging included.
func pushes(b *testing.B, w *world.World) {
	var took []float64
	for b.Loop() {
		begin := time.Now()
		push(b, w, "bin")
		took = append(took, time.Since(begin).Seconds())
	}
	report(b, took, "s/push")
}

// scaleOut is the time from `cf curl` of a scale to two until the second instance answered through the router.
func scaleOut(b *testing.B, w *world.World) {
	web := "/v3/apps/" + guid(b, w, "bin") + "/processes/web"
	scale := func(n int) {
		w.Run(b, "cf", "curl", "-f", "-X", "POST", web+"/actions/scale", "-d", fmt.Sprintf(`{"instances":%d}`, n))
	}
	// until repeats the command until its output holds the text, or no longer does.
	until := func(want bool, text, name string, args ...string) {
		w.Await(b, 30*time.Second, text, func() error {
			out, err := w.Command(context.Background(), name, args...).Output()
			if err == nil && strings.Contains(string(out), text) != want {
				err = fmt.Errorf("answer: %s", out)
			}
			return err
		})
	}
	const url = "http://bin.apps.ingot.test/"
	var took []float64
	for b.Loop() {
		begin := time.Now()
		scale(2)
		until(true, "instance 1", "curl", "-s", "-m", "2", url, url) // the router takes turns
		took = append(took, time.Since(begin).Seconds())
		scale(1)
		until(false, `"index":1`, "cf", "curl", web+"/stats")
	}
	report(b, took, "s/routable")
}

func guid(b *testing.B, w *world.World, app string) string {
	b.Helper()
	return strings.TrimSpace(w.Run(b, "cf", "app", app, "--guid"))
}

// idle is the memory of the process and its part of a core over a while in which nobody asks anything of it. The shims
// of the containers are not in it.
func idle(b *testing.B, w *world.World) {
	const settle, window = 15 * time.Second, 30 * time.Second
	time.Sleep(settle)
	cpu, begin := metric(b, w, "process_cpu_seconds_total"), time.Now()
	time.Sleep(window)
	cpu = metric(b, w, "process_cpu_seconds_total") - cpu
	b.ReportMetric(100*cpu/time.Since(begin).Seconds(), "%-of-core")
	b.ReportMetric(metric(b, w, "process_resident_memory_bytes")/1e6, "MB-RSS")
}

// metric reads one of Ingot's own, summed over its labels.
func metric(b *testing.B, w *world.World, name string) (sum float64) {
	b.Helper()
	for line := range strings.Lines(w.Run(b, "curl", "-sf", "http://127.0.0.1:2280/metrics")) {
		if rest, ok := strings.CutPrefix(line, name); ok && (rest[0] == ' ' || rest[0] == '{') {
			var v float64
			if _, err := fmt.Sscan(rest[strings.LastIndexByte(rest, ' '):], &v); err != nil {
				b.Fatalf("%q: %v", line, err)
			}
			sum += v
		}
	}
	return sum
}

// report gives the median of the rounds and, as the noise, how far they lie apart.
func report(b *testing.B, rounds []float64, unit string) {
	slices.Sort(rounds)
	m := rounds[len(rounds)/2]
	b.ReportMetric(m, unit)
	b.ReportMetric(100*(rounds[len(rounds)-1]-rounds[0])/m, "%-spread:"+unit)
	b.ReportMetric(0, "ns/op") // says nothing here, so it is left out
}
