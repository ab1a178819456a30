// Package bits keeps packages, droplets, buildpacks, build caches and the files of apps: it is the body of cf.Blobs, in
// the place of bits-service.
//
// It promises: a stored blob is durable, verified and named by its digest; a deleted one stays for a grace longer than a
// backup; whoever holds a signed URL may read that one blob for a time. Bytes stream and never sit in memory. It will not
// know who owns a blob or whether anything still refers to it.
package bits

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"ingot/bits/blob"
	"ingot/bits/match"
	"ingot/bits/sign"
	"ingot/cf"
)

// What is used where a field is zero.
const (
	grace        = 24 * time.Hour
	maxPackage   = 1 << 30
	minFree      = 256 << 20
	maxBuildpack = 1 << 30
	maxDroplet   = 2 << 30 // uploaded
	maxBlob      = 8 << 30 // of what the platform itself stores: droplets, buildpacks, caches
	sweepEvery   = time.Hour
	// orphansEvery is the number of sweeps from one look for orphans to the next: a day, as in Cloud Controller.
	orphansEvery = 24
)

// Bits is the store. Dir and Keys must be set before Start.
type Bits struct {
	Dir        string        // folder of this process alone: blobs, unless Bucket is set, and uploads under way
	Bucket     string        // gocloud.dev/blob URL of an object store; empty = Dir
	Keys       sign.Keys     // sign URLs
	Endpoint   string        // scheme and host of signed URLs, such as https://api.ingot.test, where Handler answers
	Grace      time.Duration // how long a deleted blob stays; 0 = 24 h
	MaxPackage int64         // bytes, zipped and unzipped; 0 = 1 GiB
	MinFree    int64         // bytes of Dir's disk that uploads leave free; 0 = 256 MiB
	// InUse tells whether anything refers to the blob of a key: packages and droplets that nothing refers to go. It is asked once more when the grace of a deleted blob is
	// over, so that an upload of the same bytes that ran beside the deletion loses nothing. Nil: nothing does.
	InUse func(ctx context.Context, key string) (bool, error)

	store   blob.Store
	pool    match.Pool
	cancel  context.CancelFunc
	running sync.WaitGroup
}

var _ cf.Blobs = (*Bits)(nil)

