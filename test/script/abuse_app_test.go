package script

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What the client says of a staging that ended badly.
const (
	noApp     = "NoAppDetectedError - An app was not successfully detected by any available buildpack"
	noCompile = "BuildpackCompileFailed - App staging failed in the buildpack compile phase"
	noRelease = "BuildpackReleaseFailed - App staging failed in the buildpack release phase"
	noTime    = "StagingTimeExpired - Staging time expired: exceeded 12s timeout"
	flood     = "yes 'a flood' | head -c 20000000; exit 1"
	hang      = "trap '' TERM; sleep 1000 & sleep 1000"
)

// buildpacks fail, hang and flood in each phase: the push ends with 1 and CF's words.
func (w *abused) buildpacks(t *testing.T) {
	cases := []struct {
		name    string
		scripts map[string]string
		words   string
	}{
		{"supply-fails", map[string]string{"supply": "exit 9", "finalize": ":"}, noCompile},
		{"supply-hangs", map[string]string{"supply": hang, "finalize": ":"}, noTime},
		{"supply-floods", map[string]string{"supply": flood, "finalize": ":"}, noCompile},
		{"finalize-fails", map[string]string{"supply": ":", "finalize": "exit 9"}, noCompile},
		{"finalize-hangs", map[string]string{"supply": ":", "finalize": hang}, noTime},
		{"finalize-floods", map[string]string{"supply": ":", "finalize": flood}, noCompile},
		{"compile-fails", map[string]string{"compile": "exit 9"}, noCompile},
		{"compile-hangs", map[string]string{"compile": hang}, noTime},
		{"compile-floods", map[string]string{"compile": flood}, noCompile},
		{"release-fails", map[string]string{"release": "exit 9"}, noRelease},
		{"release-hangs", map[string]string{"release": hang}, noTime},
		{"release-floods", map[string]string{"release": "yes -- '- {' | head -c 50000000"}, noRelease},
	}
	few := make(chan bool, 2) // stagings at once: each has a GB of memory and four of disk
	atOnce(len(cases)+1, func(i int) {
		if i == len(cases) {
			w.detectors(t)
			return
		}
		few <- true
		defer func() { <-few }()
		c := cases[i]
		name := strings.ReplaceAll(c.name, "-", "_")
		pack(t, w, name, "99", c.scripts)
		w.refused(t, []string{c.words, "FAILED"}, "push", c.name, "-p", w.app, "-m", "32M", "-k", "64M", "-b", name)
		w.Run(t, "cf", "delete", "-f", c.name)
		w.Run(t, "cf", "delete-buildpack", "-f", name)
	})
}

// detectors are asked of apps that name no buildpack only.
func (w *abused) detectors(t *testing.T) {
	pack(t, w, "detect_fails", "1", map[string]string{"detect": "exit 9"})
	pack(t, w, "detect_floods", "1", map[string]string{"detect": flood})
	w.refused(t, []string{noApp, "FAILED"}, "push", "detects", "-p", w.app, "-m", "32M", "-k", "64M")
	pack(t, w, "detect_hangs", "1", map[string]string{"detect": hang})
	w.refused(t, []string{noTime, "FAILED"}, "push", "detects", "-p", w.app, "-m", "32M", "-k", "64M")
	w.Run(t, "cf", "delete", "-f", "detects")
	for _, name := range []string{"detect_fails", "detect_floods", "detect_hangs"} {
		w.Run(t, "cf", "delete-buildpack", "-f", name)
	}
}

