package stager

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// put writes files given as name, content pairs below dir.
func put(t *testing.T, dir string, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		path := filepath.Join(dir, pairs[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(pairs[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func get(t *testing.T, elem ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func start(t *testing.T, out *bytes.Buffer) *Stager {
	t.Helper()
	root := t.TempDir()
	put(t, root, "VERSION", "1.2.3\n", "manifest.yml", "language: nodejs\nstack: cflinuxfs4\n")
	s, err := New(root, []string{t.TempDir(), t.TempDir(), t.TempDir(), "1"}, out)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The ranges are those of npm's semver documentation; the words of the refusal are CF's libbuildpack's.
func TestMatch(t *testing.T) {
	have := []string{"22.23.3", "24.21.0", "22.9.1"}
	for _, c := range []struct{ constraint, want, err string }{
		{"*", "24.21.0", ""},
		{"x", "24.21.0", ""},
		{"22", "22.23.3", ""},
		{"22.x", "22.23.3", ""},
		{"22.*.*", "22.23.3", ""},
		{"22.9.x", "22.9.1", ""},
		{"~22.9.0", "22.9.1", ""},
		{"^22.0.0", "22.23.3", ""},
		{"v22.9.1", "22.9.1", ""},
		{">=18 <23", "22.23.3", ""},
		{">= 18.0.0", "24.21.0", ""},
		{">=18, <24", "22.23.3", ""},
		{"^20 || ^22", "22.23.3", ""},
		{"18 - 22", "22.23.3", ""},
		{"12.x", "", "no match found for 12.x in [22.23.3 24.21.0 22.9.1]"},
		{"^22.24.0", "", "no match found for ^22.24.0"},
		{"newest please", "", "improper constraint"},
	} {
		got, err := Match(c.constraint, have)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("Match(%q) = %q, %v; want %q, %q", c.constraint, got, err, c.want, c.err)
		}
	}
}

func TestBeginWritesConfigAndChecksTheStack(t *testing.T) {
	var out bytes.Buffer
	s := start(t, &out)
	t.Setenv("CF_STACK", "cflinuxfs4")
	if err := s.Begin(); err != nil {
		t.Fatal(err)
	}
	if got, want := get(t, s.Deps, "1", "config.yml"), "name: nodejs\nconfig: {}\nversion: \"1.2.3\"\n"; got != want {
		t.Errorf("config.yml is %q, want %q", got, want)
	}
	if got, want := out.String(), "-----> Nodejs Buildpack version 1.2.3\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
	t.Setenv("CF_STACK", "windows")
	if err := s.Begin(); err == nil || err.Error() != "required stack windows was not found" {
		t.Errorf("on a foreign stack: %v", err)
	}
}

func TestNewRefusesABrokenBuildpack(t *testing.T) {
	for name, files := range map[string][]string{
		"no manifest":    {"VERSION", "1"},
		"empty manifest": {"VERSION", "1", "manifest.yml", ""},
		"bad manifest":   {"VERSION", "1", "manifest.yml", "language: [nodejs"},
		"no version":     {"manifest.yml", "language: nodejs"},
	} {
		root := t.TempDir()
		put(t, root, files...)
		if s, err := New(root, []string{t.TempDir()}, &bytes.Buffer{}); err == nil {
			t.Errorf("%s: accepted as %+v", name, s)
		}
	}
	root := t.TempDir()
	put(t, root, "VERSION", "1", "manifest.yml", "language: nodejs")
	if _, err := New(root, nil, &bytes.Buffer{}); err == nil {
		t.Error("no build folder: accepted")
	}
}

func TestLaterBuildpacksSeeWhatEarlierOnesLeft(t *testing.T) {
	s := start(t, &bytes.Buffer{})
	put(t, s.Deps, "0/bin/tool", "", "0/lib/x.so", "", "0/env/FROM_ZERO", "zero", "1/bin/own", "")
	t.Setenv("PATH", "/usr/bin")
	t.Setenv("LD_LIBRARY_PATH", "")
	t.Setenv("LIBRARY_PATH", "")
	t.Setenv("FROM_ZERO", "")
	if err := s.UseEarlier(); err != nil {
		t.Fatal(err)
	}
	if got, want := os.Getenv("PATH"), s.Deps+"/1/bin:"+s.Deps+"/0/bin:/usr/bin"; got != want {
		t.Errorf("PATH is %q, want %q", got, want)
	}
	if got, want := os.Getenv("LD_LIBRARY_PATH"), s.Deps+"/0/lib"; got != want {
		t.Errorf("LD_LIBRARY_PATH is %q, want %q", got, want)
	}
	if got := os.Getenv("FROM_ZERO"); got != "zero" {
		t.Errorf("FROM_ZERO is %q", got)
	}
}

func TestFinishWritesTheLaunchScriptsOfAllBuildpacks(t *testing.T) {
	s := start(t, &bytes.Buffer{})
	put(t, s.Deps, "0/bin/tool", "", "0/lib/x.so", "", "0/profile.d/a.sh", "A", "1/bin/own", "", "1/profile.d/a.sh", "B")
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	want := "export PATH=$DEPS_DIR/1/bin:$DEPS_DIR/0/bin${PATH:+:$PATH}\n" +
		"export LD_LIBRARY_PATH=$DEPS_DIR/0/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}\n" +
		"export LIBRARY_PATH=$DEPS_DIR/0/lib${LIBRARY_PATH:+:$LIBRARY_PATH}\n"
	if got := get(t, s.Build, ".profile.d", "000_multi-supply.sh"); got != want {
		t.Errorf("000_multi-supply.sh is\n%swant\n%s", got, want)
	}
	if a, b := get(t, s.Profile, "0_a.sh"), get(t, s.Profile, "1_a.sh"); a != "A" || b != "B" {
		t.Errorf("profile scripts are %q and %q", a, b)
	}
}

func TestBadManifests(t *testing.T) {
	for _, text := range []string{"", "- a list", "language: [", "stack: cflinuxfs4\n"} {
		root := t.TempDir()
		put(t, root, "VERSION", "1.2.3\n", "manifest.yml", text)
		if s, err := New(root, []string{t.TempDir()}, &bytes.Buffer{}); err == nil || strings.Contains(err.Error(), "%!") {
			t.Errorf("%q: %+v, %v", text, s, err)
		}
	}
}

// FuzzManifest: a manifest is refused, or all that the phases ask of it has an answer.
func FuzzManifest(f *testing.F) {
	f.Add("language: nodejs\ndefault_versions: [{name: node, version: 24.x}]\ndependencies: [{name: node, version: 24.1.0, file: f}]\n", ">=22 <25")
	f.Add("language: é\n", "*")
	f.Fuzz(func(t *testing.T, text, wanted string) {
		root := t.TempDir()
		put(t, root, "VERSION", "1", "manifest.yml", text)
		s, err := New(root, []string{t.TempDir(), "", t.TempDir(), "0"}, &bytes.Buffer{})
		if err != nil {
			return
		}
		_ = s.Begin()
		for _, constraint := range []string{wanted, s.DefaultRange("node")} {
			v, err := Match(constraint, s.Versions("node"))
			if err == nil && !slices.Contains(s.Versions("node"), v) {
				t.Fatalf("chose %q of %q", v, s.Versions("node"))
			}
		}
	})
}
