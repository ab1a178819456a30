// Package rest is the engine under every v3 noun: a noun is one Resource value, and everything that CF's API owes its
// clients alike (paging, filters, labels, includes, strict bodies, errors, jobs) is here once.
//
// It promises that a list shows what its declaration says and nothing that the caller may not see, that bodies and
// parameters that are not declared are refused in CF's words, and that a change and its audit event share a
// transaction. It will not know any noun: those are in capi and services. DESIGN.md says how to add one.
package rest

import (
	"context"
	"embed"
	"errors"
	"log/slog"
	"net/http"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/kit/web"
	"ingot/rest/access"
	"ingot/rest/job"
	"ingot/rest/limit"
	"ingot/rest/row"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the engine's own tables (organizations, spaces, users, roles, labels, jobs, events, feature flags) up
// to date. It must run before the migrations of the families.
func Migrate(ctx context.Context, db *sql.DB) error {
	if err := db.Migrate(ctx, migrations, "rest_schema", new(job.Job).Secrets()); err != nil {
		return err
	}
	return access.EnsureFlags(ctx, db)
}

// Handler answers one request of an endpoint that is no list, get, create, update or delete.
type Handler func(c *Call) error

// Route is an endpoint with a plain handler. Pattern is http.ServeMux's: "POST /v3/apps/{guid}/actions/start".
type Route struct {
	Pattern string
	Handle  Handler
	Open    bool // needs no token
	// Maturity is alpha or, when empty, beta.
	Maturity string

	about Endpoint
}

// Noun is a *Resource of any row type.
type Noun interface {
	kind() string
	has(n row.Noun) bool // tells whether n is a row of this noun
	routes() []Route
	work() []job.Kind
	attach(s *Server)
	// included presents the visible rows that meet where, whose argument is the list of guids.
	included(c *Call, where string, guids []string) ([]Object, error)
	visible(c *Call, guid string) (bool, error)
	path() string
}

// Server is the API's HTTP side. Set the fields, then use it as the http.Handler.
type Server struct {
	DB       *sql.DB
	Tokens   cf.Tokens
	Jobs     *job.Pool
	URL      string // the API's own address, such as https://api.ingot.test
	Nouns    []Noun
	Routes   []Route
	Includes []Include
	Limits   *limit.Requests // nil = the platform's

	mux       *http.ServeMux
	nouns     map[string]Noun
	endpoints []Endpoint
}

// Start builds the table of endpoints. Two nouns or routes with the same path are a mistake of the program: it panics.
func (s *Server) Start(ctx context.Context) error {
	s.mux, s.nouns, s.endpoints = http.NewServeMux(), map[string]Noun{}, nil
	if s.Limits == nil {
		s.Limits = &limit.Requests{}
	}
	routes := append([]Route{{Pattern: "GET /v3/jobs/{guid}", Handle: showJob}}, s.Routes...)
	for _, n := range s.Nouns {
		n.attach(s)
		s.nouns[n.kind()] = n
		routes = append(routes, n.routes()...)
		s.Jobs.Kinds = append(s.Jobs.Kinds, n.work()...)
	}
	for _, r := range routes {
		s.mux.Handle(r.Pattern, s.endpoint(r))
		s.endpoints = append(s.endpoints, r.endpoint())
	}
	return nil
}

// Handler is the whole API: request ids, one log line a request, rate limits, endpoints.
func (s *Server) Handler() http.Handler {
	line := web.Log("api", func(r *http.Request) string { return identityOf(r.Context()).caller.GUID }, http.HandlerFunc(s.serve))
	return web.WithRequestID(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		line.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), identityKey{}, &identity{})))
	}))
}

// identity is what the token of a request says.
type identity struct {
	caller access.Caller
	err    error // why there is none
}

type identityKey struct{}

func identityOf(ctx context.Context) *identity {
	id, _ := ctx.Value(identityKey{}).(*identity)
	return id
}

// identify reads the request's token.
func (s *Server) identify(r *http.Request) (access.Caller, error) {
	h := r.Header.Get("Authorization")
	if h == "" {
		return access.Caller{}, &cf.Error{Kind: cf.KindUnauthenticated, Code: "NotAuthenticated"}
	}
	scheme, token, _ := strings.Cut(h, " ")
	if !strings.EqualFold(scheme, "bearer") {
		return access.Caller{}, &cf.Error{Kind: cf.KindUnauthenticated, Code: "InvalidAuthToken"}
	}
	id, err := s.Tokens.Verify(r.Context(), strings.TrimSpace(token))
	if err != nil {
		return access.Caller{}, err
	}
	return access.NewCaller(id), nil
}

