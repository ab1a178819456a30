package logcache

import (
	"encoding/binary"
	"math"
	"reflect"
	"slices"
	"strings"

	"ingot/cf"
)

// chunkSize is when a chunk is full.
const chunkSize = 16 << 10

// Kinds of envelopes, as in loggregator's EnvelopeType.
type kind byte

const (
	kindLog kind = iota + 1
	kindCounter
	kindGauge
	kindTimer
)

// chunk is a run of envelopes of one source in a compact form. It only grows at its end: who holds the slice and its
// length may read without a lock. Strings and sets of tags that come again are written once and then named by their
// number; the numbers mean nothing outside the chunk, so a chunk can be dropped alone.
//
//	envelope = varint(time - time before) string(instance) tags kind payload
//	string   = uvarint(0) uvarint(len) bytes | uvarint(number+1)
//	tags     = uvarint(0) uvarint(count) {string string} | uvarint(number+1)
type chunk struct {
	data     []byte
	count    int
	min, max int64 // times, ns
	last     int64

	// For writing, until the chunk is full.
	strings map[string]int
	sets    map[uintptr]int     // by the identity of the map
	held    []map[string]string // keeps the maps of sets, so that their identities stay theirs
	extra   int                 // bytes of the three above, about
}

func newChunk() *chunk {
	return &chunk{min: math.MaxInt64, max: math.MinInt64, strings: map[string]int{}, sets: map[uintptr]int{}}
}

// size is about what the chunk takes of memory.
func (c *chunk) size() int { return cap(c.data) + c.extra + 128 }

// seal frees what only writing needs.
func (c *chunk) seal() {
	if cap(c.data)-len(c.data) > chunkSize/8 {
		c.data = slices.Clip(slices.Clone(c.data))
	}
	c.strings, c.sets, c.held, c.extra = nil, nil, nil, 0
}

// add writes e under the time ts.
func (c *chunk) add(e *cf.Envelope, ts int64) {
	b := binary.AppendVarint(c.data, ts-c.last)
	b = c.appendString(b, e.InstanceID)
	b = c.appendTags(b, e.Tags)
	switch {
	case e.Log != nil:
		err := byte(0)
		if e.Log.Err {
			err = 1
		}
		b = append(b, byte(kindLog), err)
		b = binary.AppendUvarint(b, uint64(len(e.Log.Payload)))
		b = append(b, e.Log.Payload...)
	case e.Counter != nil:
		b = c.appendString(append(b, byte(kindCounter)), e.Counter.Name)
		b = binary.AppendUvarint(b, e.Counter.Delta)
		b = binary.AppendUvarint(b, e.Counter.Total)
	case e.Gauge != nil:
		b = binary.AppendUvarint(append(b, byte(kindGauge)), uint64(len(e.Gauge)))
		for name, v := range e.Gauge {
			b = c.appendString(c.appendString(b, name), v.Unit)
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v.Value))
		}
	default:
		b = c.appendString(append(b, byte(kindTimer)), e.Timer.Name)
		b = binary.AppendVarint(b, e.Timer.Start.UnixNano()-ts)
		b = binary.AppendVarint(b, e.Timer.Stop.UnixNano()-ts)
	}
	c.data, c.last = b, ts
	c.count++
	c.min, c.max = min(c.min, ts), max(c.max, ts)
}

func (c *chunk) appendString(b []byte, s string) []byte {
	if n, ok := c.strings[s]; ok {
		return binary.AppendUvarint(b, uint64(n)+1)
	}
	c.strings[strings.Clone(s)] = len(c.strings) // a clone: s may be a piece of something large
	c.extra += len(s) + 48
	b = binary.AppendUvarint(append(b, 0), uint64(len(s)))
	return append(b, s...)
}

func (c *chunk) appendTags(b []byte, tags map[string]string) []byte {
	id := reflect.ValueOf(tags).Pointer()
	if n, ok := c.sets[id]; ok {
		return binary.AppendUvarint(b, uint64(n)+1)
	}
	c.sets[id] = len(c.sets)
	c.held = append(c.held, tags)
	c.extra += 64
	b = binary.AppendUvarint(append(b, 0), uint64(len(tags)))
	for k, v := range tags {
		b = c.appendString(c.appendString(b, k), v)
	}
	return b
}

// item is an envelope as read. Its slices belong to the chunk.
type item struct {
	time     int64
	instance string
	tags     []byte // the JSON of all tags, {...}
	kind     kind
	err      bool   // of a log: stderr
	payload  []byte // of a log
	name     string // of a counter or timer
	a, b     uint64 // delta and total of a counter, start and stop of a timer in ns
	gauge    []gauge
}

type gauge struct {
	name, unit string
	value      float64
}

// reader reads a chunk from its start. Only chunks written by add are read: their form is known to be right.
type reader struct {
	data    []byte
	last    int64
	strings []string
	sets    [][]byte
}

// next reads one envelope; false at the end.
func (r *reader) next(it *item) bool {
	if len(r.data) == 0 {
		return false
	}
	r.last += r.varint()
	*it = item{time: r.last, instance: r.string(), tags: r.tags(), kind: kind(r.data[0])}
	r.data = r.data[1:]
	switch it.kind {
	case kindLog:
		it.err, r.data = r.data[0] == 1, r.data[1:]
		n := r.uvarint()
		it.payload, r.data = r.data[:n:n], r.data[n:]
	case kindCounter:
		it.name, it.a, it.b = r.string(), r.uvarint(), r.uvarint()
	case kindGauge:
		it.gauge = make([]gauge, r.uvarint())
		for i := range it.gauge {
			it.gauge[i] = gauge{r.string(), r.string(), math.Float64frombits(binary.LittleEndian.Uint64(r.data))}
			r.data = r.data[8:]
		}
	default:
		it.name = r.string()
		it.a, it.b = uint64(r.last+r.varint()), uint64(r.last+r.varint())
	}
	return true
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.data)
	r.data = r.data[n:]
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.data)
	r.data = r.data[n:]
	return v
}

func (r *reader) string() string {
	if n := r.uvarint(); n > 0 {
		return r.strings[n-1]
	}
	n := r.uvarint()
	s := string(r.data[:n])
	r.data = r.data[n:]
	r.strings = append(r.strings, s)
	return s
}

func (r *reader) tags() []byte {
	if n := r.uvarint(); n > 0 {
		return r.sets[n-1]
	}
	set := []byte{'{'}
	for i := range r.uvarint() {
		if i > 0 {
			set = append(set, ',')
		}
		set = appendJSONString(set, r.string())
		set = append(set, ':')
		set = appendJSONString(set, r.string())
	}
	set = append(set, '}')
	r.sets = append(r.sets, set)
	return set
}
