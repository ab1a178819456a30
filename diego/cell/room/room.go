// Package room counts what of a host is given away.
//
// It promises not to give away more than there is, nor more disk than is really free. It will not measure the host.
package room

import (
	"errors"
	"maps"
	"sync"

	"ingot/cf"
)

// ErrNone is of work that was taken and for which there is no room after all.
var ErrNone = errors.New("insufficient resources")

// Room is the room of one host.
type Room struct {
	Total cf.Resources
	// Disk is what the real disk has for containers now, in MB, whatever of it they have taken: it shrinks when others fill it.
	Disk func() int

	mu   sync.Mutex
	held map[string]cf.Resources // by handle
}

// Free is what is left, by what was given away and by the real disk.
func (r *Room) Free() cf.Resources {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.free()
}

func (r *Room) free() cf.Resources {
	f := r.Total
	f.DiskMB = min(f.DiskMB, r.Disk())
	for h := range maps.Values(r.held) {
		f.MemoryMB -= h.MemoryMB
		f.DiskMB -= h.DiskMB
		f.Containers--
	}
	f.DiskMB = max(f.DiskMB, 0)
	return f
}

// Take gives room to a handle, or says in Diego's words what is missing.
func (r *Room) Take(handle string, l cf.Limits) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, missing := r.free(), ""
	switch {
	case l.MemoryMB > f.MemoryMB:
		missing = "memory"
	case l.DiskMB > f.DiskMB:
		missing = "disk"
	case f.Containers < 1:
		missing = "containers"
	}
	if missing != "" {
		return cf.Errorf(cf.KindNoRoom, "InsufficientResources", "%s: %s", ErrNone, missing)
	}
	r.hold(handle, l)
	return nil
}

// Hold is Take for what stands already: it is counted even where there is too little.
func (r *Room) Hold(handle string, l cf.Limits) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hold(handle, l)
}

func (r *Room) hold(handle string, l cf.Limits) {
	if r.held == nil {
		r.held = map[string]cf.Resources{}
	}
	r.held[handle] = cf.Resources{MemoryMB: l.MemoryMB, DiskMB: l.DiskMB, Containers: 1}
}

// Ended takes the memory back of a handle whose program ended; its disk and its container are taken until Give.
func (r *Room) Ended(handle string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h, ok := r.held[handle]; ok {
		h.MemoryMB = 0
		r.held[handle] = h
	}
}

// Give takes the room back; twice is no error.
func (r *Room) Give(handle string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.held, handle)
}
