package limit

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"
)

func from(remote string, forwarded ...string) *http.Request {
	r := &http.Request{RemoteAddr: remote, Header: http.Header{}}
	r.Header["X-Forwarded-For"] = forwarded
	return r
}

func TestCount(t *testing.T) {
	l := &Requests{User: 3, Address: 2}
	now := time.Now()
	for i, want := range []State{{Limit: 3, Remaining: 2}, {Limit: 3, Remaining: 1}, {Limit: 3}, {Limit: 3, Over: true}} {
		got, ok := l.Count("joe", nil, now)
		if left := got.Reset.Sub(now); !ok || left <= 0 || left > time.Hour {
			t.Errorf("request %d: window ends in %v", i, left)
		}
		if got.Reset = (time.Time{}); got != want {
			t.Errorf("request %d: %+v, want %+v", i, got, want)
		}
	}
	if s, _ := l.Count("ann", nil, now); s.Over || s.Remaining != 2 {
		t.Errorf("another user: %+v", s)
	}
	over, _ := l.Count("joe", nil, now)
	if s, _ := l.Count("joe", nil, over.Reset.Add(-time.Nanosecond)); !s.Over {
		t.Errorf("at the window's end: %+v", s)
	}
	if s, _ := l.Count("joe", nil, over.Reset); s.Remaining != 2 || s.Reset != over.Reset.Add(time.Hour) {
		t.Errorf("in the next window: %+v after %v", s, over.Reset)
	}
	if s, _ := l.Count("joe", nil, now.Add(-2*time.Hour)); s.Remaining != 2 || s.Reset.Sub(now.Add(-2*time.Hour)) > time.Hour {
		t.Errorf("the clock was set back: %+v", s)
	}
	none := &Requests{User: -1, Address: -1}
	if _, ok := none.Count("joe", nil, now); ok {
		t.Error("a limit where there is none")
	}
	var def Requests
	u, _ := def.Count("joe", nil, now)
	a, _ := def.Count("", from("1.2.3.4:5"), now)
	if u.Limit != 20_000 || a.Limit != 1_000 {
		t.Errorf("the platform's limits are %d and %d", u.Limit, a.Limit)
	}
}

func TestAddress(t *testing.T) {
	l := &Requests{Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for _, c := range []struct {
		r    *http.Request
		want string
	}{
		{from("1.2.3.4:5"), "1.2.3.4"},
		{from("1.2.3.4:5", "9.9.9.9"), "1.2.3.4"}, // anybody can say that
		{from("10.0.0.1:5", "9.9.9.9, 1.2.3.4"), "1.2.3.4"},
		{from("10.0.0.1:5", "9.9.9.9", "1.2.3.4, 10.0.0.7"), "1.2.3.4"},
		{from("10.0.0.1:5", "forged"), "10.0.0.1"},
		{from("10.0.0.1:5"), "10.0.0.1"},
		{from("[2001:db8::1]:5"), "2001:db8::/64"}, {from("[2001:db8::ffff:2]:5"), "2001:db8::/64"}, {from("[2001:db8:0:1::1]:5"), "2001:db8:0:1::/64"},
		{from("[::ffff:1.2.3.4]:5"), "1.2.3.4"}, {from("pipe"), ""},
	} {
		if got := l.address(c.r); got != c.want {
			t.Errorf("%s %v: %q, want %q", c.r.RemoteAddr, c.r.Header, got, c.want)
		}
	}
}

// TestBounded: however many ask, memory is bounded, and who has a count keeps it while there is room.
func TestBounded(t *testing.T) {
	var c counter
	now := time.Now()
	for i := range 3 * maxKeys {
		c.add(fmt.Sprint(i), now)
	}
	if n := len(c.keys); n > maxKeys || n < maxKeys/2 {
		t.Errorf("%d keys are kept", n)
	}
	c.add("late", now.Add(2*time.Hour))
	c.shrink(now.Add(2 * time.Hour))
	if len(c.keys) != 1 {
		t.Errorf("%d keys are kept after their end", len(c.keys))
	}
}

// TestSpread: the windows of many users end all over the hour.
func TestSpread(t *testing.T) {
	now, minutes := time.Now(), map[int]bool{}
	for i := range 2000 {
		minutes[ends(fmt.Sprint(i), now).Minute()] = true
	}
	if len(minutes) != 60 {
		t.Errorf("windows end in %d minutes of the hour", len(minutes))
	}
}
