package uaa

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/uptrace/bun"
	"golang.org/x/crypto/bcrypt"

	"ingot/cf"
	"ingot/uaa/scim"
)

func (w *world) find(token, filter string) []any {
	w.t.Helper()
	r := w.call(token, "GET", "/Users?filter="+url.QueryEscape(filter), nil)
	if r.status != 200 {
		w.t.Fatalf("%s: %d %v", filter, r.status, r.body)
	}
	if n := r.body["totalResults"].(float64); int(n) != len(r.body["resources"].([]any)) {
		w.t.Errorf("totalResults %v", n)
	}
	return r.body["resources"].([]any)
}

// TestUserCommands does what create-user, delete-user and passwd of the CLI do.
func TestUserCommands(t *testing.T) {
	w := start(t)
	token := w.admin()
	if got := w.find(token, `userName eq "dev" and origin eq "uaa"`); len(got) != 0 {
		t.Fatalf("%v", got)
	}
	r := w.call(token, "POST", "/Users", userBody("dev", "pw"))
	if r.status != http.StatusCreated || r.text("id") == "" || r.text("origin") != "uaa" || r.text("userName") != "dev" || r.body["password"] != nil {
		t.Fatalf("%d %v", r.status, r.body)
	}
	id := r.text("id")
	w.call(token, "POST", "/Users", userBody("DEV", "pw")).want(t, 409, "scim_resource_already_exists", "Username already in use: DEV")
	for _, f := range []string{`userName eq "dev" and origin eq "uaa"`, `userName eq "DEV"`, `id eq "` + id + `"`, `ID EQ "` + id + `" or userName eq "x"`,
		`(userName sw "de" and active eq true) and origin pr`, `emails.value co "dev"`} {
		if got := w.find(token, f); len(got) != 1 || got[0].(map[string]any)["id"] != id {
			t.Errorf("%s: %v", f, got)
		}
	}
	dev := w.password("dev", "pw").text("access_token")
	if r := w.call(dev, "GET", "/Users/"+id, nil); r.text("userName") != "dev" || r.header.Get("ETag") != `"1"` && r.header.Get("ETag") != `"0"` {
		t.Errorf("%v %v", r.header, r.body)
	}
	w.passwd(t, dev, id)

	r = w.call(token, "DELETE", "/Users/"+id, nil)
	if r.status != 200 || r.text("id") != id || len(r.body["groups"].([]any)) == 0 {
		t.Fatalf("%d %v", r.status, r.body)
	}
	w.call(token, "DELETE", "/Users/"+id, nil).want(t, 404, "scim_resource_not_found", "User "+id+" does not exist")
	w.password("dev", "pw2").want(t, 401, "unauthorized", "Bad credentials")
	if r := w.call(token, "POST", "/Users", userBody("dev", "pw")); r.status != 201 || r.text("id") == id {
		t.Errorf("made anew: %d %v", r.status, r.body)
	}
}

func (w *world) passwd(t *testing.T, dev, id string) {
	t.Helper()
	path := "/Users/" + id + "/password"
	put := func(token, old, new string) reply {
		return w.call(token, "PUT", path, map[string]string{"oldPassword": old, "password": new})
	}
	put(dev, "wrong", "pw2").want(t, 401, "unauthorized", "Bad credentials")
	put(dev, "", "pw2").want(t, 400, "invalid_password", "Previous password is required")
	put(dev, "pw", "pw").want(t, 422, "invalid_password", "cannot be the same")
	put(dev, "pw", "").want(t, 422, "invalid_password", "at least")
	put(dev, "pw", strings.Repeat("x", 256)).want(t, 422, "invalid_password", "255")
	w.createUser("other", "pw")
	put(w.password("other", "pw").text("access_token"), "pw", "pw2").want(t, 403, "access_denied", "another user's")
	if r := put(dev, "pw", "pw2"); r.status != 200 || r.text("status") != "ok" {
		t.Fatalf("%d %v", r.status, r.body)
	}
	w.password("dev", "pw").want(t, 401, "unauthorized", "Bad credentials")
	if r := w.password("dev", "pw2"); r.status != 200 {
		t.Fatal(r.body)
	}
}

func TestScopesOfScim(t *testing.T) {
	w := start(t)
	id := w.createUser("dev", "pw")
	dev := w.password("dev", "pw").text("access_token")
	var admin string
	for _, u := range w.find(w.admin(), `userName eq "admin"`) {
		admin = u.(map[string]any)["id"].(string)
	}
	for _, c := range [][2]string{{"POST", "/Users"}, {"GET", "/Users"}, {"GET", "/Users/" + admin}, {"DELETE", "/Users/" + id}, {"GET", "/Groups"},
		{"GET", "/Groups/x"}, {"GET", "/oauth/clients/cf"}} {
		w.call(dev, c[0], c[1], nil).want(t, 403, "insufficient_scope", "")
		w.call("", c[0], c[1], nil).want(t, 401, "unauthorized", "")
	}
	if r := w.call(w.admin(), "GET", "/oauth/clients/cf", nil); r.text("client_id") != "cf" || r.body["client_secret"] != nil || r.body["secret"] != nil {
		t.Errorf("%v", r.body)
	}
	w.call(w.admin(), "GET", "/oauth/clients/nope", nil).want(t, 404, "not_found", "nope")
}

