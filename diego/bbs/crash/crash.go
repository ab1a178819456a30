// Package crash is Diego's policy of crashes (docs: app-lifecycle; ecosystem.md §5.1). It promises to be pure.
package crash

import "time"

const (
	Immediate = 3 // restarts without a wait
	first     = 30 * time.Second
	Longest   = 16 * time.Minute // wait, which doubles with each crash until then
	most      = 200              // restarts
	Healthy   = 5 * time.Minute  // of running, the count begins anew
)

// RestartAfter is how long an instance waits after so many crashes in a row; never means that it is given up.
func RestartAfter(crashes int) (wait time.Duration, never bool) {
	switch {
	case crashes <= Immediate:
		return 0, false
	case crashes > most:
		return 0, true
	}
	return min(first<<min(crashes-Immediate-1, 16), Longest), false
}
