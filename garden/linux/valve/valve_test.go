package valve

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pipe makes one with a valve, and its writing end.
func pipe(t *testing.T, patience time.Duration) (string, *os.File, *Valve) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	hold, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hold.Close() }()
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	v, err := New(path)
	if err != nil {
		t.Fatal(err)
	}
	v.patience = patience
	var wg sync.WaitGroup
	wg.Go(v.Watch)
	t.Cleanup(func() {
		v.Close()
		wg.Wait()
		_ = w.Close()
	})
	return path, w, v
}

// read reads to the end, which its caller makes by closing w.
func read(t *testing.T, path string, w io.Closer) []byte {
	t.Helper()
	r, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	all, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	return all
}

func lost(t *testing.T, path string) (n int) {
	t.Helper()
	if err := Lost(path, func(b uint64) { n = int(b) }); err != nil {
		t.Fatal(err)
	}
	return n
}

// A program goes on while nobody reads, and its newest output is there for who does; every byte that is not was counted.
func TestNobodyReads(t *testing.T) {
	for _, size := range []int{8, 100, 2100, 5000, 64 << 10} { // of 2100, one fits into a page
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			path, w, v := pipe(t, time.Second/2)
			var sum int
			for i := 0; sum < 4<<20; i++ {
				line := fmt.Appendf(nil, "%07d", i)
				line = append(append(line, bytes.Repeat([]byte{'x'}, size-len(line)-1)...), '\n')
				n, err := w.Write(line)
				if err != nil {
					t.Fatal(err)
				}
				sum += n
			}
			want := fmt.Appendf(nil, "%07d", sum/size-1)
			got := read(t, path, w)
			gone := lost(t, path)
			if len(got) < v.size/4-4096 || gone+len(got) != sum {
				t.Fatalf("%d of %d bytes are there, %d were counted as lost", len(got), sum, gone)
			}
			if i := bytes.LastIndexByte(got[:len(got)-1], '\n'); !bytes.HasPrefix(got[i+1:], want) {
				t.Errorf("the last line is not %s", want)
			}
			if again := lost(t, path); again != 0 {
				t.Errorf("%d bytes were told of twice", again)
			}
		})
	}
}

// What a reader takes up soon is not dropped.
func TestSomebodyReads(t *testing.T) {
	path, w, v := pipe(t, 3*time.Second)
	sent := bytes.Repeat([]byte("0123456789abcde\n"), v.size/4)
	go func() { _, _ = w.Write(sent); _ = w.Close() }()
	time.Sleep(v.patience / 100) // it is full by now, or soon
	r, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, sent) || lost(t, path) != 0 {
		t.Errorf("%d of %d bytes: %v", len(got), len(sent), err)
	}
}

func TestTrim(t *testing.T) {
	path, w, _ := pipe(t, Patience)
	if _, err := fmt.Fprintf(w, "%100000d", 7); err != nil {
		t.Fatal(err)
	}
	if n := Trim(path, 64<<10); n != 100000-64<<10 {
		t.Errorf("%d bytes were dropped", n)
	}
	if n := Trim(path, 64<<10); n != 0 {
		t.Errorf("%d more were dropped", n)
	}
	if got := read(t, path, w); len(got) != 64<<10 || got[len(got)-1] != '7' {
		t.Errorf("%d bytes are left", len(got))
	}
}

// Keep takes what is there and what still comes, after what it took before.
func TestKeep(t *testing.T) {
	path, w, _ := pipe(t, Patience)
	const first, second = "the first line\n", "the second\n"
	if _, err := io.WriteString(w, first); err != nil {
		t.Fatal(err)
	}
	keep := func(limit time.Duration, want string) {
		t.Helper()
		f, err := Keep(path, limit)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(f); err != nil || string(got) != want {
			t.Errorf("%q, %v", got, err)
		}
		_ = f.Close()
	}
	keep(time.Second/2, first) // somebody still has it open for writing
	go func() {
		_, _ = io.WriteString(w, second)
		_ = w.Close()
	}()
	keep(time.Minute, first+second)
	keep(time.Minute, first+second)
	if _, err := Keep(path+"x", 0); !os.IsNotExist(err) {
		t.Error(err)
	}
}
