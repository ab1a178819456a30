package uaa

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ingot/cf"
	"ingot/uaa/grant"
)

// claimsOf checks a token's signature against what /token_keys says, without our own code, and gives header and claims.
func claimsOf(t *testing.T, w *world, token string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	raw := func(s string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(s)
		ok(t, err)
		return b
	}
	ok(t, json.Unmarshal(raw(parts[0]), &header))
	ok(t, json.Unmarshal(raw(parts[1]), &claims))
	for _, k := range w.call("", "GET", "/token_keys", nil).body["keys"].([]any) {
		k := k.(map[string]any)
		if k["kid"] != header["kid"] {
			continue
		}
		pub := &rsa.PublicKey{N: new(big.Int).SetBytes(raw(k["n"].(string))), E: int(new(big.Int).SetBytes(raw(k["e"].(string))).Int64())}
		sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		ok(t, rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], raw(parts[2])))
		return header, claims
	}
	t.Fatalf("key %v is not published", header["kid"])
	return nil, nil
}

func TestPasswordGrant(t *testing.T) {
	w := start(t)
	r := w.password("admin", adminPassword)
	if r.status != 200 || r.text("token_type") != "bearer" || r.body["expires_in"] != 1199.0 || !strings.HasSuffix(r.text("refresh_token"), "-r") {
		t.Fatalf("%d %v", r.status, r.body)
	}
	if r.header.Get("Cache-Control") != "no-store" {
		t.Error("a token may be cached")
	}
	header, c := claimsOf(t, w, r.text("access_token"))
	if header["alg"] != "RS256" || header["typ"] != "JWT" || header["jku"] != "https://uaa.ingot.test/token_keys" {
		t.Errorf("header %v", header)
	}
	for name, want := range map[string]any{
		"client_id": "cf", "cid": "cf", "azp": "cf", "grant_type": "password", "user_name": "admin", "origin": "uaa", "email": "admin",
		"iss": "https://uaa.ingot.test/oauth/token", "zid": "uaa", "revocable": false, "jti": r.text("jti"), "sub": c["user_id"],
		"iat": float64(w.base.Unix()), "auth_time": float64(w.base.Unix()), "exp": float64(w.base.Unix() + 1200),
	} {
		if c[name] != want {
			t.Errorf("%s = %v, want %v", name, c[name], want)
		}
	}
	scopes := strings.Fields(r.text("scope"))
	want := []string{"clients.read", "cloud_controller.admin", "cloud_controller.read", "cloud_controller.write", "doppler.firehose", "network.admin",
		"openid", "password.write", "routing.router_groups.read", "routing.router_groups.write", "scim.read", "scim.write", "uaa.user"}
	if !slices.Equal(scopes, want) || fmt.Sprint(c["scope"]) != fmt.Sprint(want) {
		t.Errorf("scopes %v, claim %v", scopes, c["scope"])
	}
	if aud := fmt.Sprint(c["aud"]); aud != "[cf clients cloud_controller doppler network openid password routing.router_groups scim uaa]" {
		t.Errorf("aud %s", aud)
	}

	id, err := w.Verify(context.Background(), r.text("access_token"))
	ok(t, err)
	if id.UserName != "admin" || string(id.UserID) != c["user_id"] || id.Client != "cf" || !id.Has("cloud_controller.admin") {
		t.Errorf("identity %+v", id)
	}
}

func TestOrdinaryUserHasNoAdminScope(t *testing.T) {
	w := start(t)
	w.createUser("dev", "pw")
	r := w.password("DEV", "pw")
	if got := r.text("scope"); got != "cloud_controller.read cloud_controller.write openid password.write uaa.user" {
		t.Fatalf("%d %v", r.status, r.body)
	}
	narrow := w.form("grant_type", "password", "username", "dev", "password", "pw", "scope", "openid cloud_controller.admin")
	if narrow.text("scope") != "openid" {
		t.Errorf("asked for more: %v", narrow.body)
	}
	w.form("grant_type", "password", "username", "dev", "password", "pw", "scope", "uaa.admin").want(t, 400, "invalid_scope", "uaa.admin is invalid")
	w.form("grant_type", "password", "username", "dev", "password", "pw", "scope", "scim.write").want(t, 400, "invalid_scope", "not allowed any")
}

