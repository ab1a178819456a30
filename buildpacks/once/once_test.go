package once

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

func TestDirIsMadeOnce(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "deep", "parent")
	var fills atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			dir, err := Dir(context.Background(), parent, "key", io.Discard, func(folder string) error {
				fills.Add(1)
				return os.WriteFile(filepath.Join(folder, "f"), []byte("x"), 0o644)
			})
			if err != nil {
				t.Error(err)
			}
			if text, err := os.ReadFile(filepath.Join(dir, "f")); string(text) != "x" {
				t.Errorf("read %q, %v", text, err)
			}
		})
	}
	all.Wait()
	if n := fills.Load(); n != 1 {
		t.Errorf("filled %d times", n)
	}
}

func TestDirStartsAfreshAfterAKilledBuild(t *testing.T) {
	parent := t.TempDir()
	if err := os.MkdirAll(filepath.Join(parent, "new", "half"), 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := Dir(context.Background(), parent, "key", io.Discard, func(folder string) error {
		return os.WriteFile(filepath.Join(folder, "f"), nil, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "half")); !os.IsNotExist(err) {
		t.Error("the killed build's file is in the new folder")
	}
}

func TestDirLeavesNothingOfAFailedBuild(t *testing.T) {
	parent, boom := t.TempDir(), errors.New("boom")
	if _, err := Dir(context.Background(), parent, "key", io.Discard, func(string) error { return boom }); !errors.Is(err, boom) {
		t.Fatalf("got %v", err)
	}
	for _, name := range []string{"key", "new"} {
		if _, err := os.Stat(filepath.Join(parent, name)); !os.IsNotExist(err) {
			t.Errorf("%s is there", name)
		}
	}
}

func TestDirStopsWaitingWithItsContext(t *testing.T) {
	parent := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Dir(context.Background(), parent, "one", io.Discard, func(string) error {
		// This builder holds the folder while another one waits for it.
		_, err := Dir(ctx, parent, "two", writer(func() { cancel() }), func(string) error { return nil })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the waiting builder got %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// writer calls itself at each write: the waiting builder says that it waits.
type writer func()

func (w writer) Write(b []byte) (int, error) { w(); return len(b), nil }

func TestKeyTellsInputsApart(t *testing.T) {
	if Key("a", "b") == Key("ab") || Key([]string{"a"}) == Key([]string{"b"}) {
		t.Error("two inputs, one key")
	}
	if one, two := Key("a", 1), Key("a", 1); one != two {
		t.Error("one input, two keys")
	}
}
