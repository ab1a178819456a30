// Package builder turns an app's package into a droplet by running buildpacks, inside the staging container.
//
// It keeps the contract that CF's buildpacks know (docs.cloudfoundry.org/buildpacks/understand-buildpacks.html and
// buildpackapplifecycle): bin/detect BUILD, bin/supply BUILD CACHE DEPS INDEX, bin/finalize BUILD CACHE DEPS INDEX PROFILE,
// bin/compile BUILD CACHE, bin/release BUILD; the cache of each buildpack; Procfile, launch.yml and config.yml; CF's result
// document, exit codes and words. It promises that the same files make the same droplet, byte for byte.
// It fetches only buildpacks that are named by an address; those of the platform are there before it runs.
package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"ingot/kit/unzip"
)

// Exit codes of a failed build, as Cloud Controller reads them.
const (
	CodeDetect  = 222
	CodeCompile = 223
	CodeRelease = 224
	CodeSupply  = 225
)

// Failure is a build that ended with a code of its own.
type Failure struct {
	Code int
	Text string
	Err  error
}

// Error gives CF's words and the cause.
func (f *Failure) Error() string {
	if f.Err == nil {
		return f.Text
	}
	return f.Text + ": " + f.Err.Error()
}

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.Err }

// CF's words.
const (
	detectFailed   = "None of the buildpacks detected a compatible application"
	compileFailed  = "Failed to compile droplet"
	releaseFailed  = "Failed to build droplet release"
	supplyFailed   = "Failed to run all supply scripts"
	finalizeFailed = "Failed to run finalize script"
	noSupply       = "Error: one of the buildpacks chosen to supply dependencies does not support multi-buildpack apps"
	noFinalize     = "Warning: the last buildpack is not compatible with multi-buildpack apps and cannot make use of any dependencies supplied by the buildpacks specified before it"
)

// Build is one build. Its paths are inside the container.
type Build struct {
	Package    string   // the app's zip
	BuildDir   string   // where the app is unpacked and built
	Buildpacks string   // folder that holds the buildpacks as 0, 1, ... in the order of Order
	Order      []string // names or URLs
	Downloads  string   // folder for buildpacks whose name is an address
	SkipDetect bool     // all buildpacks take part, in order; else the first one that detects the app
	OldCache   string   // tar.gz of the last build's cache; may be missing
	CacheDir   string
	Contents   string // work folder; its deps and profile.d go into the droplet
	Droplet    string // outputs: tar.gz, JSON, tar.gz
	Result     string
	NewCache   string
	Out, Err   io.Writer
}

// Run builds. Its error is a *Failure where CF has an exit code for it.
func (b *Build) Run(ctx context.Context) error {
	if err := b.setUp(); err != nil {
		return err
	}
	if err := b.download(ctx); err != nil {
		return err
	}
	final, output, err := b.choose(ctx)
	if err != nil {
		return err
	}
	if err := b.finalize(ctx, final); err != nil {
		return &Failure{CodeCompile, compileFailed, err}
	}
	launch, err := b.processes(ctx, final)
	if err != nil {
		return err
	}
	if err := b.writeResult(launch, final, output); err != nil {
		return err
	}
	for _, d := range []string{"tmp", "logs"} {
		if err := os.MkdirAll(filepath.Join(b.Contents, d), 0o755); err != nil {
			return err
		}
	}
	if err := writeTar(b.Droplet, []tree{{b.Contents, "."}, {b.BuildDir, "app"}}); err != nil {
		return fmt.Errorf("compress droplet: %w", err)
	}
	if err := writeTar(b.NewCache, []tree{{b.CacheDir, "."}}); err != nil {
		return fmt.Errorf("compress build artifacts cache: %w", err)
	}
	return nil
}

// setUp unpacks the app and the old cache and makes the folders that buildpacks are promised.
func (b *Build) setUp() error {
	if err := readTar(b.OldCache, b.CacheDir); err != nil { // a cache is a gift, not a need
		b.complain("Build artifacts cache is left out: " + err.Error())
		if err := os.RemoveAll(b.CacheDir); err != nil {
			return err
		}
	}
	folders := []string{b.BuildDir, filepath.Join(b.CacheDir, "final"), filepath.Join(b.Contents, "profile.d")}
	for i := range b.suppliers() + 1 {
		folders = append(folders, b.deps(i))
	}
	for _, f := range folders {
		if err := os.MkdirAll(f, 0o755); err != nil {
			return err
		}
	}
	if err := unzip.File(b.BuildDir, b.Package, unzip.Options{}); err != nil {
		return fmt.Errorf("app package: %w", err)
	}
	return b.cleanCache()
}

