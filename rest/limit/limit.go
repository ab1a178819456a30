// Package limit counts requests an hour: each user's, and each address's of those who do not log in.
//
// It promises bounded memory however many addresses ask, and that the windows of two users do not end at the same
// moment. A count lives in this process only: several API processes count each for itself, as Cloud Controller's do
// without Redis. It will not know tokens: the engine tells who asks.
package limit

import (
	"cmp"
	"hash/fnv"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Requests are the limits. The zero value is the platform's: 20,000 an hour for a user, 1,000 for an address.
type Requests struct {
	User    int            // requests an hour of one user or client; 0 = 20,000, negative = no limit
	Address int            // of one address without a valid token; 0 = 1,000, negative = no limit
	Proxies []netip.Prefix // whose X-Forwarded-For is believed, besides the router's word for where a request comes from

	users, addresses counter
}

// State is what the headers X-RateLimit-* tell.
type State struct {
	Limit, Remaining int
	Reset            time.Time // when counting begins anew
	Over             bool      // this request is one too many
}

const (
	window  = time.Hour
	maxKeys = 100_000 // of users and of addresses each, about 10 MB
)

// Hourly is the most requests an hour of one user; negative = no limit.
func (l *Requests) Hourly() int {
	if l.User == 0 {
		return 20_000
	}
	return l.User
}

// Count counts a request of a user, or without one of the request's address. It answers false where nothing is limited.
func (l *Requests) Count(user string, r *http.Request, now time.Time) (State, bool) {
	c, key, most := &l.users, user, l.Hourly()
	if user == "" {
		c, key, most = &l.addresses, l.address(r), cmp.Or(l.Address, 1_000)
	}
	if most < 0 {
		return State{}, false
	}
	n, reset := c.add(key, now)
	return State{Limit: most, Remaining: max(0, most-n), Reset: reset, Over: n > most}, true
}

// address is where the request comes from. Of IPv6 the first 64 bits count: one customer has them all.
func (l *Requests) address(r *http.Request) string {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return "" // all that have none share one count
	}
	addr := at.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for len(hops) > 0 && l.trusted(addr) {
		next, err := netip.ParseAddr(strings.TrimSpace(hops[len(hops)-1]))
		if err != nil {
			break
		}
		addr, hops = next.Unmap(), hops[:len(hops)-1]
	}
	if addr.Is6() {
		p, _ := addr.WithZone("").Prefix(64) // cannot fail: it is IPv6
		return p.String()
	}
	return addr.String()
}

func (l *Requests) trusted(a netip.Addr) bool {
	for _, p := range l.Proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// counter counts by key in windows of an hour.
type counter struct {
	mu   sync.Mutex
	keys map[string]*count
}

type count struct {
	n     int
	reset time.Time
}

func (c *counter) add(key string, now time.Time) (int, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.keys[key]
	if k == nil {
		if len(c.keys) >= maxKeys {
			c.shrink(now)
		}
		if c.keys == nil {
			c.keys = map[string]*count{}
		}
		k = &count{}
		c.keys[key] = k
	}
	if !now.Before(k.reset) || k.reset.Sub(now) > window { // over, or the clock was set back
		k.n, k.reset = 0, ends(key, now)
	}
	k.n++
	return k.n, k.reset
}

// ends is the end of the key's present window: it starts at a moment of the hour that the key decides.
func ends(key string, now time.Time) time.Time {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key)) // never fails
	offset := time.Duration(h.Sum64()%uint64(window/time.Second)) * time.Second
	return now.Add(-offset).Truncate(window).Add(offset + window)
}

// shrink forgets what has ended, and then as many others as make a tenth of the room: whoever comes from 100,000
// addresses is not held up by counting them.
func (c *counter) shrink(now time.Time) {
	for key, k := range c.keys {
		if !now.Before(k.reset) {
			delete(c.keys, key)
		}
	}
	for key := range c.keys {
		if len(c.keys) <= maxKeys-maxKeys/10 {
			return
		}
		delete(c.keys, key)
	}
}
