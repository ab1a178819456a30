package run

import "sync"

// Keyed is a lock for each key; keys that nobody holds take no room. The zero value is ready.
type Keyed struct {
	mu  sync.Mutex
	all map[string]*held
}

type held struct {
	sync.Mutex
	users int
}

// Lock holds the key until the returned func is called.
func (k *Keyed) Lock(key string) func() {
	k.mu.Lock()
	if k.all == nil {
		k.all = map[string]*held{}
	}
	h := k.all[key]
	if h == nil {
		h = &held{}
		k.all[key] = h
	}
	h.users++
	k.mu.Unlock()
	h.Lock()
	return func() {
		h.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if h.users--; h.users == 0 {
			delete(k.all, key)
		}
	}
}