func TestTokenRequestsThatAreWrong(t *testing.T) {
	w := start(t)
	ok(t, w.EnsureClient(context.Background(), Client{ID: "robot", Secret: "s3cret", Grants: []string{"client_credentials"}, Authorities: []string{"uaa.resource"}}))
	pw := []string{"grant_type", "password", "username", "admin", "password", adminPassword}
	for _, c := range []struct {
		name, client, secret string
		form                 []string
		status               int
		code, text           string
	}{
		{"wrong password", "cf", "", []string{"grant_type", "password", "username", "admin", "password", "x"}, 401, "unauthorized", "Bad credentials"},
		{"no password", "cf", "", []string{"grant_type", "password", "username", "admin"}, 401, "unauthorized", "Bad credentials"},
		{"unknown user", "cf", "", []string{"grant_type", "password", "username", "nobody", "password", "x"}, 401, "unauthorized", "Bad credentials"},
		{"name of 10,000", "cf", "", []string{"grant_type", "password", "username", strings.Repeat("a", 10000), "password", "x"}, 401, "unauthorized", "Bad credentials"},
		{"injection", "cf", "", []string{"grant_type", "password", "username", `admin' OR '1'='1' -- `, "password", "x"}, 401, "unauthorized", "Bad credentials"},
		{"backslash", "cf", "", []string{"grant_type", "password", "username", `\' OR 1=1 -- `, "password", "x"}, 401, "unauthorized", "Bad credentials"},
		{"question mark", "cf", "", []string{"grant_type", "password", "username", `?0 ?`, "password", "x"}, 401, "unauthorized", "Bad credentials"},
		{"NUL", "cf", "", []string{"grant_type", "password", "username", "admin\x00", "password", "x"}, 400, "invalid_request", ""},
		{"not UTF-8", "cf", "", []string{"grant_type", "password", "username", "admin\xff", "password", "x"}, 400, "invalid_request", ""},
		{"NUL in password", "cf", "", []string{"grant_type", "password", "username", "admin", "password", "x\x00"}, 401, "unauthorized", "Bad credentials"},
		{"twice", "cf", "", append([]string{"username", "dev"}, pw...), 400, "invalid_request", "more than once"},
		{"no grant", "cf", "", pw[2:], 400, "invalid_request", "Missing grant type"},
		{"unknown grant", "cf", "", []string{"grant_type", "implicit"}, 400, "unsupported_grant_type", "Unsupported grant type"},
		{"jwt-bearer", "cf", "", []string{"grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion", "x"}, 400, "unsupported_grant_type", ""},
		{"code", "cf", "", []string{"grant_type", "authorization_code", "code", "x"}, 400, "unsupported_grant_type", ""},
		{"grant not its own", "cf", "", []string{"grant_type", "client_credentials"}, 401, "unauthorized_client", ""},
		{"robot as user", "robot", "s3cret", pw, 401, "unauthorized_client", ""},
		{"passcode", "cf", "", []string{"grant_type", "password", "passcode", "x"}, 401, "unauthorized", "Invalid passcode"},
		{"no client", "", "", pw, 401, "unauthorized", "Bad credentials"},
		{"unknown client", "nope", "", pw, 401, "unauthorized", "Bad credentials"},
		{"NUL client", "c\x00f", "", pw, 401, "unauthorized", "Bad credentials"},
		{"cf with a secret", "cf", "x", pw, 401, "unauthorized", "Bad credentials"},
		{"robot's secret", "robot", "wrong", []string{"grant_type", "client_credentials"}, 401, "unauthorized", "Bad credentials"},
		{"robot without", "robot", "", []string{"grant_type", "client_credentials"}, 401, "unauthorized", "Bad credentials"},
		{"other origin", "cf", "", append([]string{"login_hint", `{"origin":"ldap"}`}, pw...), 401, "unauthorized", "origin"},
		{"torn hint", "cf", "", append([]string{"login_hint", `{"origin"`}, pw...), 400, "invalid_request", "login_hint"},
		{"torn refresh", "cf", "", []string{"grant_type", "refresh_token", "refresh_token", "x"}, 401, "invalid_token", ""},
		{"unknown refresh", "cf", "", []string{"grant_type", "refresh_token", "refresh_token", strings.Repeat("a", 64) + "-r"}, 401, "invalid_token", ""},
		{"too large", "cf", "", []string{"grant_type", "password", "username", strings.Repeat("a", maxForm)}, 413, "invalid_request", ""},
	} {
		t.Run(c.name, func(t *testing.T) { w.formAs(c.client, c.secret, c.form...).want(t, c.status, c.code, c.text) })
	}
	w.call("", "POST", "/oauth/token", map[string]string{"grant_type": "password"}).want(t, 401, "unauthorized", "")
	w.call("", "GET", "/oauth/token", nil).want(t, 404, "not_found", "")
	if r := w.password("admin", adminPassword); r.status != 200 {
		t.Fatalf("afterwards: %v", r.body)
	}
}

