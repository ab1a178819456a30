package builder

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"ingot/kit/unzip"
)

// Bounds of a buildpack that comes from an address: of its zip, and of what the zip holds.
const (
	maxZip      = "1073741824"
	maxUnpacked = 4 << 30
)

// address tells a buildpack's address from a name: a zip on a web server, or what Git clones.
func address(name string) (zip, git bool) {
	if strings.HasPrefix(name, "git@") {
		return false, true
	}
	u, err := url.Parse(name)
	if err != nil || !u.IsAbs() {
		return false, false
	}
	zip = strings.HasSuffix(u.Path, ".zip")
	return zip, !zip
}

// public is an address without its user and password.
func public(name string) string {
	u, err := url.Parse(name)
	if err != nil || u.User == nil {
		return name
	}
	u.User = nil
	return u.String()
}

// fetched is where a buildpack that was named by its address lies.
func (b *Build) fetched(i int) string { return filepath.Join(b.Downloads, strconv.Itoa(i)) }

// download brings the buildpacks that are named by an address. It runs here, inside the container, so that an app's
// developer reaches no more than the app does. The stack's curl and git do it: they know its certificates and the proxy.
func (b *Build) download(ctx context.Context) error {
	for i, name := range b.Order {
		zip, git := address(name)
		if !zip && !git {
			continue
		}
		if err := os.MkdirAll(b.Downloads, 0o755); err != nil {
			return err
		}
		get := b.clone
		if zip {
			get = b.unzip
		}
		if err := get(ctx, name, b.fetched(i)); err != nil {
			return err
		}
	}
	return nil
}

func (b *Build) unzip(ctx context.Context, from, to string) error {
	file := to + ".zip"
	defer func() { _ = os.Remove(file) }()
	err := b.tool(ctx, "curl", "--fail", "--silent", "--show-error", "--location", "--proto", "=http,https", "--connect-timeout", "30",
		"--max-filesize", maxZip, "--output", file, "--url", from)
	if err != nil {
		return fmt.Errorf("Failed to download buildpack '%s': %w", public(from), err) //nolint:staticcheck // CF's words
	}
	st, err := os.Stat(file)
	if err == nil {
		err = os.Mkdir(to, 0o755)
	}
	if err == nil {
		err = unzip.File(to, file, unzip.Options{Bytes: maxUnpacked})
	}
	if err != nil {
		return fmt.Errorf("Failed to extract buildpack '%s': %w", public(from), err) //nolint:staticcheck // CF's words
	}
	_, _ = fmt.Fprintf(b.Out, "Downloaded buildpack `%s` (%d bytes)\n", public(from), st.Size())
	return nil
}

// clone gets a repository at its default branch, or at the branch or tag that stands behind # in the address. Servers that
// cannot give the newest commit alone give everything.
func (b *Build) clone(ctx context.Context, from, to string) error {
	repo, branch, _ := strings.Cut(from, "#")
	args := []string{"clone", "--quiet", "--recursive"}
	if branch != "" {
		args = append(args, "--branch="+branch)
	}
	args = append(args, "--", repo, to)
	err := b.tool(ctx, "git", append(args[:1:1], append([]string{"--depth=1"}, args[1:]...)...)...)
	if err != nil && ctx.Err() == nil {
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		err = b.tool(ctx, "git", args...)
	}
	if err != nil {
		return fmt.Errorf("Failed to clone git repository at %s: %w", public(repo), err) //nolint:staticcheck // CF's words
	}
	return nil
}

// tool runs a program of the stack. Nobody is there to type a password.
func (b *Build) tool(ctx context.Context, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_SSH_COMMAND=ssh -oBatchMode=yes")
	c.Stdout, c.Stderr, c.WaitDelay = b.Err, b.Err, 5*time.Second
	return c.Run()
}
