// Package stager is the buildpack side of Cloud Foundry's buildpack contract: where a phase reads and writes, what it
// leaves for the phases and buildpacks after it, and how it speaks to the person who pushes.
// (https://docs.cloudfoundry.org/buildpacks/understand-buildpacks.html, and libbuildpack for the layout below deps.)
//
// It promises: a supply leaves bin, lib, env, profile.d and config.yml below <deps>/<index>; a finalize turns those
// of all buildpacks into scripts for the launcher. It knows no language.
package stager

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Stager is one run of one phase. Fields beyond Build are empty where the phase does not get them.
type Stager struct {
	Root     string    // the buildpack's own folder
	Build    string    // the app
	Cache    string    // kept from staging to staging of the app
	Deps     string    // folders of all buildpacks, by index
	Index    string    // this buildpack's folder below Deps
	Profile  string    // launch scripts
	Manifest *Manifest // of this buildpack
	Version  string    // of this buildpack
	Log      io.Writer
}

// Manifest is a buildpack's manifest.yml.
type Manifest struct {
	Language     string       `yaml:"language"`
	Stack        string       `yaml:"stack"`
	Defaults     []Default    `yaml:"default_versions"`
	Dependencies []Dependency `yaml:"dependencies"`
}

// Default is the version line that an app gets when it names none.
type Default struct {
	Name    string `yaml:"name"`
	Version string `yaml:"version"`
}

// Dependency is something that the buildpack carries.
type Dependency struct {
	Name    string   `yaml:"name"`
	Version string   `yaml:"version"`
	File    string   `yaml:"file"`    // a tar.zst below the buildpack's folder
	Sources []Source `yaml:"sources"` // what File is made of
	Debian  Debian   `yaml:"debian"`  // or this
}

// Debian is parts of packages of the stack's Debian release.
type Debian struct {
	Packages []string `yaml:"packages"`
	Parts    []struct {
		From    string   `yaml:"from"`    // a folder of the packages
		To      string   `yaml:"to"`      // its place in File
		Without []string `yaml:"without"` // patterns of what below From stays out
	} `yaml:"parts"`
}

// Source is a package of the npm registry and the SHA-512 that it must have (base64, as in a package-lock.json), or a
// Go module and its sum (as in a go.sum).
type Source struct {
	Package   string `yaml:"package"`
	Module    string `yaml:"module"`
	Integrity string `yaml:"integrity"`
}

// New reads the buildpack in root for a phase with the contract's arguments: BUILD [CACHE [DEPS INDEX [PROFILE]]].
func New(root string, args []string, log io.Writer) (*Stager, error) {
	args = append(slices.Clone(args), make([]string, 5)...)
	s := &Stager{Root: root, Build: args[0], Cache: args[1], Deps: args[2], Index: args[3], Profile: args[4], Log: log}
	if s.Build == "" {
		return nil, fmt.Errorf("no build folder given")
	}
	if s.Profile == "" {
		s.Profile = filepath.Join(s.Build, ".profile.d")
	}
	text, err := os.ReadFile(filepath.Join(root, "manifest.yml"))
	if err != nil {
		return nil, fmt.Errorf("read the buildpack's manifest: %w", err)
	}
	s.Manifest = &Manifest{}
	if err := yaml.Unmarshal(text, s.Manifest); err != nil {
		return nil, fmt.Errorf("read the buildpack's manifest: %w", err)
	}
	if s.Manifest.Language == "" {
		return nil, errors.New("the buildpack's manifest names no language")
	}
	version, err := os.ReadFile(filepath.Join(root, "VERSION"))
	if err != nil {
		return nil, fmt.Errorf("read the buildpack's version: %w", err)
	}
	s.Version = strings.TrimSpace(string(version))
	return s, nil
}

// Dep is a path in the buildpack's own deps folder.
func (s *Stager) Dep(elem ...string) string {
	return filepath.Join(append([]string{s.Deps, s.Index}, elem...)...)
}

// Output runs a program in the app's folder and returns what it says; its complaints are in the log.
func (s *Stager) Output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stderr = s.Build, s.Log
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), err
}

// Run runs a program in a folder with its output in the log.
func (s *Stager) Run(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, s.Log, s.Log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, args[0], err)
	}
	return nil
}

// SetDefault is SetEnv unless the variable has a value already: the app's own wins.
func (s *Stager) SetDefault(name, value string) error {
	if v := os.Getenv(name); v != "" {
		return nil
	}
	return s.SetEnv(name, value)
}

// Has tells whether the app has the file.
func (s *Stager) Has(name string) bool {
	_, err := os.Stat(filepath.Join(s.Build, name))
	return err == nil
}

// Begin greets, and fails on a stack that the buildpack is not for.
func (s *Stager) Begin() error {
	lang := s.Manifest.Language
	s.Step("%s Buildpack version %s", strings.ToUpper(lang[:1])+lang[1:], s.Version)
	if stack := os.Getenv("CF_STACK"); stack != "" && s.Manifest.Stack != "" && stack != s.Manifest.Stack {
		return fmt.Errorf("required stack %s was not found", stack)
	}
	return s.write("config.yml", fmt.Appendf(nil, "name: %s\nconfig: {}\nversion: %q\n", lang, s.Version), 0o644)
}

