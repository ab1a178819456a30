package disk

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestCopySparseKeepsDataAndHoles(t *testing.T) {
	d := &Disks{Folder: t.TempDir(), Mounts: t.TempDir()}
	from := filepath.Join(d.Folder, "from")
	f, err := os.Create(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 5 << 20, 32<<20 - 1} {
		if _, err := f.WriteAt([]byte("x"), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := copySparse(d.image("a"), from); err != nil {
		t.Fatal(err)
	}
	want, _ := os.ReadFile(from)
	got, err := os.ReadFile(d.image("a"))
	if err != nil || !bytes.Equal(got, want) {
		t.Fatal("other bytes", err)
	}
	if n := d.Used("a"); n == 0 || n > 1<<20 {
		t.Error("not sparse:", n)
	}
	if err := copySparse(d.image("b"), from+".none"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if d.Used("b") != 0 {
		t.Error("a failed copy is left")
	}
}

func TestNames(t *testing.T) {
	d := &Disks{Folder: t.TempDir(), Mounts: t.TempDir()}
	for _, p := range []string{d.image("one"), filepath.Join(d.Mounts, "two")} {
		if err := os.Mkdir(p, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := d.Names(); err != nil || len(got) != 2 || got[0] != "one" || got[1] != "two" {
		t.Error(got, err)
	}
}
