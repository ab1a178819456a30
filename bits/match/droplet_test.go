package match

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"

	"ingot/cf"
)

func tgz(t *testing.T, hs ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, h := range hs {
		h.Mode = 0o755
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(w, zeros{}, h.Size); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestDroplet(t *testing.T) {
	dir := tar.Header{Name: "./app/", Typeflag: tar.TypeDir}
	file := tar.Header{Name: "./app/config.ru", Typeflag: tar.TypeReg, Size: 10}
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink}
	}
	hard := func(to string) tar.Header {
		return tar.Header{Name: "app/hard", Linkname: to, Typeflag: tar.TypeLink}
	}
	whole := tgz(t, tar.Header{Name: "./", Typeflag: tar.TypeDir}, dir, file, link("./app/in", "config.ru"), link("./deps/ruby", "/usr/bin/ruby"), hard("./app/config.ru"))
	spoilt := bytes.Clone(whole)
	spoilt[len(spoilt)-6] ^= 1 // the checksum
	for name, c := range map[string]struct {
		raw  []byte
		want string // "" = taken
	}{
		"whole":               {whole, ""},
		"replaced":            {tgz(t, dir, link("app/x", "/tmp"), tar.Header{Name: "app/x/", Typeflag: tar.TypeDir}, tar.Header{Name: "app/x/y", Typeflag: tar.TypeReg}), ""},
		"no archive":          {[]byte("hello"), "it is not a tar.gz archive"},
		"cut off":             {whole[:len(whole)/2], "the archive is damaged"},
		"checksum":            {spoilt, "the archive is damaged"},
		"path out":            {tgz(t, tar.Header{Name: "../etc/passwd", Typeflag: tar.TypeReg}), outside},
		"absolute":            {tgz(t, tar.Header{Name: "/etc/passwd", Typeflag: tar.TypeReg}), "Absolute path '/etc/passwd' is not allowed"},
		"link out":            {tgz(t, link("./app/x", "../../etc")), linkOut},
		"link out by a link":  {tgz(t, dir, link("app/up", ".."), link("app/x", "up/../etc")), linkOut},
		"below a link":        {tgz(t, link("app/x", "/etc"), tar.Header{Name: "app/x/passwd", Typeflag: tar.TypeReg}), "'app/x/passwd' lies below 'app/x', which is not a folder"},
		"hard link out":       {tgz(t, hard("../../etc/passwd")), outside},
		"hard link to a link": {tgz(t, link("app/x", "/etc/passwd"), hard("app/x")), "'app/hard' is a link to what is no file before it"},
		"device":              {tgz(t, tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}), "'null' is neither a file nor a folder nor a link"},
		"pipe":                {tgz(t, tar.Header{Name: "p", Typeflag: tar.TypeFifo}), "'p' is neither a file nor a folder nor a link"},
		"long name":           {tgz(t, tar.Header{Name: strings.Repeat("a", 256), Typeflag: tar.TypeReg}), "is too long a name"},
	} {
		err := Droplet(bytes.NewReader(c.raw))
		var e *cf.Error
		switch errors.As(err, &e); {
		case c.want == "" && err == nil:
		case e == nil || e.Code != "DropletUploadInvalid" || e.Kind != cf.KindInvalid || !strings.HasPrefix(e.Public, "The droplet upload is invalid: ") || !strings.HasSuffix(e.Public, c.want):
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// TestDropletBomb: little that unpacks to much is given up at the bound.
func TestDropletBomb(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 4 GiB of zeros")
	}
	pr, pw := io.Pipe()
	go func() {
		z, _ := gzip.NewWriterLevel(pw, gzip.BestSpeed)
		w := tar.NewWriter(z)
		err := w.WriteHeader(&tar.Header{Name: "app/big", Size: 1 << 40, Mode: 0o644})
		if err == nil {
			_, err = io.Copy(w, zeros{})
		}
		_ = pw.CloseWithError(err)
	}()
	err := Droplet(pr)
	_ = pr.Close()
	var e *cf.Error
	if !errors.As(err, &e) || !strings.Contains(e.Public, "may not unpack to more than 4294967296 bytes") {
		t.Errorf("got %v", err)
	}
}
