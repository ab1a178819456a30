package chore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

// work is a list of undone chores whose Do is the test's.
type work struct {
	mu     sync.Mutex
	undone map[string]bool
	do     func(ctx context.Context, key string) error
}

func (w *work) read(context.Context) (out []Chore, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key := range w.undone {
		out = append(out, Chore{Key: key, Do: func(ctx context.Context) error {
			if err := w.do(ctx, key); err != nil {
				return err
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			delete(w.undone, key)
			return nil
		}})
	}
	return out, nil
}

func run(t *testing.T, w *work, f func(l *List)) {
	synctest.Test(t, func(t *testing.T) {
		l := New(w.read)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { l.Run(ctx); close(done) }()
		f(l)
		cancel()
		<-done
	})
}

func TestFailuresBackOff(t *testing.T) {
	var tries []time.Duration
	var begin time.Time // the first try
	w := &work{undone: map[string]bool{"a": true}}
	w.do = func(context.Context, string) error {
		if begin.IsZero() {
			begin = time.Now()
		}
		tries = append(tries, time.Since(begin))
		return errors.New("not yet")
	}
	run(t, w, func(*List) { time.Sleep(10 * time.Minute) })
	if len(tries) < 20 || len(tries) > 40 || tries[0] != 0 || tries[1] != 2*backoff || tries[2] != 6*backoff {
		t.Errorf("%d tries at %v", len(tries), tries)
	}
}

// A piece that hangs holds up nothing else, is not begun twice, and no more than atOnce are under way.
func TestHangingPieces(t *testing.T) {
	under, most, calls := 0, 0, map[string]int{}
	w := &work{undone: map[string]bool{}}
	w.do = func(ctx context.Context, key string) error {
		w.mu.Lock()
		calls[key]++
		under++
		most = max(most, under)
		w.mu.Unlock()
		if key[0] == 'h' {
			<-ctx.Done()
		}
		w.mu.Lock()
		under--
		w.mu.Unlock()
		return ctx.Err()
	}
	run(t, w, func(l *List) {
		w.mu.Lock()
		for i := range atOnce - 1 {
			w.undone[fmt.Sprint("h", i)] = true
		}
		for i := range 200 {
			w.undone[fmt.Sprint("q", i)] = true
		}
		w.mu.Unlock()
		l.Wake()
		synctest.Wait()
		time.Sleep(time.Minute)
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.undone) != atOnce-1 || most > atOnce {
			t.Errorf("%d undone, %d at once", len(w.undone), most)
		}
		for key, n := range calls {
			if n != 1 {
				t.Errorf("%s was begun %d times", key, n)
			}
		}
	})
}

func TestWakeIsImmediate(t *testing.T) {
	w := &work{undone: map[string]bool{}, do: func(context.Context, string) error { return nil }}
	run(t, w, func(l *List) {
		synctest.Wait()
		begin := time.Now()
		w.mu.Lock()
		w.undone["a"] = true
		w.mu.Unlock()
		l.Wake()
		synctest.Wait()
		if len(w.undone) != 0 || time.Since(begin) != 0 {
			t.Errorf("undone %v after %v", w.undone, time.Since(begin))
		}
	})
}
