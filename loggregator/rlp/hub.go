// Package rlp streams what the agent takes to whoever listens: the reverse log proxy's gateway (server-sent events with
// envelopes of loggregator v2) and the traffic controller's websockets (dropsonde envelopes, the "firehose").
//
// It promises that no listener, however slow, holds up the agent or another listener: each has a bounded queue, and what
// does not fit is dropped and told to it as a counter. Listeners of one shard share what comes. It keeps nothing: who
// was not there when a line came does not see it (logcache does).
package rlp

import (
	"context"
	"errors"
	"sync"
	"time"

	"ingot/cf"
)

// Bounds.
const (
	maxStreams   = 256
	maxEnvelopes = 10000   // of a stream's queue
	maxBytes     = 4 << 20 // of their log lines
)

var errFull = errors.New("too many streams are open")

// Hub is the agent's sink that passes on. Its zero value works.
type Hub struct {
	mu      sync.Mutex
	shards  map[string]*shard
	streams int
}

// shard is a group of streams that share the envelopes they want.
type shard struct {
	want    func(*cf.Envelope) bool
	streams []*stream
	turn    int
}

// stream is one listener's queue.
type stream struct {
	hub     *Hub
	name    string
	mu      sync.Mutex
	queue   []cf.Envelope
	bytes   int
	dropped uint64
	wake    chan struct{}
}

// Take implements the agent's Sink.
func (h *Hub) Take(batch []cf.Envelope) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.shards {
		to := s.streams[s.turn%len(s.streams)]
		s.turn++
		to.push(batch, s.want)
	}
}

func (s *stream) push(batch []cf.Envelope, want func(*cf.Envelope) bool) {
	s.mu.Lock()
	for i := range batch {
		e := &batch[i]
		if !want(e) {
			continue
		}
		size := 0
		if e.Log != nil {
			size = len(e.Log.Payload)
		}
		if len(s.queue) >= maxEnvelopes || s.bytes+size > maxBytes {
			s.dropped++
			continue
		}
		s.queue = append(s.queue, *e)
		s.bytes += size
	}
	some := len(s.queue) > 0
	s.mu.Unlock()
	if some {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// open adds a listener to a shard. All listeners of a shard must want the same.
func (h *Hub) open(name string, want func(*cf.Envelope) bool) (*stream, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.streams >= maxStreams {
		return nil, errFull
	}
	if h.shards == nil {
		h.shards = map[string]*shard{}
	}
	s := h.shards[name]
	if s == nil {
		s = &shard{want: want}
		h.shards[name] = s
	}
	l := &stream{hub: h, name: name, wake: make(chan struct{}, 1)}
	s.streams = append(s.streams, l)
	h.streams++
	return l, nil
}

// close takes the listener out; what it had not read is lost.
func (s *stream) close() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	group := s.hub.shards[s.name]
	for i, l := range group.streams {
		if l == s {
			group.streams = append(group.streams[:i:i], group.streams[i+1:]...)
			s.hub.streams--
		}
	}
	if len(group.streams) == 0 {
		delete(s.hub.shards, s.name)
	}
}

// next waits for envelopes, at most for limit; none and no error: nothing came.
func (s *stream) next(ctx context.Context, limit time.Duration) ([]cf.Envelope, error) {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.C:
		return nil, nil
	case <-s.wake:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.queue
	if s.dropped > 0 {
		out = append(out, cf.Envelope{Time: time.Now(), SourceID: "reverse_log_proxy", Tags: map[string]string{"direction": "egress", "origin": "loggregator.rlp"},
			Counter: &cf.CounterValue{Name: "dropped", Delta: s.dropped, Total: s.dropped}})
	}
	s.queue, s.bytes, s.dropped = nil, 0, 0
	return out, nil
}
