package role

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTurnLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ingot.log")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	say := func(text string) {
		t.Helper()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := turnLog(path, 5, int(f.Fd())); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"12345", "6", "new"} {
		say(text)
	}
	for name, want := range map[string]string{path: "new", path + ".old": "123456"} {
		if b, err := os.ReadFile(name); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v; want %q", name, b, err, want)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	say("more than that") // whatever became of the file, Ingot goes on
}
