package stack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

// trimVersion is part of the recipe's key: raise it when trim changes.
const trimVersion = 2

// trim copies a tar without what no container needs: devices, manuals, translations, set-uid bits, capabilities.
func trim(w io.Writer, r io.Reader) error {
	in, out := tar.NewReader(r), tar.NewWriter(w)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if !kept(h.Name, h.Typeflag) {
			continue
		}
		if h.Typeflag == tar.TypeLink && !kept(h.Linkname, tar.TypeReg) {
			return fmt.Errorf("%s is a hard link to %s, which is left out", h.Name, h.Linkname)
		}
		mode := h.Mode
		if h.Typeflag != tar.TypeDir {
			mode &^= 0o6000
		}
		fresh := &tar.Header{Typeflag: h.Typeflag, Name: h.Name, Linkname: h.Linkname, Size: h.Size, Mode: mode, // no xattrs
			Uid: h.Uid, Gid: h.Gid, ModTime: h.ModTime.Truncate(time.Second)}
		if err := out.WriteHeader(fresh); err != nil {
			return err
		}
		if _, err := io.Copy(out, in); err != nil {
			return err
		}
	}
	_, err := io.Copy(io.Discard, r) // the padding: its writer must not meet a closed pipe
	return errors.Join(err, out.Close())
}

// kept tells whether an entry of the tar belongs in the stack.
func kept(name string, kind byte) bool {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	switch kind {
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return false
	}
	parts := strings.Split(name, "/")
	switch {
	case kind == tar.TypeDir:
		return parts[0] != "dev" || len(parts) == 1
	case parts[0] == "dev":
		return false
	case strings.HasPrefix(name, "usr/share/doc/"):
		return path.Base(name) == "copyright"
	case strings.HasPrefix(name, "usr/share/man/"), strings.HasPrefix(name, "usr/share/info/"):
		return false
	case strings.HasPrefix(name, "usr/share/locale/"):
		return len(parts) == 4 || strings.HasPrefix(parts[3], "en")
	}
	return true
}
