package nodejs

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"ingot/buildpacks/stager"
)

// fakeNPM writes down how it was called and makes what npm would make. It stands in for the carried npm.
const fakeNPM = `#!/bin/sh
echo "npm $1 $2 NODE_ENV=$NODE_ENV production=$NPM_CONFIG_PRODUCTION nodedir=$npm_config_nodedir" >>"$CALLS"
case "$1" in
install)
	[ "$2" = --quiet ] && exit "${FAIL_NPM:-0}"
	[ -n "$FAIL" ] && { echo "npm error code E404" >&2; exit 1; }
	mkdir -p node_modules/express
	[ -f package-lock.json ] && cp package-lock.json again && cat again >package-lock.json && rm again
	echo '{"packages": {}}' >node_modules/.package-lock.json
	echo "$(cat node_modules/express/installs 2>/dev/null)x" >node_modules/express/installs ;;
esac
exit 0
`

const manifest = `language: nodejs
stack: cflinuxfs4
default_versions: [{name: node, version: 22.x}]
dependencies:
- {name: node, version: 22.23.3, file: node.tar.zst}
- {name: node, version: 24.21.0, file: node.tar.zst}
- {name: yarn, version: 1.22.22, file: yarn.tar.zst}
`

// fakeYarn: see fakeNPM.
const fakeYarn = `#!/bin/sh
echo "yarn $* mirror=$YARN_YARN_OFFLINE_MIRROR nodedir=$npm_config_nodedir" >>"$CALLS"
[ "$1" = install ] && mkdir -p node_modules/express
exit 0
`

// staging is one app with its cache and a buildpack that carries the fake npm.
type staging struct {
	root, build, cache, calls string
}

func newStaging(t *testing.T, pairs ...string) *staging {
	t.Helper()
	for _, d := range defaults {
		t.Setenv(d.name, "")
	}
	for _, name := range []string{"NODE_HOME", "NODE_PATH", "NODE_EXTRA_CA_CERTS", "CF_STACK", "FAIL", "FAIL_NPM", "OPTIMIZE_MEMORY"} {
		t.Setenv(name, "")
	}
	t.Setenv("PATH", os.Getenv("PATH"))
	st := &staging{root: t.TempDir(), build: t.TempDir(), cache: t.TempDir(), calls: filepath.Join(t.TempDir(), "calls")}
	t.Setenv("CALLS", st.calls)
	put(t, st.root, "VERSION", "1.2.3\n", "manifest.yml", manifest)
	archive(t, filepath.Join(st.root, "node.tar.zst"), "bin/npm", fakeNPM, "lib/node_modules/npm/package.json", `{"name": "npm", "version": "10.9.8"}`)
	archive(t, filepath.Join(st.root, "yarn.tar.zst"), "bin/yarn", fakeYarn)
	put(t, st.build, pairs...)
	return st
}

