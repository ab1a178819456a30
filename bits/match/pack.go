package match

import (
	"archive/zip"
	"compress/flate"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"ingot/bits/blob"
	"ingot/cf"
)

// Package checks the uploaded zip (nil: none), keeps its files, and adds the kept files rs to it. Where both have a path,
// the upload's file stays. The caller adopts or discards the spool that it answers.
func (p *Pool) Package(ctx context.Context, upload io.Reader, rs []cf.Resource) (*blob.Spool, error) {
	if upload == nil && len(rs) == 0 {
		return nil, invalid("there is neither a zip nor a resource")
	}
	a := &archive{kinds: map[string]fs.FileMode{}}
	left := p.MaxPackage
	if upload != nil {
		sp, err := p.Store.Spool(ctx, upload, p.MaxPackage)
		if err != nil {
			return nil, p.uploadError(err)
		}
		if a, err = inspect(sp, sp.Size); err == nil {
			left, err = p.unpack(ctx, a, left)
		}
		if err == nil && len(rs) == 0 {
			return sp, nil // as it came
		}
		defer sp.Discard()
		if err != nil {
			return nil, err
		}
	}
	out, err := p.Store.NewSpool(ctx, 0)
	if err != nil {
		return nil, err
	}
	if err := p.merge(ctx, out, a, rs, left); err != nil {
		out.Discard()
		return nil, err
	}
	return out, nil
}

// uploadError words what the client did wrong; other errors stay as they are.
func (p *Pool) uploadError(err error) error {
	switch {
	case cf.IsKind(err, cf.KindTooLarge):
		return p.tooLarge()
	case errors.Is(err, io.ErrUnexpectedEOF):
		return invalid("The upload ended too early")
	}
	return fmt.Errorf("take an upload: %w", err)
}

func (p *Pool) tooLarge() error {
	return cf.Errorf(cf.KindInvalid, "AppPackageInvalid", "The app package is invalid: Package may not be larger than %d bytes", p.MaxPackage)
}

// unpack reads every file of the archive to its end, so that sizes and checksums are true, and keeps those worth it. It
// answers how many of the bytes that may be left are left.
func (p *Pool) unpack(ctx context.Context, a *archive, left int64) (int64, error) {
	files := 0
	for _, f := range a.files {
		if f.Mode().IsRegular() {
			files++
		}
	}
	for _, f := range a.files {
		if !f.Mode().IsRegular() {
			continue
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if f.UncompressedSize64 > uint64(left) {
			return 0, p.tooLarge()
		}
		r, err := f.Open()
		if err != nil {
			return 0, invalid(badZip)
		}
		n, err := p.keep(ctx, r, p.keeps(int64(f.UncompressedSize64), files), left)
		_ = r.Close()
		if left -= n; left < 0 {
			return 0, p.tooLarge()
		}
		if broken(err) {
			return 0, invalid(badZip)
		}
		if err != nil {
			return 0, fmt.Errorf("keep '%s': %w", f.Name, err)
		}
	}
	return left, nil
}

// broken tells an archive that contradicts itself from a store that fails.
func broken(err error) bool {
	var corrupt flate.CorruptInputError
	return errors.Is(err, zip.ErrChecksum) || errors.Is(err, zip.ErrFormat) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &corrupt)
}

// merge writes a zip of the archive's entries, as they are, and of the kept files.
func (p *Pool) merge(ctx context.Context, out io.Writer, a *archive, rs []cf.Resource, left int64) error {
	w := zip.NewWriter(out)
	w.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	for _, f := range a.files {
		if err := w.Copy(f); err != nil {
			return fmt.Errorf("copy '%s': %w", f.Name, err)
		}
	}
	if len(a.files)+len(rs) > mostEntries {
		return tooMany()
	}
	for _, r := range rs {
		name, mode, err := place(r)
		if err != nil {
			return err
		}
		if has, ok := a.kinds[name]; ok && has.Type() == 0 {
			continue
		}
		if err := a.claim(name, 0); err != nil {
			return err
		}
		if left -= r.Size; left < 0 || r.Size < 0 {
			return p.tooLarge()
		}
		if err := p.add(ctx, w, r, &zip.FileHeader{Name: name, Method: zip.Deflate}, mode); err != nil {
			return err
		}
	}
	return w.Close()
}

// place checks where and how a resource wants to be.
func place(r cf.Resource) (name string, mode fs.FileMode, err error) {
	name, err = clean(r.Path)
	if err != nil || name == "." || strings.HasSuffix(r.Path, "/") {
		return "", 0, cf.Errorf(cf.KindInvalid, "AppResourcesFilePathInvalid", "The resource file path is invalid: File path '%s' is not safe.", r.Path)
	}
	if r.Mode == "" {
		return name, 0o744, nil
	}
	bits, err := strconv.ParseUint(r.Mode, 8, 32)
	if err != nil || bits&0o600 != 0o600 {
		return "", 0, cf.Errorf(cf.KindInvalid, "AppResourcesFileModeInvalid",
			"The resource file mode is invalid: File mode '%s' is invalid. Minimum file mode is '0600'", r.Mode)
	}
	return name, fs.FileMode(bits) & 0o777, nil
}

// add writes a kept file and makes sure that it is what its name says. Its time is that when these bytes first came: equal
// packages have equal digests, and web servers, which tell files apart by time and size, see another file.
func (p *Pool) add(ctx context.Context, w *zip.Writer, r cf.Resource, h *zip.FileHeader, mode fs.FileMode) error {
	if !named(r) || !p.keeps(r.Size, 1) {
		return invalid("'%s' is not stored", r.Path)
	}
	from, err := p.Store.Read(ctx, p.path(r.SHA1, r.Size))
	if cf.IsKind(err, cf.KindNotFound) {
		return invalid("'%s' is not stored", r.Path)
	}
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	h.SetMode(mode)
	h.Modified = from.ModTime().UTC().Truncate(time.Second)
	to, err := w.CreateHeader(h)
	if err != nil {
		return err
	}
	sum := sha1.New()
	n, err := io.CopyBuffer(io.MultiWriter(to, sum), struct{ io.Reader }{from}, make([]byte, 256<<10))
	if err != nil {
		return fmt.Errorf("add '%s': %w", r.Path, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != r.Size || got != r.SHA1 {
		return fmt.Errorf("add '%s': the kept file %s has %d bytes and SHA-1 %s", r.Path, r.SHA1, n, got)
	}
	return nil
}
