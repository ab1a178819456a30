package ruby

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"ingot/buildpacks/stager"
)

// Supply installs the app's gems.
func Supply(s *stager.Stager) error {
	if err := s.Begin(); err != nil {
		return err
	}
	version, err := s.Output("ruby", "-e", "print RUBY_VERSION")
	if err != nil {
		return fmt.Errorf("unable to find the stack's ruby: %w", err)
	}
	s.Info("Using the stack's ruby %s", version)
	if err := environment(s); err != nil {
		return fmt.Errorf("unable to setup default environment: %w", err)
	}
	if s.Has(gemfile()) {
		if err := install(s, version); err != nil {
			return fmt.Errorf("unable to install gems: %w", err)
		}
	}
	return profile(s)
}

// defaults are set where the app does not set them. Their names and values are those of CF's buildpack.
var defaults = []struct{ name, value string }{
	{"RAILS_ENV", "production"},
	{"RACK_ENV", "production"},
	{"RAILS_GROUPS", "assets"},
	{"BUNDLE_WITHOUT", "development:test"},
	{"BUNDLE_SILENCE_ROOT_WARNING", "true"},
	{"BUNDLE_DISABLE_VERSION_CHECK", "true"},
}

func environment(s *stager.Stager) error {
	for _, d := range defaults {
		if err := s.SetDefault(d.name, d.value); err != nil {
			return err
		}
	}
	return s.SetEnv("BUNDLE_PATH", s.Dep("vendor_bundle"))
}

