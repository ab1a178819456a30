package file

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path+".new", []byte("a killed writer's, and longer"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text string
		mode os.FileMode
	}{{"one", 0o600}, {"two", 0o666}} {
		if err := Replace(path, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		s, serr := os.Stat(path)
		if err != nil || serr != nil || string(b) != c.text || s.Mode().Perm() != c.mode {
			t.Errorf("%q %v %v, want %q %v", b, s.Mode(), err, c.text, c.mode)
		}
	}
	if err := Replace(filepath.Join(dir, "none", "f"), nil, 0o600); err == nil {
		t.Error("no error where there is no folder")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left %v %v", left, err)
	}
}
