// Package chore does what rows of a store ask for until it is done.
//
// It promises that each piece is tried beside the others, again and again with back-off, and never twice at once. It
// keeps nothing that a restart could lose: the rows are the memory. It will not know what the work is.
package chore

import (
	"context"
	"log/slog"
	"time"
)

// Bounds of one list.
const (
	atOnce  = 64
	Listed  = 512                    // the most that List need answer
	backoff = 100 * time.Millisecond // doubles
	slowest = 30 * time.Second
)

// Chore is a piece of work that a row asks for. Do removes the row, or marks it, once the work is done.
type Chore struct {
	Key string
	Do  func(ctx context.Context) error
}

// List is one kind of chores.
type List struct {
	read  func(ctx context.Context) ([]Chore, error)
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

// New makes a list of what read finds undone.
func New(read func(ctx context.Context) ([]Chore, error)) *List {
	return &List{read: read, wake: make(chan struct{}, 1), tries: map[string]*attempt{}, ended: make(chan ended)}
}

// Wake says that there may be something to do.
func (c *List) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends and everything under way returned.
func (c *List) Run(ctx context.Context) {
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
func (c *List) begin(ctx context.Context) time.Time {
	now := time.Now()
	soonest := now.Add(slowest)
	todo, err := c.read(ctx)
	if err != nil {
		if ctx.Err() == nil {
			slog.Error("chore: cannot read what is to do", "error", err)
		}
		return now.Add(time.Second)
	}
	listed := make(map[string]bool, len(todo))
	for _, ch := range todo {
		listed[ch.Key] = true
		a := c.tries[ch.Key]
		if a == nil {
			a = &attempt{}
			c.tries[ch.Key] = a
		}
		switch {
		case a.busy || c.under == atOnce:
		case now.Before(a.next):
			if a.next.Before(soonest) {
				soonest = a.next
			}
		default:
			a.busy = true
			c.under++
			go func() { c.ended <- ended{ch.Key, ch.Do(ctx)} }()
		}
	}
	for key, a := range c.tries {
		if !a.busy && !listed[key] {
			delete(c.tries, key)
		}
	}
	return soonest
}

func (c *List) end(ctx context.Context, e ended) {
	c.under--
	a := c.tries[e.key]
	a.busy = false
	if e.err == nil {
		delete(c.tries, e.key)
		return
	}
	a.fails++
	a.next = time.Now().Add(min(backoff<<min(a.fails, 16), slowest))
	if ctx.Err() == nil {
		slog.Warn("chore: not done, tried again later", "what", e.key, "tries", a.fails, "error", e.err)
	}
}
