// Package lock holds a folder for one process.
//
// It promises that the lock goes with the process, however it ends. It will not wait for a holder to leave.
package lock

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
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

// Name is the file in the folder that is locked and holds the pid.
const Name = "ingot.pid"

// patience is how long somebody who only looks may have the lock.
const patience = 100 * time.Millisecond

// Folder takes the folder for this process and writes its pid into <folder>/ingot.pid.
func Folder(folder string) (*Held, error) {
	f, err := os.OpenFile(filepath.Join(folder, Name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err = take(f); err == nil {
		return &Held{f}, nil
	}
	defer func() { _ = f.Close() }()
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("lock %s: %w", folder, err)
	}
	b := make([]byte, 32)
	n, _ := f.Read(b)
	return nil, &Busy{Folder: folder, PID: strings.TrimSpace(string(b[:n]))}
}

// take locks f and writes our pid into it. It tries for a moment, since Holder has the lock for as long as it looks.
func take(f *os.File) error {
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(end) {
			return err
		}
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return err
}

// Holder returns the pid of the process that holds the folder, or 0.
func Holder(folder string) int {
	f, err := os.Open(filepath.Join(folder, Name))
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return 0 // nobody holds it; closing f gives this lock back
	}
	var pid int
	if _, err := fmt.Fscan(f, &pid); err != nil {
		return 0
	}
	return pid
}

// Inherited is the lock that the process which started this one took and handed down as f; the pid in the file stays.
func Inherited(f *os.File) *Held { return &Held{f} }

// File is what holds the lock: a process that inherits it holds the folder too, until both are gone.
func (h *Held) File() *os.File { return h.f }

// Release gives the folder back.
func (h *Held) Release() error { return h.f.Close() }
