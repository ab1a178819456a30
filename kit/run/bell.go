package run

import (
	"context"
	"sync"
	"time"
)

// Bell lets requests wait for an event instead of asking for it again and again. The zero value works.
type Bell struct {
	mu      sync.Mutex
	rung    chan struct{} // closed by the next ring
	waiting int
}

// mostWaiting at one bell; who comes then is not kept waiting.
const mostWaiting = 256

// Await looks until it finds: at once, at each ring, and each second, since another process may have done it. After
// limit it gives up, which is no error.
func (b *Bell) Await(ctx context.Context, limit time.Duration, look func() (found bool, err error)) error {
	if b.count(+1) > mostWaiting {
		limit = 0
	}
	defer b.count(-1)
	end := time.After(limit)
	for {
		rung := b.next() // before the look, so that no ring in between is missed
		if found, err := look(); found || err != nil || limit == 0 {
			return err
		}
		select {
		case <-rung:
		case <-time.After(time.Second):
		case <-end:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Ring makes all who wait look again. It comes after the commit of what they wait for.
func (b *Bell) Ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung != nil {
		close(b.rung)
		b.rung = nil
	}
}

func (b *Bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung == nil {
		b.rung = make(chan struct{})
	}
	return b.rung
}

func (b *Bell) count(n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting += n
	return b.waiting
}
