package buildpacks

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"ingot/buildpacks/once"
	"ingot/buildpacks/stager"
)

// runtimeVersion is part of the cache's keys: raise it when the layout of an archive changes.
const runtimeVersion = 2

// runtime returns the archive of a dependency: the packages it is made of, laid out as the distribution of Node or Go is.
func runtime(ctx context.Context, cache string, d stager.Dependency, log io.Writer) (string, error) {
	dir, err := once.Dir(ctx, cache, once.Key(d.Name, d.Version, d.Sources, d.Debian, runtimeVersion), log, func(folder string) error {
		_, err := once.File(filepath.Join(folder, path.Base(d.File)), func(w io.Writer) error {
			z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
			if err != nil {
				return err
			}
			out := tar.NewWriter(z)
			if len(d.Debian.Packages) > 0 {
				if err := debian(ctx, out, folder, d, log); err != nil {
					return err
				}
			}
			for _, s := range d.Sources {
				if err := repack(ctx, out, folder, s, log); err != nil {
					return err
				}
			}
			return errors.Join(out.Close(), z.Close())
		})
		return err
	})
	return filepath.Join(dir, path.Base(d.File)), err
}

// repack fetches a package or module and writes it into the archive.
func repack(ctx context.Context, out *tar.Writer, folder string, s stager.Source, log io.Writer) error {
	_, _ = fmt.Fprintf(log, "fetching %s\n", s.Package+s.Module)
	if s.Module != "" {
		return repackModule(ctx, out, folder, s)
	}
	file, err := fetch(ctx, folder, s)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file) }()
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Package, err)
	}
	if strings.HasPrefix(s.Package, "npm@") {
		for _, name := range []string{"npm", "npx"} {
			link := &tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Mode: 0o777,
				Linkname: "../lib/node_modules/npm/bin/" + name + "-cli.js"}
			if err := out.WriteHeader(link); err != nil {
				return err
			}
		}
	}
	for in := tar.NewReader(z); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.Package, err)
		}
		if err := copyEntry(out, place(s.Package, h), h, in); err != nil {
			return fmt.Errorf("%s: %s: %w", s.Package, h.Name, err)
		}
	}
}

const openSSL = "include/node/openssl/archs/"

// place is where an entry of a package goes; "" leaves it out.
func place(pkg string, h *tar.Header) string {
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/package/")
	switch {
	case h.Typeflag != tar.TypeReg || strings.HasPrefix(name, "/"):
		return ""
	case strings.HasPrefix(pkg, "npm@"):
		if strings.HasPrefix(name, "docs/") || strings.HasPrefix(name, "man/") {
			return ""
		}
		return "lib/node_modules/npm/" + name
	case strings.HasPrefix(name, openSSL) && !strings.HasPrefix(name, openSSL+"linux-x86_64/"):
		return "" // headers for machines that are not ours: half of all files
	case strings.HasPrefix(name, "share/"), name == "README.md", name == "CHANGELOG.md", name == "package.json":
		return ""
	}
	return name
}

func copyEntry(out *tar.Writer, name string, h *tar.Header, r io.Reader) error {
	if name == "" {
		return nil
	}
	if err := out.WriteHeader(&tar.Header{Name: name, Mode: h.Mode&0o111 | 0o644, Size: h.Size}); err != nil {
		return err
	}
	_, err := io.Copy(out, r)
	return err
}

func lookNPM() error {
	if _, err := exec.LookPath("npm"); err != nil {
		return errors.New("npm is missing on this machine: apt-get install npm")
	}
	return nil
}

// fetch gets a package by the machine's npm, so that its registry, proxy and credentials hold, and checks its digest.
func fetch(ctx context.Context, folder string, s stager.Source) (string, error) {
	if err := lookNPM(); err != nil {
		return "", err
	}
	// Scripts and the machine's own project settings have no say.
	cmd := exec.CommandContext(ctx, "npm", "pack", s.Package, "--ignore-scripts", "--loglevel=error", "--pack-destination", folder)
	cmd.Dir = folder
	var words strings.Builder
	cmd.Stderr = &words
	name, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("npm pack %s: %w: %s", s.Package, err, strings.TrimSpace(words.String()))
	}
	file := filepath.Join(folder, path.Base(strings.TrimSpace(string(name))))
	return file, check(file, s.Integrity)
}

func check(file, integrity string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	h := sha512.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if have := base64.StdEncoding.EncodeToString(h.Sum(nil)); have != integrity {
		return fmt.Errorf("%s has the SHA-512 %s, not %s", filepath.Base(file), have, integrity)
	}
	return nil
}
