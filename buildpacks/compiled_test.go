package buildpacks

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startScript does as the launcher does: profile scripts, then the start command, in the app's folder; then it asks the app.
const startScript = `ip link set lo up
cat >/tmp/start <<'END'
export HOME=/home/vcap/staged DEPS_DIR=/home/vcap/deps PORT=8080 CF_INSTANCE_INDEX=7
cd "$HOME"
for f in /home/vcap/profile.d/*.sh; do . "$f"; done
bash -c 'START' &
ask() { curl -s --retry 100 --retry-delay 1 --retry-connrefused --retry-max-time 20 "http://127.0.0.1:8080$1"; }
ASK
END
exec chroot --userspec=vcap:vcap / /bin/bash -e /tmp/start`

func (w world) says(out string, wants ...string) {
	w.t.Helper()
	for _, want := range wants {
		if !strings.Contains(out, want) {
			w.t.Errorf("it did not print %q", want)
		}
	}
}

// must runs a script that must succeed.
func (w world) must(script string, flags ...string) string {
	w.t.Helper()
	out, err := w.run(script, flags...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w world) write(name, text string) {
	w.t.Helper()
	file := w.upper(filepath.Join("home/vcap/app", name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	w.host("chown", "-R", "2000:2000", w.upper("home/vcap/app"))
}

func TestGoInTheStack(t *testing.T) {
	w := newWorld(t, "go_buildpack", "go-module")
	out := w.must(stageScript)
	w.says(out, "Go\n", "-----> Go Buildpack version 1.0.0", "-----> Installing go 1.26.8", "-----> Running: go install -tags cloudfoundry -buildmode pie .", "web: ./bin/go-module\n")
	start := strings.NewReplacer("START", "./bin/go-module", "ASK", "ask /; ask /version; which go || echo no go; echo $PATH").Replace(startScript)
	w.says(w.must(start, "--net"), "Hello from Go, instance 7\n", "go1.26.8\n", "no go\n", "/home/vcap/staged/bin\n")
	if out := w.must("du -sk /home/vcap/deps | cut -f1"); len(strings.TrimSpace(out)) > 3 {
		t.Errorf("the toolchain stays in the droplet: %s KiB", out)
	}
	begin := time.Now()
	w.must(stageScript)
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("a warm staging took %v", took)
	}

	// A package below cmd, with another name, and a symbol of the linker's.
	w.write("cmd/other/main.go", "package main\n\nvar Said = \"nothing\"\n\nfunc main() { println(Said) }\n")
	out = w.must("export GO_INSTALL_PACKAGE_SPEC=./cmd/other GO_LINKER_SYMBOL=main.Said GO_LINKER_VALUE=linked GOVERSION=go1.26\n" + stageScript + "\nstaged/bin/other 2>&1")
	w.says(out, "web: ./bin/other\n", "linked\n")

	// Vendored code is used as it is: there is no network here.
	w.write("go.mod", "module example.com/go-module/v2\n\ngo 1.26\n\nrequire example.com/dep v1.0.0\n")
	w.write("vendor/modules.txt", "# example.com/dep v1.0.0\n## explicit; go 1.21\nexample.com/dep\n")
	w.write("vendor/example.com/dep/dep.go", "package dep\n\nconst Word = \"vendored\"\n")
	w.write("main.go", "package main\n\nimport \"example.com/dep\"\n\nfunc main() { println(dep.Word) }\n")
	out = w.must("export GOPROXY=off\n" + stageScript + "\nstaged/bin/go-module 2>&1")
	w.says(out, "web: ./bin/go-module\n", "vendored\n")

	// Without modules: GOPACKAGENAME.
	w.host("rm", w.upper("home/vcap/app/go.mod"))
	out = w.must("export GOPACKAGENAME=example.com/own/name\n" + stageScript + "\nstaged/bin/name 2>&1")
	w.says(out, "web: ./bin/name\n", "vendored\n")

	const named, legacy = "export GOPACKAGENAME=a.b/c\n", "cd /home/vcap/app; rm -f .godir; echo > "
	for _, c := range []struct{ script, want string }{
		{"", "**ERROR**\x1b[0m To use go native vendoring set the $GOPACKAGENAME environment variable"},
		{named + "export GOVERSION=1.12\n", "Unable to install go: no match found for 1.12.x in [1.26.8]"},
		{named + legacy + ".godir\n", "Deprecated, .godir file found"},
		{named + legacy + "Gopkg.toml\n", "managed by Gopkg.toml"},
		{named + "cd /home/vcap/app; rm Gopkg.toml; echo x >>main.go\n", "Unable to compile application: go install: exit status 1"},
	} {
		out, err := w.run(c.script + stageScript)
		if err == nil {
			t.Errorf("%s: it was staged", c.script)
		}
		w.says(out, c.want)
	}
}

func TestRubyInTheStack(t *testing.T) {
	w := newWorld(t, "ruby_buildpack", "ruby-rack")
	w.host(w.upper("home/vcap/app/vendor.sh"))
	w.host("chown", "-R", "2000:2000", w.upper("home/vcap/app"))
	out := w.must(stageScript)
	w.says(out, "ruby 1.0.0\n", "-----> Ruby Buildpack version 1.0.0", "bundle install --jobs=4 --retry=4 --local", "Installing tally 1.0.0 with native extensions",
		"web: bundle exec rackup config.ru -p $PORT -o 0.0.0.0\n")
	start := strings.NewReplacer("START", "bundle exec rackup config.ru -p $PORT -o 0.0.0.0",
		"ASK", "ask /; ask /words?three+words+here; ask /version; bundle --version; which rackup").Replace(startScript)
	w.says(w.must(start, "--net"), "Hello from Ruby, instance 7\n", "3\n", "production\n", "Bundler version 2", "/home/vcap/deps/0/bin/rackup\n")

	begin := time.Now()
	out = w.must(stageScript)
	w.says(out, "-----> Restoring vendor_bundle from cache", "Using tally 1.0.0")
	if took := time.Since(begin); took > 10*time.Second || strings.Contains(out, "native extensions") {
		t.Errorf("a warm staging took %v", took)
	}

	// A lock of another Bundler does not make this one look for it; a gem that is gone from the Gemfile goes from the cache.
	lock := w.upper("home/vcap/app/Gemfile.lock")
	text, err := os.ReadFile(lock)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer("    tally (1.0.0)\n", "", "  tally\n", "").Replace(string(text))
	head, _, _ := strings.Cut(changed, "BUNDLED WITH")
	w.write("Gemfile.lock", head+"BUNDLED WITH\n   2.5.20\n")
	w.write("Gemfile", "source \"https://gems.example.com\"\ngem \"rack\"\ngem \"webrick\"\n")
	out = w.must(stageScript + "\nls -d cache/vendor_bundle-*/ruby/*/gems/*")
	w.says(out, "Your Gemfile.lock was bundled with bundler 2.5.20", "/rack-2")
	if strings.Contains(out, "/tally-1") {
		t.Error("the cache keeps a gem that the app no longer has")
	}

	// As a supplier for another buildpack: an empty Gemfile is enough.
	w.host("rm", "-r", w.upper("home/vcap/app/vendor"), lock)
	w.write("Gemfile", "")
	out, err = w.run(stageScript)
	w.says(out, "Gemfile.lock required")
	if err == nil {
		t.Error("it was finalized without a lock")
	}
	w.write("Gemfile.lock", "GEM\n  specs:\n\nPLATFORMS\n  ruby\n\nDEPENDENCIES\n")
	w.write("Gemfile", "ruby \"1.9.3\"\n")
	if out, err = w.run(stageScript); err == nil || !strings.Contains(out, "but your Gemfile specified 1.9.3") {
		t.Errorf("another Ruby: %v", err)
	}
}
