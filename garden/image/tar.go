package image

import (
	"archive/tar"
	"compress/flate"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/klauspost/compress/gzip"

	"ingot/cf"
)

// VCAP is the user and group id of an app's files.
const VCAP = 2000

// maxEntries bounds the files of one archive.
const maxEntries = 2_000_000

// placer moves the entries of a layer's archive under a prefix, as files of vcap, and refuses what could reach out of it.
type placer struct {
	prefix  string          // clean and relative, such as home/vcap
	links   map[string]bool // symbolic links of the archive, so that nothing is written through one
	entries int
}

// place rewrites one header (its name is already clean) and tells whether the entry is wanted. The rest of what it
// refuses, such as a hard link to nothing, fails when it is written.
func (p *placer) place(h *tar.Header) (bool, error) {
	if p.entries++; p.entries > maxEntries {
		return false, cf.Errorf(cf.KindTooLarge, "", "the archive has more than %d files", maxEntries)
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return false, nil
	}
	if !inside(h.Name) {
		return false, refuse(h, "its path leads out of the archive")
	}
	if h.Name == "." {
		return false, nil
	}
	for dir := path.Dir(h.Name); dir != "."; dir = path.Dir(dir) {
		if p.links[dir] {
			return false, refuse(h, "it lies behind a symbolic link")
		}
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir:
		delete(p.links, h.Name) // a later entry takes the place of an earlier one
	case tar.TypeLink:
		if h.Linkname = path.Clean(h.Linkname); !inside(h.Linkname) {
			return false, refuse(h, "its link leads out of the archive")
		}
		for at := h.Linkname; at != "."; at = path.Dir(at) {
			if p.links[at] {
				return false, refuse(h, "its link goes through a symbolic link")
			}
		}
		h.Linkname = path.Join(p.prefix, h.Linkname)
	case tar.TypeSymlink:
		// An absolute link is looked up in the container when it is used: it cannot lead out of that.
		if !path.IsAbs(h.Linkname) && !inside(path.Join(path.Dir(h.Name), h.Linkname)) {
			return false, refuse(h, "its link leads out of the archive")
		}
		p.links[h.Name] = true
	default:
		return false, refuse(h, "it is neither a file nor a folder nor a link")
	}
	h.Name = path.Join(p.prefix, h.Name)
	h.Uid, h.Gid, h.Uname, h.Gname = VCAP, VCAP, "", ""
	h.Mode &= 0o1777 // no set-user-id
	h.PAXRecords = nil
	return true, nil
}

// inside tells whether a clean path stays below where it starts.
func inside(clean string) bool {
	return clean != ".." && !strings.HasPrefix(clean, "../") && !path.IsAbs(clean) && !strings.ContainsRune(clean, 0)
}

func refuse(h *tar.Header, why string) error {
	return cf.Errorf(cf.KindUnprocessable, "", "the archive's entry %q is refused: %s", h.Name, why)
}

// stack lets an image's own archive through, but for devices: a container gets those from its /dev.
func stack(h *tar.Header) (bool, error) {
	switch h.Typeflag {
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo, tar.TypeXGlobalHeader:
		return false, nil
	}
	if !inside(strings.TrimPrefix(h.Name, "/")) {
		return false, refuse(h, "its path leads out of the archive")
	}
	return true, nil
}

// asFile takes the names that mean "deleted" in a container image's layer for what they are: an app's files.
func asFile(*tar.Header, string) (bool, error) { return true, nil }

// damaged tells whether an error of unpacking is the archive's own fault.
func damaged(err error) bool {
	var name *fs.PathError
	var link *os.LinkError
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EIO), errors.Is(err, syscall.EDQUOT):
		return false
	case errors.As(err, &name), errors.As(err, &link): // a name too long, a hard link to nothing
		return true
	}
	var corrupt flate.CorruptInputError
	return errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, gzip.ErrChecksum) ||
		errors.Is(err, gzip.ErrHeader) || errors.As(err, &corrupt)
}

// bounded ends an archive that unpacks to more than it may.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, tooLarge()
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func tooLarge() error { return cf.Errorf(cf.KindTooLarge, "", "the archive unpacks to too many bytes") }
