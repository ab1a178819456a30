// Package nodejs is the buildpack nodejs_buildpack: Node.js apps, with npm or Yarn.
//
// It promises what CF's does: the app's engines (or .nvmrc) choose among the Node versions that the buildpack carries; npm
// installs from package.json and its lock with production settings, or rebuilds the node_modules that the app brought;
// Yarn 1 installs where there is a yarn.lock, from npm-packages-offline-cache alone if the app has that; the modules are kept for
// the next staging; `npm start` is the default web process.
// It never fetches Node or Yarn itself while staging. A yarn.lock of Yarn 2 or newer is refused.
package nodejs

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"ingot/buildpacks/stager"
)

const docs = "https://docs.cloudfoundry.org/buildpacks/node/node-tips.html"

// Detect claims apps with a package.json.
func Detect(s *stager.Stager) (string, bool) { return "node.js " + s.Version, s.Has("package.json") }

// app is what the buildpack reads in a package.json.
type app struct {
	Engines struct {
		Node string `json:"node"`
		NPM  string `json:"npm"`
		Yarn string `json:"yarn"`
		IOJS string `json:"iojs"`
	} `json:"engines"`
	Scripts map[string]string `json:"scripts"`
	nvmrc   string            // the range that .nvmrc asks for
}

func read(s *stager.Stager) (app, error) {
	var a app
	text, err := os.ReadFile(filepath.Join(s.Build, "package.json"))
	switch {
	case os.IsNotExist(err):
		s.Warn("No package.json found")
	case err != nil:
		return a, err
	default:
		// Byte order marks come from Windows editors, and npm accepts them.
		if err := json.Unmarshal([]byte(strings.TrimPrefix(string(text), "\ufeff")), &a); err != nil {
			return a, fmt.Errorf("unable to load package.json: %w", err)
		}
	}
	if a.Engines.IOJS != "" {
		return a, errors.New("io.js not supported by this buildpack")
	}
	rc, err := os.ReadFile(filepath.Join(s.Build, ".nvmrc"))
	if err == nil {
		a.nvmrc, err = nvmrc(string(rc))
	} else if os.IsNotExist(err) {
		err = nil
	}
	return a, err
}

var (
	plain = regexp.MustCompile(`^v?\d+(\.\d+){0,2}$`)
	lts   = map[string]string{"lts/*": "24.x", "lts/jod": "22.x", "lts/krypton": "24.x"} // names of Node's LTS lines
)

// nvmrc turns the content of a .nvmrc into a range.
func nvmrc(text string) (string, error) {
	text = strings.ToLower(strings.TrimSpace(text))
	switch {
	case text == "node":
		return "*", nil
	case lts[text] != "":
		return lts[text], nil
	case plain.MatchString(text):
		return strings.TrimPrefix(text, "v") + strings.Repeat(".x", 2-strings.Count(text, ".")), nil
	}
	return "", fmt.Errorf("invalid version %s specified in .nvmrc", text)
}

// choose picks the Node version.
func choose(s *stager.Stager, a app) (string, error) {
	wanted := a.Engines.Node
	switch {
	case wanted == "*" || strings.HasPrefix(wanted, ">"):
		s.Warn("Dangerous semver range (%s) in engines.node. See: %s", wanted[:1], docs)
	case wanted != "" && a.nvmrc != "" && wanted != a.nvmrc:
		s.Warn("Node version in .nvmrc ignored in favor of 'engines' field in package.json")
	case wanted == "" && a.nvmrc != "":
		s.Warn("Using the node version specified in your .nvmrc See: %s", docs)
		wanted = a.nvmrc
	case wanted == "":
		s.Warn("Node version not specified in package.json or .nvmrc. See: %s", docs)
		wanted = s.DefaultRange("node")
	}
	return stager.Match(wanted, s.Versions("node"))
}

// Finalize leaves the launch scripts, and warns when nothing would start.
func Finalize(s *stager.Stager) error {
	a, err := read(s)
	if err != nil {
		return err
	}
	if a.Scripts["start"] == "" && !s.Has("Procfile") && !s.Has("server.js") {
		s.Warn("This app may not specify any way to start a node process\nSee: %s#start", docs)
	}
	return s.Finish()
}

// Release gives the default process types.
func Release(*stager.Stager) map[string]string {
	if os.Getenv("OPTIMIZE_MEMORY") == "true" {
		return map[string]string{"web": `NODE_OPTIONS="--max_old_space_size=$(( $MEMORY_AVAILABLE * 75 / 100 ))" npm start`}
	}
	return map[string]string{"web": "npm start"}
}
