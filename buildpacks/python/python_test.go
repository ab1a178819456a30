package python

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/buildpacks/stager"
)

// fakePython stands in for the stack's: it writes down how it was called and makes what venv and pip would.
const fakePython = `#!/bin/sh
case "$*" in
*python_version*) echo 3.11.2 ;;
"-m venv"*) for dir; do :; done
	mkdir -p "$dir/bin" "$dir/lib/python3.11/site-packages"; ln -sf "$0" "$dir/bin/python" ;;
"-m pip"*) echo "pip $*" >>"$CALLS"; cat "$5" >>"$CALLS"
	printf '#!%s/bin/python\nprint(1)\n' "$VENV" >"$VENV/bin/flask"
	printf '%s/src/thing\n' "$VENV" >"$VENV/lib/python3.11/site-packages/thing.pth"
	exit ${FAIL:-0} ;;
*) echo "python $*" >>"$CALLS"; exit ${FAIL:-0} ;;
esac
`

func put(t *testing.T, dir string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		path := filepath.Join(dir, pairs[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(pairs[i+1]), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func staging(t *testing.T, pairs ...string) (s *stager.Stager, out *bytes.Buffer, calls func() string) {
	t.Helper()
	out = &bytes.Buffer{}
	for _, name := range []string{"CF_STACK", "FAIL", "DISABLE_COLLECTSTATIC", "PYTHONUNBUFFERED", "PYTHONHASHSEED", "LANG"} {
		t.Setenv(name, "")
	}
	bin := put(t, t.TempDir(), "python3", fakePython)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	s = &stager.Stager{Build: put(t, t.TempDir(), pairs...), Cache: t.TempDir(), Deps: t.TempDir(), Index: "0", Version: "1.2.3", Log: out,
		Profile: filepath.Join(t.TempDir(), "profile.d"), Manifest: &stager.Manifest{Language: "python"}}
	t.Setenv("CALLS", filepath.Join(bin, "calls"))
	t.Setenv("VENV", s.Dep())
	return s, out, func() string {
		text, err := os.ReadFile(filepath.Join(bin, "calls"))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return string(text)
	}
}

// As CF's bin/detect.
func TestDetect(t *testing.T) {
	for name, want := range map[string]bool{"requirements.txt": true, "setup.py": true, "environment.yml": true, "Pipfile": true,
		"server.py": false, "Procfile": false, "some-file": false, "runtime.txt": false} {
		s, _, _ := staging(t, name, "")
		if text, ok := Detect(s); ok != want || ok && text != "python 1.2.3" {
			t.Errorf("%s: %q, %v", name, text, ok)
		}
	}
}

func TestSupply(t *testing.T) {
	for name, c := range map[string]struct {
		files           []string
		fail            string
		err, said, call string
	}{
		"nothing to install":  {[]string{"requirements.txt", "# none\n\n"}, "1", "", "-----> Installing python 3.11.2\n", ""},
		"from the index":      {[]string{"requirements.txt", "flask\n"}, "", "", "-----> Running Pip Install\n", "flask\n"},
		"a setup.py alone":    {[]string{"setup.py", ""}, "", "", "", "-e .\n"},
		"vendored":            {[]string{"requirements.txt", "-i http://x\n--extra-index-url=http://y\nflask", "vendor/f.whl", ""}, "", "", "(Vendored)", "--no-index --no-build-isolation --find-links=file://"},
		"any 3":               {[]string{"requirements.txt", "", "runtime.txt", "python-3.x\r\n"}, "", "", "", ""},
		"another":             {[]string{"requirements.txt", "", "runtime.txt", "python-3.9.x"}, "", "no match found for 3.9.x in [3.11.2]", "", ""},
		"a lock's version":    {[]string{"Pipfile.lock", `{"_meta": {"requires": {"python_version": "3.7"}}}`}, "", "no match found for 3.7.x in [3.11.2]", "", ""},
		"a lock":              {[]string{"Pipfile.lock", `{"_meta": {"sources": [{"url": "http://x"}]}, "default": {"b": {"version": "==1", "extras": ["e"]}, "a": {"version": "==2", "markers": "m"}}}`}, "", "", "", "-i http://x\na==2 ; m\nb[e]==1\n"},
		"a broken lock":       {[]string{"Pipfile.lock", "{"}, "", "unable to load Pipfile.lock", "", ""},
		"an unlocked Pipfile": {[]string{"Pipfile", ""}, "", "this buildpack has no Pipenv", "", ""},
		"Conda":               {[]string{"environment.yml", ""}, "", "this buildpack has no Conda", "", ""},
		"pip fails":           {[]string{"requirements.txt", "flask"}, "1", "could not install pip packages: could not run pip: exit status 1", "pip download -r requirements.txt -d vendor", ""},
	} {
		s, out, calls := staging(t, c.files...)
		t.Setenv("FAIL", c.fail)
		err := Supply(s)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) || !strings.Contains(out.String(), c.said) {
			t.Errorf("%s: %v, want %q and %q\n%s", name, err, c.err, c.said, out)
		}
		if got := calls(); !strings.Contains(got, c.call) || name == "nothing to install" && got != "" || name == "vendored" && strings.Contains(got, "http://") {
			t.Errorf("%s: calls %s, want %q", name, got, c.call)
		}
		if left, _ := filepath.Glob(filepath.Join(s.Build, ".requirements*")); len(left) != 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
}

func TestWhatPipLeftWorksElsewhere(t *testing.T) {
	s, _, _ := staging(t, "requirements.txt", "flask")
	if err := Supply(s); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"bin/flask": "#!/usr/bin/env python\nprint(1)\n",
		"lib/python3.11/site-packages/thing.pth": "/home/vcap/deps/0/src/thing\n", "env/PYTHONUNBUFFERED": "1"} {
		if text, err := os.ReadFile(s.Dep(name)); err != nil || string(text) != want {
			t.Errorf("%s is %q, %v; want %q", name, text, err, want)
		}
	}
}

func TestCollectstatic(t *testing.T) {
	s, _, calls := staging(t, "requirements.txt", "Django==4\n", "site/manage.py", "")
	if err := Supply(s); err != nil {
		t.Fatal(err)
	}
	if err := Finalize(s); err != nil || !strings.Contains(calls(), "python site/manage.py collectstatic --noinput --traceback\n") {
		t.Errorf("%v, %s", err, calls())
	}
	t.Setenv("FAIL", "1")
	if err := Finalize(s); err == nil || !strings.Contains(err.Error(), "DISABLE_COLLECTSTATIC 1") {
		t.Errorf("a failure: %v", err)
	}
	t.Setenv("DISABLE_COLLECTSTATIC", "1")
	if err := Finalize(s); err != nil {
		t.Errorf("switched off: %v", err)
	}
}

// FuzzLock: a lock is refused, or it gives one line for each source and package.
func FuzzLock(f *testing.F) {
	f.Add(`{"_meta": {"sources": [{"url": "http://x"}]}, "default": {"a": {"version": "==1"}, "b": {"git": "https://x", "ref": "r"}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var l lock
		if json.Unmarshal([]byte(text), &l) != nil {
			return
		}
		out, err := l.requirements()
		if err == nil && strings.Count(string(out), "\n") < len(l.Default) {
			t.Fatalf("%s gives %s", text, out)
		}
	})
}
