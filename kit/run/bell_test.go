package run

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestBell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Bell
		var done atomic.Bool
		var looks atomic.Int32
		await := func(ctx context.Context) (time.Duration, error) {
			begin := time.Now()
			err := b.Await(ctx, 2*time.Second, func() (bool, error) { looks.Add(1); return done.Load(), nil })
			return time.Since(begin), err
		}
		if d, err := await(t.Context()); d != 2*time.Second || err != nil {
			t.Errorf("nothing happened: %s, %v", d, err)
		}
		time.AfterFunc(300*time.Millisecond, b.Ring) // for somebody else
		time.AfterFunc(500*time.Millisecond, func() { done.Store(true); b.Ring() })
		if d, err := await(t.Context()); d != 500*time.Millisecond || err != nil {
			t.Errorf("rung: %s, %v", d, err)
		}
		done.Store(false)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if d, err := await(ctx); d != 0 || !errors.Is(err, context.Canceled) {
			t.Errorf("the asker went away: %s, %v", d, err)
		}
		for range mostWaiting {
			go func() { _, _ = await(t.Context()) }()
		}
		synctest.Wait()
		looks.Store(0)
		if d, err := await(t.Context()); d != 0 || err != nil || looks.Load() != 1 {
			t.Errorf("one too many: %s, %v, %d looks", d, err, looks.Load())
		}
		time.Sleep(3 * time.Second)
		if n := b.count(0); n != 0 {
			t.Errorf("%d still wait", n)
		}
	})
}
