package stack

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/kit/lock"
)

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The formats are those of sources.list(5).
func TestSourcesTakesDebiansOnly(t *testing.T) {
	etc := t.TempDir()
	write(t, etc, "sources.list", `# deb http://mirror.test/off bookworm main
deb http://mirror.test/debian bookworm main contrib # the mirror
deb-src http://mirror.test/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.test/security bookworm-security main
deb http://vendor.test/apt vendor-bookworm main
deb http://vendor.test/stable bookworm stable
`)
	write(t, etc, "sources.list.d/debian.sources", `Types: deb deb-src
# a comment
URIs: http://two.test/debian
Suites: bookworm-updates bookworm-backports
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

Types: deb
URIs: http://off.test/debian
Suites: bookworm
Components: main
Enabled: no
`)
	write(t, etc, "sources.list.d/vendor.sources", "Types: deb\nURIs: http://vendor.test\nSuites: bookworm\nComponents: main\nSigned-By: /etc/apt/keyrings/vendor.gpg\n")
	write(t, etc, "sources.list.d/old.list.save", "deb http://saved.test/debian bookworm main\n")
	got, err := sources(etc)
	if err != nil {
		t.Fatal(err)
	}
	want := `Types: deb
URIs: http://mirror.test/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://mirror.test/security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://two.test/debian
Suites: bookworm-updates
Components: main
Signed-By: 
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSourcesNamesTheCureWhenThereIsNone(t *testing.T) {
	etc := t.TempDir()
	write(t, etc, "sources.list", "deb http://vendor.test/apt noble main\n")
	if _, err := sources(etc); err == nil || !strings.Contains(err.Error(), etc) {
		t.Errorf("got %v", err)
	}
}

func TestAptSettingsKeepsWhatFetches(t *testing.T) {
	got := aptSettings([]byte(`APT::Architecture "amd64";
Acquire "";
Acquire::http "";
Acquire::http::Proxy "http://proxy.test:3142";
Acquire::https::CAInfo "/etc/ca.pem";
Acquire::Check-Valid-Until "false";
Acquire::IndexTargets::deb::Packages "";
DPkg::Post-Invoke:: "rm -rf /";
`))
	want := `Acquire::http::Proxy "http://proxy.test:3142";
Acquire::https::CAInfo "/etc/ca.pem";
Acquire::Check-Valid-Until "false";
`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestExtraCAs(t *testing.T) {
	dir := t.TempDir()
	known, own := certificate(t), certificate(t)
	write(t, dir, "debian/known.crt", known)
	write(t, dir, "bundle.crt", "a comment\n"+known+own+own)
	got, err := extraCAs(filepath.Join(dir, "bundle.crt"), filepath.Join(dir, "debian"))
	if err != nil || len(got) != 1 || string(got[0]) != own {
		t.Errorf("got %d certificates, %v; want the operator's one", len(got), err)
	}
	if got, err := extraCAs(filepath.Join(dir, "none.crt"), filepath.Join(dir, "none")); err != nil || len(got) != 0 {
		t.Errorf("on a machine without CAs: %d, %v", len(got), err)
	}
}

func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: serial}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestTrim(t *testing.T) {
	in := tarOf(t,
		&tar.Header{Name: "./dev/", Typeflag: tar.TypeDir, Mode: 0o755},
		&tar.Header{Name: "./dev/null", Typeflag: tar.TypeChar, Mode: 0o666},
		&tar.Header{Name: "./dev/fd", Typeflag: tar.TypeSymlink, Linkname: "/proc/self/fd"},
		&tar.Header{Name: "./run/pipe", Typeflag: tar.TypeFifo},
		&tar.Header{Name: "./usr/bin/su", Mode: 0o4755, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "x"}},
		&tar.Header{Name: "./var/mail/", Typeflag: tar.TypeDir, Mode: 0o2775},
		&tar.Header{Name: "./usr/share/doc/x/copyright"},
		&tar.Header{Name: "./usr/share/doc/x/README"},
		&tar.Header{Name: "./usr/share/man/man1/x.1.gz"},
		&tar.Header{Name: "./usr/share/locale/de/LC_MESSAGES/x.mo"},
		&tar.Header{Name: "./usr/share/locale/en_GB/LC_MESSAGES/x.mo"},
		&tar.Header{Name: "./usr/share/locale/locale.alias"},
	)
	var out bytes.Buffer
	if err := trim(&out, in); err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(h.PAXRecords) > 0 {
			t.Errorf("%s has %v", h.Name, h.PAXRecords)
		}
		if h.Typeflag == tar.TypeReg && h.Mode&0o6000 != 0 {
			t.Errorf("%s has mode %o", h.Name, h.Mode)
		}
		got = append(got, h.Name)
	}
	want := "./dev/ ./usr/bin/su ./var/mail/ ./usr/share/doc/x/copyright ./usr/share/locale/en_GB/LC_MESSAGES/x.mo ./usr/share/locale/locale.alias"
	if strings.Join(got, " ") != want {
		t.Errorf("kept %v\nwant %s", got, want)
	}
}

func TestTrimRefusesALinkToWhatIsLeftOutAndACutTar(t *testing.T) {
	in := tarOf(t, &tar.Header{Name: "./usr/bin/x", Typeflag: tar.TypeLink, Linkname: "./usr/share/man/man1/x"})
	if err := trim(io.Discard, in); err == nil {
		t.Error("a hard link to a file that is left out was kept")
	}
	whole := tarOf(t, &tar.Header{Name: "./usr/bin/x", Size: 4}).Bytes()
	if err := trim(io.Discard, bytes.NewReader(whole[:514])); err == nil {
		t.Error("half a tar was taken for a whole one")
	}
}

func tarOf(t *testing.T, headers ...*tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func TestBuildNamesWhatIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	want := "apt-get install mmdebstrap"
	if os.Geteuid() != 0 {
		want = "root is needed"
	}
	cache := t.TempDir()
	if _, _, err := Build(context.Background(), cache, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	left, err := filepath.Glob(filepath.Join(cache, "stack", "*"))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != lock.Name {
		t.Errorf("left %v", left)
	}
}

func TestUnpackNamesWhatIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := Unpack(context.Background(), t.TempDir(), []string{"hello"}, io.Discard); err == nil || !strings.Contains(err.Error(), "apt-get is missing") {
		t.Errorf("got %v", err)
	}
}
