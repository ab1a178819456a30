package unzip

import (
	"archive/zip"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type entry struct {
	name, body string
	mode       fs.FileMode
}

func archive(t *testing.T, es ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range es {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		h.SetMode(e.mode)
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(e.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unpack(t *testing.T, zipped []byte, o Options) (string, error) {
	t.Helper()
	outer := t.TempDir()
	folder := filepath.Join(outer, "in")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "a.zip")
	if err := os.WriteFile(name, zipped, 0o600); err != nil {
		t.Fatal(err)
	}
	err := File(folder, name, o)
	left, rerr := os.ReadDir(outer)
	if rerr != nil {
		t.Fatal(rerr)
	}
	if len(left) != 1 {
		t.Fatalf("something was written outside: %v", left)
	}
	return folder, err
}

func TestKeepsModesLinksAndTimes(t *testing.T) {
	folder, err := unpack(t, archive(t,
		entry{"bin/", "", fs.ModeDir | 0o700},
		entry{"bin/detect", "#!/bin/sh\n", 0o777},
		entry{"private", "x", 0o600},
		entry{"lib/link", "../bin/detect", fs.ModeSymlink | 0o777},
		entry{"dangling", "node_modules/x", fs.ModeSymlink | 0o777},
	), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"bin": 0o700, "bin/detect": 0o777, "private": 0o600} {
		st, err := os.Stat(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", name, st.Mode().Perm(), want)
		}
	}
	b, err := os.ReadFile(filepath.Join(folder, "lib/link"))
	if err != nil || string(b) != "#!/bin/sh\n" {
		t.Errorf("through the link: %q, %v", b, err)
	}
}

func TestReadable(t *testing.T) {
	folder, err := unpack(t, archive(t, entry{"d/", "", fs.ModeDir | 0o700}, entry{"d/run", "x", 0o700}, entry{"d/data", "x", 0o600}), Options{Readable: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"d": 0o755, "d/run": 0o755, "d/data": 0o644} {
		st, err := os.Stat(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", name, st.Mode().Perm(), want)
		}
	}
}

// What Cloud Controller takes for a package must be unpacked at staging.
func TestTakes(t *testing.T) {
	link := fs.ModeSymlink | 0o777
	for name, es := range map[string][]entry{
		"nothing":        {},
		"dots":           {{"./", "", fs.ModeDir | 0o755}, {"./a", "x", 0o644}, {"..a/b..", "x", 0o644}},
		"links inside":   {{"a/b", "x", 0o644}, {"c", "a/b", link}, {"a/d", "../a/./b", link}, {"e", "a/../c", link}, {"f", "nowhere", link}},
		"loop":           {{"a", "b", link}, {"b", "a", link}},
		"link to root":   {{"a/up", "..", link}, {"b", "a/up/x", link}},
		"backslash":      {{`unit\x2dname`, "x", 0o644}, {`..\a`, "x", 0o644}},
		"folder twice":   {{"a/", "", fs.ModeDir | 0o755}, {"a/", "", fs.ModeDir | 0o755}},
		"implied folder": {{"a/b", "x", 0o644}, {"a/", "", fs.ModeDir | 0o755}},
	} {
		t.Run(name, func(t *testing.T) {
			folder, err := unpack(t, archive(t, es...), Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range es {
				if _, err := os.Lstat(filepath.Join(folder, e.name)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	bomb := strings.Repeat("0", 1<<20)
	cases := map[string][]entry{
		"parent":                {{"../evil", "x", 0o644}},
		"parent inside":         {{"a/../../evil", "x", 0o644}},
		"absolute":              {{"/tmp/evil", "x", 0o644}},
		"absolute link":         {{"l", "/etc/passwd", fs.ModeSymlink | 0o777}},
		"link out":              {{"d/l", "../../evil", fs.ModeSymlink | 0o777}},
		"link out through link": {{"d/up", "..", fs.ModeSymlink | 0o777}, {"l", "d/up/..", fs.ModeSymlink | 0o777}},
		"file under a link":     {{"l", ".", fs.ModeSymlink | 0o777}, {"l/f", "x", 0o644}},
		"device":                {{"null", "", fs.ModeDevice | fs.ModeCharDevice | 0o666}},
		"pipe":                  {{"p", "", fs.ModeNamedPipe | 0o666}},
		"bomb":                  {{"zeros", bomb, 0o644}},
		"too many":              {{"1", "", 0o644}, {"2", "", 0o644}, {"3", "", 0o644}, {"4", "", 0o644}},
		"empty name":            {{"", "x", 0o644}},
	}
	for name, es := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := unpack(t, archive(t, es...), Options{Entries: 3, Bytes: 1 << 16}); err == nil {
				t.Fatal("was unpacked")
			}
		})
	}
}

func TestCutOff(t *testing.T) {
	whole := archive(t, entry{"f", strings.Repeat("text ", 1000), 0o644})
	if _, err := unpack(t, whole[:len(whole)/2], Options{}); !errors.Is(err, ErrBad) {
		t.Fatalf("got %v", err)
	}
	// The directory is whole, a byte of the content is not.
	spoilt := bytes.Clone(whole)
	spoilt[40] ^= 0xff
	if _, err := unpack(t, spoilt, Options{}); err == nil {
		t.Fatal("spoilt content was unpacked")
	}
}

func FuzzUnzip(f *testing.F) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	if _, err := w.Create("a/b"); err != nil {
		f.Fatal(err)
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		z, err := Open(bytes.NewReader(data), int64(len(data)), 10)
		if err != nil {
			return
		}
		root, err := os.OpenRoot(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = root.Close() }()
		_ = into(root, z, Options{Bytes: 1 << 16})
	})
}
