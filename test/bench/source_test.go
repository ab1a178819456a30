package bench

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"ingot/test/world"
)

// sources measures apps that are staged from source.
func sources(b *testing.B, w *world.World) {
	w.Run(b, "cf", "set-staging-environment-variable-group", fmt.Sprintf(`{"http_proxy":%q,"https_proxy":%[1]q}`, w.Proxy))
	for _, name := range []string{"node-express", "ruby-rack"} {
		w.Run(b, "cp", "-r", filepath.Join(w.Root, "examples", name), w.Dir)
	}
	if out, err := exec.Command(filepath.Join(w.Dir, "ruby-rack", "vendor.sh")).CombinedOutput(); err != nil { // outside: it asks Debian
		b.Fatalf("vendor.sh: %v\n%s", err, out)
	}
	b.Run("Express", func(b *testing.B) { again(b, w, "node-express") })
	b.Run("Ruby", func(b *testing.B) { again(b, w, "ruby-rack") })
	b.Run("Rolling", func(b *testing.B) { rolling(b, w) })
	b.Run("Fifty", func(b *testing.B) { fifty(b, w) })
}

// again is `cf push` of an unchanged example by its manifest, once it was pushed.
func again(b *testing.B, w *world.World, example string) {
	manifest := filepath.Join(w.Dir, example, "manifest.yml")
	w.Run(b, "cf", "push", "-f", manifest)
	var took []float64
	for b.Loop() {
		begin := time.Now()
		w.Run(b, "cf", "push", "-f", manifest)
		took = append(took, time.Since(begin).Seconds())
	}
	report(b, took, "s/push")
}

// rolling is `cf restart --strategy rolling` of three instances, with all that the CLI waits for.
func rolling(b *testing.B, w *world.World) {
	w.Run(b, "cf", "scale", "bin", "-i", "3")
	var took []float64
	for b.Loop() {
		begin := time.Now()
		w.Run(b, "cf", "restart", "bin", "--strategy", "rolling")
		took = append(took, time.Since(begin).Seconds())
	}
	report(b, took, "s/restart")
	w.Run(b, "cf", "scale", "bin", "-i", "1")
}

// fifty is the time in which four users push the Express example from source as fifty apps, and what Ingot then uses. It is
// taken once, however many rounds the others have.
func fifty(b *testing.B, w *world.World) {
	took := 0.0
	for b.Loop() {
		if took == 0 {
			begin := time.Now()
			pushAll(b, w)
			took = time.Since(begin).Seconds()
		}
	}
	for i := range apps {
		w.Run(b, "curl", "-skf", "-o", "/dev/null", fmt.Sprintf("https://express%d.apps.ingot.test/", i))
	}
	b.ReportMetric(took, "s/50-apps")
	idle(b, w)
	b.ReportMetric(0, "ns/op")
}

const apps, users = 50, 4

func pushAll(b *testing.B, w *world.World) {
	names := make(chan string)
	var all sync.WaitGroup
	for u := range users {
		home := filepath.Join(w.Dir, fmt.Sprint("user", u)) // a session of their own
		w.Run(b, "mkdir", "-p", home)
		w.Run(b, "cp", "-r", filepath.Join(w.Dir, ".cf"), home)
		all.Go(func() {
			for name := range names {
				c := w.Command(b.Context(), "cf", "push", name, "-f", filepath.Join(w.Dir, "node-express", "manifest.yml"))
				c.Env = append(c.Env, "CF_HOME="+home)
				if out, err := c.CombinedOutput(); err != nil {
					b.Errorf("push %s: %v\n%s", name, err, out)
				}
			}
		})
	}
	for i := range apps {
		names <- fmt.Sprint("express", i)
	}
	close(names)
	all.Wait()
}
