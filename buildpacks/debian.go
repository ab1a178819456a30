package buildpacks

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"ingot/buildpacks/stack"
	"ingot/buildpacks/stager"
)

// debian writes a dependency's part of Debian packages into the archive, so that it works wherever it is unpacked: links that leave
// it become what they point to.
func debian(ctx context.Context, out *tar.Writer, folder string, d stager.Dependency, log io.Writer) error {
	_, _ = fmt.Fprintf(log, "fetching %s\n", strings.Join(d.Debian.Packages, ", "))
	root, err := stack.Unpack(ctx, folder, d.Debian.Packages, log)
	if err != nil {
		return err
	}
	for _, part := range d.Debian.Parts {
		if err := tree(out, root, part.From, part.To, part.Without); err != nil {
			return fmt.Errorf("%s: %w", part.From, err)
		}
	}
	return os.RemoveAll(root)
}

// tree writes root/from into the archive as to, but for the names below it in without.
func tree(out *tar.Writer, root, from, to string, without []string) error {
	top := filepath.Join(root, from)
	return filepath.WalkDir(top, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(top, file)
		if err != nil {
			return err
		}
		if left, err := matches(without, name); left || err != nil {
			if left && d.IsDir() {
				return fs.SkipDir
			}
			return err
		}
		if d.IsDir() {
			return nil
		}
		return addFile(out, root, top, file, path.Join(to, name))
	})
}

func matches(patterns []string, name string) (bool, error) {
	for _, p := range patterns {
		if ok, err := path.Match(p, name); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// addFile writes a file, or a link to a neighbour, or what a link out of top points to: nothing when that is not there.
func addFile(out *tar.Writer, root, top, file, name string) error {
	seen := file
	for range 8 { // links to links; Debian has two in a row
		target, err := os.Readlink(seen)
		if err != nil {
			break
		}
		next := filepath.Join(root, target)
		if !filepath.IsAbs(target) {
			next = filepath.Join(filepath.Dir(seen), target)
		}
		if seen == file && !filepath.IsAbs(target) && strings.HasPrefix(next, top+"/") {
			return out.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777})
		}
		seen = next
	}
	if !strings.HasPrefix(seen, root+"/") {
		return fmt.Errorf("%s leads out of its package", name)
	}
	f, err := os.Open(seen)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // what a package makes when it is installed, such as the list of CAs
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		return nil
	}
	return copyEntry(out, name, &tar.Header{Mode: int64(info.Mode().Perm()), Size: info.Size()}, f)
}
