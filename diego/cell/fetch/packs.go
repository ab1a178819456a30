package fetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/sys/unix"

	"ingot/cf"
	"ingot/kit/unzip"
)

// Bounds of the folder: how many buildpacks stay unpacked, and the bytes of one.
const (
	keep    = 32
	maxPack = 2 << 30
)

// Packs are the buildpacks that lie unpacked on the host, a folder each, named by the digest of its zip.
type Packs struct {
	Folder string
	Blobs  cf.Blobs

	flight singleflight.Group
	mu     sync.Mutex
	used   map[string]int // by digest: stagings that look at it now
}

var digest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Tidy makes the folder, and removes what was being unpacked when Ingot ended.
func (p *Packs) Tidy() error {
	if err := os.MkdirAll(p.Folder, 0o755); err != nil {
		return err
	}
	es, err := os.ReadDir(p.Folder)
	if err != nil {
		return err
	}
	for _, e := range es {
		if !digest.MatchString(e.Name()) {
			if err := os.RemoveAll(filepath.Join(p.Folder, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// Get returns the folder of a buildpack and a function that says it is no longer looked at. Those who ask at once share
// one unpacking, which ends early with life only: all of them wait for it.
func (p *Packs) Get(life context.Context, b cf.BuildpackRef) (string, func(), error) {
	d := b.Digest
	if d == "" {
		d = path.Base(b.Blob)
	}
	if !digest.MatchString(d) {
		return "", nil, fmt.Errorf("buildpack %s has no digest", b.Name)
	}
	p.hold(d, 1)
	free := sync.OnceFunc(func() { p.hold(d, -1) })
	name := filepath.Join(p.Folder, d)
	if _, err, _ := p.flight.Do(d, func() (any, error) { return nil, p.unpack(life, b, d, name) }); err != nil {
		free()
		return "", nil, fmt.Errorf("buildpack %s: %w", b.Name, err)
	}
	return name, free, nil
}

func (p *Packs) hold(d string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used == nil {
		p.used = map[string]int{}
	}
	if p.used[d] += n; p.used[d] == 0 {
		delete(p.used, d)
	}
}

// unpack unpacks a buildpack under a name of its own and renames it once all of it is on the disk.
func (p *Packs) unpack(ctx context.Context, b cf.BuildpackRef, d, name string) error {
	now := time.Now()
	if err := os.Chtimes(name, now, now); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	tmp, err := os.MkdirTemp(p.Folder, "new-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	zip, in := filepath.Join(tmp, "zip"), filepath.Join(tmp, "in")
	_, sum, err := File(ctx, p.Blobs, b.Blob, zip)
	if err != nil {
		return err
	}
	if sum != d {
		return fmt.Errorf("the archive's digest is %s, not %s", sum, d)
	}
	if err := os.Mkdir(in, 0o755); err != nil {
		return err
	}
	if err := unzip.File(in, zip, unzip.Options{Readable: true, Bytes: maxPack}); err != nil {
		return err
	}
	if err := syncTree(in); err != nil {
		return err
	}
	if err := os.Rename(in, name); err != nil {
		return err
	}
	return p.prune()
}

// syncTree makes the file system that holds folder write out what it has.
func syncTree(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}

// prune removes what was not used for the longest time.
func (p *Packs) prune() error {
	es, err := os.ReadDir(p.Folder)
	if err != nil {
		return err
	}
	var have []fs.FileInfo
	for _, e := range es {
		if i, err := e.Info(); err == nil && digest.MatchString(e.Name()) {
			have = append(have, i)
		}
	}
	slices.SortFunc(have, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, i := range have[min(keep, len(have)):] {
		if p.used[i.Name()] > 0 {
			continue
		}
		old := filepath.Join(p.Folder, "old-"+i.Name()) // a half-removed one must not bear the name of a whole one
		if err := os.Rename(filepath.Join(p.Folder, i.Name()), old); err != nil {
			return err
		}
		if err := os.RemoveAll(old); err != nil {
			return err
		}
	}
	return nil
}
