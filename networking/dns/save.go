package dns

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// saved is what resolv.conf was: a file, a link, or nothing.
type saved struct {
	Absent bool        `json:"absent,omitempty"`
	Link   string      `json:"link,omitempty"` // where it pointed
	Mode   os.FileMode `json:"mode,omitempty"`
	UID    int         `json:"uid"`
	GID    int         `json:"gid"`
	Text   []byte      `json:"-"` // of the file, or of what the link points to
}

// look reads resolv.conf as it is.
func look(path string) (saved, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return saved{Absent: true}, nil
	}
	if err != nil {
		return saved{}, err
	}
	s := saved{Mode: info.Mode().Perm()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.UID, s.GID = int(st.Uid), int(st.Gid)
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		if s.Link, err = os.Readlink(path); err != nil {
			return s, err
		}
	}
	if s.Text, err = os.ReadFile(path); errors.Is(err, fs.ErrNotExist) && s.Link != "" {
		err = nil // a link to nowhere is no servers
	}
	return s, err
}

// keep stores s in folder, whole or not at all: the text as it is in "original", the rest in "about.json".
func (s saved) keep(folder string) error {
	tmp := folder + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return err
	}
	about, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := create(filepath.Join(tmp, "original"), s.Text, 0o644); err != nil {
		return err
	}
	if err := create(filepath.Join(tmp, "about.json"), about, 0o644); err != nil {
		return err
	}
	if err := syncFolder(tmp); err != nil {
		return err
	}
	if err := os.RemoveAll(folder); err != nil { // only where resolv.conf is no longer ours: see Install
		return err
	}
	if err := os.Rename(tmp, folder); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(folder))
}

// kept reads what keep stored; ok is false if there is nothing.
func kept(folder string) (s saved, ok bool, err error) {
	about, err := os.ReadFile(filepath.Join(folder, "about.json"))
	if errors.Is(err, fs.ErrNotExist) { // also a folder that was half removed
		return s, false, nil
	}
	if err == nil {
		err = json.Unmarshal(about, &s)
	}
	if err == nil {
		s.Text, err = os.ReadFile(filepath.Join(folder, "original"))
	}
	return s, err == nil, err
}

// forget removes what keep stored; about.json first, so that half of it is nothing.
func forget(folder string) error {
	err := os.Remove(filepath.Join(folder, "about.json"))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(folder), os.RemoveAll(folder+".new"))
}

// half is the end of the name of a resolv.conf that is being made.
const half = ".ingot"

// put makes resolv.conf what s says.
func (s saved) put(path string) error {
	tmp := path + half
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	switch {
	case s.Absent:
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return syncFolder(filepath.Dir(path))
	case s.Link != "":
		if err := os.Symlink(s.Link, tmp); err != nil {
			return err
		}
	default:
		if err := create(tmp, s.Text, s.Mode); err != nil {
			return err
		}
		if err := os.Chown(tmp, s.UID, s.GID); err != nil && os.Geteuid() == 0 {
			return errors.Join(err, os.Remove(tmp))
		}
	}
	err := os.Rename(tmp, path)
	if errors.Is(err, syscall.EBUSY) { // a bind mount: the file cannot be replaced, so it is written over
		return errors.Join(overwrite(path, s.Text), os.Remove(tmp))
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return syncFolder(filepath.Dir(path))
}

// create makes a file durably, with just this mode.
func create(path string, text []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
}

// overwrite changes a file in place. What a kill in between leaves is recognized by torn.
func overwrite(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(text, 0); err == nil {
		err = f.Truncate(int64(len(text)))
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// mounted tells whether something is mounted on just this path, as container engines do with resolv.conf.
func mounted(path string) bool {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == path {
			return true
		}
	}
	return false
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
