package match

import (
	"archive/tar"
	"bufio"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"

	"ingot/cf"
)

// maxDroplet bounds a droplet, in bytes unpacked.
const maxDroplet = 4 << 30

func dropletError(format string, args ...any) error {
	return cf.Errorf(cf.KindInvalid, "DropletUploadInvalid", "The droplet upload is invalid: "+format, args...)
}

// Droplet reads all of a droplet (a tar.gz) and refuses what a cell would refuse to unpack, or not survive. An absolute
// link is fine, as in droplets that were staged: it is looked up in the container.
func Droplet(from io.Reader) error {
	z, err := gzip.NewReader(bufio.NewReaderSize(from, 256<<10))
	if err != nil {
		return dropletError("it is not a tar.gz archive")
	}
	bounded := &io.LimitedReader{R: z, N: maxDroplet + 1}
	err = readDroplet(bounded)
	if bounded.N <= 0 {
		return dropletError("Droplet may not unpack to more than %d bytes", int64(maxDroplet))
	}
	var e *cf.Error
	if err != nil && !errors.As(err, &e) {
		return dropletError("the archive is damaged")
	}
	return err
}

func readDroplet(from io.Reader) error {
	in, a := tar.NewReader(from), &archive{kinds: map[string]fs.FileMode{}, links: map[string]string{}}
	for entries := 0; ; entries++ {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && entries == mostEntries {
			err = dropletError("Droplet may not have more than %d entries", mostEntries)
		}
		if err == nil {
			err = a.entry(h)
		}
		if err != nil {
			return err
		}
	}
	steps := mostSteps
	for name := range a.links {
		if !a.inside(name, &steps) {
			return dropletError(linkOut)
		}
	}
	_, err := io.Copy(io.Discard, from) // the checksum comes last
	return err
}

// entry checks one entry against those before it. Unlike in a zip, a later entry may take the place of an earlier one.
func (a *archive) entry(h *tar.Header) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := clean(h.Name)
	if err != nil {
		return dropletError("%s", plain(err))
	}
	delete(a.links, name)
	switch h.Typeflag {
	case tar.TypeReg:
		a.kinds[name] = 0
	case tar.TypeDir:
		a.kinds[name] = fs.ModeDir
	case tar.TypeSymlink:
		if len(h.Linkname) > longestLink || h.Linkname == "" {
			return dropletError("'%s' is a broken symlink", h.Name)
		}
		if a.kinds[name] = fs.ModeSymlink; !path.IsAbs(h.Linkname) {
			a.links[name] = h.Linkname
		}
	case tar.TypeLink:
		to, err := clean(h.Linkname)
		if err != nil {
			return dropletError("%s", plain(err))
		}
		if kind, ok := a.kinds[to]; !ok || kind != 0 {
			return dropletError("'%s' is a link to what is no file before it", h.Name)
		}
		a.kinds[name] = 0
	default:
		return dropletError("'%s' is neither a file nor a folder nor a link", h.Name)
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if kind, ok := a.kinds[dir]; ok && kind != fs.ModeDir {
			return dropletError("'%s' lies below '%s', which is not a folder", h.Name, dir)
		}
	}
	return nil
}

// plain is what an error of this package says, without what stands before it for packages.
func plain(err error) string {
	var e *cf.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	return strings.TrimPrefix(e.Public, appInvalid)
}
