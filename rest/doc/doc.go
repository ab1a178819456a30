// Package doc writes the API's documents from what rows and routes declare: a page for people, and OpenAPI 3.1.
//
// It promises that nothing in them is written by hand: endpoints, parameters and maturity come from rest.Endpoint,
// bodies and statuses from the handlers' own answers while a Recorder listened. It is for tests and tools; no server
// serves it.
package doc

import (
	"net/http"
	"slices"
	"strings"
	"sync"

	"ingot/kit/web"
	"ingot/rest"
)

// Recorder listens to an API that a test asks, and remembers what its handlers declare.
type Recorder struct {
	mu   sync.Mutex
	seen map[string]*answered // by pattern
}

// answered is what is known of an endpoint from its answers.
type answered struct {
	body   []rest.Field
	query  []rest.Parameter
	status []int
	other  string // content type of a body that is no JSON object read by Take
}

// Wrap makes the recorder listen to h.
func (rec *Recorder) Wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		watch, code := &rest.Watch{}, &web.Status{ResponseWriter: w}
		h.ServeHTTP(code, r.WithContext(rest.Watching(r.Context(), watch)))
		rec.mu.Lock()
		defer rec.mu.Unlock()
		if rec.seen == nil {
			rec.seen = map[string]*answered{}
		}
		a := rec.seen[watch.Pattern]
		if a == nil {
			a = &answered{}
			rec.seen[watch.Pattern] = a
		}
		a.body = rest.Merge(a.body, watch.Body)
		if watch.Query != nil {
			a.query = watch.Query
		}
		if code.Code >= 400 {
			return
		}
		if !slices.Contains(a.status, code.Code) {
			a.status = append(a.status, code.Code)
			slices.Sort(a.status)
		}
		if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); kind != "" && kind != "application/json" && watch.Body == nil {
			a.other = kind
		}
	})
}

// of is what was seen of an endpoint; without an answer, nothing.
func (rec *Recorder) of(e rest.Endpoint) answered {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	for _, pattern := range []string{e.Method + " " + e.Path, e.Method + " " + e.Path + "{$}"} {
		if a := rec.seen[pattern]; a != nil {
			return *a
		}
	}
	return answered{}
}

// Unasked are the endpoints that never succeeded while the recorder listened.
func (rec *Recorder) Unasked(all []rest.Endpoint) (out []string) {
	for _, e := range all {
		if len(rec.of(e).status) == 0 {
			out = append(out, e.Method+" "+e.Path)
		}
	}
	return out
}

// query are the parameters of an endpoint that are taken.
func query(e rest.Endpoint, a answered) []rest.Parameter {
	all := e.Query
	if e.Act == "" {
		all = a.query
	}
	return slices.DeleteFunc(slices.Clone(all), func(p rest.Parameter) bool { return p.Type == "refused" })
}

// group is what an endpoint is listed under: the first word of its path behind /v3.
func group(e rest.Endpoint) string {
	parts := strings.Split(strings.TrimPrefix(strings.TrimPrefix(e.Path, "/v3"), "/"), "/")
	if parts[0] == "" || !strings.HasPrefix(e.Path, "/v3/") {
		return "root"
	}
	return parts[0]
}
