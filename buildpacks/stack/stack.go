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
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"ingot/buildpacks/once"
)

// What `cf stacks` shows, and the Debian release that the stack is made of.
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
	b := builder{log: log}
	if err := b.prepare(); err != nil {
		return "", "", fmt.Errorf("stack %s: %w", Name, err)
	}
	dir, err := once.Dir(ctx, filepath.Join(cache, "stack"), b.key(), log, func(folder string) error { return b.build(ctx, folder) })
	if err != nil {
		return "", "", fmt.Errorf("build stack %s: %w", Name, err)
	}
	tarPath = filepath.Join(dir, Name+".tar")
	text, err := os.ReadFile(tarPath + ".sha256")
	return tarPath, strings.TrimSpace(string(text)), err
}

// Ready tells what Build would miss on this machine.
func Ready(cache string) error {
	var b builder
	if err := b.prepare(); err != nil || once.Has(filepath.Join(cache, "stack"), b.key()) {
		return err
	}
	_, err := lookMmdebstrap()
	return err
}

func lookMmdebstrap() (string, error) {
	path, err := exec.LookPath("mmdebstrap")
	if err != nil {
		return "", errors.New("mmdebstrap is missing: apt-get install mmdebstrap")
	}
	return path, nil
}

type builder struct {
	log       io.Writer
	packages  []string
	customize []byte
	cas       [][]byte
}

// key comes from all that we decide, not from what the mirror holds today.
func (b *builder) key() string {
	return once.Key(Release, runtime.GOARCH, epoch, trimVersion, b.packages, b.customize, b.cas)
}

// prepare reads the recipe and the operator's CAs.
func (b *builder) prepare() error {
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
	return err
}

// build makes the tar and its digest in folder.
func (b *builder) build(ctx context.Context, folder string) error {
	if os.Geteuid() != 0 {
		return errors.New("root is needed to make a root filesystem")
	}
	mmdebstrap, err := lookMmdebstrap()
	if err != nil {
		return err
	}
	work := filepath.Join(folder, "work")
	args, err := b.stage(ctx, work)
	if err != nil {
		return err
	}
	if err := b.run(ctx, folder, append([]string{mmdebstrap}, args...)); err != nil {
		return err
	}
	return os.RemoveAll(work)
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
// it ends and no mount stays; its tar goes trimmed into folder, and the digest beside it.
func (b *builder) run(ctx context.Context, folder string, args []string) error {
	runtime.LockOSThread() // Pdeathsig is about the thread that started the child
	defer runtime.UnlockOSThread()
	work := filepath.Join(folder, "work")
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
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
	path := filepath.Join(folder, Name+".tar")
	digest, err := once.File(path, func(w io.Writer) error { return trim(w, tar) })
	if err != nil {
		_ = cmd.Process.Kill() // it would wait for a reader
	}
	if waited := cmd.Wait(); waited != nil || err != nil {
		return fmt.Errorf("mmdebstrap (what it says is in the log): %w", errors.Join(context.Cause(ctx), waited, err))
	}
	_, err = once.File(path+".sha256", func(w io.Writer) error { _, err := fmt.Fprintln(w, digest); return err })
	return err
}
