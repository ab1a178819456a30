package script

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"ingot/kit/need"
	"ingot/test/world"
)

// steps of a push that wait at the gate (docs/push.md).
var steps = []string{"package stored", "staging running", "droplet stored", "LRP desired"}

// TestKillAtEachStep pushes, ends Ingot with SIGKILL when it waits at a step, starts it again, and pushes again.
func TestKillAtEachStep(t *testing.T) {
	need.World(t, "runs ingot, containers and cf")
	w, app := loggedIn(t)
	for i, step := range steps {
		t.Run(step, func(t *testing.T) {
			name := fmt.Sprintf("app%d", i)
			w.Kill(t)
			gate := startGated(t, w)
			pushed := make(chan error, 1)
			go func() { pushed <- push(t.Context(), w, name, app).Run() }()
			gate.passUntil(t, step)
			w.Kill(t)
			gate.close()
			if err := <-pushed; err == nil {
				t.Error("the push succeeded although ingot was killed in it")
			}
			w.Up(t)
			if out := w.Run(t, "cf", "app", name); !strings.Contains(out, name) { // it was acknowledged
				t.Errorf("cf app: %s", out)
			}
			w.Await(t, time.Minute, "everything in a final state", func() error { return unfinished(t, w) })
			if out, err := push(t.Context(), w, name, app).CombinedOutput(); err != nil {
				t.Fatalf("the same push again: %v\n%s", err, out)
			}
			if got := w.Run(t, "curl", "-sk", "https://"+name+".apps.ingot.test/"); !strings.Contains(got, "instance 0") {
				t.Errorf("answer %q", got)
			}
			w.Run(t, "cf", "delete", "-f", "-r", name)
		})
	}
}

// TestAppsSurviveKill ends and restarts Ingot under running apps: they keep their containers and instance guids.
func TestAppsSurviveKill(t *testing.T) {
	need.World(t, "runs ingot, containers and cf")
	w, app := loggedIn(t)
	if out, err := push(t.Context(), w, "stay", app, "-i", "2").CombinedOutput(); err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
	guid := strings.TrimSpace(w.Run(t, "cf", "app", "stay", "--guid"))
	selves := func() (string, error) {
		var all []string
		for i := range 2 {
			c := w.Command(t.Context(), "curl", "-skf", "-H", fmt.Sprintf("X-Cf-App-Instance: %s:%d", guid, i), "https://stay.apps.ingot.test/instance")
			out, err := c.Output()
			if err != nil {
				return "", fmt.Errorf("instance %d: %w", i, err)
			}
			all = append(all, string(out))
		}
		return strings.Join(all, " "), nil
	}
	var before string
	w.Await(t, 30*time.Second, "both instances", func() (err error) { before, err = selves(); return err })
	for range 3 {
		w.Kill(t)
		w.Up(t)
		var after string
		w.Await(t, 10*time.Second, "both instances again", func() (err error) { after, err = selves(); return err })
		if after != before {
			t.Fatalf("before %s, after %s", before, after)
		}
	}
}

// loggedIn is a world with an Ingot in it, the admin logged in, and a folder with the built example.
func loggedIn(t *testing.T) (*world.World, string) {
	t.Helper()
	w := world.New(t)
	return w, start(t, w)
}

// start starts Ingot in w and logs the admin in; it returns a folder with the built example.
func start(t *testing.T, w *world.World) string {
	t.Helper()
	app := buildExample(t, w)
	w.Up(t)
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

// unfinished names the builds, packages and droplets in a state that must pass.
func unfinished(t *testing.T, w *world.World) error {
	for _, path := range []string{"/v3/builds?states=STAGING", "/v3/packages?states=PROCESSING_UPLOAD", "/v3/droplets?states=PROCESSING_UPLOAD"} {
		out, err := w.Command(t.Context(), "cf", "curl", "-f", path).Output()
		if err != nil {
			return err
		}
		var list struct {
			Pagination struct {
				Total int `json:"total_results"`
			}
		}
		if err := json.Unmarshal(out, &list); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if list.Pagination.Total > 0 {
			return fmt.Errorf("%d of %s", list.Pagination.Total, path)
		}
	}
	return nil
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

// passUntil lets every step go on until step is reached, which then waits.
func (g *gate) passUntil(t *testing.T, step string) {
	t.Helper()
	if err := g.conn.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	for {
		line, err := g.lines.ReadString('\n')
		if err != nil {
			t.Fatalf("waiting for step %q: %v", step, err)
		}
		if strings.TrimSpace(line) == step {
			return
		}
		if _, err := g.conn.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
	}
}

func (g *gate) close() { _ = g.conn.Close() }
