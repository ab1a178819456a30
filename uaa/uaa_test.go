package uaa

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ingot/kit/sql/sqltest"
	"ingot/uaa/key"
)

func TestMain(m *testing.M) { os.Exit(sqltest.Main(m)) }

const adminPassword = "a very long password"

// world is a started server on an empty store, behind HTTP. Its clock stands still until it is moved.
type world struct {
	*Server
	t     testing.TB
	http  *httptest.Server
	ahead atomic.Int64 // seconds
	base  time.Time
}

// testKeys makes one key for all tests: it takes long.
var testKeys = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "uaa")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if _, err := key.Load(filepath.Join(dir, "keys")); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, "keys"))
})

func start(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	keys, err := testKeys()
	ok(t, err)
	ok(t, os.WriteFile(filepath.Join(dir, "keys.json"), keys, 0o600))
	return startIn(t, dir, sqltest.Address(t))
}

// startIn starts with the folder's keys on the store at address.
func startIn(t testing.TB, dir, address string) *world {
	t.Helper()
	db := sqltest.OpenAt(t, address)
	w := &world{t: t, base: time.Now().Truncate(time.Second)}
	w.Server = &Server{DB: db, KeyFile: filepath.Join(dir, "keys.json"), URL: "https://uaa.ingot.test", LoginURL: "https://login.ingot.test",
		Now: func() time.Time { return w.base.Add(time.Duration(w.ahead.Load()) * time.Second) }}
	ok(t, w.Start(context.Background()))
	ok(t, w.EnsureAdmin(context.Background(), "admin", adminPassword))
	w.http = httptest.NewServer(w.Handler())
	t.Cleanup(w.http.Close)
	return w
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) later(d time.Duration) { w.ahead.Add(int64(d.Seconds())) }

// reply is an answer: its status and its JSON object.
type reply struct {
	status int
	header http.Header
	body   map[string]any
}

func (r reply) text(name string) string {
	s, _ := r.body[name].(string)
	return s
}

// want fails unless the answer is this error.
func (r reply) want(t testing.TB, status int, code, text string) {
	t.Helper()
	if r.status != status || r.text("error") != code || !strings.Contains(r.text("error_description"), text) {
		t.Fatalf("got %d %v, want %d %s %q", r.status, r.body, status, code, text)
	}
}

func (w *world) send(req *http.Request) reply {
	w.t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Error(err)
		return reply{}
	}
	defer func() { _ = res.Body.Close() }()
	out := reply{status: res.StatusCode, header: res.Header}
	text, err := io.ReadAll(res.Body)
	if err == nil && len(text) > 0 {
		err = json.Unmarshal(text, &out.body)
	}
	if err != nil {
		w.t.Errorf("%s %s: %v in %q", req.Method, req.URL, err, text)
	}
	return out
}

// form posts to /oauth/token as the CLI does.
func (w *world) form(pairs ...string) reply {
	return w.formAs("cf", "", pairs...)
}

func (w *world) formAs(client, secret string, pairs ...string) reply {
	w.t.Helper()
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	req, err := http.NewRequest("POST", w.http.URL+"/oauth/token", strings.NewReader(v.Encode()))
	ok(w.t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if client != "" {
		req.SetBasicAuth(client, secret)
	}
	return w.send(req)
}

func (w *world) password(name, password string) reply {
	w.t.Helper()
	return w.form("grant_type", "password", "username", name, "password", password)
}

func (w *world) refresh(token string) reply {
	w.t.Helper()
	return w.form("grant_type", "refresh_token", "refresh_token", token)
}

// admin is an access token of the admin.
func (w *world) admin() string {
	w.t.Helper()
	r := w.password("admin", adminPassword)
	if r.status != 200 {
		w.t.Fatalf("login: %d %v", r.status, r.body)
	}
	return r.text("access_token")
}

// call sends JSON with a token.
func (w *world) call(token, method, path string, body any) reply {
	w.t.Helper()
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		ok(w.t, err)
		in = strings.NewReader(string(text))
	}
	req, err := http.NewRequest(method, w.http.URL+path, in)
	ok(w.t, err)
	if token != "" {
		req.Header.Set("Authorization", "bearer "+token)
	}
	req.Header.Set("Content-Type", "application/json")
	return w.send(req)
}

// createUser does what `cf create-user` does and gives the id.
func (w *world) createUser(name, password string) string {
	w.t.Helper()
	r := w.call(w.admin(), "POST", "/Users", userBody(name, password))
	if r.status != 201 {
		w.t.Fatalf("create %q: %d %v", name, r.status, r.body)
	}
	return r.text("id")
}

func userBody(name, password string) map[string]any {
	return map[string]any{"userName": name, "password": password, "origin": "",
		"name":   map[string]string{"familyName": name, "givenName": name},
		"emails": []map[string]any{{"value": name, "primary": true}}}
}

func newForm(t testing.TB, address string, form url.Values) *http.Request {
	t.Helper()
	req, err := http.NewRequest("POST", address, strings.NewReader(form.Encode()))
	ok(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req
}
