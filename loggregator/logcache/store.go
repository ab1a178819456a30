// Package logcache keeps the newest logs and metrics of every source in memory and answers CF's log-cache API.
//
// It promises bounded memory (envelopes per source, bytes in all; the oldest go first), reads that do not hold up
// writes, and an answer to who may not read that does not tell whether there is anything (404).
// It will not keep anything over a restart, nor evaluate PromQL yet.
package logcache

import (
	"cmp"
	"container/list"
	"regexp"
	"slices"
	"sync"
	"time"

	"ingot/cf"
)

// Store holds envelopes. The zero value works.
type Store struct {
	PerSource int // envelopes kept of one source, 100,000
	Bytes     int // kept in all, about, 128 MB

	mu      sync.RWMutex // of sources
	sources map[string]*source

	// All chunks in the order in which they were begun, and their bytes. order.mu is taken last.
	order struct {
		mu    sync.Mutex
		list  list.List // of *place
		bytes int
	}
}

// place is a chunk's place in the order.
type place struct {
	*chunk
	src   *source
	id    string
	bytes int // counted for it
	at    *list.Element
}

type source struct {
	mu      sync.Mutex
	places  []*place // oldest first
	count   int
	expired uint64
	newest  int64
	gone    bool          // it was taken out of the store
	news    chan struct{} // closed with the next envelope; nil while nobody waits
}

// Take stores the batch; it is the agent's sink.
func (s *Store) Take(batch []cf.Envelope) {
	for i := range batch {
		s.put(&batch[i])
	}
	s.evict()
}

func (s *Store) put(e *cf.Envelope) {
	if e.SourceID == "" || e.Log == nil && e.Counter == nil && e.Gauge == nil && e.Timer == nil {
		return
	}
	for !s.source(e.SourceID).add(s, e) { // it was evicted just now
	}
}

func (s *Store) find(id string) *source {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.sources[id]
}

