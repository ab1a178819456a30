package match

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"

	"ingot/cf"
	"ingot/kit/unzip"
)

// Limits of one package.
const (
	mostEntries = unzip.MostEntries // what is taken here must be unpacked at staging
	longestLink = 4096
	mostLinks   = 40         // in one path, as Linux has it
	mostSteps   = 20_000_000 // of all links of a package together
)

// Texts of refused uploads: CF's where it has one.
const (
	badZip     = "Invalid zip archive."
	outside    = "Relative path(s) outside of root folder"
	linkOut    = "Symlink(s) point outside of root folder"
	uploadCode = "AppBitsUploadInvalid"
	appInvalid = "The app upload is invalid: "
)

func invalid(format string, args ...any) error {
	return cf.Errorf(cf.KindInvalid, uploadCode, appInvalid+format, args...)
}

func tooMany() error { return invalid("Package may not have more than %d entries", mostEntries) }

// archive is a zip whose every entry was checked: names are clean, relative, distinct and not below a file or a link;
// links stay inside; there is nothing but files, folders and links.
type archive struct {
	files []*zip.File            // in the order of the archive; folders too
	names []string               // their clean names
	kinds map[string]fs.FileMode // by clean name, also of folders that have no entry
	links map[string]string      // target by clean name
}

// inspect reads the directory of a zip and the targets of its links.
func inspect(r io.ReaderAt, size int64) (*archive, error) {
	z, err := unzip.Open(r, size, mostEntries)
	switch {
	case errors.Is(err, unzip.ErrMany):
		return nil, tooMany()
	case err != nil:
		return nil, invalid(badZip)
	}
	a := &archive{kinds: map[string]fs.FileMode{}, links: map[string]string{}}
	for _, f := range z.File {
		if err := a.add(f); err != nil {
			return nil, err
		}
	}
	steps := mostSteps
	for name := range a.links {
		if !a.inside(name, &steps) {
			return nil, invalid(linkOut)
		}
	}
	return a, nil
}

// add checks one entry against those before it.
func (a *archive) add(f *zip.File) error {
	name, err := clean(f.Name)
	if err != nil {
		return err
	}
	mode := f.Mode()
	if strings.HasSuffix(f.Name, "/") && mode.Type() != fs.ModeDir {
		return invalid(badZip) // says two things of itself
	}
	switch mode.Type() {
	case 0, fs.ModeDir, fs.ModeSymlink:
	default:
		return invalid("'%s' is neither a file nor a folder nor a symlink", f.Name)
	}
	if f.Flags&1 != 0 || f.Method != zip.Store && f.Method != zip.Deflate {
		return invalid("'%s' is encrypted, or compressed in an unknown way", f.Name)
	}
	if name == "." {
		if mode.Type() != fs.ModeDir {
			return invalid(badZip)
		}
		return nil
	}
	if err := a.claim(name, mode.Type()); err != nil {
		return err
	}
	if mode.Type() == fs.ModeSymlink {
		if a.links[name], err = target(f); err != nil {
			return err
		}
	}
	a.files, a.names = append(a.files, f), append(a.names, name)
	return nil
}

// clean makes a name of an archive relative and plain, or refuses it.
func clean(name string) (string, error) {
	if strings.ContainsRune(name, 0) || name == "" {
		return "", invalid(badZip)
	}
	if strings.HasPrefix(name, "/") {
		return "", invalid("Absolute path '%s' is not allowed", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", invalid(outside)
		}
		if len(part) > 255 {
			return "", invalid("'%.40s...' is too long a name", part)
		}
	}
	if len(name) > longestLink {
		return "", invalid("'%.40s...' is too long a path", name)
	}
	return path.Clean(name), nil
}

// claim notes name and the folders above it. A name comes once; nothing lies below a file or a link.
func (a *archive) claim(name string, kind fs.FileMode) error {
	if has, ok := a.kinds[name]; ok && (kind != fs.ModeDir || has != fs.ModeDir) {
		return invalid("'%s' is there twice", name)
	}
	a.kinds[name] = kind
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if has, ok := a.kinds[dir]; ok && has != fs.ModeDir {
			return invalid("'%s' lies below '%s', which is not a folder", name, dir)
		} else if ok {
			break // and so do those above
		}
		a.kinds[dir] = fs.ModeDir
	}
	return nil
}

// target reads where a link points to.
func target(f *zip.File) (string, error) {
	r, err := f.Open()
	if err != nil {
		return "", invalid(badZip)
	}
	defer func() { _ = r.Close() }()
	b, err := io.ReadAll(io.LimitReader(r, longestLink+1))
	if err != nil || len(b) == 0 || len(b) > longestLink || bytes.IndexByte(b, 0) >= 0 {
		return "", invalid("'%s' is a broken symlink", f.Name)
	}
	if b[0] == '/' {
		return "", invalid(linkOut)
	}
	return string(b), nil
}

// inside follows the link at name as the kernel would, through the other links of the archive, and tells whether it ever
// leaves the root. It gives up, as if it left, when all links together take too many steps.
func (a *archive) inside(name string, steps *int) bool {
	var at []string // the folder that has been reached
	if dir := path.Dir(name); dir != "." {
		at = strings.Split(dir, "/")
	}
	todo := strings.Split(a.links[name], "/")
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		if *steps -= 1 + len(at); *steps < 0 {
			return false
		}
		switch part {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return false
			}
			at = at[:len(at)-1]
			continue
		}
		at = append(at[:len(at):len(at)], part)
		if to, ok := a.links[strings.Join(at, "/")]; ok {
			if links++; links > mostLinks {
				return true // a loop leads nowhere
			}
			at = at[:len(at)-1]
			todo = append(strings.Split(to, "/"), todo...)
		}
	}
	return true
}