func TestGroups(t *testing.T) {
	w := start(t)
	r := w.call(w.admin(), "GET", "/Groups?filter="+url.QueryEscape(`displayName eq "cloud_controller.admin"`), nil)
	gs := r.body["resources"].([]any)
	if len(gs) != 1 || len(gs[0].(map[string]any)["members"].([]any)) != 1 {
		t.Fatalf("%v", r.body)
	}
	id := gs[0].(map[string]any)["id"].(string)
	if one := w.call(w.admin(), "GET", "/Groups/"+id, nil); one.text("displayName") != "cloud_controller.admin" {
		t.Errorf("%v", one.body)
	}
	w.call(w.admin(), "GET", "/Groups/nope", nil).want(t, 404, "scim_resource_not_found", "")
}

// Names in every script are users; what SQL or JSON would take for its own is refused or just a name.
func TestNames(t *testing.T) {
	w := start(t)
	token := w.admin()
	for _, name := range []string{"josé", "Ελένη", "Дмитрий", "李小龍", "사용자", "مستخدم", "straße", "a+b@example.org", "O'Brien", "-_.!", "null", "true",
		"admin2", strings.Repeat("é", 127)} {
		id := w.createUser(name, "pä$$ 密碼")
		if r := w.password(strings.ToUpper(name), "pä$$ 密碼"); r.status != 200 && strings.EqualFold(strings.ToUpper(name), name) {
			t.Errorf("%s: %v", name, r.body)
		}
		got := w.find(token, fmt.Sprintf(`userName eq "%s"`, name))
		if len(got) != 1 || got[0].(map[string]any)["userName"] != name {
			t.Errorf("%s: %v", name, got)
		}
		us, err := w.UsersNamed(context.Background(), name, "")
		if err != nil || len(us) != 1 || us[0] != (cf.User{ID: cf.UserID(id), Name: name, Origin: "uaa"}) {
			t.Errorf("%s: %v %v", name, us, err)
		}
	}
	for _, name := range []string{"", " ", "a b", "x'; DROP TABLE uaa_users; --", `a"b`, `a\b`, "a\x00b", "a\nb", "%", "a?b", "<script>", "😀", "a\u202eb"} {
		w.call(token, "POST", "/Users", userBody(name, "pw")).want(t, 400, "invalid_scim_resource", "sername")
	}
	w.call(token, "POST", "/Users", userBody(strings.Repeat("a", 256), "pw")).want(t, 400, "invalid_scim_resource", "255")
	for _, name := range []string{`' OR '1'='1`, `" OR 1=1`, `\`, `\' OR 1=1 --`, "a\x00", "\xff", "?", "?0"} {
		if us, err := w.UsersNamed(context.Background(), name, ""); err != nil || len(us) != 0 {
			t.Errorf("%q: %v %v", name, us, err)
		}
		if us, err := w.UsersNamed(context.Background(), "admin", name); err != nil || len(us) != 0 {
			t.Errorf("origin %q: %v %v", name, us, err)
		}
		if us, err := w.UsersByID(context.Background(), []cf.UserID{cf.UserID(name)}); err != nil || len(us) != 0 {
			t.Errorf("id %q: %v %v", name, us, err)
		}
	}
}

func TestBadUserBodies(t *testing.T) {
	w := start(t)
	token := w.admin()
	bad := func(change map[string]any, text string) {
		t.Helper()
		b := userBody("dev", "pw")
		for k, v := range change {
			b[k] = v
		}
		w.call(token, "POST", "/Users", b).want(t, 400, "invalid_scim_resource", text)
	}
	bad(map[string]any{"emails": []any{}}, "Exactly one email")
	bad(map[string]any{"emails": []map[string]any{{"value": ""}}}, "An email must be provided")
	bad(map[string]any{"emails": "x"}, "not valid JSON")
	bad(map[string]any{"userName": 1}, "not valid JSON")
	bad(map[string]any{"name": map[string]string{"givenName": "a\x00"}}, "NUL")
	w.call(token, "POST", "/Users", userBody("dev", "")).want(t, 422, "invalid_password", "at least")
	for _, text := range []string{"", "{", "[]", `{"userName":`, strings.Repeat("[", 100000), `"x"`} {
		req, err := http.NewRequest("POST", w.http.URL+"/Users", strings.NewReader(text))
		ok(t, err)
		req.Header.Set("Authorization", "bearer "+token)
		w.send(req).want(t, 400, "invalid_scim_resource", "")
	}
	w.call(token, "POST", "/Users", userBody("dev", strings.Repeat("x", 2<<20))).want(t, 413, "invalid_scim_resource", "")
	for _, f := range []string{"x", `userName`, `userName eq`, `userName eq dev`, `userName eq "dev`, `password eq "x"`, `userName eq "a" and`, `(userName eq "a"`,
		`userName eq "a")`, `active eq "x"`, `id eq true`, `userName xx "a"`, `userName eq "a" OR 1=1`, strings.Repeat("(", 100), "userName eq \"\x00\"", "userName eq \"\xff\""} {
		w.call(token, "GET", "/Users?filter="+url.QueryEscape(f), nil).want(t, 400, "scim", "Invalid filter expression")
	}
	w.call(token, "GET", "/Users?count=x", nil).want(t, 400, "scim", "count")
	w.call(token, "GET", "/Users?sortBy=password", nil).want(t, 400, "scim", "sort")
}

