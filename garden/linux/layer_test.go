package linux

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"

	"ingot/cf"
)

func layerOf(b []byte) cf.Layer {
	sum := sha256.Sum256(b)
	return cf.Layer{Digest: hex.EncodeToString(sum[:]), Prefix: "home/vcap"}
}

func zipped(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(b)
	_ = z.Close()
	return out.Bytes()
}

func TestBadArchives(t *testing.T) {
	e := engine(t)
	good := archiveOf(dir("app", 0), tarFile("app/x", 0o644, strings.Repeat("x", 10000)))
	odd := func(h tar.Header) []byte { return archiveOf(entry{Header: h}) }
	for name, c := range map[string]struct {
		b    []byte
		l    *cf.Layer
		kind cf.Kind
	}{
		"climbs":          {b: odd(tar.Header{Name: "../x", Typeflag: tar.TypeReg}), kind: cf.KindUnprocessable},
		"absolute":        {b: odd(tar.Header{Name: "/etc/x", Typeflag: tar.TypeReg}), kind: cf.KindUnprocessable},
		"device":          {b: odd(tar.Header{Name: "x", Typeflag: tar.TypeBlock}), kind: cf.KindUnprocessable},
		"link out":        {b: odd(tar.Header{Name: "x", Typeflag: tar.TypeSymlink, Linkname: "../../etc"}), kind: cf.KindUnprocessable},
		"link to nothing": {b: odd(tar.Header{Name: "x", Typeflag: tar.TypeLink, Linkname: "y"}), kind: cf.KindUnprocessable},
		"cut":             {b: good[:3000], kind: cf.KindUnprocessable},
		"cut gzip":        {b: zipped(good)[:50], kind: cf.KindUnprocessable},
		"no archive":      {b: []byte(strings.Repeat("not a tar ", 200)), kind: cf.KindUnprocessable},
		"other bytes":     {b: good, l: &cf.Layer{Digest: strings.Repeat("0", 64), Prefix: "home/vcap"}, kind: cf.KindUnprocessable},
		"no digest":       {b: good, l: &cf.Layer{Digest: "x", Prefix: "home/vcap"}, kind: cf.KindInvalid},
		"prefix climbs":   {b: good, l: &cf.Layer{Digest: strings.Repeat("0", 64), Prefix: "../x"}, kind: cf.KindInvalid},
		"prefix is root":  {b: good, l: &cf.Layer{Digest: strings.Repeat("0", 64), Prefix: "."}, kind: cf.KindInvalid},
	} {
		l := layerOf(c.b)
		if c.l != nil {
			l = *c.l
		}
		if err := e.AddLayer(ctx, "tiny", l, bytes.NewReader(c.b)); !cf.IsKind(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
		if has, _ := e.HasLayer(ctx, "tiny", l); has {
			t.Error(name, "is there")
		}
	}
	e.images.MaxBytes = 1000
	if err := e.AddLayer(ctx, "tiny", layerOf(good), bytes.NewReader(good)); !cf.IsKind(err, cf.KindTooLarge) {
		t.Error("too large:", err)
	}
	e.images.MaxBytes = 0
	gone := errors.New("connection lost")
	if err := e.AddLayer(ctx, "tiny", layerOf(good), io.MultiReader(bytes.NewReader(good[:3000]), failing{gone})); !errors.Is(err, gone) {
		t.Error("a reader that fails:", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := e.AddLayer(ended, "tiny", layerOf(good), bytes.NewReader(good)); !errors.Is(err, context.Canceled) {
		t.Error("a caller that went away:", err)
	}
	if err := e.images.Snapshots.Walk(e.ctx, func(_ context.Context, i snapshots.Info) error {
		if i.Kind != snapshots.KindCommitted {
			t.Error("half a layer is left:", i.Name)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := e.AddLayer(ctx, "tiny", layerOf(zipped(good)), bytes.NewReader(zipped(good))); err != nil {
		t.Error("the good one:", err)
	}
	for name, l := range map[string]cf.Layer{"there": layerOf(zipped(good)), "new": layerOf(good)} { // 10,000 bytes
		l.Limit = 9_999
		if has, err := e.HasLayer(ctx, "tiny", l); err != nil || has {
			t.Errorf("above its limit, %s: has %t, %v", name, has, err)
		}
		if err := e.AddLayer(ctx, "tiny", l, bytes.NewReader(good)); !cf.IsKind(err, cf.KindTooLarge) {
			t.Errorf("above its limit, %s: %v", name, err)
		}
		l.Limit = 1 << 20
		if err := e.AddLayer(ctx, "tiny", l, bytes.NewReader(good)); err != nil {
			t.Errorf("below its limit, %s: %v", name, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestOneLayerAddedManyTimesAtOnce(t *testing.T) {
	e := engine(t)
	l, b := droplet("many")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := e.AddLayer(ctx, "tiny", l, bytes.NewReader(b)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestImportImage(t *testing.T) {
	e := engine(t)
	path := filepath.Join(worldFolder, "other.tar.gz")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, zipped(archiveOf(dir("etc", 0), tarFile("etc/version", 0o644, text))), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := e.ImportImage(ctx, "other", path); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	_, first, err := e.images.Lowers(e.ctx, "other", nil)
	if err != nil {
		t.Fatal(err)
	}
	write("one") // the same bytes in another file
	if _, again, err := e.images.Lowers(e.ctx, "other", nil); err != nil || again[0] != first[0] {
		t.Error("unpacked twice", again, err)
	}
	write("two")
	_, second, err := e.images.Lowers(e.ctx, "other", nil)
	if err != nil || second[0] == first[0] {
		t.Fatal(second, err)
	}
	if b, err := os.ReadFile(filepath.Join(second[0], "etc/version")); err != nil || string(b) != "two" {
		t.Error(string(b), err)
	}
	if err := e.dropUnusedLayers(0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(first[0]); err == nil {
		t.Error("the replaced image stayed")
	}
	if names, _ := e.Images(ctx); len(names) != 2 || names[0] != "other" || names[1] != "tiny" {
		t.Error(names)
	}
	if err := e.ImportImage(ctx, "none", path+".none"); err == nil {
		t.Error("imported nothing")
	}
}
