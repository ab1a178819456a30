// Package disk makes the writable part of a container: an ext4 file system of a fixed size in a sparse file, so that a
// container cannot write more than its limit.
//
// It promises that nothing is left once the file system's last mount is gone: the loop device clears itself. The file
// system has no journal, for it never outlives a crash of the machine. It will not look after the disk behind the files:
// a sparse file that cannot grow loses data silently, so whoever makes them must keep some of that disk free.
package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"
)

// Disks keeps one image file for each container in Folder.
type Disks struct {
	Folder string
	Mounts string // where file systems are mounted for the moment of making a container

	mu sync.RWMutex // held to write while templates are made or removed
}

// Upper is a mounted file system with the two folders that an overlay needs.
type Upper struct {
	Upper, Work string
	mount       string
}

// Start makes the folders.
func (d *Disks) Start() error {
	for _, dir := range []string{d.Folder, d.Mounts} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// Make makes and mounts a file system of so many MiB whose files belong to the user owner.
func (d *Disks) Make(name string, mib int, owner uint32) (*Upper, error) {
	img := d.image(name)
	if err := d.copyTemplate(img, mib); err != nil {
		return nil, fmt.Errorf("copy disk of %s: %w", name, err)
	}
	u := &Upper{mount: filepath.Join(d.Mounts, name)}
	u.Upper, u.Work = filepath.Join(u.mount, "u"), filepath.Join(u.mount, "w")
	if err := mountLoop(img, u.mount); err != nil {
		return nil, errors.Join(fmt.Errorf("mount disk of %s: %w", name, err), d.Remove(name))
	}
	if err := errors.Join(os.Mkdir(u.Upper, 0o755), os.Mkdir(u.Work, 0o755), os.Chmod(u.Upper, 0o755),
		os.Chown(u.Upper, int(owner), int(owner))); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare disk of %s: %w", name, err), d.Remove(name))
	}
	return u, nil
}

// Release unmounts our own mount; an overlay that was made of it goes on with its own.
func (u *Upper) Release() error {
	if err := unix.Unmount(u.mount, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", u.mount, err)
	}
	return os.Remove(u.mount)
}

// Remove removes what there is of a disk.
func (d *Disks) Remove(name string) error {
	at := filepath.Join(d.Mounts, name)
	if err := unix.Unmount(at, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", at, err)
	}
	for _, p := range []string{at, d.image(name)} {
		if err := os.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Names lists the containers of which there is a disk or a mount.
func (d *Disks) Names() ([]string, error) {
	var out []string
	for _, pattern := range []string{d.image("*"), filepath.Join(d.Mounts, "*")} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			out = append(out, trim(filepath.Base(f)))
		}
	}
	return out, nil
}

// Used is how many bytes of the disk a container's file takes; 0 if there is none.
func (d *Disks) Used(name string) int64 {
	var st unix.Stat_t
	if err := unix.Stat(d.image(name), &st); err != nil {
		return 0
	}
	return st.Blocks * 512
}

// Free is how many bytes the disk behind the files can still take.
func (d *Disks) Free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(d.Folder, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", d.Folder, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

const suffix = ".ext4"

func (d *Disks) image(name string) string { return filepath.Join(d.Folder, name+suffix) }

func trim(base string) string {
	if n := len(base) - len(suffix); n > 0 && base[n:] == suffix {
		return base[:n]
	}
	return base
}

// mostTemplates bounds the sizes that are kept ready.
const mostTemplates = 64

// copyTemplate makes an empty file system of the size: a copy of a template is cheaper than another mkfs.
func (d *Disks) copyTemplate(img string, mib int) error {
	path := filepath.Join(d.templates(), fmt.Sprintf("%d%s", mib, suffix))
	for {
		d.mu.RLock()
		err := copySparse(img, path)
		d.mu.RUnlock()
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := d.makeTemplate(path, mib); err != nil {
			return err
		}
	}
}

func (d *Disks) templates() string { return filepath.Join(d.Folder, "template") }

func (d *Disks) makeTemplate(path string, mib int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if all, err := os.ReadDir(d.templates()); err == nil && len(all) >= mostTemplates {
		if err := os.RemoveAll(d.templates()); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(d.templates(), 0o700); err != nil {
		return err
	}
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	size := int64(mib)<<20 + int64(mib)<<15 + 4<<20 // with 1/32 for ext4's own tables, which shall not count as the app's
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return err
	}
	out, err := exec.Command("mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096", "-i", "8192", "-O", "^has_journal,^resize_inode", "-E",
		"nodiscard,lazy_itable_init=1,root_owner=0:0", tmp).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mkfs.ext4 (Debian package e2fsprogs): %w: %s", err, out)
	}
	return os.Rename(tmp, path)
}

func mountLoop(img, at string) error {
	if err := os.Mkdir(at, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	loop, err := mount.SetupLoop(img, mount.LoopParams{Autoclear: true})
	if err != nil {
		return err
	}
	defer loop.Close() //nolint:errcheck // the mount holds the device from here on
	return unix.Mount(loop.Name(), at, "ext4", unix.MS_NODEV|unix.MS_NOATIME, "discard,noinit_itable,errors=continue")
}

// copySparse copies the parts of a file that hold data.
func copySparse(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close() //nolint:errcheck // only read
	st, err := src.Stat()
	if err != nil {
		return err
	}
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(dst.Truncate(st.Size()), copyData(dst, src, st.Size()), dst.Close()); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return nil
}

func copyData(dst, src *os.File, size int64) error {
	for at := int64(0); at < size; {
		start, err := unix.Seek(int(src.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // only a hole is left
			return nil
		} else if err != nil {
			return err
		}
		end, err := unix.Seek(int(src.Fd()), start, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if _, err := src.Seek(start, io.SeekStart); err != nil {
			return err
		}
		if _, err := dst.Seek(start, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.CopyN(dst, src, end-start); err != nil { // copy_file_range where the disk can
			return err
		}
		at = end
	}
	return nil
}
