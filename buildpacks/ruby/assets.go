package ruby

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ingot/buildpacks/stager"
)

// precompile runs the app's rake task assets:precompile, if it has one and brings no compiled assets: as CF's buildpack does,
// with settings that stand in for those that only the running app has.
func precompile(s *stager.Stager) error {
	lock, err := os.ReadFile(filepath.Join(s.Build, gemfile()+".lock"))
	if err != nil {
		return err
	}
	if !slices.ContainsFunc([]string{"Rakefile", "rakefile", "Rakefile.rb", "rakefile.rb"}, s.Has) {
		return nil
	}
	for _, brought := range []string{".sprockets-manifest-*.json", "manifest-*.json", ".manifest.json"} {
		if found, _ := filepath.Glob(filepath.Join(s.Build, "public", "assets", brought)); len(found) > 0 {
			s.Info("Detected assets manifest file, assuming assets were compiled locally")
			return nil
		}
	}
	if !hasTask(s, "assets:precompile") {
		return nil
	}
	env := append(os.Environ(), "DATABASE_URL="+database(lock))
	if os.Getenv("SECRET_KEY_BASE") == "" {
		env = append(env, "SECRET_KEY_BASE=dummy-staging-key")
	}
	s.Step("Precompiling assets")
	begin := time.Now()
	if err := rake(s, env, "assets:precompile"); err != nil {
		return err
	}
	s.Info("Asset precompilation completed (%v)", time.Since(begin).Round(time.Millisecond))
	if locked(lock, "rails") < 4 || !hasTask(s, "assets:clean") {
		return nil
	}
	s.Info("Cleaning assets")
	return rake(s, env, "assets:clean")
}

func rake(s *stager.Stager, env []string, task string) error {
	cmd := exec.Command("bundle", "exec", "rake", task)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.Build, env, s.Log, s.Log
	return cmd.Run()
}

// hasTask asks rake. An app whose Rakefile cannot be loaded now may well start later: that is no failure, but worth a word.
func hasTask(s *stager.Stager, task string) bool {
	cmd := exec.Command("bundle", "exec", "rake", "-n", task)
	cmd.Dir = s.Build
	out, err := cmd.CombinedOutput()
	if err != nil && !bytes.Contains(out, []byte("Don't know how to build task")) {
		s.Warn("The task %s is left out, for rake failed:\n%s", task, bytes.TrimSpace(out[:min(len(out), 2000)]))
	}
	return err == nil
}

// adapters are the schemes of database URLs, by gem.
var adapters = []struct{ gem, scheme string }{{"pg", "postgres"}, {"mysql2", "mysql2"}, {"mysql", "mysql"}, {"sqlite3", "sqlite3"}}

// database is the app's, or one that does not exist, for Rails wants to know its kind.
func database(lock []byte) string {
	if url := os.Getenv("DATABASE_URL"); url != "" {
		return url
	}
	scheme := ""
	for _, a := range adapters {
		if scheme == "" && locked(lock, a.gem) > 0 {
			scheme = a.scheme
		}
	}
	return scheme + "://user:pass@127.0.0.1/dbname"
}

// scripted are gems whose assets are compiled by Node.
var scripted = []string{"webpacker", "execjs", "cssbundling-rails", "jsbundling-rails"}

// wantsNode tells how to get Node, where the app has need of it and no earlier buildpack brought it.
func wantsNode(s *stager.Stager, lock []byte) {
	if _, err := exec.LookPath("node"); err == nil {
		return
	}
	for _, gem := range scripted {
		if locked(lock, gem) > 0 {
			s.Warn("The gem %s needs Node, which this buildpack does not bring: push with -b nodejs_buildpack -b ruby_buildpack", gem)
			return
		}
	}
}

// vendorBundle takes gems out that were installed on another machine: vendor/cache is how an app brings them.
func vendorBundle(s *stager.Stager) error {
	if !s.Has("vendor/bundle") {
		return nil
	}
	s.Warn("Removing `vendor/bundle`.\nChecking in `vendor/bundle` is not supported. Please remove this directory and add it to your .gitignore. To vendor your gems with Bundler, use `bundle pack` instead.")
	return os.RemoveAll(filepath.Join(s.Build, "vendor", "bundle"))
}

// appBin puts into the app's bin what the app itself has not there: Rails' default command is bin/rails.
func appBin(s *stager.Stager) error {
	files, err := os.ReadDir(s.Dep("bin"))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, f := range files {
		if s.Has("bin/" + f.Name()) {
			continue
		}
		script := "#!/bin/bash\nexec $DEPS_DIR/" + s.Index + "/bin/" + f.Name() + " \"$@\"\n"
		if err := os.MkdirAll(filepath.Join(s.Build, "bin"), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(s.Build, "bin", f.Name()), []byte(script), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// onWindows tells of a lock that was written on Windows, or names no platform but Windows.
func onWindows(lock []byte) bool {
	if bytes.Contains(lock, []byte("\r\n")) {
		return true
	}
	_, after, _ := strings.Cut(string(lock), "\nPLATFORMS\n")
	named := false
	for line := range strings.Lines(after) {
		name := strings.TrimSpace(line)
		if name == "" {
			break
		}
		if !strings.Contains(name, "mingw") && !strings.Contains(name, "mswin") {
			return false
		}
		named = true
	}
	return named
}
