package bits

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"ingot/bits/sign"
	"ingot/cf"
)

// TestOrphans: a package that no row came to refer to goes after a grace; what is in use or of another kind stays.
func TestOrphans(t *testing.T) {
	ctx := t.Context()
	b := &Bits{Dir: t.TempDir(), Keys: sign.Keys{{Secret: "s"}}, Grace: time.Hour}
	used := map[string]bool{}
	b.InUse = func(_ context.Context, key string) (bool, error) { return used[key], nil }
	if err := b.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Stop(ctx) }()
	put := func(kind cf.BlobKind, text string) string {
		blob, err := b.Put(ctx, kind, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return blob.Key
	}
	lost, kept, pack := put(cf.BlobPackage, "lost"), put(cf.BlobPackage, "kept"), put(cf.BlobBuildpack, "pack")
	used[kept] = true
	orphans := func() error {
		return errors.Join(b.store.Orphans(ctx, "packages/"), b.store.Orphans(ctx, "droplets/"), b.store.Sweep(ctx))
	}
	if err := orphans(); err != nil || contents(t, b, lost) != "lost" {
		t.Errorf("gone before its grace: %v", err)
	}
	b.store.Grace = time.Nanosecond
	if err := b.store.Orphans(ctx, "packages/"); err != nil || contents(t, b, lost) != "lost" {
		t.Errorf("gone at once: %v", err)
	}
	if err := orphans(); err != nil || contents(t, b, lost) != "not found" || contents(t, b, kept) != "kept" || contents(t, b, pack) != "pack" {
		t.Errorf("after the grace: %s %s %s %v", contents(t, b, lost), contents(t, b, kept), contents(t, b, pack), err)
	}
}
