package output

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/containerd/v2/pkg/cio"
	"golang.org/x/sys/unix"
)

type broken struct{ asked int }

func (b *broken) Write([]byte) (int, error) { b.asked++; return 0, errors.New("gone") }

// A program must not be blocked, nor its pipe closed, by a writer that fails or is missing.
func TestDiscardNeverFails(t *testing.T) {
	b := &broken{}
	for _, w := range []interface{ Write([]byte) (int, error) }{Discard(nil), Discard(b)} {
		for range 2 {
			if n, err := w.Write([]byte("text")); n != 4 || err != nil {
				t.Errorf("wrote %d: %v", n, err)
			}
		}
	}
	if b.asked != 1 {
		t.Errorf("a writer that failed was asked %d times", b.asked)
	}
}

func TestOutputWaitsForItsWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, done := New(), make(chan int)
		go func() {
			n, _ := o.out.Write([]byte("early"))
			done <- n
		}()
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("nobody was there to write to")
		default:
		}
		var got, other bytes.Buffer
		o.To(&got, nil, nil)
		o.To(&other, nil, nil)
		if n := <-done; n != 5 || got.String() != "early" || other.Len() > 0 {
			t.Errorf("wrote %d, %q and %q", n, &got, &other)
		}
		o.Close()
		if o.Taken() {
			t.Error("taken without pipes")
		}
	})
}

// slow takes a read every so often.
type slow struct {
	bytes.Buffer
	began chan struct{} // gets one for each read, if there is room
}

func (s *slow) Write(p []byte) (int, error) {
	select {
	case s.began <- struct{}{}:
	default:
	}
	time.Sleep(200 * time.Millisecond)
	return s.Buffer.Write(p)
}

// Of a program that has ended, a slow writer still gets the newest lines, whole, and hears of the others.
func TestDrainOfASlowWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(pipe.Fd(), unix.F_SETPIPE_SZ, 1<<20); err != nil {
		t.Skip("the kernel gives no larger pipe: ", err)
	}
	var all bytes.Buffer
	for i := range 60_000 {
		fmt.Fprintln(&all, "line", i)
	}
	if _, err := pipe.Write(all.Bytes()); err != nil {
		t.Fatal(err)
	}
	o, w := New(), &slow{began: make(chan struct{}, 1)}
	if _, err := o.Attach()(cio.NewFIFOSet(cio.Config{Stdout: path}, nil)); err != nil {
		t.Fatal(err)
	}
	var lost atomic.Int64
	o.To(w, nil, func(n uint64) { lost.Add(int64(n)) })
	<-w.began
	_ = pipe.Close()
	o.Drain(3 * time.Second)
	got := w.String()
	if n := len(got) + int(lost.Load()); lost.Load() == 0 || n > all.Len()+1 || n < all.Len()-len("line 60000\n") {
		t.Errorf("%d bytes came and %d were lost of %d", len(got), lost.Load(), all.Len())
	}
	const newest = 5000
	if _, tail, _ := bytes.Cut(all.Bytes(), fmt.Appendf(nil, "line %d\n", 60_000-newest-1)); !strings.HasSuffix(got, "\n"+string(tail)) {
		t.Errorf("the last %d lines are not whole", newest)
	}
}
