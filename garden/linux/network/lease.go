package network

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"

	"ingot/cf"
)

// Host ports that containers' ports are offered at.
const (
	firstPort = 61000
	lastPort  = 65000
)

// maxSlots bounds the containers of one host; a slot is also a range of user ids.
const maxSlots = 4096

// Lease is what a container holds of the host: a slot, the address that belongs to it, and host ports.
type Lease struct {
	Slot    int              `json:"slot"`
	Address netip.Addr       `json:"address"`
	Ports   []cf.PortMapping `json:"ports"`
}

// Leases hands out slots and ports, the longest unused first, so that a late packet for a dead container meets nobody.
type Leases struct {
	Network netip.Prefix

	mu       sync.Mutex
	held     map[string]Lease
	slots    map[int]bool
	ports    map[int]bool
	nextSlot int
	nextPort int
}

// Gateway is the address that containers know the host by, the first of a network.
func Gateway(n netip.Prefix) netip.Addr { return n.Masked().Addr().Next() }

func (l *Leases) address(slot int) netip.Addr {
	b := l.Network.Masked().Addr().As4()
	return number(binary.BigEndian.Uint32(b[:]) + 2 + uint32(slot))
}

// Size is the number of slots.
func (l *Leases) Size() int {
	return min(maxSlots, 1<<(32-l.Network.Bits())-3) // without the network's own, the gateway and broadcast
}

func (l *Leases) init() {
	if l.held == nil {
		l.held, l.slots, l.ports = map[string]Lease{}, map[int]bool{}, map[int]bool{}
	}
}

// Take leases for a handle; taking again the same ports gives the same lease.
func (l *Leases) Take(handle string, ports []int) (Lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.init()
	if old, ok := l.held[handle]; ok {
		if slices.EqualFunc(old.Ports, ports, func(m cf.PortMapping, p int) bool { return m.Container == p }) {
			return old, nil
		}
		return Lease{}, cf.Errorf(cf.KindConflict, "", "container %s holds other ports", handle)
	}
	slot, ok := free(l.slots, l.nextSlot, l.Size())
	if !ok || len(ports) > lastPort-firstPort+1-len(l.ports) {
		return Lease{}, cf.Errorf(cf.KindNoRoom, "", "no address or port is left for container %s", handle)
	}
	out := Lease{Slot: slot, Address: l.address(slot)}
	l.slots[slot], l.nextSlot = true, slot+1
	for _, p := range ports {
		n, _ := free(l.ports, l.nextPort, lastPort-firstPort+1) // there are enough, see above
		l.ports[n], l.nextPort = true, n+1
		out.Ports = append(out.Ports, cf.PortMapping{Container: p, Host: firstPort + n})
	}
	l.held[handle] = out
	return out, nil
}

// Restore takes up the lease of a container that is there already.
func (l *Leases) Restore(handle string, old Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.init()
	l.held[handle], l.slots[old.Slot] = old, true
	l.nextSlot = max(l.nextSlot, old.Slot+1)
	for _, p := range old.Ports {
		l.ports[p.Host-firstPort] = true
		l.nextPort = max(l.nextPort, p.Host-firstPort+1)
	}
}

// Held gives the lease of a handle.
func (l *Leases) Held(handle string) (Lease, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out, ok := l.held[handle]
	return out, ok
}

// Give gives back what a handle holds.
func (l *Leases) Give(handle string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old, ok := l.held[handle]
	if !ok {
		return
	}
	delete(l.held, handle)
	delete(l.slots, old.Slot)
	for _, p := range old.Ports {
		delete(l.ports, p.Host-firstPort)
	}
}

// free finds the first number from next on, round about, that is not used.
func free(used map[int]bool, next, size int) (int, bool) {
	for i := range size {
		if n := (next + i) % size; !used[n] {
			return n, true
		}
	}
	return 0, false
}

func number(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}
