package stager

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/Masterminds/semver/v3"
	"github.com/klauspost/compress/zstd"
)

// Versions returns the versions of a dependency that the buildpack carries.
func (s *Stager) Versions(name string) []string {
	var all []string
	for _, d := range s.Manifest.Dependencies {
		if d.Name == name {
			all = append(all, d.Version)
		}
	}
	return all
}

// DefaultRange is the version line of a dependency for apps that name none.
func (s *Stager) DefaultRange(name string) string {
	for _, d := range s.Manifest.Defaults {
		if d.Name == name {
			return d.Version
		}
	}
	return "*"
}

// Match returns the newest of the versions that the range allows. The words of its errors are CF's.
func Match(constraint string, versions []string) (string, error) {
	c, err := semver.NewConstraint(constraint)
	if err != nil {
		return "", err
	}
	var fit []*semver.Version
	for _, text := range versions {
		v, err := semver.NewVersion(text)
		if err != nil {
			return "", err
		}
		if c.Check(v) {
			fit = append(fit, v)
		}
	}
	if len(fit) == 0 {
		return "", fmt.Errorf("no match found for %s in %v", constraint, versions)
	}
	return slices.MaxFunc(fit, (*semver.Version).Compare).Original(), nil
}

// Install unpacks a dependency into a folder below the buildpack's deps folder.
func (s *Stager) Install(name, version, dir string) error {
	for _, d := range s.Manifest.Dependencies {
		if d.Name == name && d.Version == version {
			s.Step("Installing %s %s", name, version)
			return unpack(filepath.Join(s.Root, d.File), s.Dep(dir))
		}
	}
	return fmt.Errorf("the buildpack carries no %s %s", name, version)
}

// unpack unpacks a tar.zst of folders, files and links that the buildpack's own build made.
func unpack(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	z, err := zstd.NewReader(f)
	if err != nil {
		return err
	}
	defer z.Close()
	for in := tar.NewReader(z); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(archive), err)
		}
		if err := entry(filepath.Join(dir, h.Name), h, in); err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(archive), err)
		}
	}
}

func entry(path string, h *tar.Header, r io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return os.MkdirAll(path, 0o755)
	case tar.TypeSymlink:
		return os.Symlink(h.Linkname, path)
	case tar.TypeReg:
		f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, h.FileInfo().Mode().Perm())
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close(), os.Chtimes(path, epoch, epoch))
	}
	return fmt.Errorf("%s: unexpected kind of entry %q", h.Name, h.Typeflag)
}
