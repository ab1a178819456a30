package line

import (
	"sync/atomic"
	"time"

	"ingot/cf"
)

// What is taken of one container, in bytes a second, where a line costs lineCost bytes more: about 80,000 short lines or 20 MB
// in a second, and no more than about 15,000 or 4 MB a second for long. A flood so takes some hundredths of a core. (In
// Cloud Foundry nothing limits an app without a log rate limit but what Loggregator then drops.)
const (
	lineCost = 256
	peak     = 20 << 20
	mean     = 4 << 20
	atOnce   = 50 * time.Millisecond // of peak
	atFirst  = 8 * time.Second       // of mean: 32 MB, or more lines than the log cache keeps
	sharing  = 4                     // containers that flood at the same time share mean, but each may have this part of it
)

// Crowd is the containers of one host. Its zero value works.
type Crowd struct{ floods atomic.Int64 }

// pace is until when what was taken lasts, at either rate.
type pace struct{ peak, mean time.Time }

// take counts cost, and tells how long to wait with the next one and whether it is for the long run.
func (p *pace) take(now time.Time, cost, crowd int) (wait time.Duration, floods bool) {
	p.peak = spend(p.peak, now.Add(-atOnce), cost, peak)
	p.mean = spend(p.mean, now.Add(-atFirst), cost*min(max(crowd, 1), sharing), mean)
	return max(p.peak.Sub(now), p.mean.Sub(now)), p.mean.After(now)
}

func spend(until, earliest time.Time, cost, rate int) time.Time {
	if until.Before(earliest) {
		until = earliest
	}
	return until.Add(time.Duration(cost) * time.Second / time.Duration(rate))
}

// rest waits as the pace asks.
func (l *Log) rest(cost int) {
	l.mu.Lock()
	wait, floods := l.pace.take(time.Now(), cost, int(l.crowd.floods.Load()))
	l.mu.Unlock()
	if wait <= 0 || floods && l.sheds {
		return
	}
	if floods {
		l.crowd.floods.Add(1)
		defer l.crowd.floods.Add(-1)
	}
	time.Sleep(wait)
}

// floods tells whether the log has been over its mean for long.
func (l *Log) floods() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pace.mean.After(time.Now())
}

// loss is output that was dropped before it got here.
type loss struct {
	bytes uint64 // not told of yet
	told  time.Time
}

// Lost tells the app's developer, at most once a second, that so many bytes were dropped.
func (l *Log) Lost(bytes uint64) { l.lose(bytes, time.Second) }

func (l *Log) lose(bytes uint64, pause time.Duration) {
	l.mu.Lock()
	l.lost.bytes += bytes
	n := l.lost.bytes
	if time.Since(l.lost.told) < pause {
		n = 0
	}
	if n > 0 {
		l.lost = loss{told: time.Now()}
	}
	l.mu.Unlock()
	if n > 0 {
		l.Warn(cf.SourceLog, "Log message output is too high. %d bytes dropped.", n)
	}
}
