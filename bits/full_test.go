package bits

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ingot/cf"
	"ingot/kit/need"
)

// TestDiskFull: a real disk without room; nothing half is left, and there is room again as soon as something goes.
func TestDiskFull(t *testing.T) {
	need.World(t, "mounts a small disk")
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	b := newBits(t, func(b *Bits) { b.Dir, b.MinFree = dir, 1 })
	kept, err := b.Put(ctx, cf.BlobDroplet, strings.NewReader(random(600<<10)))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, err := b.Put(ctx, cf.BlobDroplet, strings.NewReader(random(600<<10)))
		var e *cf.Error
		if !errors.As(err, &e) || e.Kind != cf.KindNoRoom || e.Code != "BlobstoreUnavailable" {
			t.Fatalf("got %v", err)
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, ".uploads")); len(left) > 0 || err != nil {
		t.Errorf("left %v %v", left, err)
	}
	if got := contents(t, b, kept.Key); len(got) != 600<<10 {
		t.Errorf("%d bytes are left of what was stored", len(got))
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=4m"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(ctx, cf.BlobDroplet, strings.NewReader(random(600<<10))); err != nil {
		t.Errorf("with room again: %v", err)
	}
}
