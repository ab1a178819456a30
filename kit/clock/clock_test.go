package clock

import (
	"testing"
	"time"

	"ingot/kit/clock/clocktest"
)

func TestNanosKnowsNoSteps(t *testing.T) {
	now := time.Now()
	later := now.Add(5 * time.Second)
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		stepped := clocktest.Stepped(later, by)
		if got := stepped.Round(0).Sub(now.Round(0)); got != 5*time.Second+by { // the wall clock's view
			t.Fatalf("stepped by %s, not %s", got-5*time.Second, by)
		}
		if got := Nanos(stepped) - Nanos(now); got != int64(5*time.Second) {
			t.Errorf("clock moved by %s: %s passed", by, time.Duration(got))
		}
	}
	past := time.Unix(50, 0) // without a monotonic reading: by the wall clock
	if got := Nanos(past.Add(time.Minute)) - Nanos(past); got != int64(time.Minute) {
		t.Errorf("%s passed", time.Duration(got))
	}
}
