// Package golang is the buildpack go_buildpack: apps that are pushed as Go source.
//
// It promises what CF's does: Go modules, with or without vendor/, and packages that are vendored below GOPACKAGENAME;
// GOVERSION, GO_INSTALL_PACKAGE_SPEC, GO_LINKER_SYMBOL and GO_LINKER_VALUE, GO_INSTALL_TOOLS_IN_IMAGE and buildpack.yml's
// ldflags; `./bin/<name>` is the default web process and bin is on the PATH; what was compiled and fetched is kept for
// the next staging. The toolchain is the one that the buildpack carries, and stays behind when the droplet is made.
// It has none of the tools that came before modules: an app of godep, glide, dep or gb is refused.
package golang

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ingot/buildpacks/stager"
)

// Detect claims modules, and Go files that GOPACKAGENAME or a vendor folder makes a package of.
func Detect(s *stager.Stager) (string, bool) {
	for _, name := range append([]string{"go.mod", "vendor/vendor.json", ".godir"}, tools...) {
		if s.Has(name) {
			return "Go", true
		}
	}
	vendored := os.Getenv("GOPACKAGENAME") != "" || s.Has("vendor")
	return "Go", vendored && hasGo(s.Build) || hasGo(filepath.Join(s.Build, "src"))
}

// tools are the files of tools that came before modules.
var tools = []string{"Godeps", "glide.yaml", "Gopkg.toml"}

var errFound = errors.New("found")

func hasGo(dir string) bool {
	return errors.Is(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.HasSuffix(path, ".go") {
			err = errFound
		}
		return err
	}), errFound)
}

// Supply installs Go.
func Supply(s *stager.Stager) error {
	if err := s.Begin(); err != nil {
		return err
	}
	if err := refuse(s); err != nil {
		return err
	}
	version, err := choose(s)
	if err == nil {
		err = s.Install("go", version, "go")
	}
	if err == nil {
		err = s.LinkBin("go/bin")
	}
	if err != nil {
		return fmt.Errorf("unable to install go: %w", err)
	}
	env := map[string]string{"GOROOT": s.Dep("go"), "GOTOOLCHAIN": "local", "GO111MODULE": "auto"}
	if s.Has("go.mod") {
		env["GO111MODULE"] = "on"
		if s.Has("vendor") {
			env["GOFLAGS"] = strings.TrimSpace(os.Getenv("GOFLAGS") + " -mod=vendor")
		}
	}
	for name, value := range env {
		if err := s.SetEnv(name, value); err != nil {
			return err
		}
	}
	return s.WriteProfile("goroot.sh", "export GOROOT=$DEPS_DIR/"+s.Index+"/go\n")
}

// refuse names what this buildpack cannot build.
func refuse(s *stager.Stager) error {
	if s.Has(".godir") {
		return errors.New("deprecated, .godir file found: use Go modules (go mod init)")
	}
	if s.Has("go.mod") {
		return nil
	}
	for _, name := range tools {
		if s.Has(name) {
			return fmt.Errorf("this app is managed by %s, and this buildpack has no such tool: use Go modules (go mod init)", name)
		}
	}
	return nil
}

// choose picks the Go version: GOVERSION is "latest", "go1.26", "go1.26.8" or "1.26.x".
func choose(s *stager.Stager) (string, error) {
	wanted := strings.TrimPrefix(os.Getenv("GOVERSION"), "go")
	switch {
	case wanted == "":
		wanted = s.DefaultRange("go")
	case wanted == "latest":
		wanted = "*"
	case strings.Count(wanted, ".") < 2:
		wanted += ".x"
	}
	return stager.Match(wanted, s.Versions("go"))
}

// Release gives the default process types, which Finalize left.
func Release(s *stager.Stager) map[string]string { return s.Released() }
