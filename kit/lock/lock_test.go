package lock

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	if pid := Holder(dir); pid != 0 {
		t.Errorf("held by %d before anybody came", pid)
	}
	if err := os.WriteFile(filepath.Join(dir, Name), []byte("123456789\nleft by a killed process"), 0o600); err != nil {
		t.Fatal(err)
	}
	if pid := Holder(dir); pid != 0 {
		t.Errorf("held by the dead %d", pid)
	}
	held, err := Folder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if pid := Holder(dir); pid != os.Getpid() {
		t.Errorf("held by %d", pid)
	}
	var busy *Busy
	if _, err := Folder(dir); !errors.As(err, &busy) || busy.PID != strconv.Itoa(os.Getpid()) || busy.Folder != dir {
		t.Errorf("second: %v", err)
	}
	if err := held.Release(); err != nil || Holder(dir) != 0 {
		t.Errorf("released: %v, held by %d", err, Holder(dir))
	}
	if held, err = Folder(dir); err != nil {
		t.Fatal(err)
	}
	_ = held.Release()
	if _, err := Folder(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

// Who looks for the holder has the lock for a moment; that must not stop a process that starts just then.
func TestFolderBesideALook(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, Name))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(5*time.Millisecond, func() { _ = f.Close() })
	held, err := Folder(dir)
	if err != nil {
		t.Fatal(err)
	}
	_ = held.Release()
}
