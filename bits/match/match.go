// Package match is resource matching and the making of packages: files of apps are kept by their SHA-1, so that a client
// uploads only what is new, and a package is put together of an upload and of kept files.
//
// It promises that a package holds only files, folders and links that stay inside it, within the limits, and that nothing
// sits in memory. It will not decide who may upload.
package match

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	"ingot/bits/blob"
	"ingot/cf"
)

// Sizes of files that are kept (cloud_controller's resource_pool minimum_size and maximum_size).
const (
	smallest = 64 << 10
	biggest  = 512 << 20
)

// atOnce bounds the looks at the store of one request.
const atOnce = 16

// Pool keeps files and makes packages.
type Pool struct {
	Store      *blob.Store
	MaxPackage int64 // bytes of a package, zipped and unzipped
}

// Path is where the file with that SHA-1 is kept.
func Path(sha1 string) string {
	return string(cf.BlobResource) + "/" + sha1[:2] + "/" + sha1[2:4] + "/" + sha1
}

// kept tells whether files of that kind are kept at all.
func kept(r cf.Resource) bool {
	_, err := hex.DecodeString(r.SHA1)
	return err == nil && len(r.SHA1) == 2*sha1.Size && r.Size >= smallest && r.Size <= biggest
}

// Match returns those of the resources that are kept.
func (p *Pool) Match(ctx context.Context, rs []cf.Resource) ([]cf.Resource, error) {
	has, errs := make([]bool, len(rs)), make([]error, len(rs))
	slots := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i, r := range rs {
		if !kept(r) {
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			size, ok, err := p.Store.Size(ctx, Path(r.SHA1))
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

// keep stores the file that r gives, if it is of a size to be kept, and otherwise reads it to its end. It answers how
// many bytes there were, and fails after limit.
func (p *Pool) keep(ctx context.Context, r io.Reader, declared uint64, limit int64) (int64, error) {
	r = io.LimitReader(r, limit+1)
	if declared < smallest || declared > biggest {
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
	return sp.Size, p.Store.Adopt(ctx, sp, Path(sp.SHA1()), true)
}
