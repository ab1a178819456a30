// Package stack makes the root filesystem of the stack cflinuxfs4 out of Debian packages.
//
// It promises: the tar is built once per recipe and kept under the cache; it appears whole or not at all; two builders
// do not disturb each other; a killed build leaves no mount and its folder goes with the next build. The tar is plain,
// has no devices, no set-uid files, and holds the CAs that the machine's operator added.
// It names no host to fetch from: the packages come through the machine's own apt settings. It will not
// imitate CF's rootfs package by package; Description says what it is.
package stack

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"ingot/kit/lock"
)

// What `cf stacks` shows, and the Debian release that it is made of.
const (
	Name        = "cflinuxfs4"
	Description = "Debian 12 (bookworm) packages made to serve as Cloud Foundry's cflinuxfs4"
	Release     = "bookworm"
)

// epoch is the newest time that a file of the stack may carry, so that two builds differ only where packages do.
const epoch = "1767225600" // 2026-01-01

//go:embed recipe
var recipe embed.FS

// Build returns the stack's tar and the SHA-256 of its bytes in hex; it builds it when cache does not hold this recipe
// yet, which takes about a minute, root, and the package mmdebstrap. Progress goes to log.
func Build(ctx context.Context, cache string, log io.Writer) (tarPath, digest string, err error) {
	b := builder{dir: filepath.Join(cache, "stack"), log: log}
	if err := b.prepare("/etc/apt"); err != nil {
		return "", "", fmt.Errorf("stack %s: %w", Name, err)
	}
	if path, digest, ok := b.cached(); ok {
		return path, digest, nil
	}
	held, err := b.wait(ctx)
	if err != nil {
		return "", "", fmt.Errorf("stack %s: %w", Name, err)
	}
	defer func() { _ = held.Release() }()
	if path, digest, ok := b.cached(); ok { // the other builder made it
		return path, digest, nil
	}
	if err := b.build(ctx); err != nil {
		return "", "", fmt.Errorf("build stack %s: %w", Name, err)
	}
	path, digest, ok := b.cached()
	if !ok {
		return "", "", fmt.Errorf("build stack %s: %s vanished", Name, path)
	}
	return path, digest, nil
}

type builder struct {
	dir       string // <cache>/stack
	log       io.Writer
	packages  []string
	customize []byte
	cas       [][]byte
	key       string // names the recipe
}

// prepare reads the recipe and derives its key: from all that we decide, not from what the mirror holds today.
func (b *builder) prepare(apt string) error {
	list, err := recipe.ReadFile("recipe/packages")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(list)) {
		if !strings.HasPrefix(line, "#") {
			b.packages = append(b.packages, strings.Fields(line)...)
		}
	}
	if b.customize, err = recipe.ReadFile("recipe/customize.sh"); err != nil {
		return err
	}
	b.cas, err = extraCAs("/etc/ssl/certs/ca-certificates.crt", "/usr/share/ca-certificates")
	if err != nil {
		return err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %s %d\n%q\n%q\n%q\n", Release, runtime.GOARCH, epoch, trimVersion, b.packages, b.customize, b.cas)
	b.key = hex.EncodeToString(h.Sum(nil))[:16]
	return os.MkdirAll(b.dir, 0o755)
}

func (b *builder) cached() (path, digest string, ok bool) {
	path = filepath.Join(b.dir, b.key, Name+".tar")
	text, err := os.ReadFile(path + ".sha256")
	return path, strings.TrimSpace(string(text)), err == nil
}

// wait takes the lock on the folder, after any other builder.
func (b *builder) wait(ctx context.Context) (*lock.Held, error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for told := false; ; told = true {
		held, err := lock.Folder(b.dir)
		var busy *lock.Busy
		if !errors.As(err, &busy) {
			return held, err
		}
		if !told {
			fmt.Fprintf(b.log, "waiting for the build of pid %s\n", busy.PID)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// build makes <dir>/<key> in one rename. The caller holds the lock.
func (b *builder) build(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("root is needed to make a root filesystem")
	}
	mmdebstrap, err := exec.LookPath("mmdebstrap")
	if err != nil {
		return errors.New("mmdebstrap is missing: apt-get install mmdebstrap")
	}
	work, out := filepath.Join(b.dir, "work"), filepath.Join(b.dir, "new")
	for _, old := range []string{work, out, filepath.Join(b.dir, b.key)} { // of a killed build
		if err := os.RemoveAll(old); err != nil {
			return err
		}
	}
	defer func() { _, _ = os.RemoveAll(work), os.RemoveAll(out) }()
	args, err := b.stage(ctx, work)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	if err := b.run(ctx, mmdebstrap, args, filepath.Join(out, Name+".tar")); err != nil {
		return err
	}
	return os.Rename(out, filepath.Join(b.dir, b.key))
}

// stage writes mmdebstrap's inputs into work, which also takes its temporary root, and returns its arguments.
func (b *builder) stage(ctx context.Context, work string) ([]string, error) {
	list, err := sources("/etc/apt")
	if err != nil {
		return nil, err
	}
	dump, err := exec.CommandContext(ctx, "apt-config", "dump").Output()
	if err != nil {
		return nil, fmt.Errorf("apt-config dump: %w", err)
	}
	files := map[string][]byte{"sources": list, "apt.conf": aptSettings(dump), "customize.sh": b.customize}
	for i, ca := range b.cas {
		files[fmt.Sprintf("cas/operator-%d.crt", i)] = ca
	}
	for name, text := range files {
		name = filepath.Join(work, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(name, text, 0o755); err != nil {
			return nil, err
		}
	}
	return []string{"--mode=root", "--variant=minbase", "--format=tar", "--include=" + strings.Join(b.packages, ","),
		"--aptopt=" + filepath.Join(work, "apt.conf"), "--customize-hook=" + filepath.Join(work, "customize.sh"),
		Release, "-", filepath.Join(work, "sources")}, nil
}

// run runs mmdebstrap with namespaces of its own for mounts and processes, so that however this process ends, all of
// it ends and no mount stays; its tar goes trimmed to path, and the digest beside it.
func (b *builder) run(ctx context.Context, mmdebstrap string, args []string, path string) error {
	runtime.LockOSThread() // Pdeathsig is about the thread that started the child
	defer runtime.UnlockOSThread()
	work := filepath.Join(b.dir, "work")
	cmd := exec.CommandContext(ctx, mmdebstrap, args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+work, "SOURCE_DATE_EPOCH="+epoch, "EXTRA_CAS="+filepath.Join(work, "cas"))
	cmd.Stderr = b.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	tar, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("mmdebstrap: %w", err)
	}
	digest, err := writeTrimmed(path, tar)
	if err != nil {
		_ = cmd.Process.Kill() // it would wait for a reader
	}
	if waited := cmd.Wait(); waited != nil {
		return fmt.Errorf("mmdebstrap: %w", errors.Join(waited, err))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.WriteFile(path+".sha256", []byte(digest+"\n"), 0o644)
}

func writeTrimmed(path string, r io.Reader) (digest string, err error) {
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if err := trim(io.MultiWriter(f, h), r); err != nil {
		return "", err
	}
	if err := f.Sync(); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