// cleanCache drops what buildpacks that take part no more have left, and makes a folder for each that does.
func (b *Build) cleanCache() error {
	keep := map[string]bool{"final": true}
	for i := range b.suppliers() {
		keep[filepath.Base(b.cache(i))] = true
		if err := os.MkdirAll(b.cache(i), 0o755); err != nil {
			return err
		}
	}
	had, err := os.ReadDir(b.CacheDir)
	if err != nil {
		return err
	}
	for _, d := range had {
		if !keep[d.Name()] {
			if err := os.RemoveAll(filepath.Join(b.CacheDir, d.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// suppliers is how many buildpacks come before the final one.
func (b *Build) suppliers() int {
	if !b.SkipDetect {
		return 0
	}
	return max(0, len(b.Order)-1)
}

// index is the name of a buildpack's folder under deps, padded so that names sort in order.
func (b *Build) index(i int) string {
	return fmt.Sprintf("%0*d", len(strconv.Itoa(b.suppliers()+1)), i)
}

func (b *Build) deps(i int) string { return filepath.Join(b.Contents, "deps", b.index(i)) }

func (b *Build) cache(i int) string {
	sum := sha256.Sum256([]byte(b.Order[i]))
	return filepath.Join(b.CacheDir, hex.EncodeToString(sum[:8]))
}

// folder is where buildpack i keeps its bin; archives made by Git hosts have one folder around everything.
func (b *Build) folder(i int) (string, error) {
	f := filepath.Join(b.Buildpacks, strconv.Itoa(i))
	if zip, git := address(b.Order[i]); zip || git {
		f = b.fetched(i)
	}
	if has(f, "bin") {
		return f, nil
	}
	if es, err := os.ReadDir(f); err == nil && len(es) == 1 && has(f, es[0].Name(), "bin") {
		return filepath.Join(f, es[0].Name()), nil
	}
	return "", fmt.Errorf("malformed buildpack does not contain a /bin dir: %s", public(b.Order[i]))
}

func has(parts ...string) bool {
	_, err := os.Stat(filepath.Join(parts...))
	return err == nil
}

// choose runs all suppliers, or detection. It returns which buildpack is the final one and what its detect said.
func (b *Build) choose(ctx context.Context) (final int, output string, err error) {
	if b.SkipDetect {
		return b.suppliers(), "", b.supplyAll(ctx)
	}
	for i := range b.Order {
		f, err := b.folder(i)
		if err != nil {
			b.complain(err.Error())
			continue
		}
		out, err := b.capture(ctx, f, "detect", b.BuildDir)
		if err == nil {
			return i, trimLines(out), nil
		}
		var no *exec.ExitError
		if !errors.As(err, &no) {
			b.complain(err.Error())
		}
	}
	return 0, "", &Failure{Code: CodeDetect, Text: detectFailed}
}

func (b *Build) supplyAll(ctx context.Context) error {
	if len(b.Order) == 0 {
		return &Failure{Code: CodeDetect, Text: detectFailed}
	}
	for i := range b.Order { // all are looked at before the first one runs
		f, err := b.folder(i)
		if err != nil {
			return &Failure{CodeSupply, supplyFailed, err}
		}
		if i < b.suppliers() && !has(f, "bin", "supply") {
			return &Failure{Code: CodeSupply, Text: noSupply}
		}
	}
	for i := range b.suppliers() {
		f, _ := b.folder(i)
		if err := b.script(ctx, f, "supply", b.BuildDir, b.cache(i), filepath.Join(b.Contents, "deps"), b.index(i)); err != nil {
			return &Failure{CodeSupply, supplyFailed, err}
		}
	}
	return nil
}

func (b *Build) finalize(ctx context.Context, final int) error {
	f, err := b.folder(final)
	if err != nil {
		return err
	}
	cache, deps, i := filepath.Join(b.CacheDir, "final"), filepath.Join(b.Contents, "deps"), b.suppliers()
	if !has(f, "bin", "finalize") {
		if i > 0 {
			b.complain(noFinalize)
		}
		if err := os.RemoveAll(b.deps(i)); err != nil {
			return err
		}
		return b.script(ctx, f, "compile", b.BuildDir, cache)
	}
	if has(f, "bin", "supply") {
		if err := b.script(ctx, f, "supply", b.BuildDir, cache, deps, b.index(i)); err != nil {
			return fmt.Errorf("%s: %w", supplyFailed, err)
		}
	}
	if err := b.script(ctx, f, "finalize", b.BuildDir, cache, deps, b.index(i), filepath.Join(b.Contents, "profile.d")); err != nil {
		return fmt.Errorf("%s: %w", finalizeFailed, err)
	}
	return nil
}

// script runs one of a buildpack's programs; its output is the app's staging log.
func (b *Build) script(ctx context.Context, folder, name string, args ...string) error {
	c := exec.CommandContext(ctx, filepath.Join(folder, "bin", name), args...)
	c.Stdout, c.Stderr = b.Out, b.Err
	c.WaitDelay = 5 * time.Second
	return c.Run()
}

// capture is script for the programs whose output is an answer, of at most 1 MiB.
func (b *Build) capture(ctx context.Context, folder, name string, args ...string) ([]byte, error) {
	var out bounded
	c := exec.CommandContext(ctx, filepath.Join(folder, "bin", name), args...)
	c.Stdout, c.Stderr = &out, b.Err
	c.WaitDelay = 5 * time.Second
	err := c.Run()
	return out.b, err
}

// bounded keeps the first MiB.
type bounded struct{ b []byte }

func (w *bounded) Write(p []byte) (int, error) {
	if room := 1<<20 - len(w.b); room > 0 {
		w.b = append(w.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

func (b *Build) complain(text string) { _, _ = fmt.Fprintln(b.Err, text) }

func writeJSON(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
