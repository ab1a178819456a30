// Package buildpacks makes the zips of the default buildpacks.
//
// It promises: a zip keeps CF's buildpack contract (bin/detect, supply, finalize, release, compile, manifest.yml, VERSION)
// and carries its runtimes, so that staging never fetches them; the same inputs give the same bytes; a zip is made
// once and kept under the cache; what comes from a registry must have the digest that the manifest names.
// It will not upload or install them: that is the API's work.
package buildpacks

import (
	"archive/zip"
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"ingot/buildpacks/once"
	"ingot/buildpacks/stack"
	"ingot/buildpacks/stager"
)

//go:embed */manifest.yml */VERSION
var files embed.FS

//go:embed all:bin
var helper embed.FS

// Buildpack is one default buildpack.
type Buildpack struct {
	Name     string // as in `cf buildpacks`
	Position int    // in the order of detection, from 1
	Stack    string
	folder   string // in files
}

// order is the default one of cf-deployment, with what we have.
var order = []string{"staticfile", "java", "ruby", "nodejs", "go", "python", "php", "nginx", "binary"}

// All lists the default buildpacks in CF's order of detection.
func All() []Buildpack {
	var all []Buildpack
	for i, language := range order {
		folder := language
		if language == "go" {
			folder = "golang" // no package can be called go
		}
		all = append(all, Buildpack{Name: language + "_buildpack", Position: i + 1, Stack: stack.Name, folder: folder})
	}
	return all
}

// phases are the programs of the contract.
var phases = []string{"compile", "detect", "finalize", "release", "supply"}

// Filename is what `cf buildpacks` shows.
func (b Buildpack) Filename() string {
	return fmt.Sprintf("%s-%s-v%s.zip", b.Name, b.Stack, b.version())
}

func (b Buildpack) version() string {
	text, err := files.ReadFile(b.folder + "/VERSION")
	if err != nil {
		panic(err) // it is embedded
	}
	return strings.TrimSpace(string(text))
}

// Carried tells whether this program carries the buildpacks' program.
func Carried() error {
	_, err := program()
	return err
}

func program() ([]byte, error) {
	b, err := fs.ReadFile(helper, "bin/buildpack")
	if err != nil {
		return nil, errors.New("the buildpacks' program was not built before ingot was: run make build")
	}
	return b, nil
}

// parts are what the zip is made of, and the name under which it is kept.
func (b Buildpack) parts(cache string) (p parts, key string, err error) {
	if p.program, err = program(); err != nil {
		return p, "", err
	}
	if p.manifest, err = files.ReadFile(b.folder + "/manifest.yml"); err != nil {
		return p, "", err
	}
	p.runtimes = filepath.Join(cache, "buildpacks", "runtimes")
	return p, once.Key(b.Name, b.version(), string(p.manifest), sha256.Sum256(p.program), runtimeVersion), nil
}

// Ready tells what Zip would miss on this machine.
func (b Buildpack) Ready(cache string) error {
	p, key, err := b.parts(cache)
	if err != nil || once.Has(filepath.Join(cache, "buildpacks"), key) {
		return err
	}
	m, err := p.read()
	for _, d := range m.Dependencies {
		for _, s := range d.Sources {
			look := lookNPM
			if s.Module != "" {
				look = lookGo
			}
			err = cmp.Or(err, look())
		}
	}
	return err
}

// Zip returns the buildpack's zip and the SHA-256 of its bytes in hex. The first time, it fetches the runtimes with the
// machine's npm and go, which takes seconds. Progress goes to log.
func (b Buildpack) Zip(ctx context.Context, cache string, log io.Writer) (path, digest string, err error) {
	p, key, err := b.parts(cache)
	if err != nil {
		return "", "", err
	}
	p.log = log
	dir, err := once.Dir(ctx, filepath.Join(cache, "buildpacks"), key, log, func(folder string) error { return b.build(ctx, folder, p) })
	if err != nil {
		return "", "", fmt.Errorf("build %s: %w", b.Name, err)
	}
	path = filepath.Join(dir, b.Filename())
	text, err := os.ReadFile(path + ".sha256")
	return path, strings.TrimSpace(string(text)), err
}

// read reads the manifest.
func (p parts) read() (m stager.Manifest, err error) {
	if err := yaml.Unmarshal(p.manifest, &m); err != nil {
		return m, fmt.Errorf("manifest: %w", err)
	}
	return m, nil
}

// parts are what a zip is made of.
type parts struct {
	program  []byte
	manifest []byte
	runtimes string // cache of the runtimes' archives
	log      io.Writer
}

func (b Buildpack) build(ctx context.Context, folder string, p parts) error {
	m, err := p.read()
	if err != nil {
		return err
	}
	carried := map[string]string{} // name in the zip -> file
	for _, d := range m.Dependencies {
		archive, err := runtime(ctx, p.runtimes, d, p.log)
		if err != nil {
			return fmt.Errorf("%s %s: %w", d.Name, d.Version, err)
		}
		carried[d.File] = archive
	}
	path := filepath.Join(folder, b.Filename())
	digest, err := once.File(path, func(w io.Writer) error { return b.write(w, p, m, carried) })
	if err != nil {
		return err
	}
	_, err = once.File(path+".sha256", func(w io.Writer) error { _, err := fmt.Fprintln(w, digest); return err })
	return err
}

// write writes the zip; its bytes depend on nothing but the arguments.
func (b Buildpack) write(w io.Writer, p parts, m stager.Manifest, carried map[string]string) error {
	out := zip.NewWriter(w)
	add := func(name string, mode fs.FileMode, method uint16, text io.Reader) error {
		h := &zip.FileHeader{Name: name, Method: method, Modified: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
		h.SetMode(mode)
		f, err := out.CreateHeader(h)
		if err == nil {
			_, err = io.Copy(f, text)
		}
		return err
	}
	var errs []error
	for _, phase := range phases {
		script := fmt.Sprintf("#!/bin/sh\nexec \"${0%%/*}/buildpack\" %s \"$@\"\n", phase)
		errs = append(errs, add(path.Join("bin", phase), 0o755, zip.Deflate, strings.NewReader(script)))
	}
	errs = append(errs,
		add("bin/buildpack", 0o755, zip.Deflate, strings.NewReader(string(p.program))),
		add("manifest.yml", 0o644, zip.Deflate, strings.NewReader(string(p.manifest))),
		add("VERSION", 0o644, zip.Deflate, strings.NewReader(b.version()+"\n")))
	for _, d := range m.Dependencies {
		f, err := os.Open(carried[d.File])
		if err != nil {
			return err
		}
		errs = append(errs, add(d.File, 0o644, zip.Store, f), f.Close()) // it is compressed already
	}
	return errors.Join(append(errs, out.Close())...)
}
