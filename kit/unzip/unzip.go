// Package unzip unpacks zip archives of strangers.
//
// It promises to write, and to leave links to, nothing outside the folder it is given, to keep modes and times, and to stop
// at the limits it is given whatever the archive claims of itself. It will not unpack devices, pipes or sockets: such an
// archive is refused before anything of it is written.
package unzip

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// maxTarget is the longest link target that Linux takes.
const maxTarget = 4096

// MostEntries is how many files and folders an app may have: the inodes of a container (ecosystem.md §5.1).
const MostEntries = 200_000

// Options bound and shape what is written.
type Options struct {
	Entries  int   // most entries; 0 = MostEntries
	Bytes    int64 // most bytes unpacked; 0 = 8 GiB
	Readable bool  // everybody may read everything, and enter every folder
}

// File unpacks the archive at name into folder, which exists.
func File(folder, name string, o Options) error {
	if o.Entries == 0 {
		o.Entries = MostEntries
	}
	if o.Bytes == 0 {
		o.Bytes = 8 << 30
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	z, err := Open(f, st.Size(), o.Entries)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return into(root, z, o)
}

// into unpacks z under root.
func into(root *os.Root, z *zip.Reader, o Options) error {
	for _, f := range z.File {
		if err := check(f); err != nil {
			return err
		}
	}
	u := unpacking{root: root, o: o, left: o.Bytes, folders: map[string]*zip.File{}}
	for _, f := range z.File {
		if err := u.add(f); err != nil {
			return fmt.Errorf("unpack %q: %w", f.Name, err)
		}
	}
	return u.finish()
}

// check refuses what must never be unpacked.
func check(f *zip.File) error {
	name := strings.TrimSuffix(f.Name, "/")
	switch {
	case strings.ContainsRune(name, 0) || !filepath.IsLocal(filepath.FromSlash(name)):
		return fmt.Errorf("%w: %q leads outside", ErrBad, f.Name)
	case f.Mode()&(fs.ModeType&^(fs.ModeDir|fs.ModeSymlink)) != 0:
		return fmt.Errorf("%w: %q is neither file, folder nor link", ErrBad, f.Name)
	}
	return nil
}

type unpacking struct {
	root    *os.Root
	o       Options
	left    int64
	links   []*zip.File
	folders map[string]*zip.File
}

// add writes one entry. Links wait for the end, so that nothing is written through them.
func (u *unpacking) add(f *zip.File) error {
	name := path.Clean(f.Name)
	switch {
	case f.Mode().IsDir():
		u.folders[name] = f
		return u.mkdir(name)
	case f.Mode()&fs.ModeSymlink != 0:
		u.links = append(u.links, f)
		return nil
	}
	if err := u.mkdir(path.Dir(name)); err != nil {
		return err
	}
	return u.write(name, f)
}

func (u *unpacking) mkdir(name string) error {
	if name == "." {
		return nil
	}
	return u.root.MkdirAll(name, 0o755)
}

func (u *unpacking) write(name string, f *zip.File) error {
	r, err := f.Open()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBad, err)
	}
	defer func() { _ = r.Close() }()
	out, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(out, io.LimitReader(r, u.left+1))
	u.left -= n
	switch {
	case errors.Is(err, zip.ErrFormat), errors.Is(err, zip.ErrChecksum), errors.Is(err, zip.ErrAlgorithm), errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("%w: %w", ErrBad, err)
	case err == nil && u.left < 0:
		err = fmt.Errorf("%w: more than %d bytes", ErrBad, u.o.Bytes)
	}
	if err = errors.Join(err, out.Chmod(u.mode(f)), out.Close()); err != nil {
		return err
	}
	return u.root.Chtimes(name, stamp(f), stamp(f))
}

// finish makes the links, refuses those that lead outside, and gives the folders their modes and times, the deepest first.
func (u *unpacking) finish() error {
	for _, f := range u.links {
		if err := u.link(f); err != nil {
			return fmt.Errorf("unpack %q: %w", f.Name, err)
		}
	}
	for _, f := range u.links { // once all stand: a link may lead outside only through another one
		if _, err := u.root.Stat(path.Clean(f.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ELOOP) {
			return fmt.Errorf("%w: link %q leads outside", ErrBad, f.Name)
		}
	}
	names := make([]string, 0, len(u.folders))
	for n := range u.folders {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(b, a) })
	for _, n := range names {
		if n == "." {
			continue
		}
		if err := errors.Join(u.root.Chmod(n, u.mode(u.folders[n])|0o700), u.root.Chtimes(n, stamp(u.folders[n]), stamp(u.folders[n]))); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacking) link(f *zip.File) error {
	r, err := f.Open()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBad, err)
	}
	defer func() { _ = r.Close() }()
	b, err := io.ReadAll(io.LimitReader(r, maxTarget))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBad, err)
	}
	name, target := path.Clean(f.Name), string(b)
	if path.IsAbs(target) || !filepath.IsLocal(path.Join(path.Dir(name), target)) {
		return fmt.Errorf("%w: link to %q leads outside", ErrBad, target)
	}
	if err := u.mkdir(path.Dir(name)); err != nil {
		return err
	}
	return u.root.Symlink(target, name)
}

// mode is the entry's, made usable for its owner. Archives made without modes (on Windows) give 0.
func (u *unpacking) mode(f *zip.File) fs.FileMode {
	m := f.Mode().Perm() | 0o600
	if m == 0o600 && f.ExternalAttrs>>16 == 0 {
		m = 0o744
	}
	if f.Mode().IsDir() {
		m |= 0o700
	}
	if u.o.Readable {
		m |= 0o444
		if f.Mode().IsDir() || m&0o100 != 0 {
			m |= 0o111
		}
	}
	return m
}

func stamp(f *zip.File) time.Time {
	if f.Modified.Year() < 1980 {
		return time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return f.Modified
}
