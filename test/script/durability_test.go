package script

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ingot/kit/need"
	"ingot/test/world"
)

// steps of a push that wait at the gate, in their order (docs/push.md), and what each leaves in the API for good: the
// path of a list that is not empty, for the guid of the app.
var steps = []struct{ name, kept string }{
	{"app created", "/v3/apps?guids="},
	{"manifest applied", "/v3/processes?types=web&app_guids="},
	{"package created", "/v3/packages?states=AWAITING_UPLOAD&app_guids="},
	{"bits uploaded", "/v3/packages?states=AWAITING_UPLOAD&app_guids="},
	{"package stored", "/v3/packages?states=READY&app_guids="},
	{"build created", "/v3/builds?states=STAGED,FAILED&app_guids="},
	{"staging placed", "/v3/builds?states=STAGED,FAILED&app_guids="},
	{"buildpacks fetched", "/v3/builds?states=STAGED,FAILED&app_guids="},
	{"build container started", "/v3/builds?states=STAGED,FAILED&app_guids="},
	{"droplet uploaded", "/v3/builds?states=STAGED,FAILED&app_guids="},
	{"droplet stored", "/v3/droplets?states=STAGED&app_guids="},
	{"droplet set", "/v3/droplets?states=STAGED&app_guids="},
	{"LRP desired", "/v3/processes?types=web&app_guids="},
	{"instance placed", "/v3/processes?types=web&app_guids="},
	{"container started", "/v3/processes?types=web&app_guids="},
	{"route live", "/v3/processes?types=web&app_guids="},
}

// runs is the first of the steps after which the app comes up without another push.
const runs = 12

// TestDurability kills Ingot with SIGKILL at each step of a push and under running apps, and starts it again.
func TestDurability(t *testing.T) {
	need.World(t, "runs ingot, containers and cf")
	t.Parallel()
	w := world.New(t)
	app := start(t, w)
	w.Kill(t)
	t.Run("steps in order", func(t *testing.T) {
		gate := startGated(t, w)
		defer gate.close()
		seen := gate.passAll()
		if out, err := push(t.Context(), w, "stay", app, "-i", "2").CombinedOutput(); err != nil {
			t.Fatalf("push: %v\n%s", err, out)
		}
		w.Kill(t)
		var want []string
		for _, s := range steps {
			want = append(want, s.name)
		}
		if got := <-seen; !slices.Equal(got, want) {
			t.Errorf("steps %q, want %q", got, want)
		}
	})
	for i, step := range steps {
		t.Run(step.name, func(t *testing.T) { killAt(t, w, i, step.kept, fmt.Sprintf("app%d", i), app) })
	}
	t.Run("running apps", func(t *testing.T) { appsSurvive(t, w, "stay") })
}

// killAt pushes, ends Ingot when it waits at a step, starts it again, and pushes again.
func killAt(t *testing.T, w *world.World, step int, kept, name, app string) {
	gate := startGated(t, w)
	pushed := make(chan error, 1)
	go func() { pushed <- push(t.Context(), w, name, app).Run() }()
	gate.passUntil(t, steps[step].name)
	w.Kill(t)
	gate.close()
	if err := <-pushed; err == nil {
		t.Error("the push succeeded although ingot was killed in it")
	}
	w.Up(t)
	guid := strings.TrimSpace(w.Run(t, "cf", "app", name, "--guid"))
	w.Await(t, time.Minute, "everything in a final state", func() error { return unfinished(t, w) })
	if n, err := count(t, w, kept+guid); err != nil || n == 0 {
		t.Errorf("%s has %d: %v", kept, n, err)
	}
	url := "https://" + name + ".apps.ingot.test/"
	if step >= runs {
		w.Await(t, time.Minute, "the app without another push", func() error { return w.Command(t.Context(), "curl", "-skf", url).Run() })
	}
	if out, err := push(t.Context(), w, name, app).CombinedOutput(); err != nil {
		t.Fatalf("the same push again: %v\n%s", err, out)
	}
	if got := w.Run(t, "curl", "-sk", url); !strings.Contains(got, "instance 0") {
		t.Errorf("answer %q", got)
	}
	w.Run(t, "cf", "delete", "-f", "-r", name)
	w.Kill(t)
}

// appsSurvive ends and restarts Ingot under an app of two instances: they keep their containers and instance guids.
func appsSurvive(t *testing.T, w *world.World, name string) {
	w.Up(t)
	guid := strings.TrimSpace(w.Run(t, "cf", "app", name, "--guid"))
	selves := func() (string, error) {
		var all []string
		for i := range 2 {
			c := w.Command(t.Context(), "curl", "-skf", "-H", fmt.Sprintf("X-Cf-App-Instance: %s:%d", guid, i), "https://"+name+".apps.ingot.test/instance")
			out, err := c.Output()
			if err != nil {
				return "", fmt.Errorf("instance %d: %w", i, err)
			}
			all = append(all, string(out))
		}
		return strings.Join(all, " "), nil
	}
	var before string
	w.Await(t, time.Minute, "both instances", func() (err error) { before, err = selves(); return err })
	for range 3 {
		w.Kill(t)
		w.Up(t)
		var after string
		w.Await(t, time.Minute, "both instances again", func() (err error) { after, err = selves(); return err })
		if after != before {
			t.Fatalf("before %s, after %s", before, after)
		}
		if n, err := count(t, w, "/v3/audit_events?types=audit.app.process.crash&target_guids="+guid); err != nil || n != 0 {
			t.Errorf("%d crashes: %v", n, err)
		}
	}
}

