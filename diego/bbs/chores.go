package bbs

import (
	"context"
	"log/slog"
	"time"
)

// Bounds of one kind of chores.
const (
	choresAtOnce = 64
	choresListed = 512
	choreBackoff = 100 * time.Millisecond // doubles
	choreSlowest = 30 * time.Second
)

// chore is a piece of work that a row of the store asks for; do removes the row once the work is done.
type chore struct {
	key string
	do  func(ctx context.Context) error
}

// chores does what the store asks for until it is done: each piece beside the others, again and again with back-off.
// Only the store remembers them over a restart.
type chores struct {
	list  func(ctx context.Context) ([]chore, error) // at most choresListed
	wake  chan struct{}
	tries map[string]*attempt
	under int // ways
	ended chan ended
}

type attempt struct {
	busy  bool
	fails int
	next  time.Time
}

type ended struct {
	key string
	err error
}

func newChores(list func(ctx context.Context) ([]chore, error)) *chores {
	return &chores{list: list, wake: make(chan struct{}, 1), tries: map[string]*attempt{}, ended: make(chan ended)}
}

// run works until ctx ends and everything under way returned.
func (c *chores) run(ctx context.Context) {
	defer func() {
		for ; c.under > 0; c.under-- {
			<-c.ended
		}
	}()
	for {
		next := c.begin(ctx)
		t := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-c.wake:
		case <-t.C:
		case e := <-c.ended:
			c.end(ctx, e)
		}
		t.Stop()
	}
}

// begin begins what is due and answers when to look again.
func (c *chores) begin(ctx context.Context) time.Time {
	now := time.Now()
	soonest := now.Add(choreSlowest)
	todo, err := c.list(ctx)
	if err != nil {
		if ctx.Err() == nil {
			slog.Error("bbs: cannot read what is to do", "error", err)
		}
		return now.Add(time.Second)
	}
	listed := make(map[string]bool, len(todo))
	for _, ch := range todo {
		listed[ch.key] = true
		a := c.tries[ch.key]
		if a == nil {
			a = &attempt{}
			c.tries[ch.key] = a
		}
		switch {
		case a.busy || c.under == choresAtOnce:
		case now.Before(a.next):
			if a.next.Before(soonest) {
				soonest = a.next
			}
		default:
			a.busy = true
			c.under++
			go func() { c.ended <- ended{ch.key, ch.do(ctx)} }()
		}
	}
	for key, a := range c.tries {
		if !a.busy && !listed[key] {
			delete(c.tries, key)
		}
	}
	return soonest
}

func (c *chores) end(ctx context.Context, e ended) {
	c.under--
	a := c.tries[e.key]
	a.busy = false
	if e.err == nil {
		delete(c.tries, e.key)
		return
	}
	a.fails++
	a.next = time.Now().Add(min(choreBackoff<<min(a.fails, 16), choreSlowest))
	if ctx.Err() == nil {
		slog.Warn("bbs: not done, tried again later", "what", e.key, "tries", a.fails, "error", e.err)
	}
}
