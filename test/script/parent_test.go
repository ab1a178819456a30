package script

import (
	"encoding/json"
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

// TestParent: while the worker is killed and while the binary is swapped, no connection is refused, and each one that
// begins then is answered well within 3 s.
func TestParent(t *testing.T) {
	need.World(t, "runs ingot, containers and cf")
	w := world.New(t)
	installed := filepath.Join(w.Dir, "installed", "ingot")
	w.Run(t, "mkdir", filepath.Dir(installed))
	w.Run(t, "cp", w.Ingot(), installed)
	w.Binary = installed
	app := start(t, w)
	if out, err := push(t.Context(), w, "steady", app).CombinedOutput(); err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
	t.Run("the worker is killed", func(t *testing.T) {
		for range 3 {
			before := w.Worker(t)
			visit(t, w, true, func() { w.Run(t, "kill", "-9", fmt.Sprint(before)) })
			if now := w.Worker(t); now == before {
				t.Errorf("worker %d still runs", now)
			}
		}
	})
	next := build(t, w, "next")
	t.Run("upgrade", func(t *testing.T) {
		pid, err := w.PID()
		if err != nil {
			t.Fatal(err)
		}
		visit(t, w, false, func() { w.Run(t, next, "--data", w.Data, "upgrade") })
		if now, err := w.PID(); now != pid || err != nil {
			t.Errorf("the parent was %d and is %d: %v", pid, now, err)
		}
		if got := w.Run(t, installed, "version"); !strings.Contains(got, "next") {
			t.Errorf("installed is %s", got)
		}
	})
	t.Run("upgrade to one that does not start", func(t *testing.T) {
		broken := build(t, w, "broken", "diego/cell/bin/lifecycle")
		out, err := w.Command(t.Context(), broken, "--data", w.Data, "upgrade", "--wait", "2s").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "next is back") {
			t.Errorf("%v: %s", err, out)
		}
		if got := w.Run(t, installed, "--data", w.Data, "status"); !strings.Contains(got, "ingot next") {
			t.Errorf("status %s", got)
		}
	})
	t.Run("upgrade to what is no program", func(t *testing.T) {
		before := w.Worker(t)
		if err := os.Rename(installed, installed+".aside"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(installed, []byte("no program"), 0o755); err != nil {
			t.Fatal(err)
		}
		pid, err := w.PID()
		if err != nil {
			t.Fatal(err)
		}
		w.Run(t, "kill", "-USR2", fmt.Sprint(pid))
		w.Await(t, time.Minute, "another worker of the old binary", func() error {
			out, err := w.Command(t.Context(), next, "--data", w.Data, "status", "--json").Output()
			var s struct {
				Ready  bool
				Worker int
			}
			if err == nil {
				err = json.Unmarshal(out, &s)
			}
			if err == nil && (!s.Ready || s.Worker == before) {
				err = fmt.Errorf("%s", out)
			}
			return err
		})
		if err := os.Rename(installed+".aside", installed); err != nil {
			t.Fatal(err)
		}
	})
	if got := w.Run(t, "curl", "-sk", "https://steady.apps.ingot.test/"); !strings.Contains(got, "instance 0") {
		t.Errorf("answer %q", got)
	}
	if strings.Contains(w.Log(), "is lost") {
		t.Errorf("output of the app was lost:\n%s", w.Log())
	}
	w.Run(t, installed, "--data", w.Data, "down")
	if _, err := os.Stat(fmt.Sprintf("/run/ingot/%s", w.Data)); err == nil {
		t.Error("sockets are left")
	}
}

// visit opens 20 new connections a second for 4 s, does what is to be survived in their midst, and wants each answered. Only
// what a killed worker had in its hands may be lost: connections that began before it was dead, and were taken.
func visit(t *testing.T, w *world.World, kills bool, during func()) {
	t.Helper()
	const one = `(at=$(date +%s%N); curl -sk -o /dev/null --max-time 3 -w "$at %{http_code} %{errormsg}\n" https://steady.apps.ingot.test/)`
	done := make(chan string)
	c := w.Command(t.Context(), "bash", "-c", one+`; for i in $(seq 80); do `+one+` & sleep .05; done; wait`)
	out := &strings.Builder{}
	c.Stdout = out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = c.Wait() // the lines tell
		done <- out.String()
	}()
	time.Sleep(500 * time.Millisecond) // in the midst of them
	during()
	end := time.Now().UnixNano()
	lines := strings.Split(strings.TrimSpace(<-done), "\n")
	bad := 0
	for _, l := range lines {
		var at int64
		var code int
		if n, err := fmt.Sscan(l, &at, &code); n != 2 {
			t.Fatalf("%q: %v", l, err)
		}
		lost := kills && code == 0 && at < end && !strings.Contains(l, "refused")
		if lost {
			t.Logf("in the worker's hands: %s", l)
		} else if code != 200 {
			bad++
			t.Log(l)
		}
	}
	if bad > 0 || len(lines) != 81 {
		t.Errorf("%d of %d were not answered", bad, len(lines))
	}
}

// build builds another version of the binary under test, without some of the helpers that it carries.
func build(t *testing.T, w *world.World, version string, without ...string) string {
	t.Helper()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for _, f := range without {
		overlay.Replace[filepath.Join(w.Root, f)] = ""
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	file, out := filepath.Join(w.Dir, version+".json"), filepath.Join(w.Dir, "ingot-"+version)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("go", "build", "-trimpath", "-overlay", file, "-ldflags", "-s -w -X ingot/role.Version="+version, "-o", out, ".")
	c.Dir, c.Env = w.Root, append(os.Environ(), "CGO_ENABLED=0")
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", version, err, text)
	}
	return out
}
