// Package resttest runs an API of some nouns in a test: a fresh database, tokens that are plain text, and requests in
// a line each.
//
// It promises nothing to anybody but tests.
package resttest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/kit/sql/sqltest"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/job"
	"ingot/rest/row"
)

// API is a running API.
type API struct {
	T     testing.TB
	DB    *sql.DB
	Users *Users
	url   string
	http  http.Handler
}

// Open makes a fresh database, as sqltest.Open, with the engine's tables.
func Open(t testing.TB) *sql.DB {
	t.Helper()
	db := sqltest.Open(t)
	if err := rest.Migrate(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	return db
}

// New serves nouns and routes on db.
func New(t testing.TB, db *sql.DB, s rest.Server) *API {
	t.Helper()
	a := &API{T: t, DB: db, Users: &Users{}}
	a.Serve(s)
	return a
}

// Serving is the API that h serves at url.
func Serving(t testing.TB, db *sql.DB, u *Users, url string, h http.Handler) *API {
	return &API{T: t, DB: db, Users: u, url: url, http: h}
}

// Serve serves other nouns and routes from now on.
func (a *API) Serve(s rest.Server) {
	t := a.T
	t.Helper()
	pool := s.Jobs
	if pool == nil {
		pool = &job.Pool{DB: a.DB}
	}
	a.url = "https://api.ingot.test"
	s.DB, s.Tokens, s.Jobs, s.URL = a.DB, a.Users, pool, a.url
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := pool.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Stop(context.Background()) })
	a.http = s.Handler()
}

// SetFlag sets a feature flag.
func (a *API) SetFlag(name string, on bool) {
	a.T.Helper()
	err := a.DB.Write(a.T.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*access.Flag)(nil)).Set("enabled = ?", on).Where("guid = ?", name).Exec(ctx)
		return err
	})
	if err != nil {
		a.T.Fatal(err)
	}
}

// Users is UAA's place: the token of a user is its name; the names below have scopes of their own.
type Users struct{ Known []cf.User }

// Verify takes "admin", "admin_read_only", "global_auditor", "nothing" (no scopes), "expired" and "forged" (refused),
// and any other name for an ordinary user with the guid "<name>-guid".
func (u *Users) Verify(_ context.Context, token string) (cf.Identity, error) {
	id := cf.Identity{UserID: cf.UserID(token + "-guid"), UserName: token, Client: "cf"}
	switch token {
	case "admin", "admin_read_only", "global_auditor":
		id.Scopes = []string{"cloud_controller." + token}
	case "nothing":
	case "expired", "forged":
		return cf.Identity{}, &cf.Error{Kind: cf.KindUnauthenticated, Code: "InvalidAuthToken"}
	default:
		id.Scopes = []string{access.ScopeRead, access.ScopeWrite}
	}
	return id, nil
}

// UsersNamed is cf.Directory's.
func (u *Users) UsersNamed(_ context.Context, name, origin string) (out []cf.User, _ error) {
	for _, k := range u.Known {
		if strings.EqualFold(k.Name, name) && (origin == "" || origin == k.Origin) {
			out = append(out, k)
		}
	}
	return out, nil
}

// UsersLike is cf.Directory's.
func (u *Users) UsersLike(_ context.Context, part string) (out []cf.User, _ error) {
	for _, k := range u.Known {
		if strings.Contains(access.Fold(k.Name), access.Fold(part)) {
			out = append(out, k)
		}
	}
	return out, nil
}

// Shadow is cf.Directory's.
func (u *Users) Shadow(ctx context.Context, name, origin string) (cf.User, error) {
	if there, _ := u.UsersNamed(ctx, name, origin); len(there) > 0 {
		return there[0], nil
	}
	k := cf.User{ID: cf.UserID(name + "-" + origin), Name: name, Origin: origin}
	u.Known = append(u.Known, k)
	return k, nil
}

// UsersByID is cf.Directory's.
func (u *Users) UsersByID(_ context.Context, ids []cf.UserID) (map[cf.UserID]cf.User, error) {
	out := map[cf.UserID]cf.User{}
	for _, k := range u.Known {
		for _, id := range ids {
			if k.ID == id {
				out[id] = k
			}
		}
	}
	return out, nil
}

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Text   string
	JSON   map[string]any
}

