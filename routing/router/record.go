package router

import (
	"maps"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ingot/cf"
	"ingot/routing/router/access"
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
	tags["uri"] = x.c.proto() + "://" + x.req.Host + access.Short(x.req.Target)
	tags["status_code"] = strconv.Itoa(x.status)
	tags["request_id"] = x.id
	tags["remote_address"] = x.c.remote
	tags["user_agent"] = access.Short(x.req.Get(h1.UserAgent))
	tags["content_length"] = strconv.FormatInt(x.sent, 10)
	tags["routing_instance_id"] = x.end.Instance
	rt.Logs.Emit(cf.Envelope{Time: now, SourceID: x.end.App, InstanceID: x.end.Index, Tags: tags,
		Timer: &cf.TimerValue{Name: "http", Start: x.start, Stop: now}})
}

// accessLine is the exchange in gorouter's form.
func (x *exchange) accessLine(b []byte, now time.Time) []byte {
	l := access.Line{Host: x.req.Host, Method: x.req.Method, Target: x.req.Target, Proto: x.c.version(x.req.Minor), Scheme: x.c.proto(),
		Status: x.status, Received: x.received.Load(), Sent: x.sent, Referer: x.req.Get(h1.Referer), UserAgent: x.req.Get(h1.UserAgent),
		Remote: x.c.remote, Endpoint: x.end.Addr, ForwardedFor: x.c.ip, ID: x.id, Reason: x.reason, Start: x.start, Total: now.Sub(x.start),
		App: x.end.App, Index: x.end.Index, Instance: x.end.Instance, B3: &x.b3}
	if f := x.req.Get(h1.ForwardedFor); f != "" {
		l.ForwardedFor = f + ", " + x.c.ip
	}
	if l.Own = l.Total; !x.gotAt.IsZero() {
		l.Own -= x.gotAt.Sub(x.sentAt)
	}
	return l.Append(b)
}
