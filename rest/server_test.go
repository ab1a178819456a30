package rest_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"ingot/rest"
	"ingot/rest/job"
	"ingot/rest/limit"
	"ingot/rest/resttest"
)

// TestLimits: users and addresses have their own number of requests; some callers and paths are not counted.
func TestLimits(t *testing.T) {
	empty := func(c *rest.Call) error { return c.NoContent() }
	var routes []rest.Route
	for _, p := range []string{"GET /{$}", "GET /v3", "GET /v2/info"} {
		routes = append(routes, rest.Route{Pattern: p, Handle: empty, Open: true})
	}
	routes = append(routes, rest.Route{Pattern: "GET /v3/x", Handle: empty})
	a := resttest.New(t, resttest.Open(t), rest.Server{Routes: routes, Limits: &limit.Requests{User: 3, Address: 2}})
	for i, line := range []string{"GET /v3/x", "GET /v3/nope", "GET /v3/x", "GET /v3/x"} { // what is not there counts as well
		want := []string{"204 3 2", "404 3 1", "204 3 0", "429 3 0"}[i]
		r := a.Do("joe", line, nil)
		if got := fmt.Sprint(r.Status, " ", r.Header.Get("X-RateLimit-Limit"), " ", r.Header.Get("X-RateLimit-Remaining")); got != want || r.Header.Get("X-RateLimit-Reset") == "" {
			t.Errorf("request %d: %s, want %s", i, got, want)
		}
	}
	r := a.Do("joe", "GET /v3/x", nil)
	if r.Get("errors", 0, "code") != 10013.0 || r.Get("errors", 0, "title") != "CF-RateLimitExceeded" || r.Detail() != "Rate Limit Exceeded" || r.Header.Get("Retry-After") == "" {
		t.Errorf("%v %s", r.Header, r.Text)
	}
	a.Must(204, "ann", "GET /v3/x", nil)
	for _, user := range []string{"", "forged"} { // the same address
		a.Must(401, user, "GET /v3/x", nil)
	}
	r = a.Must(429, "", "GET /v3/nope", nil)
	if r.Get("errors", 0, "code") != 10014.0 || r.Get("errors", 0, "title") != "CF-IPBasedRateLimitExceeded" ||
		r.Detail() != "Rate Limit Exceeded: Unauthenticated requests from this IP address have exceeded the limit. Please log in." {
		t.Error(r.Text)
	}
	a.Must(429, "", "GET /?x=1", nil)
	for _, line := range []string{"GET /", "GET /v3", "GET /v2/info"} {
		if h := a.Must(204, "", line, nil).Header; h.Get("X-RateLimit-Limit") != "" {
			t.Errorf("%s is counted: %v", line, h)
		}
	}
	for range 5 {
		a.Must(204, "admin", "GET /v3/x", nil)
		a.Must(204, "admin_read_only", "GET /v3/x", nil)
	}
}

// TestLog: a line says who asked for what, and nothing that is secret; the router's request id is taken over.
func TestLog(t *testing.T) {
	var out bytes.Buffer
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))
	defer slog.SetDefault(old)
	db := resttest.Open(t)
	s := rest.Server{DB: db, Tokens: &resttest.Users{}, Jobs: &job.Pool{DB: db}, Routes: []rest.Route{
		{Pattern: "POST /v3/x/{guid}", Handle: func(c *rest.Call) error { return rest.Take(c, &body{}) }}}}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/v3/x/1?token=hidden1", strings.NewReader(`{"var":{"a":"hidden2"},"hidden3":1}`))
	r.Header.Set("Authorization", "bearer joe")
	r.Header.Set("X-Vcap-Request-Id", "routers")
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	id := w.Header().Get("X-Vcap-Request-Id")
	if !strings.HasPrefix(id, "routers::") {
		t.Errorf("request id %q", id)
	}
	for _, want := range []string{"user=joe-guid", "method=POST", `route="POST /v3/x/{guid}"`, "status=422", "ms=", "request=" + id} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the line lacks %s", want)
		}
	}
	if n := strings.Count(out.String(), "msg=request "); n != 1 || strings.Contains(out.String(), "hidden") || strings.Contains(out.String(), "bearer") {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
}
