// Package blob stores byte strings through gocloud.dev/blob, on a local folder or in an object store.
//
// It promises: what Adopt put in place is durable, was read back and has the digest it claims; a removed blob stays for
// the grace period; nothing sits in memory. It will not know what the bytes are.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/fileblob" // file:
	"gocloud.dev/gcerrors"

	"ingot/cf"
)

// graves is where the marks of removed blobs lie.
const graves = "deleted/"

// Store is a bucket with a local folder for what is under way.
type Store struct {
	Grace   time.Duration // how long a removed blob stays
	MinFree int64         // bytes that a local folder must keep free
	// InUse is asked, where it is set, before the bytes of a removed blob go: its path is wanted again.
	InUse func(ctx context.Context, path string) (bool, error)

	bucket *blob.Bucket
	root   string // of a local bucket; else empty
	temp   string
	finish sync.RWMutex // Adopt holds it for reading, the sweep for writing: no blob is swept while it is taken up anew
}

// Open opens the bucket at a gocloud URL, or in dir where there is none. dir holds uploads under way in any case; those
// that an earlier process left are removed, so dir must be this process's alone.
func (s *Store) Open(ctx context.Context, dir, bucket string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	s.temp = filepath.Join(dir, ".uploads")
	if err := errors.Join(os.RemoveAll(s.temp), os.MkdirAll(s.temp, 0o700)); err != nil {
		return fmt.Errorf("blob store: %w", err)
	}
	if bucket == "" {
		s.root = dir
		bucket = (&url.URL{Scheme: "file", Path: dir, RawQuery: "metadata=skip&no_tmp_dir=1&dir_file_mode=0700"}).String()
	}
	if s.bucket, err = blob.OpenBucket(ctx, bucket); err != nil {
		return fmt.Errorf("blob store: %w", err)
	}
	return nil
}

// Close closes the bucket.
func (s *Store) Close() error {
	if s.bucket == nil {
		return nil
	}
	return s.bucket.Close()
}

// Adopt puts what was spooled in place at path, replacing what is there, and takes back a removal. It is durable when
// Adopt returns. With same set, a blob of the same size that is there already is trusted to be the same.
func (s *Store) Adopt(ctx context.Context, sp *Spool, path string, same bool) error {
	s.finish.RLock()
	defer s.finish.RUnlock()
	if size, ok, err := s.Size(ctx, path); err != nil {
		return err
	} else if !same || !ok || size != sp.Size {
		if err := s.put(ctx, sp, path); err != nil {
			return full(fmt.Errorf("store blob %s: %w", path, err))
		}
	}
	return s.drop(ctx, graves+path)
}

func (s *Store) put(ctx context.Context, sp *Spool, path string) error {
	if err := sp.verify(s.root != ""); err != nil {
		return err
	}
	if s.root != "" {
		return sp.rename(s.root, path)
	}
	if err := s.bucket.Upload(ctx, path, sp.reader(), &blob.WriterOptions{ContentType: "application/octet-stream", ContentMD5: sp.md5()}); err != nil {
		return err
	}
	if size, ok, err := s.Size(ctx, path); err != nil || !ok || size != sp.Size {
		return fmt.Errorf("uploaded %d bytes, found %d: %w", sp.Size, size, err)
	}
	return nil
}

// Local tells whether the blobs lie in a folder of this machine.
func (s *Store) Local() bool { return s.root != "" }

// Size tells whether there is a blob at path and how big it is.
func (s *Store) Size(ctx context.Context, path string) (size int64, ok bool, err error) {
	a, err := s.bucket.Attributes(ctx, path)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("look at blob %s: %w", path, err)
	}
	return a.Size, true, nil
}

// Read opens the blob at path; KindNotFound when there is none.
func (s *Store) Read(ctx context.Context, path string) (*blob.Reader, error) {
	r, err := s.bucket.NewReader(ctx, path, nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, cf.Wrap(cf.KindNotFound, "", "the blob is not stored", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", path, err)
	}
	return r, nil
}

// Remove marks the blob at path; the sweep takes its bytes once the grace period is over. A blob that is not there is
// no error.
func (s *Store) Remove(ctx context.Context, path string) error {
	if _, ok, err := s.Size(ctx, path); err != nil || !ok {
		return err
	}
	sp, err := s.Spool(ctx, strings.NewReader(""), 0)
	if err != nil {
		return err
	}
	defer sp.Discard()
	if err := s.put(ctx, sp, graves+path); err != nil {
		return fmt.Errorf("mark blob %s as removed: %w", path, err)
	}
	return nil
}

// RemoveOne removes the blob at path at once.
func (s *Store) RemoveOne(ctx context.Context, path string) error { return s.drop(ctx, path) }

// RemoveAll removes all blobs whose path begins with prefix, at once.
func (s *Store) RemoveAll(ctx context.Context, prefix string) error {
	return s.each(ctx, prefix, func(o *blob.ListObject) error { return s.drop(ctx, o.Key) })
}

// Sweep removes the bytes of blobs whose grace is over and that nobody uses again.
func (s *Store) Sweep(ctx context.Context) error {
	return s.each(ctx, graves, func(o *blob.ListObject) error {
		if time.Since(o.ModTime) < s.Grace {
			return nil
		}
		s.finish.Lock()
		defer s.finish.Unlock()
		if _, ok, err := s.Size(ctx, o.Key); err != nil || !ok {
			return err // it was stored anew in between
		}
		path := strings.TrimPrefix(o.Key, graves)
		if s.InUse != nil {
			if used, err := s.InUse(ctx, path); err != nil {
				return fmt.Errorf("is blob %s in use: %w", path, err)
			} else if used { // it was referred to while it was being removed
				return s.drop(ctx, o.Key)
			}
		}
		slog.Info("blob store: removed", "blob", path)
		return errors.Join(s.drop(ctx, path), s.drop(ctx, o.Key)) // in this order: a kill in between repeats the first
	})
}

// Orphans removes, as Remove does, the blobs below prefix that are older than the grace and that nobody uses: those of a
// process that was killed between a blob and the row that was to refer to it.
func (s *Store) Orphans(ctx context.Context, prefix string) error {
	return s.each(ctx, prefix, func(o *blob.ListObject) error {
		if s.InUse == nil || time.Since(o.ModTime) < s.Grace {
			return nil
		}
		used, err := s.InUse(ctx, o.Key)
		if err != nil || used {
			return err
		}
		if _, marked, err := s.Size(ctx, graves+o.Key); err != nil || marked {
			return err
		}
		slog.Info("blob store: nobody uses", "blob", o.Key)
		return s.Remove(ctx, o.Key)
	})
}

func (s *Store) each(ctx context.Context, prefix string, f func(o *blob.ListObject) error) error {
	list := s.bucket.List(&blob.ListOptions{Prefix: prefix})
	for {
		o, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list blobs %s: %w", prefix, err)
		}
		if err := f(o); err != nil {
			return err
		}
	}
}

// drop deletes what is at path, if anything is.
func (s *Store) drop(ctx context.Context, path string) error {
	if err := s.bucket.Delete(ctx, path); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return fmt.Errorf("delete blob %s: %w", path, err)
	}
	return nil
}
