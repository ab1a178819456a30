package builder

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/pgzip"
)

// vcap's ids in every stack.
const vcap = 2000

// tree is a folder and its place in an archive.
type tree struct{ from, to string }

// epoch is the time of what the build itself makes, so that equal builds make equal droplets. Files keep their own time:
// web servers make validators of it.
var epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// writeTar packs the trees, names in order, everything owned by vcap. Sockets and pipes are left out. All cores pack;
// how many there are does not show in the bytes.
func writeTar(name string, trees []tree) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	buf := bufio.NewWriterSize(f, 1<<20)
	zip, err := pgzip.NewWriterLevel(buf, gzip.BestSpeed)
	if err != nil {
		return err
	}
	w := tar.NewWriter(zip)
	for _, t := range trees {
		if err == nil {
			err = addTree(w, t)
		}
	}
	return errors.Join(err, w.Close(), zip.Close(), buf.Flush(), f.Close())
}

func addTree(w *tar.Writer, t tree) error {
	return filepath.WalkDir(t.from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(t.from, p)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return add(w, p, path.Join(t.to, filepath.ToSlash(rel)), info)
	})
}

func add(w *tar.Writer, from, to string, info fs.FileInfo) error {
	h := &tar.Header{Name: "./" + to, Mode: int64(info.Mode().Perm()), Uid: vcap, Gid: vcap, ModTime: epoch, Format: tar.FormatPAX}
	switch {
	case info.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, "./"
		if to != "." {
			h.Name += to + "/"
		}
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, target, 0o777
	case info.Mode().IsRegular():
		h.Typeflag, h.Size = tar.TypeReg, info.Size()
		if path.Base(to) != "staging_info.yml" {
			h.ModTime = info.ModTime().Truncate(time.Second)
		}
	default:
		return nil
	}
	if err := w.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg {
		return err
	}
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, err = io.Copy(w, f)
	return err
}

// readTar unpacks the cache that an earlier build of the app left; none is fine. What is at fault in it, or leads
// outside, ends it.
func readTar(name, folder string) error {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	zip, err := gzip.NewReader(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	r := tar.NewReader(zip)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := extract(root, h, r); err != nil {
			return fmt.Errorf("%q: %w", h.Name, err)
		}
	}
}

func extract(root *os.Root, h *tar.Header, r io.Reader) error {
	name := path.Clean(h.Name)
	if name == "." {
		return nil
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	mode := fs.FileMode(h.Mode).Perm()
	switch h.Typeflag {
	case tar.TypeDir:
		if err := root.MkdirAll(name, 0o755); err != nil {
			return err
		}
		return root.Chmod(name, mode|0o700)
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, name)
	case tar.TypeReg:
		out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode|0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, r)
		return errors.Join(err, out.Chmod(mode|0o600), out.Close(), root.Chtimes(name, h.ModTime, h.ModTime))
	}
	return fmt.Errorf("is of type %q", h.Typeflag)
}
