package logcache

import (
	"context"
	"math"
	"sync"
	"time"

	"ingot/cf"
	"ingot/kit/run"
)

const (
	following = 2 * time.Second        // who has not read for so long follows no more
	showing   = 100 * time.Millisecond // what a client needs to print the lines that it has
	mostKnown = 10_000                 // readers; for who comes then nobody waits
)

// followers knows how far everybody has read lately. The start of a read tells that its reader is done with all lines
// before it. The zero value works.
type followers struct {
	mu      sync.Mutex
	sources map[string]*audience
	known   int       // readers in all
	next    time.Time // when to look for those who are gone
}

// audience is who reads one source.
type audience struct {
	read    run.Bell // at each read
	readers map[follower]*position
}

// follower is one connection of a user or client.
type follower struct{ user, address string }

// position is how far a reader came.
type position struct {
	start    int64 // of the newest read, ns
	open     int   // reads that are not answered yet
	answered time.Time
}

func (p *position) gone(now time.Time) bool { return p.open == 0 && now.Sub(p.answered) > following }

// begin notes a read from start on. The caller calls end once it is answered.
func (f *followers) begin(source string, who follower, start int64) (end func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget()
	a := f.sources[source]
	if a == nil {
		a = &audience{readers: map[follower]*position{}}
	}
	p := a.readers[who]
	if p == nil {
		if f.known >= mostKnown {
			return func() {}
		}
		if f.sources == nil {
			f.sources = map[string]*audience{}
		}
		p = &position{}
		f.sources[source], a.readers[who] = a, p
		f.known++
	}
	p.start = start
	p.open++
	a.read.Ring()
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		p.open--
		p.answered = time.Now()
	}
}

// forget drops those who are gone, now and then.
func (f *followers) forget() {
	now := time.Now()
	if now.Before(f.next) {
		return
	}
	f.next = now.Add(following)
	for source, a := range f.sources {
		for who, p := range a.readers {
			if p.gone(now) {
				delete(a.readers, who)
				f.known--
			}
		}
		if len(a.readers) == 0 {
			delete(f.sources, source)
		}
	}
}

// of is who reads the source; nil: nobody.
func (f *followers) of(source string) *audience {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sources[source]
}

// slowest is where the slowest of the user's readers stands; MaxInt64: there is none.
func (f *followers) slowest(a *audience, user string) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, start := time.Now(), int64(math.MaxInt64)
	for who, p := range a.readers {
		if who.user == user && !p.gone(now) {
			start = min(start, p.start)
		}
	}
	return start
}

// CatchUp implements cf.LogFollowers.
func (a *API) CatchUp(ctx context.Context, source string, who cf.Identity, said time.Time, limit time.Duration) {
	all := a.readers.of(source)
	if all == nil {
		return
	}
	user, _, _ := who.Actor()
	behind := false
	_ = all.read.Await(ctx, limit, func() (bool, error) { // it fails only where nobody waits any more
		start := a.readers.slowest(all, user)
		last := a.Store.read(source, query{start: start, end: said.UnixNano() + 1, kinds: []kind{kindLog}, limit: 1, descending: true})
		behind = behind || len(last) > 0
		return len(last) == 0, nil
	})
	if behind {
		select {
		case <-time.After(showing):
		case <-ctx.Done():
		}
	}
}
