package cf

import (
	"context"
	"time"
)

// Envelope is one log line or metric, in the terms of loggregator v2. Exactly one of Log, Gauge, Counter, Timer is set.
type Envelope struct {
	Time       time.Time
	SourceID   string // app guid, or the name of a platform part
	InstanceID string
	Tags       map[string]string // shared between envelopes: never changed after Emit
	Log        *LogLine
	Gauge      map[string]GaugeValue
	Counter    *CounterValue
	Timer      *TimerValue
}

// LogLine is one line of output without its newline.
type LogLine struct {
	Payload []byte
	Err     bool // stderr
}

// GaugeValue is a number and its unit, such as percentage or bytes.
type GaugeValue struct {
	Unit  string
	Value float64
}

// CounterValue is a counter's growth and sum.
type CounterValue struct {
	Name         string
	Delta, Total uint64
}

// TimerValue is a span of time.
type TimerValue struct {
	Name        string
	Start, Stop time.Time
}

// Logs is the door into the log pipeline. Emit never blocks and never fails; what cannot be taken is counted as dropped.
type Logs interface {
	Emit(e Envelope)
}

// LogFollowers is the door to who follows logs just now.
type LogFollowers interface {
	// CatchUp waits until the clients of who that follow the source's log have taken the lines up to said, at most for
	// limit; not at all where there are none. A client takes a line some time after it could: the CLI after 2 s.
	CatchUp(ctx context.Context, source string, who Identity, said time.Time, limit time.Duration)
}

// Source types of log lines: the tag "source_type".
const (
	SourceAPI    = "API"  // Cloud Controller
	SourceStage  = "STG"  // staging
	SourceRouter = "RTR"  // access lines
	SourceCell   = "CELL" // the cell, about a container
	SourceApp    = "APP"  // followed by /PROC/WEB or /TASK/name
	SourceLog    = "LGR"  // Loggregator, about lines that were lost
)

// AppLine makes a log envelope of a platform part about an app.
func AppLine(app AppID, source, instance, text string, stderr bool) Envelope {
	return Envelope{
		Time: time.Now(), SourceID: string(app), InstanceID: instance,
		Tags: map[string]string{"source_type": source},
		Log:  &LogLine{Payload: []byte(text), Err: stderr},
	}
}
