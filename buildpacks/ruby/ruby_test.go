package ruby

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/buildpacks/stager"
)

func app(t *testing.T, files map[string]string) *stager.Stager {
	t.Helper()
	s := &stager.Stager{Build: t.TempDir(), Version: "1.0.0", Log: t.Output()}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(s.Build, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestDetect(t *testing.T) {
	if text, ok := Detect(app(t, map[string]string{"Gemfile": ""})); !ok || text != "ruby 1.0.0" {
		t.Errorf("%q %v", text, ok)
	}
	s := app(t, map[string]string{"some-file": "", "Other": ""})
	if _, ok := Detect(s); ok {
		t.Error("an app without a Gemfile was claimed")
	}
	t.Setenv("BUNDLE_GEMFILE", "Other")
	if _, ok := Detect(s); !ok {
		t.Error("BUNDLE_GEMFILE has no say")
	}
}

// The commands are those of CF's ruby-buildpack (finalize/release.go), Rack's with the address that its acceptance
// tests need.
func TestRelease(t *testing.T) {
	for lock, want := range map[string]string{
		"    rack (3.2.6)\n    rackup (2.3.1)\n      rack (>= 3)\n":     "bundle exec rackup config.ru -p $PORT -o 0.0.0.0",
		"    rack (3.2.6)\n    thin (2.0.1)\n":                          "bundle exec thin start -R config.ru -e $RACK_ENV -p $PORT",
		"    rack (2.2.0)\n    rails (7.1.0)\n    thin (2.0.1)\n":       "bin/rails server -b 0.0.0.0 -p $PORT -e $RAILS_ENV",
		"    rack-test (1.0.0)\n      rack (>= 3)\n    thinner (1.0)\n": "",
		"": "",
	} {
		if got := Release(app(t, map[string]string{"Gemfile.lock": lock}))["web"]; got != want {
			t.Errorf("%q: %q, want %q", lock, got, want)
		}
	}
}

func TestForgetBundler(t *testing.T) {
	const of25 = "GEM\n  specs:\n\nDEPENDENCIES\n  rack\n\nBUNDLED WITH\n   2.5.20\n"
	for have, want := range map[string]string{"2.5.20": of25, "2.3.27": "GEM\n  specs:\n\nDEPENDENCIES\n  rack\n"} {
		s := app(t, map[string]string{"Gemfile.lock": of25})
		lock := filepath.Join(s.Build, "Gemfile.lock")
		if err := forgetBundler(s, lock, have); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(lock); err != nil || string(text) != want {
			t.Errorf("%s: %q, %v", have, text, err)
		}
	}
	if err := forgetBundler(app(t, nil), filepath.Join(t.TempDir(), "none"), "2"); err != nil {
		t.Errorf("without a lock: %v", err)
	}
}

// fakeBundle stands in for Bundler: it writes down how it was called, and has the tasks in $TASKS.
const fakeBundle = `#!/bin/sh
echo "$* $DATABASE_URL $SECRET_KEY_BASE" >>"$CALLS"
[ "$3" = -n ] || { echo compiled; exit "${FAIL:-0}"; }
case "$TASKS" in *"$4 "*) exit 0 ;; esac
[ -z "$BROKEN" ] || { echo "LoadError: cannot load such file -- x"; exit 1; }
echo "rake aborted!
Don't know how to build task '$4' (see the list of available tasks with rake --tasks)"
exit 1
`

// finalizing is an app with a fake Bundler, which may be finalized.
func finalizing(t *testing.T, files map[string]string) (s *stager.Stager, out *bytes.Buffer, calls func() string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bundle"), []byte(fakeBundle), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for name, value := range map[string]string{"CALLS": filepath.Join(dir, "calls"), "TASKS": "", "FAIL": "", "BROKEN": "", "DATABASE_URL": "", "SECRET_KEY_BASE": "", "RAILS_ENV": "production"} {
		t.Setenv(name, value)
	}
	s, out = app(t, files), new(bytes.Buffer)
	s.Log, s.Deps, s.Index, s.Profile, s.Cache = out, t.TempDir(), "0", t.TempDir(), t.TempDir()
	return s, out, func() string {
		text, _ := os.ReadFile(filepath.Join(dir, "calls"))
		return string(text)
	}
}

const railsLock = "GEM\n  specs:\n    pg (1.5.0)\n    rails (7.1.0)\n\nPLATFORMS\n  ruby\n"

// As CF's ruby-buildpack does (finalize.go, PrecompileAssets).
func TestAssets(t *testing.T) {
	rails := map[string]string{"Gemfile": "", "Gemfile.lock": railsLock, "Rakefile": ""}
	t.Run("compiled and cleaned", func(t *testing.T) {
		s, out, calls := finalizing(t, rails)
		t.Setenv("TASKS", "assets:precompile assets:clean ")
		if err := Finalize(s); err != nil {
			t.Fatal(err)
		}
		const env = " postgres://user:pass@127.0.0.1/dbname dummy-staging-key\n"
		if want := "exec rake -n assets:precompile  \nexec rake assets:precompile" + env + "exec rake -n assets:clean  \nexec rake assets:clean" + env; calls() != want {
			t.Errorf("called were\n%swant\n%s", calls(), want)
		}
		if !strings.Contains(out.String(), "-----> Precompiling assets\ncompiled\n") || !strings.Contains(out.String(), "Asset precompilation completed (") {
			t.Error(out)
		}
	})
	t.Run("a failure is the staging's", func(t *testing.T) {
		s, _, _ := finalizing(t, rails)
		t.Setenv("TASKS", "assets:precompile ")
		t.Setenv("FAIL", "3")
		if err := Finalize(s); err == nil || err.Error() != "error precompiling assets: exit status 3" {
			t.Error(err)
		}
	})
	t.Run("no task", func(t *testing.T) {
		s, out, calls := finalizing(t, rails)
		if err := Finalize(s); err != nil || strings.Contains(out.String(), "WARNING") || strings.Contains(calls(), "rake assets:precompile") {
			t.Error(err, out, calls())
		}
	})
	t.Run("a Rakefile that does not load", func(t *testing.T) {
		s, out, _ := finalizing(t, rails)
		t.Setenv("BROKEN", "1")
		if err := Finalize(s); err != nil || !strings.Contains(out.String(), "LoadError: cannot load such file -- x") {
			t.Error(err, out)
		}
	})
	t.Run("no Rakefile", func(t *testing.T) {
		s, _, calls := finalizing(t, map[string]string{"Gemfile": "", "Gemfile.lock": railsLock})
		t.Setenv("TASKS", "assets:precompile ")
		if err := Finalize(s); err != nil || calls() != "" {
			t.Error(err, calls())
		}
	})
	t.Run("brought, with gems and no bin/rails", func(t *testing.T) {
		s, out, calls := finalizing(t, rails)
		for _, name := range []string{filepath.Join(s.Build, "public/assets/.sprockets-manifest-0a.json"), filepath.Join(s.Build, "vendor/bundle/x"),
			filepath.Join(s.Build, "bin/rake"), s.Dep("bin/rake"), s.Dep("bin/rails")} {
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte("own"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := Finalize(s); err != nil || calls() != "" || !strings.Contains(out.String(), "assuming assets were compiled locally") ||
			!strings.Contains(out.String(), "Removing `vendor/bundle`.") || s.Has("vendor/bundle") {
			t.Error(err, out, calls())
		}
		rake, _ := os.ReadFile(filepath.Join(s.Build, "bin/rake"))
		rails, err := os.ReadFile(filepath.Join(s.Build, "bin/rails"))
		if string(rake) != "own" || string(rails) != "#!/bin/bash\nexec $DEPS_DIR/0/bin/rails \"$@\"\n" {
			t.Errorf("%q %q %v", rake, rails, err)
		}
	})
}

// Rails does not start in production without one, and sessions end when it changes.
func TestSecretKeyBase(t *testing.T) {
	s, _, _ := finalizing(t, map[string]string{"Gemfile": "", "Gemfile.lock": railsLock})
	read := func() string {
		if err := profile(s); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(s.Dep("profile.d/ruby.sh"))
		if err != nil {
			t.Fatal(err)
		}
		_, line, _ := strings.Cut(string(text), "export SECRET_KEY_BASE=${SECRET_KEY_BASE:-")
		line, _, _ = strings.Cut(line, "}\n")
		return line
	}
	first := read()
	if !isSecret.MatchString(first) || read() != first {
		t.Errorf("%q, then %q", first, read())
	}
	if err := os.WriteFile(filepath.Join(s.Cache, "secret_key_base"), []byte("$(reboot)"), 0o600); err != nil {
		t.Fatal(err)
	}
	if second := read(); !isSecret.MatchString(second) || second == first {
		t.Errorf("%q of a broken cache", second)
	}
	if err := os.WriteFile(filepath.Join(s.Build, "Gemfile.lock"), []byte("    rack (3.0.0)\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := read(); got != "" {
		t.Errorf("%q without Rails", got)
	}
}

func TestOnWindows(t *testing.T) {
	for lock, want := range map[string]bool{"PLATFORMS\n": false, "\nPLATFORMS\n  x64-mingw32\n  x86-mswin32\n\nDEPENDENCIES\n  rack\n": true,
		"\nPLATFORMS\n  ruby\n  x64-mingw32\n": false, "GEM\r\n": true, "": false} {
		if onWindows([]byte(lock)) != want {
			t.Errorf("%q: %v", lock, !want)
		}
	}
}
