package table

import (
	"testing"
	"time"

	"ingot/kit/clock/clocktest"
)

// TestClockIsSet: who sets the machine's clock, or lets it sleep, moves no route and no memory of failures.
func TestClockIsSet(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		var tb Table
		now := time.Now()
		lease := tb.Register(reg("10.0.0.1", "i", "a.test"), now)
		pool := tb.Lookup("a.test", "/")
		if n := tb.Prune(clocktest.Stepped(now.Add(5*time.Second), by)); n != 0 || pool.Len() != 1 {
			t.Errorf("clock moved by %s: %d pruned", by, n)
		}
		if !lease.Refresh(clocktest.Stepped(now.Add(20*time.Second), by)) {
			t.Errorf("clock moved by %s: not refreshed", by)
		}
		if n := tb.Prune(clocktest.Stepped(now.Add(141*time.Second), by)); n != 1 { // 120 s after the refresh
			t.Errorf("clock moved by %s: %d of what is stale were pruned", by, n)
		}
		e := &Endpoint{}
		e.Failed(now)
		for after, failing := range map[time.Duration]bool{failFor - time.Second: true, failFor + time.Second: false} {
			p := Pool{}
			p.put(&Lease{end: e})
			if _, got, _ := pickFrom(p.leases(), 0, Pick{Now: clocktest.Stepped(now.Add(after), by)}, false); got != failing {
				t.Errorf("clock moved by %s: failing %t after %s", by, got, after)
			}
		}
	}
}
