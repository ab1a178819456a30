// Package match is resource matching and the making of packages: files of apps are kept by their SHA-1, so that a client
// uploads only what is new, and a package is put together of an upload and of kept files.
//
// It promises that a package holds only files, folders and links that stay inside it, within the limits, and that nothing
// sits in memory. It will not decide who may upload.
package match

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	"ingot/bits/blob"
	"ingot/cf"
)

// Sizes of files that are kept for everybody (cloud_controller's resource_pool minimum_size and maximum_size).
const (
	smallest = 64 << 10
	biggest  = 512 << 20
)

// few is how many files may come together for small ones to be kept too: with all files kept, the CLI sends no archive and
// spares itself a second. The bytes of a small file may be guessed, so it is kept for whoever sent it alone: nobody
// learns by its digest that another has it.
const few = 50

// atOnce bounds the looks at the store of one request.
const atOnce = 16

// Pool keeps files and makes packages.
type Pool struct {
	Store      *blob.Store
	MaxPackage int64  // bytes of a package, zipped and unzipped
	Owner      string // for whom this is; empty: no small files
}

// Path is where the file with that SHA-1 is kept.
func Path(sha1 string) string {
	return string(cf.BlobResource) + "/" + sha1[:2] + "/" + sha1[2:4] + "/" + sha1
}

// own is where the owner's small file with that SHA-1 is kept.
func (p *Pool) own(sha1 string) string {
	owner := sha256.Sum256([]byte(p.Owner))
	return string(cf.BlobResource) + "/own/" + hex.EncodeToString(owner[:8]) + "/" + sha1
}

func (p *Pool) path(sha1 string, size int64) string {
	if size < smallest {
		return p.own(sha1)
	}
	return Path(sha1)
}

// keeps tells whether files of that size are kept, of which so many come together. A folder is quick with small files, an
// object store is not.
func (p *Pool) keeps(size int64, files int) bool {
	return size >= smallest && size <= biggest || size > 0 && size < smallest && files <= few && p.Owner != "" && p.Store.Local()
}

func named(r cf.Resource) bool {
	_, err := hex.DecodeString(r.SHA1)
	return err == nil && len(r.SHA1) == 2*sha1.Size
}

// Match returns those of the resources that are kept.
func (p *Pool) Match(ctx context.Context, rs []cf.Resource) ([]cf.Resource, error) {
	has, errs := make([]bool, len(rs)), make([]error, len(rs))
	slots := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i, r := range rs {
		if !named(r) || !p.keeps(r.Size, len(rs)) {
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			size, ok, err := p.Store.Size(ctx, p.path(r.SHA1, r.Size))
			has[i], errs[i] = ok && size == r.Size, err
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("match resources: %w", err)
	}
	out := []cf.Resource{}
	for i, r := range rs {
		if has[i] {
			out = append(out, r)
		}
	}
	return out, nil
}

// keep stores the file that r gives, if it is to be kept, and otherwise reads it to its end. It answers how many bytes
// there were, and fails after limit.
func (p *Pool) keep(ctx context.Context, r io.Reader, worth bool, limit int64) (int64, error) {
	r = io.LimitReader(r, limit+1)
	if !worth {
		return io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 64<<10))
	}
	sp, err := p.Store.Spool(ctx, r, 0)
	if err != nil {
		return 0, err
	}
	defer sp.Discard()
	if sp.Size > limit {
		return sp.Size, nil
	}
	return sp.Size, p.Store.Adopt(ctx, sp, p.path(sp.SHA1(), sp.Size), true)
}