// start starts Ingot in w and logs the admin in; it returns a folder with the built example.
func start(t *testing.T, w *world.World, args ...string) string {
	t.Helper()
	app := buildExample(t, w)
	w.Up(t, args...)
	cred := w.Credentials(t)
	for _, args := range [][]string{{"api", cred.API, "--skip-ssl-validation"}, {"auth", cred.Username, cred.Password}, {"create-org", "o"}, {"create-space", "s", "-o", "o"}, {"target", "-o", "o", "-s", "s"}} {
		w.Run(t, "cf", args...)
	}
	dir := w.Dir + "/app"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(app, dir+"/app"); err != nil {
		t.Fatal(err)
	}
	return dir
}

func push(ctx context.Context, w *world.World, name, dir string, more ...string) *exec.Cmd {
	return w.Command(ctx, "cf", append([]string{"push", name, "-p", dir, "-b", "binary_buildpack", "-c", "./app", "-m", "64M"}, more...)...)
}

// unfinished names what is in a state that must pass: in the API, and the jobs and tasks behind it.
func unfinished(t *testing.T, w *world.World) error {
	t.Helper()
	for _, path := range []string{"/v3/builds?states=STAGING", "/v3/packages?states=PROCESSING_UPLOAD,COPYING", "/v3/droplets?states=PROCESSING_UPLOAD,COPYING"} {
		if n, err := count(t, w, path); err != nil || n > 0 {
			return fmt.Errorf("%d of %s: %w", n, path, err)
		}
	}
	for db, query := range map[string]string{
		"cc":  "SELECT operation, state FROM rest_jobs WHERE state NOT IN ('COMPLETE', 'FAILED')",
		"bbs": "SELECT guid, state FROM bbs_task WHERE NOT (state = 'COMPLETED' AND told) UNION SELECT guid, 'to stop' FROM bbs_stop UNION SELECT instance, state FROM bbs_actual WHERE state <> 'RUNNING'",
	} {
		if out := w.Run(t, "sqlite3", "-readonly", w.Data+"/db/"+db+".db", query); out != "" {
			return fmt.Errorf("%s: %s", db, out)
		}
	}
	return nil
}

// count is the total of a list in the API.
func count(t *testing.T, w *world.World, path string) (int, error) {
	t.Helper()
	out, err := w.Command(t.Context(), "cf", "curl", "-f", path).Output()
	if err != nil {
		return 0, err
	}
	var list struct {
		Pagination struct {
			Total int `json:"total_results"`
		}
	}
	if err := json.Unmarshal(out, &list); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return list.Pagination.Total, nil
}

// gate is the test's end of a step gate.
type gate struct {
	conn  net.Conn
	lines *bufio.Reader
}

// startGated starts Ingot with a gate and opens it for every step until it is ready.
func startGated(t *testing.T, w *world.World) *gate {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "gate")
	mine := os.NewFile(uintptr(fds[0]), "gate")
	conn, err := net.FileConn(mine)
	if err != nil {
		t.Fatal(err)
	}
	_ = mine.Close()
	w.Start(t, []*os.File{theirs}, "--trace-fd", "3")
	_ = theirs.Close()
	w.AwaitReady(t)
	return &gate{conn, bufio.NewReader(conn)}
}

// passUntil lets every step go on until step of the push is reached, which then waits. Steps before the push's first are
// of apps that run since before.
func (g *gate) passUntil(t *testing.T, step string) {
	t.Helper()
	if err := g.conn.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	before := slices.ContainsFunc(steps, func(s struct{ name, kept string }) bool { return s.name == step })
	for began := !before; ; {
		line, err := g.lines.ReadString('\n')
		if err != nil {
			t.Fatalf("waiting for step %q: %v", step, err)
		}
		name := strings.TrimSpace(line)
		if began = began || name == steps[0].name; began && name == step {
			return
		}
		if _, err := g.conn.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
	}
}

// passAll lets every step go on, and gives their names, each once, when Ingot has ended.
func (g *gate) passAll() <-chan []string {
	names := make(chan []string, 1)
	go func() {
		var seen []string
		for {
			line, err := g.lines.ReadString('\n')
			if err != nil {
				names <- seen
				return
			}
			if name := strings.TrimSpace(line); !slices.Contains(seen, name) { // two instances
				seen = append(seen, name)
			}
			_, _ = g.conn.Write([]byte{1}) // the next read tells when nobody listens any more
		}
	}()
	return names
}

func (g *gate) close() { _ = g.conn.Close() }
