package nodejs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"ingot/buildpacks/stager"
)

// offline is the folder of the app that holds all that Yarn needs, as CF's buildpack names it.
const offline = "npm-packages-offline-cache"

// ensureYarn installs Yarn where the app is locked for it or asks for it.
func (n *npm) ensureYarn(wanted string) error {
	if !n.yarn && wanted == "" {
		return nil
	}
	have := n.Versions("yarn")
	version, err := stager.Match(or(wanted, "*"), have)
	if err != nil {
		return fmt.Errorf("package.json requested %s, buildpack only includes yarn version %s", wanted, strings.Join(have, ", "))
	}
	if err := n.Install("yarn", version, "yarn"); err != nil {
		return err
	}
	return n.LinkBin("yarn/bin")
}

// installYarn installs what yarn.lock says, no more and no less.
func (n *npm) installYarn() error {
	lock, err := os.ReadFile(filepath.Join(n.Build, "yarn.lock"))
	if err != nil {
		return err
	}
	if bytes.Contains(lock, []byte("\n__metadata:")) {
		return errors.New("this yarn.lock was written by Yarn 2 or newer, and this buildpack has Yarn 1: push node_modules and package-lock.json, without yarn.lock")
	}
	n.Info("Installing node modules (yarn.lock)")
	args := []string{"install", "--pure-lockfile", "--ignore-engines", "--check-files", "--non-interactive", "--no-progress", "--cache-folder", filepath.Join(n.cache, "yarn")}
	if n.Has(offline) {
		n.Info("Found yarn mirror directory %s", filepath.Join(n.Build, offline))
		args = append(args, "--offline")
	}
	if err := n.runYarn(args...); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(n.Build, offline))
}

// runYarn runs Yarn with its output in the log.
func (n *npm) runYarn(args ...string) error {
	cmd := exec.Command("yarn", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = n.Build, n.Log, n.Log
	cmd.Env = append(os.Environ(), "npm_config_nodedir="+n.Dep("node"))
	if n.Has(offline) {
		cmd.Env = append(cmd.Env, "YARN_YARN_OFFLINE_MIRROR="+filepath.Join(n.Build, offline), "YARN_YARN_OFFLINE_MIRROR_PRUNING=false")
	}
	return cmd.Run()
}