func archive(t *testing.T, path string, pairs ...string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(f)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for i := 0; i < len(pairs); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: pairs[i], Mode: 0o755, Size: int64(len(pairs[i+1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, pairs[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	for _, close := range []func() error{w.Close, z.Close, f.Close} {
		if err := close(); err != nil {
			t.Fatal(err)
		}
	}
}

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

// supply runs the phase with a fresh deps folder and returns it, what was printed, and the error.
func (st *staging) supply(t *testing.T) (s *stager.Stager, out string, err error) {
	t.Helper()
	var b bytes.Buffer
	s, err = stager.New(st.root, []string{st.build, st.cache, t.TempDir(), "0"}, &b)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(s.Dep(), 0o755); err != nil {
		t.Fatal(err)
	}
	err = Supply(s)
	return s, b.String(), err
}

// again is another staging of the same source: the platform unpacks the package anew.
func (st *staging) again(t *testing.T) (*stager.Stager, string, error) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(st.build, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return st.supply(t)
}

// installs counts, in the installed modules, how often npm worked on them.
func (st *staging) installs(t *testing.T) string {
	return get(t, st.build, "node_modules/express/installs")
}

func TestDetect(t *testing.T) {
	st := newStaging(t, "some-file", "")
	s, err := stager.New(st.root, []string{st.build}, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := Detect(s); ok {
		t.Error("claimed an app without package.json")
	}
	put(t, st.build, "package.json", "{}")
	if text, ok := Detect(s); !ok || text != "node.js 1.2.3" {
		t.Errorf("got %q, %v", text, ok)
	}
}

func TestSupplyInstallsAndKeepsTheModules(t *testing.T) {
	st := newStaging(t, "package.json", `{"engines": {"node": "24"}}`, "package-lock.json", "{}")
	s, out, err := st.supply(t)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"-----> Nodejs Buildpack version 1.2.3", "engines.node (package.json): 24",
		"-----> Installing node 24.21.0", "Using default npm version: 10.9.8", "Installing node modules (package.json + package-lock.json)"} {
		if !strings.Contains(out, want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
	if calls, want := get(t, st.calls), "npm install --userconfig NODE_ENV=production production=true nodedir="+s.Dep("node"); !strings.Contains(calls, want) {
		t.Errorf("npm was called as\n%swant %q", calls, want)
	}
	if got := st.installs(t); got != "x\n" {
		t.Errorf("the modules are %q", got)
	}
	if got := get(t, s.Dep("env/NODE_PATH")); got != filepath.Join(st.build, "node_modules") {
		t.Errorf("NODE_PATH for later buildpacks is %q", got)
	}

	_, out, err = st.again(t)
	if err != nil || !strings.Contains(out, "Restoring node modules from the cache") {
		t.Fatalf("second staging: %v\n%s", err, out)
	}
	if got := st.installs(t); got != "xx\n" {
		t.Errorf("the second install did not begin with the first one's modules: %q", got)
	}
}

// TestUnchangedAppLooksTheSame: neither what is in a droplet nor the times of its files show when it was staged.
func TestUnchangedAppLooksTheSame(t *testing.T) {
	st := newStaging(t, "package.json", "{}", "package-lock.json", "{}")
	pushed := time.Now().Add(-time.Hour)
	staged := func() map[string]string {
		t.Helper()
		for _, name := range []string{"package.json", "package-lock.json"} {
			if err := os.Chtimes(filepath.Join(st.build, name), pushed, pushed); err != nil {
				t.Fatal(err)
			}
		}
		s, out, err := st.again(t)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		s.Profile = filepath.Join(s.Deps, "profile.d")
		if err := Finalize(s); err != nil {
			t.Fatal(err)
		}
		seen := map[string]string{}
		for _, root := range []string{s.Deps, st.build} {
			err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() || d.Name() == "installs" { // which counts
					return err
				}
				info, err := d.Info()
				name, _ := filepath.Rel(root, path)
				seen[name] = fmt.Sprint(info.Mode(), info.ModTime().Unix(), strings.ReplaceAll(get(t, path), s.Deps, "DEPS"))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return seen
	}
	staged() // fills the cache
	second := staged()
	time.Sleep(time.Second) // the precision of times in a droplet
	third := staged()
	if len(second) < 10 || second["profile.d/0_node.sh"] == "" || second["node_modules/.package-lock.json"] == "" {
		t.Errorf("only %d files: %v", len(second), slices.Sorted(maps.Keys(second)))
	}
	for name := range second {
		if second[name] != third[name] {
			t.Errorf("%s: %.80q, then %.80q", name, second[name], third[name])
		}
	}
}

func TestSupplyDoesNotReuseModulesOfAnotherNodeOrAgainstTheUsersWill(t *testing.T) {
	st := newStaging(t, "package.json", `{"engines": {"node": "24"}}`)
	if _, out, err := st.supply(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	put(t, st.build, "package.json", `{"engines": {"node": "22"}}`)
	if _, _, err := st.again(t); err != nil || st.installs(t) != "x\n" {
		t.Errorf("modules built for another Node were reused (%v)", err)
	}
	t.Setenv("NODE_MODULES_CACHE", "false")
	if _, _, err := st.again(t); err != nil || st.installs(t) != "x\n" {
		t.Errorf("modules were reused although NODE_MODULES_CACHE is false (%v)", err)
	}
	if left, err := os.ReadDir(st.cache); err != nil || len(left) != 0 {
		t.Errorf("the cache holds %v, %v", left, err)
	}
}

func TestSupplyRebuildsVendoredModules(t *testing.T) {
	st := newStaging(t, "package.json", "{}", "node_modules/express/installs", "vendored")
	_, out, err := st.supply(t)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(out, "Prebuild detected (node_modules already exists)") || !strings.Contains(get(t, st.calls), "npm rebuild ") {
		t.Errorf("not rebuilt:\n%s", out)
	}
	if left, err := os.ReadDir(st.cache); err != nil || len(left) != 0 {
		t.Errorf("vendored modules were cached: %v, %v", left, err)
	}
}

func TestSupplyRunsTheAppsScriptsAroundTheInstall(t *testing.T) {
	st := newStaging(t, "package.json", `{"scripts": {"heroku-prebuild": "a", "heroku-postbuild": "b"}}`)
	if _, out, err := st.supply(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	calls := get(t, st.calls)
	pre, install, post := strings.Index(calls, "run heroku-prebuild"), strings.Index(calls, "npm install"), strings.Index(calls, "run heroku-postbuild")
	if pre < 0 || pre > install || install > post {
		t.Errorf("npm was called as\n%s", calls)
	}
}

func TestSupplyTakesAnotherNPM(t *testing.T) {
	st := newStaging(t, "package.json", `{"engines": {"npm": "^11"}}`)
	if _, out, err := st.supply(t); err != nil || !strings.Contains(out, "Downloading and installing npm ^11 (replacing version 10.9.8)") {
		t.Errorf("%v\n%s", err, out)
	}
	t.Setenv("FAIL_NPM", "1")
	if _, out, err := st.again(t); err == nil || !strings.Contains(out, "We're unable to download the version of npm you've provided (^11)") {
		t.Errorf("npm that is not there: %v\n%s", err, out)
	}
	put(t, st.build, "package.json", `{"engines": {"npm": "10.x"}}`)
	if _, out, err := st.again(t); err != nil || !strings.Contains(out, "npm 10.9.8 already installed with node") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestSupplyRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		files []string
		want  string
	}{
		"a version that is not carried": {[]string{"package.json", `{"engines": {"node": "12.x"}}`}, "unable to install node: no match found for 12.x in [22.23.3 24.21.0]"},
		"a version that is none":        {[]string{"package.json", `{"engines": {"node": "new"}}`}, "unable to install node: improper constraint"},
		"io.js":                         {[]string{"package.json", `{"engines": {"iojs": "1"}}`}, "io.js not supported by this buildpack"},
		"broken JSON":                   {[]string{"package.json", `{"engines": `}, "unable to load package.json"},
		"a bad .nvmrc":                  {[]string{"package.json", "{}", ".nvmrc", "$(reboot)"}, "invalid version $(reboot) specified in .nvmrc"},
		"Yarn 2":                        {[]string{"package.json", "{}", "yarn.lock", "# a file\n\n__metadata:\n  version: 8\n"}, "written by Yarn 2 or newer"},
		"another Yarn":                  {[]string{"package.json", `{"engines": {"yarn": "3.x"}}`}, "unable to install yarn: package.json requested 3.x, buildpack only includes yarn version 1.22.22"},
	} {
		st := newStaging(t, c.files...)
		if _, out, err := st.supply(t); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q\n%s", name, err, c.want, out)
		}
	}
}

// As CF's src/nodejs/yarn: the lock is followed, and a mirror in the app is enough.
func TestSupplyWithYarn(t *testing.T) {
	st := newStaging(t, "package.json", `{"scripts": {"heroku-postbuild": "x"}}`, "yarn.lock", "# yarn lockfile v1\n", "package-lock.json", "{}")
	if _, out, err := st.supply(t); err != nil || !strings.Contains(out, "Installing node modules (yarn.lock)") {
		t.Fatalf("%v\n%s", err, out)
	}
	calls := get(t, st.calls)
	if !strings.Contains(calls, "yarn install --pure-lockfile --ignore-engines --check-files") || !strings.Contains(calls, "yarn run heroku-postbuild") ||
		strings.Contains(calls, "npm install") || strings.Contains(calls, "--offline") || !strings.Contains(calls, "mirror= nodedir=/") {
		t.Errorf("called were\n%s", calls)
	}
	put(t, st.build, offline+"/express-1.tgz", "")
	if _, out, err := st.again(t); err != nil || !strings.Contains(out, "Restoring node modules from the cache") || !strings.Contains(out, "Found yarn mirror directory") {
		t.Fatalf("%v\n%s", err, out)
	}
	if calls := strings.TrimPrefix(get(t, st.calls), calls); !strings.Contains(calls, "--offline mirror="+filepath.Join(st.build, offline)) {
		t.Errorf("called were\n%s", calls)
	}
	if _, err := os.Stat(filepath.Join(st.build, offline)); err == nil {
		t.Error("the mirror is in the droplet")
	}
}

func TestSupplyShowsWhyNPMFailed(t *testing.T) {
	st := newStaging(t, "package.json", "{}")
	t.Setenv("FAIL", "1")
	_, out, err := st.supply(t)
	if err == nil || !strings.Contains(err.Error(), "unable to build dependencies: exit status 1") || !strings.Contains(out, "npm error code E404") ||
		!strings.Contains(out, "Where no package registry can be reached, push the app with its modules: node_modules") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestNvmrc(t *testing.T) {
	for text, want := range map[string]string{"node": "*", "lts/*": "24.x", "lts/Jod\n": "22.x", "v22": "22.x.x", "22.1": "22.1.x", "22.1.3": "22.1.3"} {
		if got, err := nvmrc(text); err != nil || got != want {
			t.Errorf("nvmrc(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestFinalizeWarnsOfAnAppThatCannotStart(t *testing.T) {
	for files, warns := range map[string]bool{"": true, "server.js": false, "Procfile": false} {
		st := newStaging(t, "package.json", "{}")
		if files != "" {
			put(t, st.build, files, "")
		}
		var out bytes.Buffer
		s, err := stager.New(st.root, []string{st.build, st.cache, t.TempDir(), "0", t.TempDir()}, &out)
		if err == nil {
			err = Finalize(s)
		}
		if err != nil || strings.Contains(out.String(), "may not specify any way to start a node process") != warns {
			t.Errorf("with %q: %v, %q", files, err, out.String())
		}
	}
}

func TestRelease(t *testing.T) {
	t.Setenv("OPTIMIZE_MEMORY", "")
	if got := Release(nil)["web"]; got != "npm start" {
		t.Errorf("web is %q", got)
	}
	t.Setenv("OPTIMIZE_MEMORY", "true")
	if got, want := Release(nil)["web"], `NODE_OPTIONS="--max_old_space_size=$(( $MEMORY_AVAILABLE * 75 / 100 ))" npm start`; got != want {
		t.Errorf("web is %q", got)
	}
}
