package uaa

import (
	"crypto/sha256"
	"sync"
	"time"
)

// seen remembers values by the digest of a secret text, for a while and not too many. The zero value works.
type seen[V any] struct {
	mu       sync.RWMutex
	now, old map[[sha256.Size]byte]entry[V] // when now is full it becomes old
}

type entry[V any] struct {
	v     V
	until time.Time
}

const seenMax = 4096

func (s *seen[V]) get(text string, at time.Time) (V, bool) {
	k := sha256.Sum256([]byte(text))
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, ok := s.now[k]
	if !ok {
		e, ok = s.old[k]
	}
	if !ok || !at.Before(e.until) {
		var none V
		return none, false
	}
	return e.v, true
}

func (s *seen[V]) put(text string, v V, until time.Time) {
	k := sha256.Sum256([]byte(text))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil || len(s.now) >= seenMax {
		s.now, s.old = map[[sha256.Size]byte]entry[V]{}, s.now
	}
	s.now[k] = entry[V]{v, until}
}
