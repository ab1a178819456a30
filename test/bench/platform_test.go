// Package bench measures the whole platform from outside: `make bench`.
package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// up starts Ingot in a world, logged in as the admin with an org and a space, the prebuilt example in app/.
func up(b *testing.B) *world.World {
	b.Helper()
	need.World(b, "runs ingot")
	w := world.New(b)
	w.Up(b)
	cred := w.Credentials(b)
	w.Run(b, "cf", "api", cred.API, "--skip-ssl-validation")
	w.Run(b, "cf", "auth", cred.Username, cred.Password)
	w.Run(b, "cf", "create-org", "o")
	w.Run(b, "cf", "create-space", "s", "-o", "o")
	w.Run(b, "cf", "target", "-o", "o", "-s", "s")
	app := filepath.Join(w.Dir, "app")
	build := exec.Command("go", "build", "-o", filepath.Join(app, "app"), ".")
	build.Dir = filepath.Join(w.Root, "examples", "go-binary")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("build the example: %v\n%s", err, out)
	}
	return w
}

func push(b *testing.B, w *world.World, name string) {
	b.Helper()
	w.Run(b, "cf", "push", name, "-p", filepath.Join(w.Dir, "app"), "-b", "binary_buildpack", "-c", "./app", "-m", "64M")
}

// BenchmarkReady is the time from the start of a set-up Ingot to its readiness, and its memory when idle.
func BenchmarkReady(b *testing.B) {
	w := up(b)
	for b.Loop() {
		w.Kill(b)
		w.Up(b)
	}
	b.StopTimer()
	time.Sleep(5 * time.Second) // idle is what is measured
	b.ReportMetric(rssMB(b, w), "RSS-MB")
}

func rssMB(b *testing.B, w *world.World) float64 {
	pid, err := w.PID()
	if err != nil {
		b.Fatal(err)
	}
	var kb float64
	line := w.Run(b, "grep", "VmRSS", fmt.Sprintf("/proc/%d/status", pid))
	if _, err := fmt.Sscanf(strings.TrimSpace(line), "VmRSS: %f kB", &kb); err != nil {
		b.Fatalf("%q: %v", line, err)
	}
	return kb / 1024
}

// BenchmarkPushPrebuilt is `cf push` of an unchanged prebuilt binary, the platform warm.
func BenchmarkPushPrebuilt(b *testing.B) {
	w := up(b)
	push(b, w, "bin")
	for b.Loop() {
		push(b, w, "bin")
	}
}

// BenchmarkScaleOut is the time from the scale request for a second instance to its first answer through the router.
func BenchmarkScaleOut(b *testing.B) {
	w := up(b)
	push(b, w, "bin")
	guid := strings.TrimSpace(w.Run(b, "cf", "app", "bin", "--guid"))
	scale := func(n int) {
		w.Run(b, "cf", "curl", "-f", "-X", "POST", "/v3/apps/"+guid+"/processes/web/actions/scale", "-d", fmt.Sprintf(`{"instances":%d}`, n))
	}
	var sum time.Duration
	for b.Loop() {
		begin := time.Now()
		scale(2)
		w.Await(b, 30*time.Second, "second instance", func() error {
			out, err := w.Command(context.Background(), "sh", "-c", "for i in 1 2 3 4; do curl -sk -m 2 https://bin.apps.ingot.test/; done").Output()
			if err == nil && !strings.Contains(string(out), "instance 1") {
				err = fmt.Errorf("answers: %s", out)
			}
			return err
		})
		sum += time.Since(begin)
		b.StopTimer()
		scale(1)
		w.Await(b, 30*time.Second, "one instance", func() error {
			out, err := w.Command(context.Background(), "cf", "curl", "/v3/apps/"+guid+"/processes/web/stats").Output()
			if err == nil && strings.Contains(string(out), `"index":1`) {
				err = fmt.Errorf("still two")
			}
			return err
		})
		b.StartTimer()
	}
	b.ReportMetric(sum.Seconds()/float64(b.N), "s/scale-out")
}
