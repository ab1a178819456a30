// Package line turns the output of a container into log lines, as Diego's executor does: split at line ends, at most 60 KiB a
// line, under the instance's rate limit.
//
// It promises that a flood costs the host little (see pace): who writes faster than that is held up a little with each
// Write. What is over the instance's limit, or what the log pipeline cannot take, is dropped. It will not keep lines.
package line

import (
	"bytes"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/time/rate"

	"ingot/cf"
)

// most is the longest line in bytes; what is longer becomes several lines. (Diego: MAX_MESSAGE_SIZE.)
const most = 61440

// pause is how long nothing is taken after the rate limit was exceeded.
const pause = time.Second

// Log is the log of one container.
type Log struct {
	crowd    *Crowd
	logs     cf.Logs
	app      cf.AppID
	instance string
	limit    int64
	sheds    bool          // drops what is over the pace
	bytes    atomic.Uint64 // taken from the app so far

	mu     sync.Mutex
	bucket *rate.Limiter
	over   time.Time // when the limit was last exceeded
	pace   pace
	lost   loss
	tags   map[string]string
	by     map[string]map[string]string // tags with each source type
}

// Log makes the log of an instance (its index) of app. limit is in bytes a second: -1 = unlimited, 0 = nothing may be logged.
func (c *Crowd) Log(logs cf.Logs, app cf.AppID, instance string, tags map[string]string, limit int64) *Log {
	l := &Log{crowd: c, logs: logs, app: app, instance: instance, limit: limit, bucket: rate.NewLimiter(rate.Inf, 0)}
	if limit >= 0 {
		l.bucket = rate.NewLimiter(rate.Limit(limit), int(min(limit, 1<<30)))
	}
	l.Retag(tags)
	return l
}

// Shed makes the log of a program that must get done in time: what is over the pace is dropped, and nobody waits for it.
func (l *Log) Shed() { l.sheds = true }

// Retag changes the tags of the lines to come.
func (l *Log) Retag(tags map[string]string) {
	tags = maps.Clone(tags)
	if tags == nil {
		tags = map[string]string{}
	}
	tags["instance_id"] = l.instance
	tags["origin"] = "rep"
	if tags["source_id"] == "" {
		tags["source_id"] = string(l.app)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tags, l.by = tags, map[string]map[string]string{}
}

// Tags are the tags of metrics; they are never changed.
func (l *Log) Tags() map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tags
}

// Bytes is how much of the app's output was taken so far; Limit is what it may log a second.
func (l *Log) Bytes() uint64 { return l.bytes.Load() }

// Limit is what the app may log a second, in bytes.
func (l *Log) Limit() int64 { return l.limit }

// Tell writes a line of the platform's; no limit holds for it.
func (l *Log) Tell(source, format string, args ...any) {
	l.emit(source, fmt.Appendf(nil, format, args...), false)
}

// Warn is Tell on stderr.
func (l *Log) Warn(source, format string, args ...any) {
	l.emit(source, fmt.Appendf(nil, format, args...), true)
}

func (l *Log) emit(source string, payload []byte, stderr bool) {
	l.mu.Lock()
	tags := l.by[source]
	if tags == nil {
		tags = maps.Clone(l.tags)
		tags["source_type"] = source
		l.by[source] = tags
	}
	l.mu.Unlock()
	l.logs.Emit(cf.Envelope{Time: time.Now(), SourceID: string(l.app), InstanceID: l.instance, Tags: tags, Log: &cf.LogLine{Payload: payload, Err: stderr}})
}

// allow takes n bytes out of the bucket. It tells the app's developer each time that the bucket runs dry.
func (l *Log) allow(source string, n int) bool {
	if l.limit < 0 {
		l.bytes.Add(uint64(n))
		return true
	}
	now := time.Now()
	l.mu.Lock()
	if l.limit == 0 || now.Sub(l.over) < pause {
		l.mu.Unlock()
		return false
	}
	ok := l.bucket.AllowN(now, n)
	if !ok {
		l.over = now
	}
	l.mu.Unlock()
	if !ok {
		l.Tell(source, "app instance exceeded log rate limit (%d bytes/sec)", l.limit)
		return false
	}
	l.bytes.Add(uint64(n))
	return true
}

// Writer takes one stream of a program. It is for one goroutine at a time, as streams are; Flush may be called beside it.
type Writer struct {
	log    *Log
	source string
	stderr bool
	mu     sync.Mutex
	part   []byte // of a line that has not ended
	cut    bool   // what comes is not the beginning of a line
}

// Writer makes the writer of a stream.
func (l *Log) Writer(source string, stderr bool) *Writer {
	return &Writer{log: l, source: source, stderr: stderr}
}

// Write takes output as it comes, and then waits as the pace asks.
func (w *Writer) Write(p []byte) (int, error) {
	n := 0
	if w.log.sheds {
		n = w.shed(p)
	}
	if n < len(p) {
		w.log.rest(w.take(p[n:]))
	}
	return len(p), nil
}

// shed drops the beginning of p that is over the pace, up to the end of a line, and gives its length.
func (w *Writer) shed(p []byte) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch i := bytes.IndexByte(p, '\n'); {
	case w.log.floods():
		w.flush()
		n, w.cut = len(p), true
	case w.cut && i < 0:
		n = len(p)
	case w.cut:
		n, w.cut = i+1, false
	}
	if n > 0 {
		w.log.Lost(uint64(n))
	}
	return n
}

// take gives what p costs.
func (w *Writer) take(p []byte) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	cost := len(p)
	for len(p) > 0 {
		line, rest, ended := bytes.Cut(p, []byte{'\n'})
		for returned := true; returned; {
			var part []byte
			part, line, returned = bytes.Cut(line, []byte{'\r'})
			cost += w.add(part)
			if returned || ended {
				cost += w.flush()
			}
		}
		p = rest
	}
	return cost
}

// add grows the line; whole lines of most bytes leave at once, cut between characters.
func (w *Writer) add(p []byte) (cost int) {
	for len(w.part)+len(p) >= most {
		room := most - len(w.part)
		cut := room
		for back := 0; back < utf8.UTFMax-1 && cut > 1 && cut < len(p) && !utf8.RuneStart(p[cut]); back++ {
			cut--
		}
		w.part = append(w.part, p[:cut]...)
		cost += w.flush()
		p = p[cut:]
	}
	w.part = append(w.part, p...)
	return cost
}

// Flush ends the line that has begun.
func (w *Writer) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flush()
}

func (w *Writer) flush() (cost int) {
	if len(w.part) == 0 {
		return 0
	}
	if w.log.allow(w.source, len(w.part)) {
		w.log.emit(w.source, w.part, w.stderr)
		w.part, cost = nil, lineCost // the line has it now
	}
	if cap(w.part) > 4096 {
		w.part = nil // an idle instance holds no large buffer
	}
	w.part = w.part[:0]
	return cost
}
