package table

import (
	"hash/maphash"
	"sync/atomic"
)

// seed makes the hashes of this process its own, so that nobody can choose names that collide.
var seed = maphash.MakeSeed()

func hash(b []byte) uint64 { return maphash.Bytes(seed, b) }

// index is an open-addressed hash set of entries by their key. Readers take no lock; writers take turns (Table.mu).
// Entries are never taken out: those that are dead may be revived until a growth leaves them behind.
type index[T any, P entry[T]] struct {
	slots atomic.Pointer[[]atomic.Pointer[T]]
	used  int
}

type entry[T any] interface {
	*T
	key() string
	dead() bool
}

func (x *index[T, P]) get(key []byte) P {
	if s := x.slots.Load(); s != nil {
		for i := hash(key); ; i++ {
			v := (*s)[i&uint64(len(*s)-1)].Load()
			if v == nil || P(v).key() == string(key) {
				return v
			}
		}
	}
	return nil
}

// put adds v, or sets it in the place of the entry with its key.
func (x *index[T, P]) put(v P) {
	s := x.slots.Load()
	if s == nil || (x.used+1)*4 > len(*s)*3 {
		s = x.grow()
	}
	if place(*s, v) {
		x.used++
	}
}

func place[T any, P entry[T]](s []atomic.Pointer[T], v P) (added bool) {
	for i := maphash.String(seed, v.key()); ; i++ {
		slot := &s[i&uint64(len(s)-1)]
		if old := slot.Load(); old == nil || P(old).key() == v.key() {
			slot.Store(v)
			return old == nil
		}
	}
}

// grow publishes a copy without the dead, at most half full.
func (x *index[T, P]) grow() *[]atomic.Pointer[T] {
	live, size := 0, 8
	x.each(func(v P) {
		if !v.dead() {
			live++
		}
	})
	for size < (live+1)*2 {
		size *= 2
	}
	s := make([]atomic.Pointer[T], size)
	x.each(func(v P) {
		if !v.dead() {
			place(s, v)
		}
	})
	x.used = live
	x.slots.Store(&s)
	return &s
}

func (x *index[T, P]) each(f func(P)) {
	s := x.slots.Load()
	if s == nil {
		return
	}
	for i := range *s {
		if v := (*s)[i].Load(); v != nil {
			f(v)
		}
	}
}