func TestClientCredentials(t *testing.T) {
	w := start(t)
	spec := Client{ID: "robot", Secret: "s3cret ü", Grants: []string{"client_credentials"}, Authorities: []string{"uaa.resource", "scim.read"}}
	ok(t, w.EnsureClient(context.Background(), spec))
	for range 2 { // the second time from memory
		r := w.formAs("robot", spec.Secret, "grant_type", "client_credentials")
		if r.status != 200 || r.body["refresh_token"] != nil || r.text("scope") != "scim.read uaa.resource" {
			t.Fatalf("%d %v", r.status, r.body)
		}
	}
	r := w.formAs("", "", "grant_type", "client_credentials", "client_id", "robot", "client_secret", spec.Secret)
	_, c := claimsOf(t, w, r.text("access_token"))
	if c["sub"] != "robot" || c["user_name"] != nil || c["user_id"] != nil || fmt.Sprint(c["authorities"]) != "[scim.read uaa.resource]" {
		t.Errorf("claims %v", c)
	}
	id, err := w.Verify(context.Background(), r.text("access_token"))
	if guid, kind, _ := id.Actor(); err != nil || guid != "robot" || kind != "client" {
		t.Errorf("%+v %v", id, err)
	}
	ok(t, w.EnsureClient(context.Background(), spec)) // again: tokens live on
	w.later(trust)
	_, err = w.Verify(context.Background(), r.text("access_token"))
	ok(t, err)
	spec.Secret = "new"
	ok(t, w.EnsureClient(context.Background(), spec)) // another secret: they do not
	w.later(trust)
	if _, err = w.Verify(context.Background(), r.text("access_token")); !cf.IsKind(err, cf.KindUnauthenticated) {
		t.Errorf("a token of the old secret: %v", err)
	}
	w.formAs("robot", "s3cret ü", "grant_type", "client_credentials").want(t, 401, "unauthorized", "Bad credentials")
}

const lockedText = "Your account has been locked because of too many failed attempts to login."

func TestLockout(t *testing.T) {
	for _, name := range []string{"admin", "nobody"} { // an answer does not tell who exists
		t.Run(name, func(t *testing.T) {
			w := start(t)
			for range 5 {
				w.password(name, "wrong").want(t, 401, "unauthorized", "Bad credentials")
			}
			for _, pw := range []string{"wrong", adminPassword} {
				r := w.password(strings.ToUpper(name), pw)
				r.want(t, 401, "unauthorized", "")
				if r.text("error_description") != lockedText {
					t.Fatal(r.body)
				}
			}
			w.later(299 * time.Second)
			w.password(name, adminPassword).want(t, 401, "unauthorized", lockedText)
			w.later(2 * time.Second)
			if r := w.password(name, adminPassword); name == "admin" && r.status != 200 {
				t.Fatal(r.body)
			}
		})
	}
}