// Start opens the store, removes what an earlier process left half done, and begins to sweep.
func (b *Bits) Start(ctx context.Context) error {
	if len(b.Keys) == 0 || b.Keys[0].Secret == "" {
		return errors.New("bits: no signing key")
	}
	b.store.Grace, b.store.MinFree = or(b.Grace, grace), or(b.MinFree, minFree)
	b.pool = match.Pool{Store: &b.store, MaxPackage: or(b.MaxPackage, maxPackage)}
	if b.InUse != nil {
		b.store.InUse = func(ctx context.Context, at string) (bool, error) {
			kind, _, _ := strings.Cut(at, "/")
			return b.InUse(ctx, kind+"/"+at[strings.LastIndexByte(at, '/')+1:])
		}
	}
	if err := b.store.Open(ctx, b.Dir, b.Bucket); err != nil {
		return err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	b.cancel = cancel
	b.running.Go(func() { b.sweep(run) })
	return nil
}

func or[T ~int64](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// Stop ends the sweeping and closes the store.
func (b *Bits) Stop(context.Context) error {
	if b.cancel == nil {
		return nil
	}
	b.cancel()
	b.running.Wait()
	return b.store.Close()
}

func (b *Bits) sweep(ctx context.Context) {
	for n := 0; ; n++ {
		err := b.store.Sweep(ctx)
		if n%orphansEvery == 0 {
			for _, kind := range []cf.BlobKind{cf.BlobPackage, cf.BlobDroplet} {
				err = errors.Join(err, b.store.Orphans(ctx, string(kind)+"/"))
			}
		}
		if err != nil && ctx.Err() == nil {
			slog.Error("bits: sweep failed and is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(sweepEvery):
		}
	}
}

var (
	digest = regexp.MustCompile(`^[0-9a-f]{64}$`)
	named  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$`)
)

// path is where the blob of a key lies; KindNotFound for what is no key.
func path(key string) (string, error) {
	kind, name, _ := strings.Cut(key, "/")
	switch cf.BlobKind(kind) {
	case cf.BlobPackage, cf.BlobDroplet, cf.BlobBuildpack:
		if digest.MatchString(name) {
			return kind + "/" + name[:2] + "/" + name[2:4] + "/" + name, nil
		}
	case cf.BlobCache:
		if named.MatchString(name) {
			return key, nil
		}
	}
	return "", cf.Errorf(cf.KindNotFound, "", "there is no blob %q", key)
}

// Put implements cf.Blobs for packages, droplets and buildpacks.
func (b *Bits) Put(ctx context.Context, kind cf.BlobKind, r io.Reader) (cf.Blob, error) {
	if kind != cf.BlobPackage && kind != cf.BlobDroplet && kind != cf.BlobBuildpack {
		return cf.Blob{}, cf.Errorf(cf.KindInvalid, "", "blobs of %s are not named by their digest", kind)
	}
	sp, err := b.store.Spool(ctx, r, maxBlob)
	if err != nil {
		return cf.Blob{}, fmt.Errorf("put %s: %w", kind, err)
	}
	return b.adopt(ctx, sp, string(kind)+"/"+sp.SHA256(), true)
}

// PutNamed implements cf.Blobs for build caches.
func (b *Bits) PutNamed(ctx context.Context, kind cf.BlobKind, name string, r io.Reader) (cf.Blob, error) {
	if kind != cf.BlobCache {
		return cf.Blob{}, cf.Errorf(cf.KindInvalid, "", "blobs of %s have no names", kind)
	}
	sp, err := b.store.Spool(ctx, r, maxBlob)
	if err != nil {
		return cf.Blob{}, fmt.Errorf("put %s/%s: %w", kind, name, err)
	}
	return b.adopt(ctx, sp, string(kind)+"/"+name, false)
}

// adopt stores what was spooled as key; same says that the key is its digest.
func (b *Bits) adopt(ctx context.Context, sp *blob.Spool, key string, same bool) (cf.Blob, error) {
	defer sp.Discard()
	at, err := path(key)
	if err != nil {
		return cf.Blob{}, cf.Errorf(cf.KindInvalid, "", "%q cannot be the name of a blob", key)
	}
	if err := b.store.Adopt(ctx, sp, at, same); err != nil {
		return cf.Blob{}, err
	}
	return cf.Blob{Key: key, SHA256: sp.SHA256(), Size: sp.Size}, nil
}

// Open implements cf.Blobs.
func (b *Bits) Open(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	at, err := path(key)
	if err != nil {
		return nil, 0, err
	}
	r, err := b.store.Read(ctx, at)
	if err != nil {
		return nil, 0, err
	}
	return r, r.Size(), nil
}

// Delete implements cf.Blobs. Named blobs go at once.
func (b *Bits) Delete(ctx context.Context, key string) error {
	at, err := path(key)
	if err != nil {
		return nil //nolint:nilerr // what cannot be there is gone
	}
	if at == key {
		return b.store.RemoveOne(ctx, at)
	}
	return b.store.Remove(ctx, at)
}

// DeleteNamed implements cf.Blobs.
func (b *Bits) DeleteNamed(ctx context.Context, kind cf.BlobKind, prefix string) error {
	if kind != cf.BlobCache {
		return cf.Errorf(cf.KindInvalid, "", "blobs of %s have no names", kind)
	}
	return b.store.RemoveAll(ctx, string(kind)+"/"+prefix)
}

// Match implements cf.Blobs. Files over 512 MiB are never kept, those under 64 KiB where they are few.
func (b *Bits) Match(ctx context.Context, owner string, rs []cf.Resource) ([]cf.Resource, error) {
	pool := b.pool
	pool.Owner = owner
	return pool.Match(ctx, rs)
}

// Package implements cf.Blobs. A zip without resources is stored as it came.
func (b *Bits) Package(ctx context.Context, owner string, zip io.Reader, rs []cf.Resource) (cf.Blob, error) {
	pool := b.pool
	pool.Owner = owner
	sp, err := pool.Package(ctx, zip, rs)
	if err != nil {
		return cf.Blob{}, err
	}
	return b.adopt(ctx, sp, string(cf.BlobPackage)+"/"+sp.SHA256(), true)
}

// Buildpack implements cf.Blobs.
func (b *Bits) Buildpack(ctx context.Context, zip io.Reader) (cf.Blob, string, error) {
	sp, err := b.store.Spool(ctx, zip, maxBuildpack)
	if err != nil {
		return cf.Blob{}, "", err
	}
	stack, err := match.Buildpack(sp, sp.Size)
	if err != nil {
		sp.Discard()
		return cf.Blob{}, "", err
	}
	blob, err := b.adopt(ctx, sp, string(cf.BlobBuildpack)+"/"+sp.SHA256(), true)
	return blob, stack, err
}

// Droplet implements cf.Blobs.
func (b *Bits) Droplet(ctx context.Context, tgz io.Reader) (cf.Blob, error) {
	sp, err := b.store.Spool(ctx, tgz, maxDroplet)
	if err != nil {
		return cf.Blob{}, err
	}
	if err := match.Droplet(io.NewSectionReader(sp, 0, sp.Size)); err != nil {
		sp.Discard()
		return cf.Blob{}, err
	}
	return b.adopt(ctx, sp, string(cf.BlobDroplet)+"/"+sp.SHA256(), true)
}

// SignURL implements cf.Blobs; zero expires is an hour from now.
func (b *Bits) SignURL(key string, expires time.Time) string {
	if expires.IsZero() {
		expires = time.Now().Add(sign.Life)
	}
	at := (&url.URL{Path: Prefix + key}).EscapedPath()
	return b.Endpoint + at + "?" + b.Keys.Sign("GET", at, expires).Encode()
}