// Do sends a request as a user ("" sends no token). line is "GET /v3/apps"; body is JSON text, a value, or nil.
func (a *API) Do(user, line string, body any) Answer {
	a.T.Helper()
	method, path, _ := strings.Cut(line, " ")
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	default:
		j, err := json.Marshal(b)
		if err != nil {
			a.T.Fatal(err)
		}
		r = bytes.NewReader(j)
	}
	path = strings.TrimPrefix(path, a.url)
	req := httptest.NewRequest(method, path, r)
	if user != "" {
		req.Header.Set("Authorization", "bearer "+user)
	}
	w := httptest.NewRecorder()
	a.http.ServeHTTP(w, req)
	out := Answer{Status: w.Code, Header: w.Header(), Text: w.Body.String()}
	if len(out.Text) > 0 && out.Text[0] == '{' {
		if err := json.Unmarshal(w.Body.Bytes(), &out.JSON); err != nil {
			a.T.Fatalf("%s: answer is no JSON: %s", line, out.Text)
		}
	}
	return out
}

// Must is Do that fails the test unless the status is as wanted.
func (a *API) Must(status int, user, line string, body any) Answer {
	a.T.Helper()
	r := a.Do(user, line, body)
	if r.Status != status {
		a.T.Fatalf("%s as %q: status %d, want %d\n%s", line, user, r.Status, status, r.Text)
	}
	return r
}

// Job follows the Location of an answer until the job ends, and gives the job.
func (a *API) Job(r Answer) Answer {
	a.T.Helper()
	at := r.Header.Get("Location")
	if r.Status != http.StatusAccepted || at == "" {
		a.T.Fatalf("no job: status %d, Location %q\n%s", r.Status, at, r.Text)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if j := a.Must(http.StatusOK, "admin", "GET "+at, nil); j.JSON["state"] != job.Processing {
			return j
		}
	}
	a.T.Fatalf("the job %s does not end", at)
	return Answer{}
}

// Get walks into the answer: Get("relationships", "quota", "data", "guid"); numbers are indexes. It is nil where the
// path ends early.
func (r Answer) Get(path ...any) any {
	var v any = r.JSON
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

// GUID is the answer's guid.
func (r Answer) GUID() string {
	s, _ := r.JSON["guid"].(string)
	return s
}

// Detail joins the details of the errors.
func (r Answer) Detail() string {
	var out []string
	l, _ := r.JSON["errors"].([]any)
	for _, e := range l {
		m, _ := e.(map[string]any)
		s, _ := m["detail"].(string)
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

// Names are the field of each resource of a list.
func (r Answer) Names(field string) []string {
	out := []string{}
	l, _ := r.JSON["resources"].([]any)
	for _, e := range l {
		m, _ := e.(map[string]any)
		s, _ := m[field].(string)
		out = append(out, s)
	}
	return out
}

// Insert puts rows into the database without asking anybody.
func (a *API) Insert(rows ...row.Noun) {
	a.T.Helper()
	err := a.DB.Write(context.Background(), func(ctx context.Context, tx bun.Tx) error {
		for _, n := range rows {
			if err := row.Insert(ctx, tx, n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		a.T.Fatal(err)
	}
}

// World is an organization with a space; guids "<name>" and "<name>-space".
func (a *API) World(name string) {
	a.T.Helper()
	a.Insert(
		&access.Organization{Labelled: labelled(name), Name: name, NameKey: access.Fold(name), Status: access.Active, QuotaGUID: "quota"},
		&access.Space{Labelled: labelled(name + "-space"), Name: name + "-space", NameKey: access.Fold(name + "-space"),
			OrgGUID: name, Status: access.Active, AllowSSH: true},
	)
}

func labelled(guid string) row.Labelled { return row.Labelled{Row: row.Row{GUID: guid}} }

func caller(user string) access.Caller {
	return access.NewCaller(cf.Identity{UserID: cf.UserID(user + "-guid"), UserName: user})
}

// Role gives the user a role in the world's organization or space, and the user row.
func (a *API) Role(user string, role access.Role, world string) {
	a.T.Helper()
	if err := access.Ensure(context.Background(), a.DB, caller(user)); err != nil {
		a.T.Fatal(err)
	}
	r := &access.RoleRow{Type: role, UserGUID: user + "-guid", OrgGUID: world}
	if !role.OfOrg() {
		r.SpaceGUID = world + "-space"
	}
	a.Insert(r)
}
