package blob

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"ingot/cf"
)

// Spool is a temporary file with the digests of what was written to it. It begins empty.
type Spool struct {
	Size   int64
	file   *os.File // not embedded: its ReadFrom would go past the digests
	store  *Store
	ctx    context.Context
	limit  int64
	check  int64 // size at which to look for free space again
	sha256 hash.Hash
	sha1   hash.Hash
	md5sum hash.Hash
}

// chunk is how many bytes are written between two looks at the free space.
const chunk = 16 << 20

// NewSpool makes an empty spool that takes at most limit bytes; 0 = no limit. The caller discards it in any case.
func (s *Store) NewSpool(ctx context.Context, limit int64) (*Spool, error) {
	f, err := os.CreateTemp(s.temp, "")
	if err != nil {
		return nil, full(fmt.Errorf("spool: %w", err))
	}
	sp := &Spool{file: f, store: s, ctx: ctx, limit: limit, sha256: sha256.New(), sha1: sha1.New()}
	if s.root == "" {
		sp.md5sum = md5.New() // for the object store's own check
	}
	return sp, nil
}

// Spool writes all of r to a new spool.
func (s *Store) Spool(ctx context.Context, r io.Reader, limit int64) (*Spool, error) {
	sp, err := s.NewSpool(ctx, limit)
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyBuffer(sp, struct{ io.Reader }{r}, make([]byte, 256<<10)); err != nil {
		sp.Discard()
		return nil, err
	}
	return sp, nil
}

// Write implements io.Writer. It refuses with KindTooLarge over the limit, with KindNoRoom where the disk is full and
// when the context ended.
func (sp *Spool) Write(p []byte) (int, error) {
	if err := sp.ctx.Err(); err != nil {
		return 0, err
	}
	if sp.limit > 0 && sp.Size+int64(len(p)) > sp.limit {
		return 0, cf.Errorf(cf.KindTooLarge, "", "more than %d bytes", sp.limit)
	}
	if sp.Size >= sp.check {
		if free, err := freeBytes(sp.store.temp); err == nil && free < sp.store.MinFree {
			return 0, noRoom(fmt.Errorf("%d bytes are free, %d must stay", free, sp.store.MinFree))
		}
		sp.check = sp.Size + chunk
	}
	n, err := sp.file.Write(p)
	sp.Size += int64(n)
	for _, h := range []hash.Hash{sp.sha256, sp.sha1, sp.md5sum} {
		if h != nil {
			h.Write(p[:n])
		}
	}
	return n, full(err)
}

// ReadAt implements io.ReaderAt for what was written.
func (sp *Spool) ReadAt(p []byte, off int64) (int, error) { return sp.file.ReadAt(p, off) }

func (sp *Spool) reader() *io.SectionReader { return io.NewSectionReader(sp.file, 0, sp.Size) }

// SHA256 is the digest so far, in hex.
func (sp *Spool) SHA256() string { return hex.EncodeToString(sp.sha256.Sum(nil)) }

// SHA1 is the digest so far, in hex.
func (sp *Spool) SHA1() string { return hex.EncodeToString(sp.sha1.Sum(nil)) }

func (sp *Spool) md5() []byte { return sp.md5sum.Sum(nil) }

// Discard closes the spool and removes its file where it was not taken.
func (sp *Spool) Discard() {
	_ = sp.file.Close()
	_ = os.Remove(sp.file.Name()) // fails where it was renamed; what a kill leaves goes at the next start
}

// verify makes the file durable, where it is to stay on this disk, and compares what can be read back with the digest.
func (sp *Spool) verify(stays bool) error {
	if stays {
		if err := sp.file.Sync(); err != nil {
			return err
		}
	}
	again := sha256.New()
	if _, err := io.CopyBuffer(again, struct{ io.Reader }{sp.reader()}, make([]byte, 256<<10)); err != nil {
		return err
	}
	if got := hex.EncodeToString(again.Sum(nil)); got != sp.SHA256() {
		return fmt.Errorf("wrote %s, read back %s", sp.SHA256(), got)
	}
	return nil
}

// rename puts the file in place below root, durably.
func (sp *Spool) rename(root, path string) error {
	to := filepath.Join(root, filepath.FromSlash(path))
	last := filepath.Dir(to) // the highest folder whose list changes
	for _, err := os.Stat(last); err != nil && last != root; _, err = os.Stat(last) {
		last = filepath.Dir(last)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if err := os.Rename(sp.file.Name(), to); err != nil {
		return err
	}
	for dir := filepath.Dir(to); ; dir = filepath.Dir(dir) {
		if err := syncDir(dir); err != nil || dir == last {
			return err
		}
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// noRoomText is what a client is told when there is no room: CF's words, and why.
const noRoomText = "Failed to perform operation due to blobstore unavailability: the blob store is full."

// full gives a full disk its kind.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return noRoom(err)
	}
	return err
}

func noRoom(err error) error {
	return cf.Wrap(cf.KindNoRoom, "BlobstoreUnavailable", noRoomText, err)
}