func (s *Store) source(id string) *source {
	if src := s.find(id); src != nil {
		return src
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.sources[id]
	if src == nil {
		if s.sources == nil {
			s.sources = map[string]*source{}
		}
		src = &source{}
		s.sources[id] = src
	}
	return src
}

// sameMoment is how far the clocks of two writers may be apart for the order of arrival to count.
const sameMoment = int64(time.Millisecond)

// add writes one envelope; false when the source is no longer in the store.
func (src *source) add(s *Store, e *cf.Envelope) bool {
	src.mu.Lock()
	defer src.mu.Unlock()
	if src.gone {
		return false
	}
	// Each envelope has a time of its own, because clients go on from the time after the last one they saw.
	ts := e.Time.UnixNano()
	if ts <= src.newest && src.newest-ts < sameMoment {
		ts = src.newest + 1
	}
	src.newest = max(src.newest, ts)
	var p *place
	if n := len(src.places); n > 0 && len(src.places[n-1].data) < chunkSize {
		p = src.places[n-1]
	} else {
		if n > 0 {
			last := src.places[n-1]
			last.seal()
			s.weigh(last)
		}
		p = &place{chunk: newChunk(), src: src, id: e.SourceID}
		if n > 0 { // it will be filled soon
			p.data = make([]byte, 0, chunkSize+chunkSize/8)
		}
		s.append(p)
		src.places = append(src.places, p)
	}
	p.add(e, ts)
	s.weigh(p)
	src.count++
	limit := s.PerSource
	if limit == 0 {
		limit = 100_000
	}
	for src.count > limit && len(src.places) > 1 {
		s.remove(src.places[0])
		src.drop()
	}
	if src.news != nil {
		close(src.news)
		src.news = nil
	}
	return true
}

// drop forgets the oldest chunk.
func (src *source) drop() {
	old := src.places[0]
	src.places[0] = nil
	src.places = src.places[1:]
	src.count -= old.count
	src.expired += uint64(old.count)
}

func (s *Store) append(p *place) {
	s.order.mu.Lock()
	defer s.order.mu.Unlock()
	p.at = s.order.list.PushBack(p)
}

// weigh counts a chunk anew.
func (s *Store) weigh(p *place) {
	size := p.size()
	if size == p.bytes {
		return
	}
	s.order.mu.Lock()
	defer s.order.mu.Unlock()
	s.order.bytes += size - p.bytes
	p.bytes = size
}

func (s *Store) remove(p *place) {
	s.order.mu.Lock()
	defer s.order.mu.Unlock()
	s.order.list.Remove(p.at)
	s.order.bytes -= p.bytes
}

// evict drops the oldest chunks until the store fits.
func (s *Store) evict() {
	limit := s.Bytes
	if limit == 0 {
		limit = 128 << 20
	}
	for {
		s.order.mu.Lock()
		front := s.order.list.Front()
		over := s.order.bytes > limit
		s.order.mu.Unlock()
		if !over || front == nil {
			return
		}
		p := front.Value.(*place)
		p.src.mu.Lock()
		if len(p.src.places) > 0 && p.src.places[0] == p { // else the source dropped it meanwhile
			s.remove(p)
			p.src.drop()
		}
		empty := len(p.src.places) == 0
		p.src.gone = p.src.gone || empty
		p.src.mu.Unlock()
		if empty {
			s.mu.Lock()
			if s.sources[p.id] == p.src {
				delete(s.sources, p.id)
			}
			s.mu.Unlock()
		}
	}
}

// query says what to read: [start, end) in ns.
type query struct {
	start, end int64
	kinds      []kind // none = all
	name       *regexp.Regexp
	limit      int
	descending bool
}

// read gives the first (or, descending, the last) envelopes of the source in the range.
func (s *Store) read(id string, q query) []item {
	src := s.find(id)
	if src == nil {
		return nil
	}
	chunks := src.snapshot(q)
	sign := int64(1) // descending: times count backwards
	if q.descending {
		sign = -1
	}
	slices.SortFunc(chunks, func(a, b chunk) int { return cmp.Compare(a.first(sign), b.first(sign)) })
	byTime := func(a, b item) int { return cmp.Compare(sign*a.time, sign*b.time) }
	var out []item
	for _, c := range chunks {
		// Chunks may overlap in time, so that what is enough is known only from the next one's first time.
		if len(out) >= q.limit {
			slices.SortStableFunc(out, byTime)
			out = out[:q.limit]
			if sign*out[q.limit-1].time < c.first(sign) {
				break
			}
		}
		r := reader{data: c.data}
		for it := (item{}); r.next(&it); {
			if q.wants(&it) {
				out = append(out, it)
			}
		}
	}
	slices.SortStableFunc(out, byTime)
	return out[:min(len(out), q.limit)]
}

// first is the time of the chunk that a read meets first.
func (c *chunk) first(sign int64) int64 {
	if sign > 0 {
		return c.min
	}
	return -c.max
}

// snapshot copies the heads of the chunks that overlap the range.
func (src *source) snapshot(q query) (out []chunk) {
	src.mu.Lock()
	defer src.mu.Unlock()
	for _, p := range src.places {
		if p.max >= q.start && p.min < q.end {
			out = append(out, chunk{data: p.data, min: p.min, max: p.max})
		}
	}
	return out
}

func (q *query) wants(it *item) bool {
	if it.time < q.start || it.time >= q.end || len(q.kinds) > 0 && !slices.Contains(q.kinds, it.kind) {
		return false
	}
	if q.name == nil {
		return true
	}
	switch it.kind {
	case kindGauge:
		return slices.ContainsFunc(it.gauge, func(g gauge) bool { return q.name.MatchString(g.name) })
	case kindLog:
		return false // a line has no name
	}
	return q.name.MatchString(it.name)
}

// await returns when the source gets an envelope, or done is closed.
func (s *Store) await(id string, since int64, done <-chan struct{}) {
	src := s.find(id)
	if src == nil {
		<-done
		return
	}
	src.mu.Lock()
	if src.newest >= since && len(src.places) > 0 && src.places[len(src.places)-1].max >= since {
		src.mu.Unlock()
		return
	}
	if src.news == nil {
		src.news = make(chan struct{})
	}
	news := src.news
	src.mu.Unlock()
	select {
	case <-news:
	case <-done:
	}
}

// meta is what is known of a source.
type meta struct {
	count          int
	expired        uint64
	oldest, newest int64
}

func (s *Store) meta() map[string]meta {
	s.mu.RLock()
	all := make(map[string]*source, len(s.sources))
	for id, src := range s.sources {
		all[id] = src
	}
	s.mu.RUnlock()
	out := make(map[string]meta, len(all))
	for id, src := range all {
		src.mu.Lock()
		if len(src.places) > 0 {
			m := meta{count: src.count, expired: src.expired, oldest: src.places[0].min, newest: src.newest}
			out[id] = m
		}
		src.mu.Unlock()
	}
	return out
}
