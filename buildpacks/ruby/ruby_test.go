package ruby

import (
	"os"
	"path/filepath"
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
