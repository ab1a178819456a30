// Package fetch brings blobs to the host: as files, and buildpacks unpacked and kept for the next staging.
//
// It promises that what is kept under a digest is whole and is what the digest says, also when Ingot is killed while it
// unpacks. It will not keep more than a bounded number of buildpacks.
package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"

	"ingot/cf"
)

// File writes a blob into a new file that everybody may read, and returns its size and sha256.
func File(ctx context.Context, blobs cf.Blobs, key, name string) (int64, string, error) {
	r, _, err := blobs.Open(ctx, key)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = r.Close() }()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return 0, "", err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), reader{ctx, r})
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	return n, hex.EncodeToString(sum.Sum(nil)), err
}

// reader ends with its context.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