func TestFailuresAreForgotten(t *testing.T) {
	w := start(t)
	for range 3 { // a good try in between
		for range 4 {
			w.password("admin", "wrong").want(t, 401, "unauthorized", "Bad credentials")
		}
		w.admin()
	}
	for range 4 {
		w.password("admin", "wrong").want(t, 401, "unauthorized", "Bad credentials")
	}
	w.later(lockoutWindow + time.Second)
	w.password("admin", "wrong").want(t, 401, "unauthorized", "Bad credentials")
	w.admin()
}

const lockoutWindow = 1200 * time.Second

func TestParallelGuessesGetNoMore(t *testing.T) {
	w := start(t)
	texts := make(chan string, 40)
	var wg sync.WaitGroup
	for range cap(texts) {
		wg.Go(func() { texts <- w.password("admin", "wrong").text("error_description") })
	}
	wg.Wait()
	close(texts)
	count := map[string]int{}
	for s := range texts {
		count[s]++
	}
	if count["Bad credentials"] != 5 || count[lockedText] != 35 {
		t.Fatalf("%v", count)
	}
}

func TestParallelLoginsAllSucceed(t *testing.T) {
	w := start(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if r := w.password("admin", adminPassword); r.status != http.StatusOK {
				t.Errorf("%d %v", r.status, r.body)
			}
		})
	}
	wg.Wait()
}

func TestUnknownUserTakesAsLong(t *testing.T) {
	w := start(t)
	var known, unknown []time.Duration
	for i := range 4 { // not five: a locked name answers at once
		for name, into := range map[string]*[]time.Duration{"admin": &known, "nobody": &unknown} {
			begin := time.Now()
			w.password(name, fmt.Sprint(i)).want(t, 401, "unauthorized", "Bad credentials")
			*into = append(*into, time.Since(begin))
		}
	}
	a, b := slices.Min(known), slices.Min(unknown)
	if ratio := float64(a) / float64(b); ratio < 0.4 || ratio > 2.5 { // without the hash it is above 20
		t.Errorf("known user %v, unknown user %v", a, b)
	}
}

func BenchmarkClientCredentials(b *testing.B) {
	w := start(b)
	ok(b, w.EnsureClient(context.Background(), Client{ID: "robot", Secret: "x", Grants: []string{"client_credentials"}, Authorities: []string{"uaa.resource"}}))
	if r := w.formAs("robot", "x", "grant_type", "client_credentials"); r.status != 200 {
		b.Fatal(r.body)
	}
	c, _, err := w.clients.ByID(context.Background(), "robot")
	ok(b, err)
	b.Run("raw RS256", func(b *testing.B) {
		claims := grant.Subject{Client: c, Scopes: []string{"uaa.resource"}, Grant: "client_credentials"}.Claims("i", time.Now())
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := w.keys.Sign(claims, "j"); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("handler", func(b *testing.B) {
		h := w.Handler()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				r, _ := http.NewRequest("POST", "/oauth/token", strings.NewReader("grant_type=client_credentials"))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				r.SetBasicAuth("robot", "x")
				rec := &discard{header: http.Header{}}
				if h.ServeHTTP(rec, r); rec.code != 200 {
					b.Error(rec.code)
				}
			}
		})
	})
	b.Run("verify, remembered", func(b *testing.B) {
		token := w.formAs("robot", "x", "grant_type", "client_credentials").text("access_token")
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := w.Verify(context.Background(), token); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

type discard struct {
	header http.Header
	code   int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(c int)           { d.code = c }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
