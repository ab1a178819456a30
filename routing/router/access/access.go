// Package access writes gorouter's access line (accesslog/schema of the 2025 gorouter).
//
// It promises that no header of a client can break the line: values are quoted and bounded. It will not send it.
package access

import (
	"strconv"
	"time"

	"ingot/routing/router/trace"
)

// Line is what is said of one request.
type Line struct {
	Host, Method, Target, Proto, Scheme  string
	Status                               int
	Received, Sent                       int64 // body bytes
	Referer, UserAgent, Remote, Endpoint string
	ForwardedFor, ID, Reason             string
	Start                                time.Time
	Total, Own                           time.Duration // of the request, and of it what the router took
	App, Index, Instance                 string
	B3                                   *trace.B3
}

// Append writes the line.
func (l *Line) Append(b []byte) []byte {
	b = append(b, l.Host...)
	b = append(b, " - ["...)
	b = l.Start.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000000Z")
	b = append(b, "] "...)
	b = appendQuoted(b, l.Method+" "+limit(l.Target, 20000)+" "+l.Proto)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(l.Status), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, l.Received, 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, l.Sent, 10)
	b = appendDash(append(b, ' '), l.Referer)
	b = appendDash(append(b, ' '), l.UserAgent)
	b = appendDash(append(b, ' '), l.Remote)
	b = appendDash(append(b, ' '), l.Endpoint)
	b = appendDash(append(b, " x_forwarded_for:"...), l.ForwardedFor)
	b = appendDash(append(b, " x_forwarded_proto:"...), l.Scheme)
	b = appendDash(append(b, " vcap_request_id:"...), l.ID)
	b = appendSeconds(append(b, " response_time:"...), l.Total)
	b = appendSeconds(append(b, " gorouter_time:"...), l.Own)
	b = appendDash(append(b, " app_id:"...), l.App)
	b = appendDash(append(b, " app_index:"...), l.Index)
	b = appendDash(append(b, " instance_id:"...), l.Instance)
	b = append(b, ` route_service_url:"-" x_cf_routererror:`...)
	b = appendDash(b, l.Reason)
	b = appendDash(append(b, " x_b3_traceid:"...), l.B3.Trace)
	b = appendDash(append(b, " x_b3_spanid:"...), l.B3.Span)
	b = appendDash(append(b, " x_b3_parentspanid:"...), l.B3.Parent)
	return appendDash(append(b, " b3:"...), l.B3.Single)
}

func appendSeconds(b []byte, d time.Duration) []byte {
	return strconv.AppendFloat(b, d.Seconds(), 'f', 6, 64)
}

// appendDash writes a quoted value, "-" for none.
func appendDash(b []byte, s string) []byte {
	if s == "" {
		return append(b, `"-"`...)
	}
	return appendQuoted(b, Short(s))
}

func appendQuoted(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return strconv.AppendQuote(b, s)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// Short bounds what one header may take of a line.
func Short(s string) string { return limit(s, 1000) }

func limit(s string, n int) string {
	if len(s) > n {
		return s[:n] + "...TRUNCATED"
	}
	return s
}
