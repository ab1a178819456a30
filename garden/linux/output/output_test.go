package output

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
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