// pack makes a buildpack of scripts; the ones that are not named do well.
func pack(t *testing.T, w *abused, name, position string, scripts map[string]string) {
	t.Helper()
	dir := filepath.Join(w.Dir, name)
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"detect": "exit 1", "compile": ":", "release": "echo '--- {default_process_types: {web: ./app}}'"}
	if scripts["finalize"] != "" {
		delete(all, "compile")
	}
	for script, text := range scripts {
		all[script] = text
	}
	for script, text := range all {
		if err := os.WriteFile(filepath.Join(dir, "bin", script), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := w.cf(t, "create-buildpack", name, dir, position); err != nil {
		t.Errorf("create buildpack %s: %s", name, out)
	}
}

// liars are apps whose answers are none.
func (w *abused) liars(t *testing.T) {
	w.Run(t, "cf", "push", "liar", "-p", w.app, "-b", "binary_buildpack", "-c", "./liar", "-m", "32M", "-k", "64M")
	const failed = "502 Bad Gateway: Registered endpoint failed to handle the request.\n"
	for _, c := range []struct{ path, status, reason, body string }{
		{"/closes", "502", "endpoint_failure", failed},
		{"/garbage", "502", "endpoint_failure", failed},
		{"/half", "502", "endpoint_failure", failed},
		{"/lengths", "502", "endpoint_failure", failed},
		{"/status", "502", "endpoint_failure", failed},
		{"/headers", "502", "endpoint_failure", failed},
		{"/continue", "502", "endpoint_failure", failed},
		{"/smuggle", "200", "", "ok\n"},
		{"/ok", "200", "", "ok\n"}, // what was behind the last answer is not this one
	} {
		out := w.Run(t, "curl", "-skD-", "--max-time", "10", "https://liar.apps.ingot.test"+c.path)
		head, body, _ := strings.Cut(strings.ReplaceAll(out, "\r", ""), "\n\n")
		for strings.HasPrefix(head, "HTTP/2 100") || strings.HasPrefix(head, "HTTP/1.1 100") {
			head, body, _ = strings.Cut(body, "\n\n")
		}
		var reason string
		for line := range strings.Lines(head) {
			if name, value, _ := strings.Cut(strings.TrimSpace(line), ": "); strings.EqualFold(name, "x-cf-routererror") {
				reason = value
			}
		}
		if fields := strings.Fields(head); len(fields) < 2 || fields[1] != c.status || !strings.HasPrefix(reason, c.reason) || reason != "" && c.reason == "" || body != c.body {
			t.Errorf("%s: %.300q, %.300q", c.path, head, body)
		}
	}
	for _, path := range []string{"/short", "/chunks"} { // what has begun as good can only be cut off
		if out, err := w.Command(t.Context(), "curl", "-sk", "--max-time", "10", "https://liar.apps.ingot.test"+path).CombinedOutput(); err == nil {
			t.Errorf("%s looks whole: %q", path, out)
		}
	}
	// one that never answers is left alone when its client is
	atOnce(20, func(int) {
		_ = w.Command(t.Context(), "curl", "-sk", "--max-time", "2", "https://liar.apps.ingot.test/never").Run()
	})
	w.Await(t, time.Minute, "all left alone", func() error {
		out, err := w.cf(t, "logs", "liar", "--recent")
		if n, of := strings.Count(out, "left alone on /never"), strings.Count(out, "asked for /never"); err == nil && (n == 0 || n != of) {
			err = fmt.Errorf("%d of %d", n, of)
		}
		return err
	})
	w.Run(t, "cf", "delete", "-f", "-r", "liar")
}

// droplets whose files take no room until they are unpacked: the app does not run, and the disk stays.
func (w *abused) droplets(t *testing.T) {
	pack(t, w, "sparse", "99", map[string]string{"compile": `truncate -s 256M "$1/zeros"`})
	w.refused(t, []string{"Start unsuccessful"}, "push", "sparse", "-p", w.app, "-m", "32M", "-k", "64M", "-b", "sparse")
	if out := w.Run(t, "cf", "events", "sparse"); !strings.Contains(out, "the archive unpacks to too many bytes") {
		t.Error(out)
	}
	if out := w.Run(t, "find", w.Data, "-name", "zeros"); out != "" {
		t.Errorf("left: %s", out)
	}
	w.Run(t, "cf", "delete", "-f", "-r", "sparse")
	w.Run(t, "cf", "delete-buildpack", "-f", "sparse")
}

// strange are names that somebody may send.
var strange = []string{"ünïcode", "emoji😀", "مرحبا", "e\u0301x", "a/b", "dots..x", "..", "sp ace", "q'uote", `dq"x`, "$(touch /tmp/canary)", "`touch /tmp/canary`;&|",
	"'; DROP TABLE app_apps; --", "%s%n", strings.Repeat("a", 255), strings.Repeat("é", 255)}

// names of every kind are taken whole or refused in CF's words; nothing in them is a command or a path.
func (w *abused) names(t *testing.T) {
	space := strings.TrimSpace(w.Run(t, "cf", "space", "s", "--guid"))
	quoted := func(s string) string { return fmt.Sprintf("%q", s) }
	atOnce(len(strange), func(i int) {
		name := strange[i]
		app := w.create(t, "/v3/apps", `{"name":`+quoted(name)+`,"relationships":{"space":{"data":{"guid":"`+space+`"}}},"environment_variables":{"X":`+quoted(name)+`}}`)
		org := w.create(t, "/v3/organizations", `{"name":`+quoted(name)+`}`)
		of := w.create(t, "/v3/spaces", `{"name":`+quoted(name)+`,"relationships":{"organization":{"data":{"guid":"`+org+`"}}}}`)
		if got := strings.TrimSpace(w.Run(t, "cf", "app", name, "--guid")); got != app {
			t.Errorf("app %q is %s, not %s", name, got, app)
		}
		if out := w.Run(t, "cf", "env", name); !strings.Contains(out, "X:") || !strings.Contains(out, name) {
			t.Errorf("environment of %q: %s", name, out)
		}
		if out := w.Run(t, "cf", "logs", name, "--recent"); strings.Count(out, "Created app with guid "+app) != 1 {
			t.Errorf("log of %q: %s", name, out)
		}
		_ = of
		w.Run(t, "cf", "delete", "-f", name)
		w.Run(t, "cf", "delete-org", "-f", name)
	})
	for name, words := range map[string]string{
		strings.Repeat("a", 256): "is too long (maximum is 255 characters)", strings.Repeat("é", 256): "is too long (maximum is 255 characters)",
		"new\nline": "", "nul\x00": "", "esc\x1b[31m": "", "": "",
	} {
		for _, path := range []string{"/v3/apps", "/v3/organizations"} {
			more := `}`
			if path == "/v3/apps" {
				more = `,"relationships":{"space":{"data":{"guid":"` + space + `"}}}}`
			}
			body := strings.NewReplacer(`\x00`, `\u0000`, `\x1b`, `\u001b`).Replace(`{"name":`+quoted(name)) + more
			if status, doc := w.curl(t, "POST", path, body); status != 422 || !strings.Contains(doc, words) {
				t.Errorf("%s named %.20q: %d %s", path, name, status, doc)
			}
		}
		if status, doc := w.curl(t, "POST", "/v3/apps", strings.NewReplacer(`\x00`, `\u0000`, `\x1b`, `\u001b`).Replace(`{"name":"labels","metadata":{"labels":{"k":`+quoted("-"+name)+`}},"relationships":{"space":{"data":{"guid":"`+space+`"}}}}`)); status != 422 {
			t.Errorf("label %.20q: %d %s", name, status, doc)
		}
	}
	w.meant(t)
	if out, err := w.Command(t.Context(), "sh", "-c", "cat "+w.Dir+"/ingot.log | grep -c 'new$'").CombinedOutput(); err == nil {
		t.Errorf("a name broke %s lines of the log", out)
	}
}

// meant pushes an app whose name, variables, command and buildpack address have a shell's signs.
func (w *abused) meant(t *testing.T) {
	const name, evil = "Ünï $(touch /home/vcap/canary) App", "$(touch /home/vcap/canary) `touch /home/vcap/canary` ; touch /home/vcap/canary"
	w.Run(t, "cf", "create-app", name)
	w.Run(t, "cf", "set-env", name, "EVIL", evil)
	w.Run(t, "cf", "push", name, "-p", w.app, "-m", "32M", "-k", "64M", "-b", "binary_buildpack", "-c", `test "$EVIL" = '`+strings.ReplaceAll(evil, "'", "")+`' && test ! -e /home/vcap/canary && echo not a sign && exec ./app`, "--no-route")
	if out := w.Run(t, "cf", "logs", name, "--recent"); !strings.Contains(out, "OUT not a sign") {
		t.Error(out)
	}
	w.Run(t, "cf", "delete", "-f", "-r", name)
	// a name becomes a host as it is, or not at all
	w.refused(t, []string{`For application 'My App.x': Failed to create default route from app name: Host must be either "*" or contain only alphanumeric characters, "_", or "-"`},
		"push", "My App.x", "-p", w.app, "-b", "binary_buildpack")
	w.Run(t, "cf", "push", "My_App-1", "-p", w.app, "-m", "32M", "-k", "64M", "-b", "binary_buildpack", "-c", "./app")
	if got := w.Run(t, "curl", "-sk", "https://my_app-1.apps.ingot.test/"); !strings.Contains(got, "instance 0") {
		t.Errorf("answer %q", got)
	}
	w.Run(t, "cf", "delete", "-f", "-r", "My_App-1")
	for _, url := range []string{"https://127.0.0.1:1/$(touch /tmp/canary).git", "https://127.0.0.1:1/`touch /tmp/canary`", "--upload-pack=touch /tmp/canary", "git@x:$(touch /tmp/canary).git"} {
		out, err := w.cf(t, "push", "urls", "-p", w.app, "-m", "32M", "-k", "64M", "-b", url)
		if err == nil {
			t.Errorf("buildpack %q was taken: %s", url, out)
		}
		t.Logf("buildpack %q: %.200q", url, out[max(0, len(out)-200):])
	}
	if _, err := w.cf(t, "delete", "-f", "urls"); err != nil {
		t.Error(err)
	}
	if out, err := w.Command(t.Context(), "sh", "-c", "find / -xdev -name canary -newer "+w.Dir+"/holder 2>/dev/null | head -3").Output(); err != nil || len(out) > 0 {
		t.Errorf("somebody ran a name: %s %v", out, err)
	}
}
