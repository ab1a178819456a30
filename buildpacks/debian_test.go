package buildpacks

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// unpacked makes a folder of files; a content "-> x" is a link to x.
func unpacked(t *testing.T, pairs ...string) string {
	t.Helper()
	root := t.TempDir()
	for i := 0; i < len(pairs); i += 2 {
		path := filepath.Join(root, pairs[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		to, link := strings.CutPrefix(pairs[i+1], "-> ")
		err := error(nil)
		if link {
			err = os.Symlink(to, path)
		} else {
			err = os.WriteFile(path, []byte(to), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestTreeWorksWhereverItIsUnpacked(t *testing.T) {
	root := unpacked(t, "usr/lib/jvm/bin/java", "java", "usr/lib/jvm/conf/a", "-> /etc/java/a", "etc/java/a", "settings", "usr/lib/jvm/man/x", "left out",
		"usr/lib/jvm/legal/copy", "-> ../bin/java", "usr/lib/jvm/lib/t.jar", "-> ../../../share/t.jar", "usr/share/t.jar", "-> t-1.jar", "usr/share/t-1.jar", "jar",
		"usr/lib/jvm/cacerts", "-> /etc/ssl/cacerts")
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := tree(w, root, "usr/lib/jvm", "jre", []string{"man", "lib/*.so"}); err != nil {
		t.Fatal(err)
	}
	if err := tree(w, root, "usr/share/t.jar", "one.jar", nil); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeSymlink {
			text = []byte("-> " + h.Linkname)
		}
		got[h.Name] = string(text)
	}
	want := map[string]string{"jre/bin/java": "java", "jre/conf/a": "settings", "jre/legal/copy": "-> ../bin/java", "jre/lib/t.jar": "jar", "one.jar": "jar"}
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s is %q, want %q", name, got[name], text)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
}

func TestTreeStaysInItsPackages(t *testing.T) {
	root := unpacked(t, "a/evil", "-> ../../../../../../etc/passwd")
	if err := tree(tar.NewWriter(io.Discard), root, "a", "", nil); err == nil || !strings.Contains(err.Error(), "leads out of its package") {
		t.Errorf("a link to the machine's files: %v", err)
	}
	if err := tree(tar.NewWriter(io.Discard), root, "none", "", nil); err == nil {
		t.Error("a folder that is not there is no error")
	}
}
