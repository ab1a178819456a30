package unzip

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// ErrBad says that the archive itself is at fault; ErrMany, which is an ErrBad too, that it has too many entries.
var (
	ErrBad  = errors.New("bad archive")
	ErrMany = fmt.Errorf("%w: too many entries", ErrBad)
)

// mostDirectory bounds the bytes of a central directory.
const mostDirectory = 64 << 20

// Open reads the directory of an archive, which stays in memory: one that has, or only claims, more entries is refused
// with ErrMany before room is made for it.
func Open(r io.ReaderAt, size int64, entries int) (*zip.Reader, error) {
	if claims(r, size) > uint64(entries) {
		return nil, ErrMany
	}
	b := &budget{r: r, left: mostDirectory}
	z, err := zip.NewReader(b, size)
	switch {
	case errors.Is(err, errBudget), err == nil && len(z.File) > entries:
		return nil, ErrMany
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrBad, err)
	}
	b.left = math.MaxInt64 // what follows is not kept
	return z, nil
}

var errBudget = errors.New("the directory is too big")

// budget ends the reading of a directory that is too big.
type budget struct {
	r    io.ReaderAt
	left int64
}

func (b *budget) ReadAt(p []byte, off int64) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, errBudget
	}
	return b.r.ReadAt(p, off)
}

// claims is how many entries an archive says it has where it may say any number (zip64). It looks at every place that
// could be taken for the end of the directory.
func claims(r io.ReaderAt, size int64) (most uint64) {
	tail := make([]byte, min(size, 65<<10))
	start := size - int64(len(tail))
	if _, err := r.ReadAt(tail, start); err != nil && !errors.Is(err, io.EOF) {
		return 0 // whoever reads it next says so
	}
	for i := 0; i+22 <= len(tail); i++ {
		if !bytes.HasPrefix(tail[i:], []byte("PK\x05\x06")) {
			continue
		}
		var locator [20]byte
		if at := start + int64(i) - 20; at < 0 {
			continue
		} else if _, err := r.ReadAt(locator[:], at); err != nil || !bytes.HasPrefix(locator[:], []byte("PK\x06\x07")) {
			continue
		}
		var end [56]byte
		at := binary.LittleEndian.Uint64(locator[8:])
		if at > uint64(size) {
			continue
		}
		if n, _ := r.ReadAt(end[:], int64(at)); n == len(end) {
			most = max(most, binary.LittleEndian.Uint64(end[32:]))
		}
	}
	return most
}
