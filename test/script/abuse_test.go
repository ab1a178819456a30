package script

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ingot/kit/need"
	"ingot/test/world"
)

// abused is a platform under abuse: an app, neighbour, that is asked all the time.
type abused struct {
	*world.World
	app   string // folder with the program liar
	probe *probe
	calm  time.Duration // median answer of the neighbour while nothing happens
}

// TestAbuse lets apps, buildpacks, archives and clients do harm, one after the other, beside an app that must not notice.
func TestAbuse(t *testing.T) {
	need.World(t, "runs ingot, containers and cf")
	w := &abused{World: world.New(t)}
	// The store is on a disk of its own, which can be filled.
	w.Run(t, "sh", "-c", "mkdir -p "+w.Data+"/db && mount -t tmpfs -o size=64m,mode=700 db "+w.Data+"/db")
	w.app = start(t, w.World, "--staging-timeout", "12s")
	buildBeside(t, "liar", w.app)
	w.Run(t, "cf", "push", "neighbour", "-p", w.app, "-b", "binary_buildpack", "-c", "./liar", "-m", "32M")
	w.probe = startProbe(t, w.World)
	w.calm = w.during(t, func() { time.Sleep(2 * time.Second) })
	t.Logf("calm: %s", w.calm)
	type abuse struct {
		name string
		do   func(w *abused, t *testing.T)
	}
	before, disk := w.memory(t), w.used(t)
	w.suffers(t, "together", func(t *testing.T) {
		for i, chain := range [][]abuse{ // no more stagings at once than a small disk has room for
			{{"buildpacks", (*abused).buildpacks}},
			{{"archives", (*abused).archives}, {"liars", (*abused).liars}, {"pushes at once", (*abused).pushes}, {"deletions", (*abused).deletions}},
			{{"names", (*abused).names}, {"droplets", (*abused).droplets}},
		} {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for _, a := range chain {
					t.Run(a.name, func(t *testing.T) { a.do(w, t) })
				}
			})
		}
	})
	w.tidy(t)
	memory, grown := w.memory(t)>>20, (w.used(t)-disk)>>20
	t.Logf("at most %d MB of memory, before %d; disk grew by %d MB", memory, before>>20, grown)
	if memory > before>>20+400 || grown > 500 { // of those, 200 are the default buildpacks that the cell has got
		t.Errorf("at most %d MB of memory, before %d; disk grew by %d MB", memory, before>>20, grown)
	}
	for _, a := range []abuse{
		{"scales at once", (*abused).scales}, {"crashes", (*abused).crashes}, {"locked stores", (*abused).locked}, {"full store", (*abused).full},
	} {
		w.suffers(t, a.name, func(t *testing.T) { a.do(w, t) })
	}
	w.tidy(t)
}

// suffers runs an abuse, or a group of them, and compares the neighbour's answers with those when calm.
func (w *abused) suffers(t *testing.T, name string, do func(t *testing.T)) {
	t.Helper()
	began := time.Now()
	now := w.during(t, func() { t.Run(name, do) })
	t.Logf("%s: neighbour answers in %s, %.2f of calm; took %s", name, now, float64(now)/float64(w.calm), time.Since(began).Round(time.Millisecond))
	if now > 2*w.calm+5*time.Millisecond { // the machine may have other work
		t.Errorf("%s: neighbour answers in %s, when calm in %s", name, now, w.calm)
	}
}

// buildBeside builds the program of a folder beside this one into dir.
func buildBeside(t *testing.T, name, dir string) {
	t.Helper()
	c := exec.Command("go", "build", "-o", filepath.Join(dir, name), "./"+name)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
}

// probe asks the neighbour all the time.
type probe struct {
	mu    sync.Mutex
	times []time.Duration
	bad   []string
}

func startProbe(t *testing.T, w *world.World) *probe {
	t.Helper()
	p := &probe{}
	ctx, cancel := context.WithCancel(context.Background())
	c := w.Command(ctx, filepath.Join(w.Dir, "app", "liar"), "probe", "127.0.0.1:443", "neighbour.apps.ingot.test")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = c.Wait() })
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			ms, err := strconv.ParseFloat(lines.Text(), 64)
			p.mu.Lock()
			if err != nil {
				p.bad = append(p.bad, lines.Text())
			} else {
				p.times = append(p.times, time.Duration(ms*1e6))
			}
			p.mu.Unlock()
		}
	}()
	return p
}

// during gives the neighbour's median answer while do runs. All answers must be good.
func (w *abused) during(t *testing.T, do func()) time.Duration {
	t.Helper()
	p := w.probe
	p.mu.Lock()
	p.times, p.bad = nil, nil
	p.mu.Unlock()
	do()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.bad) > 0 || len(p.times) == 0 {
		t.Fatalf("neighbour: %d answers, %d bad: %q", len(p.times), len(p.bad), p.bad[:min(len(p.bad), 5)])
	}
	slices.Sort(p.times)
	return p.times[len(p.times)/2]
}

// cf runs cf, whatever comes of it.
func (w *abused) cf(t *testing.T, args ...string) (string, error) {
	out, err := w.Command(t.Context(), "cf", args...).CombinedOutput()
	return string(out), err
}

// refused runs cf, which must fail with these words.
func (w *abused) refused(t *testing.T, words []string, args ...string) {
	t.Helper()
	out, err := w.cf(t, args...)
	if err == nil {
		t.Errorf("cf %q succeeded:\n%s", args, out[max(0, len(out)-1000):])
	}
	for _, word := range words {
		if !strings.Contains(out, word) {
			t.Errorf("cf %q does not say %q:\n%s", args, word, out[max(0, len(out)-1000):])
		}
	}
}

// curl asks the API as the admin, and gives status and document.
func (w *abused) curl(t *testing.T, method, path, body string) (status int, document string) {
	t.Helper()
	args := []string{"curl", "-i", "-X", method, path}
	if body != "" {
		args = append(args, "-d", body)
	}
	out, err := w.Command(t.Context(), "cf", args...).Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", method, path, err, out)
	}
	head, document, _ := strings.Cut(strings.ReplaceAll(string(out), "\r", ""), "\n\n")
	if _, err := fmt.Sscanf(head, "HTTP/1.1 %d", &status); err != nil {
		t.Fatalf("%s %s: %v\n%s", method, path, err, out)
	}
	return status, document
}

// leftovers names what stagings that ended left on the machine.
func (w *abused) leftovers(t *testing.T) error {
	if err := unfinished(t, w.World); err != nil {
		return err
	}
	for _, dir := range []string{w.Data + "/cell/tasks", w.Data + "/blobs/.uploads"} {
		in, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			return err
		}
		if len(in) > 0 {
			return fmt.Errorf("%s holds %s", dir, in[0].Name())
		}
	}
	return nil
}

// tidy awaits that nothing of what ended is left on the machine.
func (w *abused) tidy(t *testing.T) {
	t.Helper()
	w.Await(t, time.Minute, "nothing left behind", func() error { return w.leftovers(t) })
}
