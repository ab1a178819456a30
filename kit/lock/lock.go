// Package lock holds a folder for one process.
//
// It promises that the lock goes with the process, however it ends. It will not wait for a lock.
package lock

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Held is a folder's lock.
type Held struct{ f *os.File }

// Busy is the error when another process holds the folder.
type Busy struct {
	Folder string
	PID    string
}

// Error names the holder.
func (b *Busy) Error() string { return fmt.Sprintf("%s is in use by pid %s", b.Folder, b.PID) }

// Folder takes <folder>/LOCK for this process and writes its pid into it.
func Folder(folder string) (*Held, error) {
	f, err := os.OpenFile(filepath.Join(folder, "LOCK"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer func() { _ = f.Close() }()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", folder, err)
		}
		b := make([]byte, 32)
		n, _ := f.Read(b)
		return nil, &Busy{Folder: folder, PID: strings.TrimSpace(string(b[:n]))}
	}
	if err := f.Truncate(0); err != nil {
		return nil, err
	}
	if _, err := f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0); err != nil {
		return nil, err
	}
	return &Held{f}, nil
}

// Release gives the folder back.
func (h *Held) Release() error { return h.f.Close() }
