package fetch

import (
	"archive/zip"
	"bytes"
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
	"time"

	"ingot/cf"
)

// blobs is what Packs needs of a cf.Blobs.
type blobs struct {
	cf.Blobs
	mu    sync.Mutex
	all   map[string][]byte
	opens int
}

func (b *blobs) Open(_ context.Context, key string) (io.ReadCloser, int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opens++
	text, ok := b.all[key]
	if !ok {
		return nil, 0, cf.Errorf(cf.KindNotFound, "", "no blob %s", key)
	}
	return io.NopCloser(bytes.NewReader(text)), int64(len(text)), nil
}

// pack stores a buildpack whose detect has the text.
func (b *blobs) pack(t *testing.T, text string) cf.BuildpackRef {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	h := &zip.FileHeader{Name: "bin/detect"}
	h.SetMode(0o700)
	f, err := w.CreateHeader(h)
	if err == nil {
		_, err = io.WriteString(f, text)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(buf.Bytes())
	key := "buildpacks/" + hex.EncodeToString(sum[:])
	b.all[key] = buf.Bytes()
	return cf.BuildpackRef{Name: "x", Blob: key}
}

func newPacks(t *testing.T) (*Packs, *blobs) {
	t.Helper()
	b := &blobs{all: map[string][]byte{}}
	p := &Packs{Folder: filepath.Join(t.TempDir(), "buildpacks"), Blobs: b}
	if err := p.Tidy(); err != nil {
		t.Fatal(err)
	}
	return p, b
}

func TestUnpacksOnce(t *testing.T) {
	p, b := newPacks(t)
	ref := b.pack(t, "#!/bin/sh")
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			name, free, err := p.Get(t.Context(), ref)
			if err != nil {
				t.Error(err)
				return
			}
			defer free()
			if st, err := os.Stat(filepath.Join(name, "bin/detect")); err != nil || st.Mode().Perm() != 0o755 {
				t.Errorf("%v, %v", st, err)
			}
		})
	}
	all.Wait()
	if b.opens != 1 || len(p.used) != 0 {
		t.Errorf("opened %d times; in use %v", b.opens, p.used)
	}
}

func TestRefuses(t *testing.T) {
	p, b := newPacks(t)
	good := b.pack(t, "x")
	b.all["buildpacks/text"] = []byte("no zip")
	sum := sha256.Sum256([]byte("no zip"))
	for name, c := range map[string]struct {
		ref  cf.BuildpackRef
		want string
	}{
		"gone":      {cf.BuildpackRef{Name: "x", Blob: "buildpacks/" + strings.Repeat("0", 64)}, "no blob"},
		"no digest": {cf.BuildpackRef{Name: "x", Blob: "buildpacks/text"}, "has no digest"},
		"a path":    {cf.BuildpackRef{Name: "x", Blob: good.Blob, Digest: "../../etc"}, "has no digest"},
		"another":   {cf.BuildpackRef{Name: "x", Blob: good.Blob, Digest: strings.Repeat("1", 64)}, "the archive's digest is"},
		"no zip":    {cf.BuildpackRef{Name: "x", Blob: "buildpacks/text", Digest: hex.EncodeToString(sum[:])}, "bad archive"},
	} {
		if _, _, err := p.Get(t.Context(), c.ref); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if es, err := os.ReadDir(p.Folder); err != nil || len(es) != 0 || len(p.used) != 0 {
		t.Errorf("left behind: %v, %v, in use %v", es, err, p.used)
	}
}

func TestEndsWithLife(t *testing.T) {
	p, b := newPacks(t)
	life, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := p.Get(life, b.pack(t, "x")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if es, err := os.ReadDir(p.Folder); err != nil || len(es) != 0 || len(p.used) != 0 {
		t.Errorf("left behind: %v, %v, in use %v", es, err, p.used)
	}
}

func TestTidyAfterAKill(t *testing.T) {
	p, _ := newPacks(t)
	whole := filepath.Join(p.Folder, strings.Repeat("a", 64))
	for _, n := range []string{whole, filepath.Join(p.Folder, "new-1", "in"), filepath.Join(p.Folder, "old-"+strings.Repeat("b", 64))} {
		if err := os.MkdirAll(n, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Tidy(); err != nil {
		t.Fatal(err)
	}
	if es, err := os.ReadDir(p.Folder); err != nil || len(es) != 1 || filepath.Join(p.Folder, es[0].Name()) != whole {
		t.Errorf("%v, %v", es, err)
	}
}

func TestPrunes(t *testing.T) {
	p, b := newPacks(t)
	var held string
	for i := range keep + 5 {
		name, free, err := p.Get(t.Context(), b.pack(t, string(rune('a'+i))))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			held = name
			defer free()
		} else {
			free()
		}
		long := time.Now().Add(time.Duration(i-1000) * time.Minute)
		if err := os.Chtimes(name, long, long); err != nil {
			t.Fatal(err)
		}
	}
	if es, err := os.ReadDir(p.Folder); err != nil || len(es) > keep+1 {
		t.Errorf("%d buildpacks stay, %v", len(es), err)
	}
	if _, err := os.Stat(held); err != nil {
		t.Errorf("one in use went: %v", err)
	}
}
