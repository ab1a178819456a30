package golang

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"ingot/buildpacks/stager"
)

// Finalize compiles the app into its bin folder.
func Finalize(s *stager.Stager) error {
	env := map[string]string{"GOBIN": filepath.Join(s.Build, "bin"), "GOCACHE": filepath.Join(s.Cache, "go-cache"),
		"GOMODCACHE": filepath.Join(s.Cache, "go-mod"), "GOFLAGS": strings.TrimSpace(os.Getenv("GOFLAGS") + " -modcacherw -buildvcs=false")}
	for name, value := range env {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	dir, clean, err := source(s)
	if err != nil {
		return err
	}
	defer clean()
	if err := os.MkdirAll(env["GOBIN"], 0o755); err != nil {
		return err
	}
	flags, err := flags(s)
	if err != nil {
		return err
	}
	packages := strings.Fields(os.Getenv("GO_INSTALL_PACKAGE_SPEC"))
	if len(packages) == 0 {
		s.Warn("Installing package '.' (default)")
		packages = []string{"."}
	}
	args := slices.Concat([]string{"install"}, flags, packages)
	s.Step("Running: go %s", strings.Join(args, " "))
	if err := s.Run(dir, "go", args...); err != nil {
		if !s.Has("vendor") {
			s.Info("Where no module proxy can be reached, push the app with its modules: go mod vendor")
		}
		return fmt.Errorf("unable to compile application: %w", err)
	}
	at := *s
	at.Build = dir
	target, err := at.Output("go", "list", "-f", "{{.Target}}", packages[0])
	if err != nil {
		return err
	}
	if target, _, _ = strings.Cut(target, "\n"); target == "" {
		return fmt.Errorf("package %s is no program: GO_INSTALL_PACKAGE_SPEC names the one that is", packages[0])
	}
	if err := s.KeepRelease(map[string]string{"web": "./bin/" + filepath.Base(target)}); err != nil {
		return err
	}
	if err := leave(s); err != nil {
		return err
	}
	if err := s.WriteProfile("go.sh", "export PATH=$PATH:$HOME/bin\n"); err != nil {
		return err
	}
	return s.Finish()
}

// source is the folder to compile in: the app's own for a module, else a place in a GOPATH that clean removes.
func source(s *stager.Stager) (dir string, clean func(), err error) {
	if s.Has("go.mod") {
		return s.Build, func() {}, nil
	}
	name := os.Getenv("GOPACKAGENAME")
	if name == "" {
		return "", nil, errors.New("to use go native vendoring set the $GOPACKAGENAME environment variable to your app's package name")
	}
	if !filepath.IsLocal(name) {
		return "", nil, fmt.Errorf("GOPACKAGENAME %q is no package name", name)
	}
	gopath, err := os.MkdirTemp("", "gopath")
	if err != nil {
		return "", nil, err
	}
	clean = func() { _ = os.RemoveAll(gopath) }
	dir = filepath.Join(gopath, "src", name)
	err = os.MkdirAll(dir, 0o755)
	if err == nil {
		err = s.Run(s.Build, "cp", "-a", ".", dir)
	}
	if err == nil {
		err = os.Setenv("GOPATH", gopath)
	}
	if err != nil {
		clean()
	}
	return dir, clean, err
}

// flags are those of CF's buildpack, with the linker's from buildpack.yml and the environment.
func flags(s *stager.Stager) ([]string, error) {
	all := []string{"-tags", "cloudfoundry", "-buildmode", "pie"}
	var doc struct {
		Go struct {
			LDFlags map[string]string `yaml:"ldflags"`
		} `yaml:"go"`
	}
	text, err := os.ReadFile(filepath.Join(s.Build, "buildpack.yml"))
	if err == nil {
		err = yaml.Unmarshal(text, &doc)
	}
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("unable to parse buildpack.yml: %w", err)
	}
	set := doc.Go.LDFlags
	if symbol, value := os.Getenv("GO_LINKER_SYMBOL"), os.Getenv("GO_LINKER_VALUE"); symbol != "" && value != "" {
		if set == nil {
			set = map[string]string{}
		}
		set[symbol] = value
	}
	if len(set) == 0 {
		return all, nil
	}
	var ld []string
	for _, k := range slices.Sorted(maps.Keys(set)) {
		ld = append(ld, fmt.Sprintf("-X %s=%s", k, set[k]))
	}
	return append(all, "-ldflags", strings.Join(ld, " ")), nil
}

// leave takes the toolchain out of the droplet, unless the app wants it there.
func leave(s *stager.Stager) error {
	if os.Getenv("GO_INSTALL_TOOLS_IN_IMAGE") == "true" {
		s.Step("Leaving go tool chain in $GOROOT=$DEPS_DIR/%s/go", s.Index)
		return nil
	}
	for _, name := range []string{"go", "bin", "env", "profile.d/goroot.sh"} {
		if err := os.RemoveAll(s.Dep(name)); err != nil {
			return err
		}
	}
	return nil
}
