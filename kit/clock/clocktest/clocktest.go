// Package clocktest makes the times that time.Now gives after somebody has set the clock.
package clocktest

import (
	"time"
	"unsafe"
)

// Stepped is t, a time of time.Now, as it would be had the wall clock been moved by whole seconds meanwhile: its wall
// reading differs from t's, its monotonic one does not. There is no other way to such a time than to set the clock.
func Stepped(t time.Time, by time.Duration) time.Time {
	const monotonic, nanoseconds = 1 << 63, 30 // time.Time's first word: a flag, seconds, nanoseconds
	wall := (*uint64)(unsafe.Pointer(&t))
	if *wall&monotonic == 0 {
		panic("clocktest: a time without a monotonic reading")
	}
	*wall += uint64(int64(by/time.Second)) << nanoseconds
	return t
}
