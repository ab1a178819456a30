package router

import (
	"maps"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ingot/cf"
	"ingot/routing/router/h1"
)

// counts are the router's metrics.
type counts struct {
	requests                                      [6]prometheus.Counter // by the status's first digit; 0 = none was sent
	latency                                       prometheus.Histogram
	refused, handshakes, malformed, panics        prometheus.Counter
	dialErrors, registered, unregistered, ignored prometheus.Counter
	tunnels                                       prometheus.Gauge
}

func newCounts(rt *Router) *counts {
	var all []prometheus.Collector
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "ingot_router_" + name, Help: help})
		all = append(all, c)
		return c
	}
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ingot_router_requests_total", Help: "Requests by class of status."}, []string{"class"})
	c := &counts{
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ingot_router_request_seconds", Help: "Time to serve a request.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}}),
		refused:      counter("connections_refused_total", "Connections closed because there were too many."),
		handshakes:   counter("tls_handshake_errors_total", "TLS handshakes that failed."),
		malformed:    counter("requests_malformed_total", "Requests refused for their form."),
		panics:       counter("panics_total", "Requests that met a fault of the router."),
		dialErrors:   counter("backend_dial_errors_total", "Connections to instances that could not be made."),
		registered:   counter("registrations_total", "Registrations applied, refreshes included."),
		unregistered: counter("unregistrations_total", "Unregistrations applied."),
		ignored:      counter("registrations_ignored_total", "Messages ignored: malformed, or older than what is known."),
		tunnels:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "ingot_router_tunnels", Help: "Upgraded connections."}),
	}
	for i := range c.requests {
		c.requests[i] = requests.WithLabelValues(strconv.Itoa(i) + "xx")
	}
	routes := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "ingot_router_routes", Help: "Routes in the table."},
		func() float64 { return float64(rt.Table.Len()) })
	if rt.Metrics != nil {
		for _, m := range append(all, requests, c.latency, c.tunnels, routes) {
			rt.Metrics.MustRegister(m)
		}
	}
	return c
}

// record counts the exchange and writes its access line into the app's log stream.
func (x *exchange) record() {
	now := time.Now()
	rt := x.c.rt
	rt.counts.requests[min(x.status/100, 5)].Inc()
	rt.counts.latency.Observe(now.Sub(x.start).Seconds())
	if rt.Logs == nil || x.end == nil || x.end.App == "" {
		return
	}
	rt.Logs.Emit(cf.Envelope{Time: now, SourceID: x.end.App, InstanceID: rt.Index, Tags: x.end.Tags,
		Log: &cf.LogLine{Payload: x.accessLine(make([]byte, 0, 768), now)}})
	tags := make(map[string]string, len(x.end.Tags)+10)
	maps.Copy(tags, x.end.Tags)
	tags["peer_type"] = "Server"
	tags["method"] = x.req.Method
	tags["uri"] = x.c.proto() + "://" + x.req.Host + short(x.req.Target)
	tags["status_code"] = strconv.Itoa(x.status)
	tags["request_id"] = x.id
	tags["remote_address"] = x.c.remote
	tags["user_agent"] = short(x.req.Get(h1.UserAgent))
	tags["content_length"] = strconv.FormatInt(x.sent, 10)
	tags["routing_instance_id"] = x.end.Instance
	rt.Logs.Emit(cf.Envelope{Time: now, SourceID: x.end.App, InstanceID: x.end.Index, Tags: tags,
		Timer: &cf.TimerValue{Name: "http", Start: x.start, Stop: now}})
}

// accessLine is gorouter's access line (accesslog/schema of the 2025 gorouter).
func (x *exchange) accessLine(b []byte, now time.Time) []byte {
	b = append(b, x.req.Host...)
	b = append(b, " - ["...)
	b = x.start.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000000Z")
	b = append(b, "] "...)
	b = appendQuoted(b, x.req.Method+" "+limit(x.req.Target, 20000)+" HTTP/1."+string(rune('0'+x.req.Minor)))
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(x.status), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, x.received.Load(), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, x.sent, 10)
	b = appendDash(append(b, ' '), x.req.Get(h1.Referer))
	b = appendDash(append(b, ' '), x.req.Get(h1.UserAgent))
	b = appendDash(append(b, ' '), x.c.remote)
	b = appendDash(append(b, ' '), x.end.Addr)
	forwarded := x.req.Get(h1.ForwardedFor)
	if forwarded != "" {
		forwarded += ", "
	}
	b = appendDash(append(b, " x_forwarded_for:"...), forwarded+x.c.ip)
	b = appendDash(append(b, " x_forwarded_proto:"...), x.c.proto())
	b = appendDash(append(b, " vcap_request_id:"...), x.id)
	total := now.Sub(x.start)
	b = appendSeconds(append(b, " response_time:"...), total)
	own := total
	if !x.gotAt.IsZero() {
		own -= x.gotAt.Sub(x.sentAt)
	}
	b = appendSeconds(append(b, " gorouter_time:"...), own)
	b = appendDash(append(b, " app_id:"...), x.end.App)
	b = appendDash(append(b, " app_index:"...), x.end.Index)
	b = appendDash(append(b, " instance_id:"...), x.end.Instance)
	b = append(b, ` route_service_url:"-" x_cf_routererror:`...)
	return appendDash(b, x.reason)
}

func appendSeconds(b []byte, d time.Duration) []byte {
	return strconv.AppendFloat(b, d.Seconds(), 'f', 6, 64)
}

// appendDash writes a quoted value, "-" for none.
func appendDash(b []byte, s string) []byte {
	if s == "" {
		return append(b, `"-"`...)
	}
	return appendQuoted(b, short(s))
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

// short bounds what one header may take of a line.
func short(s string) string { return limit(s, 1000) }

func limit(s string, n int) string {
	if len(s) > n {
		return s[:n] + "...TRUNCATED"
	}
	return s
}