// install makes the gems what the Gemfile says, beginning with those of the last staging.
func install(s *stager.Stager, ruby string) error {
	bundler, err := s.Output("bundle", "--version")
	if err != nil {
		return err
	}
	bundler = strings.TrimPrefix(bundler, "Bundler version ")
	lock := filepath.Join(s.Build, gemfile()+".lock")
	if err := forgetBundler(s, lock, bundler); err != nil {
		return err
	}
	text, err := os.ReadFile(lock)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	wantsNode(s, text)
	windows := onWindows(text)
	if windows {
		s.Warn("Removing `%s` because it was generated on Windows.\nBundler will do a full resolve so native gems are handled properly.\nThis may result in unexpected gem versions being used in your app.", filepath.Base(lock))
		if err := os.Remove(lock); err != nil {
			return err
		}
	}
	// Where the app has a lock, it is followed to the letter; where not, the one that Bundler makes is none of the app's.
	// Its own .bundle/config has no say on where gems go.
	env := map[string]string{"NOKOGIRI_USE_SYSTEM_LIBRARIES": "true", "BUNDLE_IGNORE_CONFIG": "true"}
	if s.Has(gemfile() + ".lock") {
		env["BUNDLE_DEPLOYMENT"] = "true"
	} else if !windows {
		defer func() { _ = os.Remove(lock) }()
	}
	if os.Getenv("MAKEFLAGS") == "" {
		env["MAKEFLAGS"] = "-j" + strconv.Itoa(runtime.NumCPU())
	}
	for name, value := range env {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	if err := restore(s, ruby); err != nil {
		return err
	}
	args := []string{"install", "--jobs=4", "--retry=4"}
	if s.Has("vendor/cache") {
		args = append(args, "--local")
	}
	s.Step("Installing dependencies using bundler %s", bundler)
	s.Info("Running: bundle %s", strings.Join(args, " "))
	for _, args := range [][]string{args, {"clean", "--force"}, {"binstubs", "--all", "--force", "--path", s.Dep("binstubs")}} {
		if err := s.Run(s.Build, "bundle", args...); err != nil {
			return err
		}
	}
	if err := programs(s); err != nil {
		return err
	}
	return keep(s, ruby)
}

var bundledWith = regexp.MustCompile(`\n?BUNDLED WITH\s+(\S+)\n?`)

// forgetBundler takes the version of Bundler out of the lock where it is another one: Bundler would try to fetch that.
func forgetBundler(s *stager.Stager, lock, have string) error {
	text, err := os.ReadFile(lock)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	m := bundledWith.FindSubmatch(text)
	if m == nil || string(m[1]) == have {
		return nil
	}
	s.Warn("Your Gemfile.lock was bundled with bundler %s, which is incompatible with the current bundler version (%s).", m[1], have)
	s.Warn(`Deleting "Bundled With" from the Gemfile.lock`)
	return os.WriteFile(lock, bundledWith.ReplaceAll(text, nil), 0o644)
}

// programs puts the gems' programs on the PATH; bundle stays the stack's.
func programs(s *stager.Stager) error {
	for _, name := range []string{"bundle", "bundler"} {
		if err := os.RemoveAll(s.Dep("binstubs", name)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(s.Dep("binstubs"), 0o755); err != nil {
		return err
	}
	return s.LinkBin("binstubs")
}

// kept is where the gems wait for the next staging; extensions are of one version of Ruby.
func kept(s *stager.Stager, ruby string) string {
	return filepath.Join(s.Cache, "vendor_bundle-"+ruby)
}

func restore(s *stager.Stager, ruby string) error {
	if _, err := os.Stat(kept(s, ruby)); err != nil {
		return nil //nolint:nilerr // a cache is a gift
	}
	s.Step("Restoring vendor_bundle from cache")
	return os.Rename(kept(s, ruby), s.Dep("vendor_bundle"))
}

func keep(s *stager.Stager, ruby string) error {
	old, _ := filepath.Glob(filepath.Join(s.Cache, "vendor_bundle-*")) // the only error is a bad pattern
	for _, dir := range old {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if _, err := os.Stat(s.Dep("vendor_bundle")); err != nil {
		return nil //nolint:nilerr // an empty Gemfile has no gems
	}
	s.Step("Saving vendor_bundle to cache")
	return s.Run(s.Build, "cp", "-al", s.Dep("vendor_bundle"), kept(s, ruby))
}

// profile sets at run time what environment set for the staging.
func profile(s *stager.Stager) error {
	s.Step("Creating runtime environment")
	script := strings.ReplaceAll(`export LANG=${LANG:-en_US.UTF-8}
export RAILS_ENV=${RAILS_ENV:-production}
export RACK_ENV=${RACK_ENV:-production}
export RAILS_SERVE_STATIC_FILES=${RAILS_SERVE_STATIC_FILES:-enabled}
export RAILS_LOG_TO_STDOUT=${RAILS_LOG_TO_STDOUT:-enabled}
export BUNDLE_PATH=$DEPS_DIR/INDEX/vendor_bundle
export BUNDLE_WITHOUT=${BUNDLE_WITHOUT:-development:test}
export BUNDLE_DISABLE_VERSION_CHECK=true
`, "INDEX", s.Index)
	if s.Has(gemfile()) {
		script += "export BUNDLE_GEMFILE=${BUNDLE_GEMFILE:-$HOME/Gemfile}\nexport BUNDLE_IGNORE_CONFIG=true\n"
	}
	if lock, err := os.ReadFile(filepath.Join(s.Build, gemfile()+".lock")); err == nil {
		script += "export BUNDLE_DEPLOYMENT=true\n"
		if locked(lock, "rails") >= 4 {
			secret, err := secretKeyBase(s)
			if err != nil {
				return err
			}
			script += "export SECRET_KEY_BASE=${SECRET_KEY_BASE:-" + secret + "}\n"
		}
	}
	return s.WriteProfile("ruby.sh", script)
}

// secretKeyBase is what `rails secret` gives. It is kept, so that a restage does not end the sessions of the app's users.
func secretKeyBase(s *stager.Stager) (string, error) {
	path := filepath.Join(s.Cache, "secret_key_base")
	if kept, err := os.ReadFile(path); err == nil && isSecret.Match(kept) {
		return string(kept), nil
	}
	b := make([]byte, 64)
	_, _ = rand.Read(b) // never fails
	fresh := hex.EncodeToString(b)
	return fresh, os.WriteFile(path, []byte(fresh), 0o600)
}

var isSecret = regexp.MustCompile(`^[0-9a-f]{128}$`)
