package image

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"

	"ingot/cf"
)

// source is an archive and what to do with its entries.
type source struct {
	digest string
	r      io.Reader
	filter archive.Filter
	owned  string // folder that vcap owns, made before all
	limit  int64  // bytes that it may unpack to; 0 = any
}

// unpack makes the snapshot ref of an archive, unless it is there. Of several that come at once, one works.
func (s *Store) unpack(ctx context.Context, ref string, src source) error {
	for {
		s.mu.Lock()
		if it, ok := s.known[ref]; ok {
			s.mu.Unlock()
			if src.limit > 0 && it.size > src.limit {
				return tooLarge()
			}
			return nil
		}
		other, ok := s.busy[ref]
		if !ok {
			break
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	done := make(chan int)
	s.busy[ref] = done
	s.mu.Unlock()
	size, err := s.commit(ctx, ref, src)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, ref)
	close(done)
	if err == nil {
		s.known[ref] = &item{size: size, used: time.Now()}
	}
	return err
}

func (s *Store) commit(ctx context.Context, ref string, src source) (size int64, err error) {
	key := "unpack-" + random()
	m, err := s.Snapshots.Prepare(ctx, key, "", snapshots.WithLabels(map[string]string{labelRoot: "1"}))
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			ctx := context.WithoutCancel(ctx)
			if e := errors.Join(s.Snapshots.Remove(ctx, key), s.Collect(ctx)); e != nil {
				s.Log.Warn("half a snapshot stays until the next start", "snapshot", key, "error", e)
			}
		}
	}()
	if len(m) != 1 || m[0].Type != "bind" {
		return 0, errors.New("a snapshot without parent is not one folder")
	}
	if err = own(m[0].Source, src.owned); err != nil {
		return 0, err
	}
	if size, err = s.write(ctx, m[0].Source, src); err != nil {
		return 0, err
	}
	labels := map[string]string{labelRoot: "1", labelSize: strconv.FormatInt(size, 10)}
	if err = s.Snapshots.Commit(ctx, ref, key, snapshots.WithLabels(labels)); err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	return size, nil
}

// own makes the folder that a layer is placed under, with the owner that the image gives it too.
func own(root, folder string) error {
	if folder == "" {
		return nil
	}
	dir := filepath.Join(root, folder)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.Chown(dir, VCAP, VCAP)
}

// write unpacks r into dir, checks its digest and brings all to the disk: a snapshot that is committed stays for good.
func (s *Store) write(ctx context.Context, dir string, src source) (int64, error) {
	h := sha256.New()
	raw := bufio.NewReaderSize(io.TeeReader(src.r, h), 1<<16)
	var plain io.Reader = raw
	if magic, _ := raw.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(raw)
		if err != nil {
			return 0, cf.Wrap(cf.KindUnprocessable, "", "the archive is damaged", err)
		}
		plain = z
	}
	limit := cmp.Or(s.MaxBytes, 16<<30)
	if src.limit > 0 {
		limit = min(limit, src.limit)
	}
	size, err := archive.Apply(ctx, dir, &bounded{r: plain, left: limit}, archive.WithFilter(src.filter), archive.WithConvertWhiteout(asFile))
	var refused *cf.Error
	switch {
	case err != nil && !errors.As(err, &refused) && ctx.Err() == nil && damaged(err):
		return 0, cf.Wrap(cf.KindUnprocessable, "", "the archive is damaged", err)
	case err != nil:
		return 0, err
	}
	if _, err := io.Copy(io.Discard, raw); err != nil {
		return 0, err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != src.digest {
		return 0, cf.Errorf(cf.KindUnprocessable, "", "the archive has digest %s, not %s", got, src.digest)
	}
	f, err := os.Open(dir)
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // only read
	return size, unix.Syncfs(int(f.Fd()))
}

func random() string { return hex.EncodeToString([]byte(rand.Text())[:8]) }
