package logcache

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"ingot/cf"
)

// API answers log-cache's HTTP API (log-cache-release, src/README.md; systems.md §13.4).
type API struct {
	Store   *Store
	Tokens  cf.Tokens
	MayRead func(ctx context.Context, who cf.Identity, sourceID string) bool // for those without a scope for all sources
	Hold    time.Duration                                                    // how long a read that finds nothing new may wait, 500 ms; < 0 = not at all

	began   time.Time
	holding atomic.Int32
	readers followers
}

// version is log-cache's; from 2 on the CLI uses /api/v1.
const version = "3.0.0"

const (
	defaultLimit = 100
	maxLimit     = 1000
	maxHolding   = 1000 // reads that wait
)

// Handler serves the API.
func (a *API) Handler() http.Handler {
	a.began = time.Now()
	m := http.NewServeMux()
	m.HandleFunc("GET /api/v1/info", a.info)
	m.HandleFunc("GET /api/v1/read/{source...}", a.read)
	m.HandleFunc("GET /api/v1/meta", a.meta)
	m.HandleFunc("GET /api/v1/query", a.query)
	m.HandleFunc("GET /api/v1/query_range", a.query)
	m.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { notFound(w) })
	return m
}

func (a *API) info(w http.ResponseWriter, _ *http.Request) {
	up := int64(time.Since(a.began).Seconds())
	answer(w, 200, []byte(`{"version":"`+version+`","vm_uptime":"`+strconv.FormatInt(up, 10)+"\"}\n"))
}

// who checks the token; false: it was answered.
func (a *API) who(w http.ResponseWriter, r *http.Request) (cf.Identity, bool) {
	kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(kind, "bearer") && token != "" {
		if id, err := a.Tokens.Verify(r.Context(), strings.TrimSpace(token)); err == nil {
			return id, true
		}
	}
	notFound(w) // the proxy before CF's log-cache never answers 401 or 403
	return cf.Identity{}, false
}

// all tells whether the token reads every source.
func all(id cf.Identity) bool { return id.Has("logs.admin") || id.Has("doppler.firehose") }

func (a *API) may(ctx context.Context, id cf.Identity, source string) bool {
	return all(id) || a.MayRead != nil && a.MayRead(ctx, id, source)
}

func (a *API) read(w http.ResponseWriter, r *http.Request) {
	id, ok := a.who(w, r)
	if !ok {
		return
	}
	source := r.PathValue("source")
	if source == "" || !a.may(r.Context(), id, source) {
		notFound(w)
		return
	}
	q, open, err := parseQuery(r.URL.Query())
	if err != nil {
		failure(w, 400, 3, err.Public)
		return
	}
	user, _, _ := id.Actor()
	defer a.readers.begin(source, follower{user, r.RemoteAddr}, q.start)()
	items := a.Store.read(source, q)
	if len(items) == 0 && open {
		a.hold(r.Context(), source, q.start)
		q.end = time.Now().UnixNano()
		items = a.Store.read(source, q)
	}
	answer(w, 200, appendRead(nil, source, items))
}

// hold waits for an envelope at or after start, so that followers see it at once without asking often.
func (a *API) hold(ctx context.Context, source string, start int64) {
	d := a.Hold
	if d == 0 {
		d = 500 * time.Millisecond
	}
	if d < 0 || a.holding.Add(1) > maxHolding {
		if d >= 0 {
			a.holding.Add(-1)
		}
		return
	}
	defer a.holding.Add(-1)
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	a.Store.await(source, start, ctx.Done())
}

// parseQuery reads the parameters; unknown ones are ignored, as by CF's gateway. open: the range ends now.
func parseQuery(v url.Values) (q query, open bool, err *cf.Error) {
	number := func(name string) (n int64) {
		if s := v.Get(name); s != "" && err == nil {
			var e error
			if n, e = strconv.ParseInt(s, 10, 64); e != nil {
				err = cf.Errorf(cf.KindInvalid, "", "%s: %q is not a 64-bit integer", name, s)
			}
		}
		return n
	}
	q.start, q.end = number("start_time"), number("end_time")
	limit := number("limit")
	switch {
	case err != nil:
	case q.end != 0 && q.start > q.end:
		err = cf.Errorf(cf.KindInvalid, "", "StartTime (%d) must be before EndTime (%d)", q.start, q.end)
	case limit > maxLimit:
		err = cf.Errorf(cf.KindInvalid, "", "Limit (%d) must be 1000 or less", limit)
	case limit < 0:
		err = cf.Errorf(cf.KindInvalid, "", "Limit (%d) must be greater than zero", limit)
	}
	if q.limit = int(limit); limit == 0 {
		q.limit = defaultLimit
	}
	if q.end == 0 {
		q.end, open = time.Now().UnixNano(), true
	}
	if s := v.Get("descending"); s != "" && err == nil {
		var e error
		if q.descending, e = strconv.ParseBool(s); e != nil {
			err = cf.Errorf(cf.KindInvalid, "", "descending: %q is not a boolean", s)
		}
	}
	if s := v.Get("name_filter"); s != "" && err == nil {
		var e error
		if q.name, e = regexp.Compile(s); e != nil {
			err = cf.Errorf(cf.KindInvalid, "", "Name filter must be a valid regular expression: %s", e)
		}
	}
	kinds, e := parseKinds(v["envelope_types"])
	if err == nil {
		err = e
	}
	q.kinds = kinds
	return q, open, err
}

// parseKinds reads names or numbers of EnvelopeType; ANY asks for all.
func parseKinds(names []string) (kinds []kind, err *cf.Error) {
	for _, n := range names {
		switch n {
		case "LOG", "1":
			kinds = append(kinds, kindLog)
		case "COUNTER", "2":
			kinds = append(kinds, kindCounter)
		case "GAUGE", "3":
			kinds = append(kinds, kindGauge)
		case "TIMER", "4":
			kinds = append(kinds, kindTimer)
		case "EVENT", "5":
			kinds = append(kinds, 0) // there are none: matches nothing
		case "ANY", "0":
		default:
			return nil, cf.Errorf(cf.KindInvalid, "", "envelope_types: %q is not a type of envelope", n)
		}
	}
	return kinds, nil
}

func (a *API) meta(w http.ResponseWriter, r *http.Request) {
	id, ok := a.who(w, r)
	if !ok {
		return
	}
	known := a.Store.meta()
	ids := make([]string, 0, len(known))
	for source := range known {
		if r.Context().Err() == nil && a.may(r.Context(), id, source) {
			ids = append(ids, source)
		}
	}
	slices.Sort(ids)
	answer(w, 200, appendMeta(nil, ids, known))
}

// query says that PromQL is not there yet.
func (a *API) query(w http.ResponseWriter, r *http.Request) {
	if _, ok := a.who(w, r); ok {
		answer(w, 501, []byte(`{"status":"error","errorType":"internal","error":"PromQL is not supported yet; read the envelopes from /api/v1/read"}`+"\n"))
	}
}

func notFound(w http.ResponseWriter) { failure(w, 404, 5, "Not Found") }

// failure answers in the form of gRPC's gateway.
func failure(w http.ResponseWriter, status, code int, text string) {
	b := append(strconv.AppendInt([]byte(`{"code":`), int64(code), 10), `,"message":`...)
	answer(w, status, append(appendJSONString(b, text), ",\"details\":[]}\n"...))
}

func answer(w http.ResponseWriter, status int, b []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b) // the client went away: nobody is left to tell
}
