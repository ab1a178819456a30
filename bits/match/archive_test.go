package match

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/cf"
)

// entry is one entry of a zip that a test makes.
type entry struct {
	name string
	mode fs.FileMode
	body string
}

func makeZip(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		if e.mode == 0 {
			e.mode = 0o644
		}
		h.SetMode(e.mode)
		if strings.HasSuffix(e.name, "/") {
			h.Method = zip.Store
		}
		f, err := w.CreateHeader(h)
		if err == nil && !strings.HasSuffix(e.name, "/") {
			_, err = f.Write([]byte(e.body))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func link(name, to string) entry { return entry{name, fs.ModeSymlink | 0o777, to} }

func dir(name string) entry { return entry{name, fs.ModeDir | 0o755, ""} }

func look(b []byte) (*archive, error) { return inspect(bytes.NewReader(b), int64(len(b))) }

func TestGoodArchives(t *testing.T) {
	for name, z := range map[string][]byte{
		"empty":          makeZip(t),
		"files":          makeZip(t, entry{name: "a"}, entry{name: "b/c"}, dir("b/"), dir("d/")),
		"dots":           makeZip(t, dir("./"), entry{name: "./a"}, entry{name: "..a/b.."}),
		"links inside":   makeZip(t, entry{name: "a/b"}, link("c", "a/b"), link("a/d", "../a/./b"), link("e", "a/../c"), link("f", "nowhere")),
		"loop":           makeZip(t, link("a", "b"), link("b", "a")),
		"link to root":   makeZip(t, link("a/up", ".."), link("b", "a/up/x")),
		"prefixed":       append([]byte("#!/bin/sh\n"), makeZip(t, entry{name: "a", body: "x"})...),
		"folder twice":   makeZip(t, dir("a/"), dir("a/")),
		"implied folder": makeZip(t, entry{name: "a/b"}, dir("a/")),
	} {
		if _, err := look(z); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBadArchives(t *testing.T) {
	good := makeZip(t, entry{name: "a", body: strings.Repeat("x", 1000)})
	many := []entry{}
	for i := range 300 { // each follows the one before, so together they cost more steps than a package may
		many = append(many, link(fmt.Sprint("l", i), strings.Repeat("d/", 1000)+fmt.Sprint("l", i+1)))
	}
	encrypted := bytes.Clone(good)
	binary.LittleEndian.PutUint16(encrypted[bytes.Index(encrypted, []byte("PK\x01\x02"))+8:], 1)
	method := bytes.Clone(good)
	binary.LittleEndian.PutUint16(method[bytes.Index(method, []byte("PK\x01\x02"))+10:], 12)
	for _, c := range []struct {
		name string
		zip  []byte
		want string
	}{
		{"nothing", nil, badZip},
		{"no zip", []byte(strings.Repeat("hello ", 100)), badZip},
		{"cut in half", good[:len(good)/2], badZip},
		{"up", makeZip(t, entry{name: "../a"}), outside},
		{"up inside", makeZip(t, entry{name: "a/../../b"}), outside},
		{"up at the end", makeZip(t, dir("a/../")), outside},
		{"absolute", makeZip(t, entry{name: "/etc/passwd"}), "Absolute path '/etc/passwd' is not allowed"},
		{"NUL", makeZip(t, entry{name: "a\x00b"}), badZip},
		{"no name", makeZip(t, entry{name: ""}), badZip},
		{"long name", makeZip(t, entry{name: strings.Repeat("x", 256)}), "too long a name"},
		{"long path", makeZip(t, entry{name: strings.Repeat("x/", 3000) + "y"}), "too long a path"},
		{"device", makeZip(t, entry{name: "sda", mode: fs.ModeDevice | 0o600}), "neither a file nor a folder nor a symlink"},
		{"character device", makeZip(t, entry{name: "tty", mode: fs.ModeDevice | fs.ModeCharDevice | 0o600}), "neither a file"},
		{"pipe", makeZip(t, entry{name: "p", mode: fs.ModeNamedPipe | 0o600}), "neither a file"},
		{"socket", makeZip(t, entry{name: "s", mode: fs.ModeSocket | 0o600}), "neither a file"},
		{"link out", makeZip(t, link("a", "../x")), linkOut},
		{"absolute link", makeZip(t, link("a", "/etc/passwd")), linkOut},
		{"link out from below", makeZip(t, link("a/b/c", "../../../x")), linkOut},
		{"link out through a link", makeZip(t, link("a/up", ".."), link("b", "a/up/../etc/passwd")), linkOut},
		{"link out through two links", makeZip(t, link("a/up", ".."), link("a/x", "up"), link("b", "a/x/../y")), linkOut},
		{"many long links", makeZip(t, many...), linkOut},
		{"empty link", makeZip(t, link("a", "")), "broken symlink"},
		{"long link", makeZip(t, link("a", strings.Repeat("x", longestLink+1))), "broken symlink"},
		{"file below a link", makeZip(t, link("a", "b"), entry{name: "a/c"}), "which is not a folder"},
		{"link above a file", makeZip(t, entry{name: "a/c"}, link("a", "b")), "is there twice"},
		{"file below a file", makeZip(t, entry{name: "a"}, entry{name: "a/c"}), "which is not a folder"},
		{"twice", makeZip(t, entry{name: "a"}, entry{name: "a"}), "is there twice"},
		{"twice in other words", makeZip(t, entry{name: "a/b"}, entry{name: "a/./b"}), "is there twice"},
		{"file that says it is a folder", makeZip(t, entry{name: "a", mode: fs.ModeDir | 0o755}, entry{name: "a"}), "is there twice"},
		{"encrypted", encrypted, "encrypted, or compressed"},
		{"bzip2", method, "encrypted, or compressed"},
		{"claims too much", claiming(good, mostEntries+1), "more than 200000 entries"},
	} {
		_, err := look(c.zip)
		var e *cf.Error
		if !errors.As(err, &e) || e.Kind != cf.KindInvalid || e.Code != uploadCode || !strings.HasPrefix(e.Public, "The app upload is invalid: ") ||
			!strings.Contains(e.Public, c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// claiming gives a zip a ZIP64 end that claims n entries.
func claiming(z []byte, n uint64) []byte {
	at := bytes.LastIndex(z, []byte("PK\x05\x06"))
	end64 := make([]byte, 56)
	copy(end64, "PK\x06\x06")
	binary.LittleEndian.PutUint64(end64[4:], 44)
	binary.LittleEndian.PutUint64(end64[24:], n)
	binary.LittleEndian.PutUint64(end64[32:], n)
	locator := make([]byte, 20)
	copy(locator, "PK\x06\x07")
	binary.LittleEndian.PutUint64(locator[8:], uint64(at))
	binary.LittleEndian.PutUint32(locator[16:], 1)
	end := bytes.Clone(z[at:])
	binary.LittleEndian.PutUint16(end[8:], 0xffff)
	binary.LittleEndian.PutUint16(end[10:], 0xffff)
	return bytes.Join([][]byte{z[:at], end64, locator, end}, nil)
}

// The directory is kept in memory, so that one which is too big is refused before it is read whole.
func TestHugeDirectory(t *testing.T) {
	one := makeZip(t, entry{name: strings.Repeat("n", 255)})
	at := bytes.Index(one, []byte("PK\x01\x02"))
	end := bytes.Index(one, []byte("PK\x05\x06"))
	record := one[at:end]
	z := bytes.Clone(one[:at])
	for len(z) < 65<<20 {
		z = append(z, record...)
	}
	tail := bytes.Clone(one[end:])
	binary.LittleEndian.PutUint32(tail[12:], uint32(len(z)-at))
	z = append(z, tail...)
	if _, err := look(z); err == nil || !strings.Contains(err.Error(), "more than 200000 entries") {
		t.Errorf("got %v", err)
	}
}

// FuzzInspect: no input makes inspect panic, and what it lets through can be unpacked by a naive program without leaving
// the folder, even where it follows links.
func FuzzInspect(f *testing.F) {
	for _, z := range [][]byte{
		makeZip(f, entry{name: "a", body: "x"}, dir("d/"), link("l", "a")),
		makeZip(f, link("a/up", ".."), link("b", "a/up/x")),
		makeZip(f, link("a", "../x")), makeZip(f, entry{name: "../a"}), claiming(makeZip(f, entry{name: "a"}), 1<<40), nil,
	} {
		f.Add(z)
	}
	f.Fuzz(func(t *testing.T, z []byte) {
		a, err := look(z)
		if err != nil {
			return
		}
		root := t.TempDir()
		for i, e := range a.files {
			at := filepath.Join(root, a.names[i])
			if !strings.HasPrefix(at, root+"/") {
				t.Fatalf("%q goes to %s", e.Name, at)
			}
			if e.Mode().Type() == fs.ModeSymlink {
				_ = os.MkdirAll(filepath.Dir(at), 0o755)
				_ = os.Symlink(a.links[a.names[i]], at)
			}
		}
		for name := range a.links {
			real, err := filepath.EvalSymlinks(filepath.Join(root, name))
			if err == nil && real != root && !strings.HasPrefix(real, root+"/") {
				t.Fatalf("%q leads to %s", name, real)
			}
		}
	})
}
