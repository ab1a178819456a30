// Package trace keeps the B3 headers by which requests are followed through several apps (Zipkin), as gorouter does
// where cf-deployment has it trace. W3C's traceparent passes as it is.
//
// It promises that an instance always sees a trace, the client's own if it sent a whole one. It will not sample or send.
package trace

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strings"

	"ingot/routing/router/h1"
)

// B3 is what one request says. The zero value says nothing.
type B3 struct {
	Single, Trace, Span, Parent string // the fields b3 and X-B3-...
	sampled, flags              string
}

// Note takes a field of the request; false: it is none of a trace's.
func (t *B3) Note(k h1.Kind, v string) bool {
	switch k {
	case h1.B3:
		t.Single = v
	case h1.B3Trace:
		t.Trace = v
	case h1.B3Span:
		t.Span = v
	case h1.B3Parent:
		t.Parent = v
	case h1.B3Sampled:
		t.sampled = v
	case h1.B3Flags:
		t.flags = v
	default:
		return false
	}
	return true
}

// Settle makes what the client did not send. id is the request's, a GUID; it becomes the trace's.
func (t *B3) Settle(id string) {
	switch {
	case t.Single != "" && isSingle(t.Single):
	case t.Trace != "" && t.Span != "":
		if !isTrace(t.Trace) || !isSpan(t.Span) || t.Parent != "" && !isSpan(t.Parent) {
			return // whatever it is, it passes
		}
		t.Single = t.Trace + "-" + t.Span
		if s := t.decision(); s != "" {
			t.Single += "-" + s
			if t.Parent != "" {
				t.Single += "-" + t.Parent
			}
		}
	default:
		t.make(id)
	}
}

func (t *B3) decision() string {
	switch {
	case t.flags == "1":
		return "d"
	case t.sampled == "1" || t.sampled == "true":
		return "1"
	case t.sampled == "0" || t.sampled == "false":
		return "0"
	}
	return ""
}

func (t *B3) make(id string) {
	var b [49]byte
	n := 0
	for i := 0; i < len(id) && n < 32; i++ {
		if id[i] != '-' {
			b[n] = id[i]
			n++
		}
	}
	b[32] = '-'
	var span [8]byte
	binary.LittleEndian.PutUint64(span[:], rand.Uint64()|1) // never 0
	hex.Encode(b[33:], span[:])
	s := string(b[:])
	t.Single, t.Trace, t.Span = s, s[:32], s[33:]
}

// Append writes the fields.
func (t *B3) Append(b []byte) []byte {
	for _, f := range [...]struct{ name, value string }{{"X-B3-TraceId: ", t.Trace}, {"X-B3-SpanId: ", t.Span}, {"X-B3-ParentSpanId: ", t.Parent},
		{"X-B3-Sampled: ", t.sampled}, {"X-B3-Flags: ", t.flags}, {"b3: ", t.Single}} {
		if f.value != "" {
			b = append(append(append(b, f.name...), f.value...), '\r', '\n')
		}
	}
	return b
}

func isHex(s string) bool {
	for i := range len(s) {
		c := s[i]
		if hex := '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'; !hex {
			return false
		}
	}
	return true
}

func isTrace(s string) bool { return (len(s) == 16 || len(s) == 32) && isHex(s) }
func isSpan(s string) bool  { return len(s) == 16 && isHex(s) }

// isSingle checks trace-span, trace-span-decision, and trace-span-decision-parent, or a decision alone.
func isSingle(s string) bool {
	decided := func(s string) bool { return s == "0" || s == "1" || s == "d" }
	p := strings.SplitN(s, "-", 5)
	switch len(p) {
	case 1:
		return decided(s)
	case 2, 3, 4:
		return isTrace(p[0]) && isSpan(p[1]) && (len(p) < 3 || decided(p[2])) && (len(p) < 4 || isSpan(p[3]))
	}
	return false
}
