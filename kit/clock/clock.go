// Package clock measures time by a clock that nobody can set.
//
// It promises that what is compared by Nanos is not moved by a step of the machine's clock, by hand, by NTP or after a
// sleep of the machine, while the process runs. Whatever outlives the process cannot be measured so.
package clock

import "time"

// base is a moment with both of Go's clock readings.
var base = time.Now()

// Nanos is t in nanoseconds since 1970, as the wall clock would have it had nobody set it since the process began. Only a
// t of time.Now knows that; of another t it is what the wall clock said.
func Nanos(t time.Time) int64 { return base.UnixNano() + int64(t.Sub(base)) }
