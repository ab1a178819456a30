package rlp

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"ingot/cf"
)

// API answers for log-stream. (Gateway) and doppler. (TrafficController). All fields but the times must be set.
type API struct {
	Hub     *Hub
	Tokens  cf.Tokens
	MayRead func(ctx context.Context, who cf.Identity, sourceID string) bool // for those without a scope for all sources

	Heartbeat time.Duration // of a silent stream, 10 s
	Lifetime  time.Duration // of a stream; clients connect again; 10 min
}

// Times of a stream.
const (
	writeTimeout = 10 * time.Second // of one batch: who does not read is disconnected
	batchSize    = 100
)

func (a *API) heartbeat() time.Duration { return cmp.Or(a.Heartbeat, 10*time.Second) }

// who checks the token. Some clients send it without the word.
func (a *API) who(r *http.Request) (cf.Identity, error) {
	token := strings.TrimSpace(r.Header.Get("Authorization"))
	if kind, rest, ok := strings.Cut(token, " "); ok && strings.EqualFold(kind, "bearer") {
		token = strings.TrimSpace(rest)
	}
	return a.Tokens.Verify(r.Context(), token)
}

// all tells whether the token reads every source.
func all(id cf.Identity) bool { return id.Has("logs.admin") || id.Has("doppler.firehose") }

// Gateway serves GET /v2/read (loggregator-release, docs/rlp_gateway.md).
func (a *API) Gateway() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /v2/read", a.read)
	m.HandleFunc("/v2/read", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, 405, "method_not_allowed", "method not allowed")
	})
	m.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { missing(w) })
	return m
}

func refuse(w http.ResponseWriter, code int, name, text string) {
	b, _ := json.Marshal(map[string]string{"error": name, "message": text}) // strings always marshal
	http.Error(w, string(b), code)
}

// missing is the answer to whoever may not, too.
func missing(w http.ResponseWriter) { refuse(w, 404, "not_found", "resource not found") }

func (a *API) read(w http.ResponseWriter, r *http.Request) {
	id, err := a.who(r)
	q := r.URL.Query()
	sources := q["source_id"]
	may := err == nil && (all(id) || len(sources) > 0 && !slices.ContainsFunc(sources, func(s string) bool { return !a.MayRead(r.Context(), id, s) }))
	if !may {
		missing(w)
		return
	}
	want, name, text := selector(q)
	if want == nil {
		refuse(w, 400, name, text)
		return
	}
	shard := q.Get("shard_id")
	if shard == "" {
		shard = rand.Text()
	}
	q.Del("shard_id")
	s, err := a.Hub.open("gateway/"+shard+"?"+string(id.UserID)+id.Client+"?"+q.Encode(), want)
	if err != nil {
		refuse(w, 503, "too_many_streams", err.Error())
		return
	}
	defer s.close()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	a.events(w, r, s)
}

// events writes the stream until the client or its time ends.
func (a *API) events(w http.ResponseWriter, r *http.Request, s *stream) {
	out := http.NewResponseController(w)
	ctx, cancel := context.WithTimeout(r.Context(), cmp.Or(a.Lifetime, 10*time.Minute))
	defer cancel()
	send := func(format string, args ...any) bool {
		_ = out.SetWriteDeadline(time.Now().Add(writeTimeout)) // where it cannot be set there is none
		_, err := fmt.Fprintf(w, format, args...)
		return err == nil && out.Flush() == nil
	}
	if out.Flush() != nil {
		return
	}
	for {
		envelopes, err := s.next(ctx, a.heartbeat())
		switch {
		case r.Context().Err() != nil:
			return
		case err != nil:
			send("event: closing\ndata: closing due to stream timeout\n\n")
			return
		case len(envelopes) == 0 && !send("event: heartbeat\ndata: %d\n\n", time.Now().Unix()):
			return
		}
		for some := range slices.Chunk(envelopes, batchSize) {
			if !send("data: %s\n\n", batch(some)) {
				return
			}
		}
	}
}

// selector makes the filter of a query; nil: the error's name and text.
func selector(q url.Values) (want func(*cf.Envelope) bool, name, text string) {
	if len(q) == 0 {
		return nil, "empty_query", "query cannot be empty"
	}
	asks := func(keys ...string) bool { return slices.ContainsFunc(keys, func(k string) bool { return q.Has(k) }) }
	if !asks("log", "counter", "counter.name", "gauge", "gauge.name", "timer", "event") {
		return nil, "missing_envelope_type", "query must provide at least one envelope type"
	}
	for _, k := range []string{"counter", "gauge"} {
		if q.Has(k+".name") && slices.Contains(q[k+".name"], "") {
			return nil, "missing_" + k + "_name", k + ".name is invalid without value"
		}
	}
	sources, counters := q["source_id"], q["counter.name"]
	var gauges [][]string
	for _, n := range q["gauge.name"] {
		gauges = append(gauges, strings.Split(n, ","))
	}
	log, counter, gauge, timer := asks("log"), asks("counter", "counter.name"), asks("gauge", "gauge.name"), asks("timer")
	return func(e *cf.Envelope) bool {
		if len(sources) > 0 && !slices.Contains(sources, e.SourceID) {
			return false
		}
		switch {
		case e.Log != nil:
			return log
		case e.Counter != nil:
			return counter && (len(counters) == 0 || slices.Contains(counters, e.Counter.Name))
		case e.Gauge != nil:
			return gauge && (len(gauges) == 0 || slices.ContainsFunc(gauges, func(names []string) bool { return hasAll(e.Gauge, names) }))
		}
		return timer && e.Timer != nil
	}, "", ""
}

// hasAll tells whether a gauge has the named metrics and no other, as loggregator selects.
func hasAll(g map[string]cf.GaugeValue, names []string) bool {
	for _, n := range names {
		if _, ok := g[n]; !ok {
			return false
		}
	}
	return len(g) == len(names)
}