func TestListPages(t *testing.T) {
	w := start(t)
	for i := range 5 {
		u, err := scim.Resource{UserName: fmt.Sprintf("user%d", i), Emails: []scim.Email{{Value: "x"}}}.User()
		ok(t, err)
		ok(t, w.users.Create(context.Background(), u))
	}
	r := w.call(w.admin(), "GET", "/Users?startIndex=3&count=2&sortBy=userName&sortOrder=descending", nil)
	rows := r.body["resources"].([]any)
	if len(rows) != 2 || rows[0].(map[string]any)["userName"] != "user2" || r.body["totalResults"] != 6.0 || r.body["startIndex"] != 3.0 || r.body["itemsPerPage"] != 2.0 {
		t.Errorf("%v", r.body)
	}
}

func TestParallelCreateOfOneName(t *testing.T) {
	w := start(t)
	token := w.admin()
	status := make(chan int, 10)
	var wg sync.WaitGroup
	for range cap(status) {
		wg.Go(func() { status <- w.call(token, "POST", "/Users", userBody("dev", "pw")).status })
	}
	wg.Wait()
	close(status)
	count := map[int]int{}
	for s := range status {
		count[s]++
	}
	if count[201] != 1 || count[409] != 9 {
		t.Errorf("%v", count)
	}
}

func TestImportedHashesAndInactiveUsers(t *testing.T) {
	w := start(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("old"), bcrypt.MinCost)
	ok(t, err)
	for name, stored := range map[string]string{"plain": string(hash), "prefixed": "{bcrypt}" + string(hash)} {
		w.createUser(name, "pw")
		w.change(t, name, "password", stored)
		if r := w.password(name, "old"); r.status != 200 {
			t.Errorf("%s: %v", name, r.body)
		}
		w.password(name, "pw").want(t, 401, "unauthorized", "Bad credentials")
	}
	for _, stored := range []string{"x", "$argon2id$", "$argon2id$v=19$m=1,t=1,p=1$$", "$argon2id$v=19$m=19456,t=2,p=1$!$!", "$2y$"} {
		name := "broken" + cf.NewGUID()
		w.createUser(name, "pw")
		w.change(t, name, "password", stored)
		w.password(name, stored).want(t, 401, "unauthorized", "Bad credentials")
	}
	w.createUser("sleeper", "pw")
	w.change(t, "sleeper", "active", false)
	w.password("sleeper", "pw").want(t, 401, "unauthorized", "Bad credentials")
}

func (w *world) change(t *testing.T, name, column string, v any) {
	t.Helper()
	ok(t, w.DB.Write(context.Background(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Table("uaa_users").Set("? = ?", bun.Ident(column), v).Where("username = ?", name).Exec(ctx)
		return err
	}))
}

// TestDirectory: the searches and shadow users that Cloud Controller asks for through the door.
func TestDirectory(t *testing.T) {
	w := start(t)
	a, err := w.Shadow(t.Context(), "Ann_x", "ldap")
	ok(t, err)
	again, err := w.Shadow(t.Context(), "ann_X", "ldap")
	ok(t, err)
	if a.ID == "" || a != again {
		t.Errorf("made %+v, then %+v", a, again)
	}
	_, err = w.Shadow(t.Context(), "annex", "ldap")
	ok(t, err)
	for part, want := range map[string]int{"NN": 2, "_": 1, "%": 0, "n_x": 1, "!": 0, "\x00": 0} {
		got, err := w.UsersLike(t.Context(), part)
		if ok(t, err); len(got) != want {
			t.Errorf("%q is in %+v", part, got)
		}
	}
	if _, err := w.Shadow(t.Context(), "x", "uaa"); !cf.IsKind(err, cf.KindInvalid) {
		t.Error("a shadow among UAA's own:", err)
	}
}
