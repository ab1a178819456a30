package match

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math"
	"path"
	"strings"

	"ingot/cf"
)

// Limits of one package.
const (
	mostEntries   = 200_000  // the inodes of a container (ecosystem.md §5.1)
	mostDirectory = 64 << 20 // bytes of a zip's central directory
	longestLink   = 4096
	mostLinks     = 40         // in one path, as Linux has it
	mostSteps     = 20_000_000 // of all links of a package together
)

// Texts of refused uploads: CF's where it has one.
const (
	badZip     = "Invalid zip archive."
	outside    = "Relative path(s) outside of root folder"
	linkOut    = "Symlink(s) point outside of root folder"
	uploadCode = "AppBitsUploadInvalid"
)

func invalid(format string, args ...any) error {
	return cf.Errorf(cf.KindInvalid, uploadCode, "The app upload is invalid: "+format, args...)
}

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
	if err := count(r, size); err != nil {
		return nil, err
	}
	b := &budget{r: r, left: mostDirectory}
	z, err := zip.NewReader(b, size)
	if err != nil {
		if errors.Is(err, errBudget) {
			return nil, invalid("Package may not have more than %d entries", mostEntries)
		}
		return nil, invalid(badZip)
	}
	if len(z.File) > mostEntries {
		return nil, invalid("Package may not have more than %d entries", mostEntries)
	}
	b.left = math.MaxInt64 // what follows is not kept
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

var errBudget = errors.New("the directory is too big")

// budget bounds how much of a zip is read for its directory, because that is kept in memory.
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

// count refuses an archive that claims too many entries, before anything is made room for. It looks at every place that
// could be taken for the end of the directory.
func count(r io.ReaderAt, size int64) error {
	tail := make([]byte, min(size, 65<<10))
	start := size - int64(len(tail))
	if _, err := r.ReadAt(tail, start); err != nil && !errors.Is(err, io.EOF) {
		return err
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
		if n, _ := r.ReadAt(end[:], int64(at)); n == len(end) && binary.LittleEndian.Uint64(end[32:]) > mostEntries {
			return invalid("Package may not have more than %d entries", mostEntries)
		}
	}
	return nil
}