// limited counts the request, says so in its headers, and answers it if it is one too many.
func (s *Server) limited(w http.ResponseWriter, r *http.Request, who access.Caller) bool {
	free := r.URL.Path == "/" || r.URL.Path == "/v3" || r.URL.Path == "/v2/info"
	if free && r.URL.RawQuery == "" || who.ReadsSecrets() { // admins
		return false
	}
	now := time.Now()
	state, counted := s.Limits.Count(who.GUID, r, now)
	if !counted {
		return false
	}
	h := w.Header()
	h.Set("X-RateLimit-Limit", strconv.Itoa(state.Limit))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(state.Remaining))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(state.Reset.Unix(), 10))
	if !state.Over {
		return false
	}
	h.Set("Retry-After", strconv.Itoa(int(state.Reset.Sub(now)/time.Second)+1))
	err := &cf.Error{Kind: cf.KindLimited}
	if who.GUID == "" {
		err.Code = "IPBasedRateLimitExceeded"
	}
	WriteError(w, r, err)
	return true
}

// maxBody bounds every body but uploads, which stream.
const maxBody = 4 << 20

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	defer func() {
		p := recover()
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(p)
		}
		if p != nil {
			slog.Error("panic in a request", "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			WriteError(w, r, &cf.Error{})
		}
	}()
	if !utf8.ValidString(r.URL.Path) || strings.ContainsRune(r.URL.Path, 0) {
		WriteError(w, r, &cf.Error{Kind: cf.KindInvalid, Code: "InvalidRequest"})
		return
	}
	if p := path.Clean("/" + r.URL.Path); p != r.URL.Path { // Cloud Controller takes /v3/apps/ for /v3/apps
		r.URL.Path, r.URL.RawPath = p, ""
	}
	id := identityOf(r.Context())
	if id.caller, id.err = s.identify(r); s.limited(w, r, id.caller) {
		return
	}
	h, pattern := s.mux.Handler(r)
	if pattern == "" {
		WriteError(w, r, UnknownRequest())
		return
	}
	r.Pattern = pattern
	if watch := watchOf(r.Context()); watch != nil {
		watch.Pattern = pattern
	}
	if strings.Contains(pattern, "{") {
		h = s.mux // fills in the path values
	}
	h.ServeHTTP(w, r)
}

// kindOf names a row's noun in words of errors.
func (s *Server) kindOf(n row.Noun) string {
	for kind, noun := range s.nouns {
		if noun.has(n) {
			return kind
		}
	}
	return "resource" // such as a destination: no noun of its own
}

func (s *Server) endpoint(route Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &Call{W: w, R: r, s: s}
		err := s.admit(c, route)
		if err == nil {
			err = route.Handle(c)
		}
		if err != nil {
			WriteError(w, c.R, err)
		}
	})
}

// admit lets in who has a good token with scopes for the request, and knows the user from then on. Open endpoints take
// a bad token for none.
func (s *Server) admit(c *Call, route Route) error {
	id := identityOf(c.R.Context())
	if id.err != nil {
		if route.Open {
			return nil
		}
		return id.err
	}
	c.Caller = id.caller
	c.R = c.R.WithContext(access.With(c.R.Context(), c.Caller))
	if route.Open {
		return nil
	}
	reads := c.R.Method == http.MethodGet || c.R.Method == http.MethodHead
	if reads && !c.Caller.Reader() || !reads && !c.Caller.Writer() {
		return access.Forbidden()
	}
	if c.Caller.GUID == "" {
		return &cf.Error{Kind: cf.KindUnauthenticated, Code: "InvalidAuthToken"}
	}
	return access.Ensure(c.R.Context(), s.DB, c.Caller)
}

// Sees tells whether an identity may see an object: for rooms that act for a token, such as log-cache.
func (s *Server) Sees(ctx context.Context, who cf.Identity, kind, guid string) (bool, error) {
	c := &Call{R: new(http.Request).WithContext(ctx), Caller: access.NewCaller(who), s: s}
	return c.Ref(kind, guid)
}