// SetEnv sets a variable for this process and for the buildpacks after this one.
func (s *Stager) SetEnv(name, value string) error {
	if err := s.write(filepath.Join("env", name), []byte(value), 0o644); err != nil {
		return err
	}
	return os.Setenv(name, value)
}

// WriteProfile leaves a script that the launcher sources before the app starts.
func (s *Stager) WriteProfile(name, script string) error {
	return s.write(filepath.Join("profile.d", name), []byte(script), 0o755)
}

func (s *Stager) write(name string, text []byte, mode os.FileMode) error {
	path := s.Dep(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return writeFile(path, text, mode)
}

// epoch is the time of the files that a buildpack brings or writes, so that the moment of a staging does not show in its
// droplet: an unchanged app makes the same droplet again, which is stored and unpacked already.
var epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

func writeFile(path string, text []byte, mode os.FileMode) error {
	return errors.Join(os.WriteFile(path, text, mode), os.Chtimes(path, epoch, epoch))
}

// LinkBin puts the programs in dir, a folder below the buildpack's deps folder, on the PATH of this process, of later
// buildpacks and of the app.
func (s *Stager) LinkBin(dir string) error {
	files, err := os.ReadDir(s.Dep(dir))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.Dep("bin"), 0o755); err != nil {
		return err
	}
	for _, f := range files {
		link := s.Dep("bin", f.Name())
		if err := os.Remove(link); err != nil && !os.IsNotExist(err) {
			return err
		}
		if err := os.Symlink(filepath.Join("..", dir, f.Name()), link); err != nil {
			return err
		}
	}
	return os.Setenv("PATH", s.Dep("bin")+":"+os.Getenv("PATH"))
}

// searched are the folders below deps that join search paths: while staging, and (Launch) when the app starts.
var searched = []struct {
	Variable, Folder string
	Launch           bool
}{
	{"PATH", "bin", true}, {"LD_LIBRARY_PATH", "lib", true}, {"LIBRARY_PATH", "lib", true},
	{"CPATH", "include", false}, {"PKG_CONFIG_PATH", "pkgconfig", false},
}

// UseEarlier sets the environment that the buildpacks so far left for those after them.
func (s *Stager) UseEarlier() error {
	for _, v := range searched {
		dirs := s.all(v.Folder)
		if len(dirs) == 0 {
			continue
		}
		if old := os.Getenv(v.Variable); old != "" {
			dirs = append(dirs, old)
		}
		if err := os.Setenv(v.Variable, strings.Join(dirs, ":")); err != nil {
			return err
		}
	}
	for _, dir := range s.all("env") {
		files, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, f := range files {
			value, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				return err
			}
			if err := os.Setenv(f.Name(), string(value)); err != nil {
				return err
			}
		}
	}
	return nil
}

// all returns <deps>/<index>/<folder> of the buildpacks that have it, the last buildpack first.
func (s *Stager) all(folder string) []string {
	found, _ := filepath.Glob(filepath.Join(s.Deps, "*", folder)) // the only error is a bad pattern
	slices.Reverse(found)
	return found
}

// Finish writes the launch scripts of all buildpacks. Only the final buildpack calls it.
func (s *Stager) Finish() error {
	var script strings.Builder
	for _, v := range searched {
		dirs := s.all(v.Folder)
		if !v.Launch || len(dirs) == 0 {
			continue
		}
		for i, dir := range dirs {
			rel, err := filepath.Rel(s.Deps, dir)
			if err != nil {
				return err
			}
			dirs[i] = "$DEPS_DIR/" + rel
		}
		fmt.Fprintf(&script, "export %[1]s=%[2]s${%[1]s:+:$%[1]s}\n", v.Variable, strings.Join(dirs, ":"))
	}
	if err := os.MkdirAll(s.Profile, 0o755); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(s.Profile, "000_multi-supply.sh"), []byte(script.String()), 0o755); err != nil {
		return err
	}
	scripts, _ := filepath.Glob(filepath.Join(s.Deps, "*", "profile.d", "*"))
	for _, path := range scripts {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		index := filepath.Base(filepath.Dir(filepath.Dir(path)))
		if err := writeFile(filepath.Join(s.Profile, index+"_"+filepath.Base(path)), text, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// releaseFile is where a finalize leaves what the release after it says: release is told only where the app is.
func releaseFile() string { return filepath.Join(os.TempDir(), "buildpack-release-step.yml") }

// KeepRelease keeps the default process types for Released.
func (s *Stager) KeepRelease(types map[string]string) error {
	text, err := yaml.Marshal(types)
	if err != nil {
		return err
	}
	return os.WriteFile(releaseFile(), text, 0o644)
}

// Released is what KeepRelease kept in this staging; nil when it did not.
func (s *Stager) Released() (types map[string]string) {
	text, err := os.ReadFile(releaseFile())
	if err != nil || yaml.Unmarshal(text, &types) != nil {
		return nil
	}
	return types
}
