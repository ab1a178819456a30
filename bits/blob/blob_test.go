package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "gocloud.dev/blob/memblob" // mem:

	"ingot/cf"
)

func open(t *testing.T, s *Store, dir, bucket string) *Store {
	t.Helper()
	if err := s.Open(t.Context(), dir, bucket); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func spool(t *testing.T, s *Store, body string) *Spool {
	t.Helper()
	sp, err := s.Spool(t.Context(), strings.NewReader(body), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sp.Discard)
	return sp
}

func put(t *testing.T, s *Store, path, body string) {
	t.Helper()
	sp := spool(t, s, body)
	defer sp.Discard()
	if err := s.Adopt(t.Context(), sp, path, false); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, s *Store, path string) string {
	t.Helper()
	r, err := s.Read(t.Context(), path)
	if cf.IsKind(err, cf.KindNotFound) {
		return "not found"
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// All that a Store promises holds on a folder and in an object store.
func TestStore(t *testing.T) {
	for name, bucket := range map[string]string{"folder": "", "object store": "mem://"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, &Store{Grace: time.Hour}, dir, bucket)
			put(t, s, "k/ab/x", "one")
			put(t, s, "k/ab/x", "two") // replaced
			put(t, s, "k/cd/y", "three")
			if got := read(t, s, "k/ab/x"); got != "two" {
				t.Errorf("read %q", got)
			}
			if size, ok, err := s.Size(t.Context(), "k/cd/y"); size != 5 || !ok || err != nil {
				t.Errorf("size %d %v %v", size, ok, err)
			}
			if got := read(t, s, "k/none"); got != "not found" {
				t.Errorf("read %q", got)
			}
			if err := errors.Join(s.Remove(t.Context(), "k/ab/x"), s.Remove(t.Context(), "k/none"), s.Sweep(t.Context())); err != nil {
				t.Fatal(err)
			}
			if got := read(t, s, "k/ab/x"); got != "two" {
				t.Errorf("within the grace: %q", got)
			}
			put(t, s, "k/ab/x", "two") // takes the removal back
			if err := s.Remove(t.Context(), "k/cd/y"); err != nil {
				t.Fatal(err)
			}
			s.Grace = -time.Hour // its end
			if err := errors.Join(s.Sweep(t.Context()), s.Sweep(t.Context())); err != nil {
				t.Fatal(err)
			}
			if x, y := read(t, s, "k/ab/x"), read(t, s, "k/cd/y"); x != "two" || y != "not found" {
				t.Errorf("after the grace: %q %q", x, y)
			}
			if err := s.RemoveAll(t.Context(), "k/a"); err != nil || read(t, s, "k/ab/x") != "not found" {
				t.Errorf("remove all: %v", err)
			}
			if left, err := os.ReadDir(filepath.Join(dir, ".uploads")); len(left) > 0 || err != nil {
				t.Errorf("left %v %v", left, err)
			}
		})
	}
}

func TestDigests(t *testing.T) {
	s := open(t, &Store{}, t.TempDir(), "")
	sp := spool(t, s, "hello")
	// sha256sum and sha1sum of "hello"
	if sp.SHA256() != "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" || sp.SHA1() != "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d" || sp.Size != 5 {
		t.Errorf("%s %s %d", sp.SHA256(), sp.SHA1(), sp.Size)
	}
}

// What cannot be read back as it was written is not stored.
func TestSpoiledSpool(t *testing.T) {
	s := open(t, &Store{}, t.TempDir(), "")
	sp := spool(t, s, "hello")
	if _, err := sp.file.WriteAt([]byte("J"), 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Adopt(t.Context(), sp, "k/x", true); err == nil || read(t, s, "k/x") != "not found" {
		t.Errorf("stored: %v", err)
	}
}

// A half-written blob that a power cut left under its name is replaced.
func TestHalfBlobIsReplaced(t *testing.T) {
	dir := t.TempDir()
	s := open(t, &Store{}, dir, "")
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "k"), 0o700), os.WriteFile(filepath.Join(dir, "k/x"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	sp := spool(t, s, "whole")
	if err := s.Adopt(t.Context(), sp, "k/x", true); err != nil || read(t, s, "k/x") != "whole" {
		t.Errorf("%v", err)
	}
}

func TestLeftoversGoAtStart(t *testing.T) {
	dir := t.TempDir()
	s := &Store{}
	if err := s.Open(t.Context(), dir, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Spool(t.Context(), strings.NewReader("half"), 0); err != nil { // and the process is killed
		t.Fatal(err)
	}
	_ = s.Close()
	open(t, &Store{}, dir, "")
	if left, err := os.ReadDir(filepath.Join(dir, ".uploads")); len(left) > 0 || err != nil {
		t.Errorf("left %v %v", left, err)
	}
}

type brokenReader struct{ after io.Reader }

func (b brokenReader) Read(p []byte) (int, error) {
	n, err := b.after.Read(p)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func TestFailedUploadsLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, &Store{}, dir, "")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	full := open(t, &Store{MinFree: 1 << 62}, t.TempDir(), "")
	for name, c := range map[string]struct {
		s     *Store
		ctx   context.Context
		r     io.Reader
		limit int64
		kind  cf.Kind
	}{
		"cut in half": {s, t.Context(), brokenReader{bytes.NewReader(make([]byte, 1000))}, 0, cf.KindInternal},
		"too large":   {s, t.Context(), bytes.NewReader(make([]byte, 1001)), 1000, cf.KindTooLarge},
		"disk full":   {full, t.Context(), strings.NewReader("x"), 0, cf.KindNoRoom},
		"cancelled":   {s, cancelled, strings.NewReader("x"), 0, cf.KindInternal},
	} {
		if _, err := c.s.Spool(c.ctx, c.r, c.limit); err == nil || cf.KindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, ".uploads")); len(left) > 0 || err != nil {
		t.Errorf("left %v %v", left, err)
	}
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		if err := fullDisk(e); !cf.IsKind(err, cf.KindNoRoom) {
			t.Errorf("%v: %v", e, err)
		}
	}
}

func fullDisk(e error) error {
	return full(fmt.Errorf("write: %w", &os.PathError{Op: "write", Path: "x", Err: e}))
}
