package nodejs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"ingot/buildpacks/stager"
)

// Supply installs Node, npm and the app's modules.
func Supply(s *stager.Stager) error {
	if err := s.Begin(); err != nil {
		return err
	}
	s.Step("Installing binaries")
	a, err := read(s)
	if err != nil {
		return err
	}
	s.Info("engines.node (package.json): %s", or(a.Engines.Node, "unspecified"))
	s.Info("engines.npm (package.json): %s", or(a.Engines.NPM, "unspecified (use default)"))
	version, err := choose(s, a)
	if err == nil {
		err = s.Install("node", version, "node")
	}
	if err == nil {
		err = s.LinkBin("node/bin")
	}
	if err != nil {
		return fmt.Errorf("unable to install node: %w", err)
	}
	if err := environment(s); err != nil {
		return fmt.Errorf("unable to setup default environment: %w", err)
	}
	n, err := newNPM(s, version)
	if err != nil {
		return fmt.Errorf("unable to install npm: %w", err)
	}
	defer n.close()
	if err := n.ensure(a.Engines.NPM); err != nil {
		return fmt.Errorf("unable to install npm: %w", err)
	}
	if err := n.ensureYarn(a.Engines.Yarn); err != nil {
		return fmt.Errorf("unable to install yarn: %w", err)
	}
	if err := n.modules(a); err != nil {
		s.Info("Where no package registry can be reached, push the app with its modules: %s", map[bool]string{false: "node_modules", true: offline}[n.yarn])
		return fmt.Errorf("unable to build dependencies: %w", err)
	}
	return s.SetEnv("NODE_PATH", filepath.Join(s.Build, "node_modules"))
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// defaults are set where neither the app nor the platform sets them.
var defaults = []struct{ name, value string }{
	{"NODE_ENV", "production"},
	{"NPM_CONFIG_PRODUCTION", "true"},
	{"NPM_CONFIG_LOGLEVEL", "error"},
	{"NODE_MODULES_CACHE", "true"},
	{"NODE_VERBOSE", "false"},
	{"WEB_MEMORY", "512"},
	{"WEB_CONCURRENCY", "1"},
}

// cas is where the stack keeps the certificates to trust. Node has a list of its own, which lacks the operator's.
const cas = "/etc/ssl/certs/ca-certificates.crt"

// environment sets what npm sees, and what the app will see.
func environment(s *stager.Stager) error {
	s.Step("Creating runtime environment")
	for _, d := range defaults {
		if os.Getenv(d.name) == "" {
			if err := s.SetEnv(d.name, d.value); err != nil {
				return err
			}
		}
		s.Info("%s=%s", d.name, os.Getenv(d.name))
	}
	if err := s.SetEnv("NODE_HOME", s.Dep("node")); err != nil {
		return err
	}
	if _, err := os.Stat(cas); err == nil && os.Getenv("NODE_EXTRA_CA_CERTS") == "" {
		if err := os.Setenv("NODE_EXTRA_CA_CERTS", cas); err != nil {
			return err
		}
	}
	return s.WriteProfile("node.sh", strings.ReplaceAll(profile, "INDEX", s.Index))
}

// profile runs in the app's container before it starts. The names are those of CF's buildpack.
const profile = `export NODE_HOME=$DEPS_DIR/INDEX/node
export NODE_ENV=${NODE_ENV:-production}
export MEMORY_AVAILABLE=$(echo "$VCAP_APPLICATION" | jq '.limits.mem')
export WEB_MEMORY=${WEB_MEMORY:-512}
export WEB_CONCURRENCY=${WEB_CONCURRENCY:-1}
export NODE_PATH=${NODE_PATH:-$HOME/node_modules}
export PATH=$PATH:$HOME/bin:$NODE_PATH/.bin
export SSL_CERT_DIR=${SSL_CERT_DIR:-/etc/ssl/certs}
export NODE_EXTRA_CA_CERTS=${NODE_EXTRA_CA_CERTS:-` + cas + `}
if [ "$LOG_CONCURRENCY" = true ]; then
	echo "Detected $MEMORY_AVAILABLE MB available memory, $WEB_MEMORY MB limit per process (WEB_MEMORY)"
	echo "Recommending WEB_CONCURRENCY=$WEB_CONCURRENCY"
fi
`

// npm runs npm in the app.
type npm struct {
	*stager.Stager
	node  string // version
	cache string // npm's download cache, for this staging only: the modules themselves are what is kept
	yarn  bool   // is what the app is locked for
}

func newNPM(s *stager.Stager, node string) (*npm, error) {
	cache, err := os.MkdirTemp("", "npm")
	return &npm{s, node, cache, s.Has("yarn.lock")}, err
}

func (n *npm) close() { _ = os.RemoveAll(n.cache) }

// run runs npm with its output in the log.
func (n *npm) run(args ...string) error {
	cmd := n.command(args...)
	cmd.Stdout, cmd.Stderr = n.Log, n.Log
	return cmd.Run()
}

func (n *npm) command(args ...string) *exec.Cmd {
	cmd := exec.Command("npm", append(args, "--userconfig", filepath.Join(n.Build, ".npmrc"), "--cache", n.cache)...)
	cmd.Dir = n.Build
	// Audits, adverts and news cost a request each and help nobody here; log files would be lost; native modules take the headers that we carry.
	cmd.Env = append([]string{"NPM_CONFIG_AUDIT=false", "NPM_CONFIG_FUND=false", "NPM_CONFIG_UPDATE_NOTIFIER=false",
		"NPM_CONFIG_LOGS_MAX=0", "npm_config_nodedir=" + n.Dep("node")}, os.Environ()...)
	return cmd
}

// ensure replaces the carried npm when the app asks for another one.
func (n *npm) ensure(wanted string) error {
	text, err := os.ReadFile(n.Dep("node", "lib", "node_modules", "npm", "package.json"))
	if err != nil {
		return err
	}
	var carried struct {
		Version string `json:"version"`
	}
	if err := json.Unmarshal(text, &carried); err != nil {
		return fmt.Errorf("read npm's package.json: %w", err)
	}
	have := carried.Version
	if wanted == "" {
		n.Info("Using default npm version: %s", have)
		return nil
	}
	if _, err := stager.Match(wanted, []string{have}); err == nil {
		n.Info("npm %s already installed with node", have)
		return nil
	}
	n.Info("Downloading and installing npm %s (replacing version %s)...", wanted, have)
	if err := n.run("install", "--quiet", "-g", "npm@"+wanted); err != nil {
		n.Error("We're unable to download the version of npm you've provided (%s).\nPlease remove the npm version specification in package.json", wanted)
		return err
	}
	return nil
}

// modules makes the app's node_modules.
func (n *npm) modules(a app) error {
	n.Step("Building dependencies")
	vendored := n.Has("node_modules") && !n.yarn // Yarn makes right what is there
	steps := []func() error{n.script(a, "heroku-prebuild"), n.install, n.script(a, "heroku-postbuild"), n.keep}
	if vendored {
		steps = []func() error{n.script(a, "heroku-prebuild"), n.rebuild, n.script(a, "heroku-postbuild")}
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// script runs a script of the package.json, if it is there.
func (n *npm) script(a app, name string) func() error {
	return func() error {
		if a.Scripts[name] == "" {
			return nil
		}
		if n.yarn {
			n.Info("Running %s (yarn)", name)
			return n.runYarn("run", name)
		}
		n.Info("Running %s (npm)", name)
		return n.run("run", name)
	}
}

func (n *npm) manifests() string {
	files := "package.json"
	for _, lock := range []string{"package-lock.json", "npm-shrinkwrap.json"} {
		if n.Has(lock) {
			files += " + " + lock
		}
	}
	return files
}

// rebuild is for an app that brings its modules: they may have been built on another system.
func (n *npm) rebuild() error {
	n.Info("Prebuild detected (node_modules already exists)")
	if !n.Has("package-lock.json") && !n.Has("npm-shrinkwrap.json") {
		n.Info("Warning: package-lock.json not found. The buildpack may reach out to the internet to download module updates, even if they are vendored.")
	}
	n.Info("Rebuilding any native modules")
	if err := n.run("rebuild"); err != nil {
		return err
	}
	n.Info("Installing any new modules (%s)", n.manifests())
	return n.run("install")
}

// install installs from the registry. It begins with the modules of the last staging, which npm makes right: then it
// fetches only what changed.
func (n *npm) install() error {
	if !n.Has("package.json") {
		n.Info("Skipping (no package.json)")
		return nil
	}
	if err := n.restore(); err != nil {
		return err
	}
	if n.yarn {
		return n.installYarn()
	}
	n.Info("Installing node modules (%s)", n.manifests())
	return steady([]string{filepath.Join(n.Build, "package-lock.json"), filepath.Join(n.Build, "node_modules", ".package-lock.json")},
		func() error { return n.run("install") })
}

// steady runs f. The files that f wrote anew as they were keep their time: an unchanged app makes the same droplet again.
func steady(files []string, f func() error) error {
	type was struct {
		text []byte
		time time.Time
	}
	had := map[string]was{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if st, e := os.Stat(file); err == nil && e == nil {
			had[file] = was{text, st.ModTime()}
		}
	}
	if err := f(); err != nil {
		return err
	}
	for file, old := range had {
		if text, err := os.ReadFile(file); err == nil && bytes.Equal(text, old.text) {
			if err := os.Chtimes(file, old.time, old.time); err != nil {
				return err
			}
		}
	}
	return nil
}

// kept is the cached modules; its name holds what they were built for.
func (n *npm) kept() string { return filepath.Join(n.Cache, "node_modules-"+n.node) }

func (n *npm) restore() error {
	if _, err := os.Stat(n.kept()); err != nil || os.Getenv("NODE_MODULES_CACHE") != "true" {
		return nil
	}
	n.Info("Restoring node modules from the cache")
	return copyTree(n.kept(), filepath.Join(n.Build, "node_modules"))
}

// keep leaves a copy of the modules for the next staging. They stay in the app's folder, unlike in CF's buildpack, which
// moves them away and so breaks the links of workspaces and of "file:" dependencies.
func (n *npm) keep() error {
	old, _ := filepath.Glob(filepath.Join(n.Cache, "node_modules-*"))
	for _, dir := range old {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if !n.Has("node_modules") || os.Getenv("NODE_MODULES_CACHE") != "true" {
		return nil
	}
	return copyTree(filepath.Join(n.Build, "node_modules"), n.kept())
}

// copyTree copies with links, modes and times.
func copyTree(from, to string) error {
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s to %s: %w: %s", from, to, err, bytes.TrimSpace(out))
	}
	return nil
}
