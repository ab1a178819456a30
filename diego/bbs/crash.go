package bbs

import "time"

// Diego's crash policy (docs: app-lifecycle; ecosystem.md §5.1).
const (
	immediateRestarts = 3
	firstBackoff      = 30 * time.Second // doubles with each crash
	longestBackoff    = 16 * time.Minute
	mostRestarts      = 200
	healthyAfter      = 5 * time.Minute // of running, the count begins anew
)

// restartAfter is how long an instance waits after so many crashes in a row; never means that it is given up.
func restartAfter(crashes int) (wait time.Duration, never bool) {
	switch {
	case crashes <= immediateRestarts:
		return 0, false
	case crashes > mostRestarts:
		return 0, true
	}
	return min(firstBackoff<<min(crashes-immediateRestarts-1, 16), longestBackoff), false
}
