package uaa

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"ingot/cf"
	"ingot/kit/sql/sqltest"
	"ingot/uaa/key"
)

// TestBadTokens is class A4 of the abuse matrix: none of these is ever accepted.
func TestBadTokens(t *testing.T) {
	w := start(t)
	good := w.admin()
	parts := strings.Split(good, ".")
	header, claims := claimsOf(t, w, good)
	ours := w.keys.Public()[0]
	foreign, err := rsa.GenerateKey(rand.Reader, 2048)
	ok(t, err)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	var file struct {
		Keys []struct {
			PEM string `json:"private_key"`
		}
	}
	text, err := os.ReadFile(w.KeyFile)
	ok(t, err)
	ok(t, json.Unmarshal(text, &file))
	own, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(file.Keys[0].PEM))
	ok(t, err)

	with := func(change jwt.MapClaims) jwt.MapClaims {
		c := jwt.MapClaims{}
		for k, v := range claims {
			c[k] = v
		}
		for k, v := range change {
			c[k] = v
			if v == nil {
				delete(c, k)
			}
		}
		return c
	}
	sign := func(m jwt.SigningMethod, key any, kid any, c jwt.MapClaims) string {
		tok := jwt.NewWithClaims(m, c)
		tok.Header["jku"] = header["jku"]
		if kid != nil {
			tok.Header["kid"] = kid
		}
		s, err := tok.SignedString(key)
		ok(t, err)
		return s
	}
	mine := func(change jwt.MapClaims) string { return sign(jwt.SigningMethodRS256, own, ours.ID, with(change)) }
	if _, err := w.Verify(context.Background(), mine(jwt.MapClaims{"jti": "another"})); err != nil {
		t.Fatalf("the forge itself does not work: %v", err)
	}
	if _, err := w.Verify(context.Background(), mine(jwt.MapClaims{"iat": w.base.Unix() + 3600})); err != nil {
		t.Errorf("a token that is out when the clock is set back: %v", err)
	}
	now := w.base.Unix()
	b64 := base64.RawURLEncoding.EncodeToString
	body := func(change jwt.MapClaims) string { b, _ := json.Marshal(with(change)); return b64(b) }
	pemText := []byte(ours.PEM)

	for name, token := range map[string]string{
		"empty": "", "spaces": "   ", "not a token": "x", "two parts": "a.b", "dots": "..", "four parts": good + ".x", "word bearer": "bearer " + good,
		"no signature": parts[0] + "." + parts[1] + ".", "half a signature": good[:len(good)-20],
		"flipped signature": parts[0] + "." + parts[1] + "." + flip(parts[2]), "other claims": parts[0] + "." + body(jwt.MapClaims{"user_name": "x"}) + "." + parts[2],
		"other header":              b64([]byte(`{"alg":"RS256","typ":"JWT","kid":"x"}`)) + "." + parts[1] + "." + parts[2],
		"alg none":                  sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, ours.ID, with(nil)),
		"alg NONE":                  b64([]byte(`{"alg":"NoNe","kid":"`+ours.ID+`"}`)) + "." + parts[1] + ".",
		"alg missing":               b64([]byte(`{"kid":"`+ours.ID+`"}`)) + "." + parts[1] + "." + parts[2],
		"alg list":                  b64([]byte(`{"alg":["RS256"],"kid":"`+ours.ID+`"}`)) + "." + parts[1] + "." + parts[2],
		"HS256 with the public key": sign(jwt.SigningMethodHS256, pemText, ours.ID, with(nil)),
		"HS256 with the kid":        sign(jwt.SigningMethodHS256, []byte(ours.ID), ours.ID, with(nil)),
		"HS256 with nothing":        sign(jwt.SigningMethodHS256, []byte{}, ours.ID, with(nil)),
		"HS512 with the public key": sign(jwt.SigningMethodHS512, pemText, ours.ID, with(nil)),
		"RS512 with our key":        sign(jwt.SigningMethodRS512, own, ours.ID, with(nil)),
		"PS256 with our key":        sign(jwt.SigningMethodPS256, own, ours.ID, with(nil)),
		"ES256":                     sign(jwt.SigningMethodES256, ec, ours.ID, with(nil)),
		"foreign key, our kid":      sign(jwt.SigningMethodRS256, foreign, ours.ID, with(nil)),
		"foreign key, own kid":      sign(jwt.SigningMethodRS256, foreign, "theirs", with(nil)),
		"our key, unknown kid":      sign(jwt.SigningMethodRS256, own, "theirs", with(nil)),
		"our key, no kid":           sign(jwt.SigningMethodRS256, own, nil, with(nil)),
		"our key, kid a number":     sign(jwt.SigningMethodRS256, own, 1, with(nil)),
		"our key, kid a path":       sign(jwt.SigningMethodRS256, own, "../../etc/passwd", with(nil)),
		"expired":                   mine(jwt.MapClaims{"exp": now - 1}), "expires now": mine(jwt.MapClaims{"exp": now}),
		"no exp": mine(jwt.MapClaims{"exp": nil}), "exp a text": mine(jwt.MapClaims{"exp": "never"}), "exp zero": mine(jwt.MapClaims{"exp": 0}),
		"nbf ahead":    mine(jwt.MapClaims{"nbf": now + 60}),
		"other issuer": mine(jwt.MapClaims{"iss": "https://uaa.other/oauth/token"}), "no issuer": mine(jwt.MapClaims{"iss": nil}),
		"issuer's prefix": mine(jwt.MapClaims{"iss": "https://uaa.ingot.test"}), "issuer's host in capitals": mine(jwt.MapClaims{"iss": "https://UAA.ingot.test/oauth/token"}),
		"other zone": mine(jwt.MapClaims{"zid": "z2"}), "no zone": mine(jwt.MapClaims{"zid": nil}),
		"other audience": mine(jwt.MapClaims{"aud": []string{"x"}}), "no audience": mine(jwt.MapClaims{"aud": nil}),
		"no jti": mine(jwt.MapClaims{"jti": nil}), "unknown client": mine(jwt.MapClaims{"client_id": "x", "aud": []string{"x"}}),
		"no client": mine(jwt.MapClaims{"client_id": nil}), "unknown user": mine(jwt.MapClaims{"user_id": cf.NewGUID()}),
		"user with a quote": mine(jwt.MapClaims{"user_id": "' OR 1=1 --"}), "user with NUL": mine(jwt.MapClaims{"user_id": "\x00"}),
		"a client's, with a user's claims": mine(jwt.MapClaims{"user_id": nil}),
		"other rev_sig":                    mine(jwt.MapClaims{"rev_sig": "0000000000000000"}), "no rev_sig": mine(jwt.MapClaims{"rev_sig": nil}),
		"refresh token": w.password("admin", adminPassword).text("refresh_token"), "64 KiB": strings.Repeat("a", 64<<10),
		"deep": b64([]byte(strings.Repeat("[", 20000))) + "." + parts[1] + "." + parts[2],
	} {
		for range 2 { // the second time what was remembered must not help
			id, err := w.Verify(context.Background(), token)
			var e *cf.Error
			if !cf.IsKind(err, cf.KindUnauthenticated) || !errors.As(err, &e) || e.Code != "InvalidAuthToken" || id.UserID != "" || id.Scopes != nil {
				t.Errorf("%s: %+v %v", name, id, err)
			}
		}
		if len(token) < 4096 && !strings.ContainsAny(token, "\x00\n") {
			if r := w.call(token, "GET", "/userinfo", nil); r.status != 401 {
				t.Errorf("%s: /userinfo answers %d", name, r.status)
			}
		}
	}
}

func flip(sig string) string {
	b, _ := base64.RawURLEncoding.DecodeString(sig)
	b[0] ^= 1
	return base64.RawURLEncoding.EncodeToString(b)
}

func TestRevocationWithinFiveSeconds(t *testing.T) {
	w := start(t)
	dies := func(name string, act func(id, token string)) {
		t.Helper()
		id := w.createUser(name, "pw")
		r := w.password(name, "pw")
		token := r.text("access_token")
		_, err := w.Verify(context.Background(), token)
		ok(t, err)
		act(id, token)
		w.later(trust)
		if _, err := w.Verify(context.Background(), token); !cf.IsKind(err, cf.KindUnauthenticated) {
			t.Errorf("%s: still good: %v", name, err)
		}
	}
	dies("deleted", func(id, token string) {
		refresh := w.password("deleted", "pw").text("refresh_token")
		w.call(w.admin(), "DELETE", "/Users/"+id, nil)
		w.refresh(refresh).want(t, 401, "invalid_token", "")
	})
	dies("changed", func(id, token string) {
		refresh := w.password("changed", "pw").text("refresh_token")
		if r := w.call(token, "PUT", "/Users/"+id+"/password", map[string]string{"oldPassword": "pw", "password": "new"}); r.status != 200 {
			t.Error(r.body)
		}
		w.refresh(refresh).want(t, 401, "invalid_token", "")
	})
	dies("revoked", func(_, token string) {
		_, c := claimsOf(t, w, token)
		if r := w.call(token, "DELETE", "/oauth/token/revoke/"+c["jti"].(string), nil); r.status != 200 {
			t.Error(r.body)
		}
	})
	victim := w.password("admin", adminPassword)
	w.createUser("mallory", "pw")
	mallory := w.password("mallory", "pw").text("access_token")
	w.call(mallory, "DELETE", "/oauth/token/revoke/"+victim.text("jti"), nil).want(t, 403, "access_denied", "")
	w.later(time.Hour)
	_ = w.admin() // prunes
	_, err := w.Verify(context.Background(), victim.text("access_token"))
	if !cf.IsKind(err, cf.KindUnauthenticated) {
		t.Errorf("expired: %v", err)
	}
}

func TestRestartAndRotation(t *testing.T) {
	dir, store := t.TempDir(), sqltest.Address(t)
	first := startIn(t, dir, store)
	r := first.password("admin", adminPassword)
	info, err := os.Stat(first.KeyFile)
	ok(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("key file mode %v", info.Mode())
	}
	second := startIn(t, dir, store)
	_, err = second.Verify(context.Background(), r.text("access_token"))
	ok(t, err)
	ok(t, second.EnsureAdmin(context.Background(), "admin", "something else"))
	if r := second.refresh(r.text("refresh_token")); r.status != 200 {
		t.Errorf("refresh after restart: %v", r.body)
	}
	_ = second.admin() // with the old password

	// A new key in front: old tokens stay good, new ones name the new key, both are published.
	other, err := key.Load(filepath.Join(t.TempDir(), "k"))
	ok(t, err)
	if other.Public()[0].ID == first.keys.Public()[0].ID {
		t.Error("two keys have one id")
	}
	both := addKey(t, first.KeyFile)
	first.keys = both
	_, err = first.Verify(context.Background(), r.text("access_token"))
	ok(t, err)
	header, _ := claimsOf(t, first, first.admin())
	if header["kid"] != both.Public()[0].ID || len(both.Public()) != 2 {
		t.Errorf("kid %v", header["kid"])
	}
	if got := first.call("", "GET", "/token_key", nil); got.text("kid") != both.Public()[0].ID || got.text("kty") != "RSA" || got.text("alg") != "RS256" ||
		!strings.HasPrefix(got.text("value"), "-----BEGIN PUBLIC KEY-----") {
		t.Errorf("%v", got.body)
	}
}

// addKey puts a new key before those of the file.
func addKey(t *testing.T, path string) *key.Set {
	t.Helper()
	read := func(p string) (f struct {
		Keys []map[string]string `json:"keys"`
	}) {
		text, err := os.ReadFile(p)
		ok(t, err)
		ok(t, json.Unmarshal(text, &f))
		return f
	}
	fresh := filepath.Join(t.TempDir(), "new")
	_, err := key.Load(fresh)
	ok(t, err)
	f := read(fresh)
	f.Keys = append(f.Keys, read(path).Keys...)
	text, err := json.Marshal(f)
	ok(t, err)
	ok(t, os.WriteFile(path, text, 0o600))
	s, err := key.Load(path)
	ok(t, err)
	return s
}

func TestKeyFilesThatAreWrong(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "no keys": `{"keys":[]}`, "no PEM": `{"keys":[{"kid":"a","private_key":"x"}]}`, "torn": `{"keys":[{"kid":"a","priv`,
	} {
		path := filepath.Join(t.TempDir(), "keys")
		ok(t, os.WriteFile(path, []byte(text), 0o600))
		if _, err := key.Load(path); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if after, _ := os.ReadFile(path); string(after) != text {
			t.Errorf("%s: overwritten", name)
		}
	}
	if _, err := key.Load(filepath.Join(t.TempDir(), "no", "folder")); err == nil {
		t.Error("no folder: accepted")
	}
}

func TestPublicEndpoints(t *testing.T) {
	w := start(t)
	r := w.call("", "GET", "/login", nil)
	prompts := r.body["prompts"].(map[string]any)
	for _, name := range []string{"username", "password", "passcode"} {
		if p := prompts[name].([]any); len(p) != 2 {
			t.Errorf("prompt %s: %v", name, p)
		}
	}
	if v := r.body["app"].(map[string]any)["version"]; v != Version {
		t.Errorf("version %v", v)
	}
	if links := r.body["links"].(map[string]any); links["uaa"] != w.URL || links["login"] != w.LoginURL {
		t.Errorf("links %v", links)
	}
	if w.call("", "GET", "/info", nil).body["app"] == nil {
		t.Error("/info has no app")
	}
	for _, path := range []string{"/.well-known/openid-configuration", "/oauth/token/.well-known/openid-configuration"} {
		d := w.call("", "GET", path, nil)
		if d.text("issuer") != w.issuer() || d.text("jwks_uri") != w.URL+"/token_keys" || d.text("token_endpoint") != w.LoginURL+"/oauth/token" {
			t.Errorf("%v", d.body)
		}
	}
	w.call("", "GET", "/passcode", nil).want(t, 501, "not_implemented", "cf login")
	w.call("", "GET", "/nowhere", nil).want(t, 404, "not_found", "")
	w.call("", "GET", "/userinfo", nil).want(t, 401, "unauthorized", "Full authentication")
	if r := w.call("", "GET", "/userinfo", nil); !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Basic") {
		t.Error(r.header)
	}
	if me := w.call(w.admin(), "GET", "/userinfo", nil); me.text("user_name") != "admin" || me.text("sub") == "" {
		t.Errorf("%v", me.body)
	}
}

func TestCheckToken(t *testing.T) {
	w := start(t)
	ok(t, w.EnsureClient(context.Background(), Client{ID: "resource", Secret: "x", Grants: []string{"client_credentials"}, Authorities: []string{"uaa.resource"}}))
	ok(t, w.EnsureClient(context.Background(), Client{ID: "plain", Secret: "x", Grants: []string{"client_credentials"}, Authorities: []string{"uaa.none"}}))
	check := func(client, secret string, form url.Values) reply {
		req := newForm(t, w.http.URL+"/check_token", form)
		req.SetBasicAuth(client, secret)
		return w.send(req)
	}
	token := w.admin()
	r := check("resource", "x", url.Values{"token": {token}, "scopes": {"openid,scim.read"}})
	if r.status != 200 || r.text("user_name") != "admin" || r.text("cid") != "cf" {
		t.Errorf("%d %v", r.status, r.body)
	}
	check("resource", "x", url.Values{"token": {token}, "scopes": {"nope"}}).want(t, 400, "invalid_scope", "nope")
	check("resource", "x", url.Values{"token": {token + "x"}}).want(t, 401, "invalid_token", "")
	check("resource", "x", nil).want(t, 401, "invalid_token", "must be set")
	check("resource", "y", url.Values{"token": {token}}).want(t, 401, "unauthorized", "Bad credentials")
	check("plain", "x", url.Values{"token": {token}}).want(t, 403, "access_denied", "")
	check("cf", "", url.Values{"token": {token}}).want(t, 403, "access_denied", "")
}

func TestSeenIsBounded(t *testing.T) {
	var s seen[int]
	var wg sync.WaitGroup
	at := time.Now()
	for g := range 4 {
		wg.Go(func() {
			for i := range seenMax {
				s.put(strings.Repeat("x", g)+cf.NewGUID(), i, at.Add(time.Second))
			}
		})
	}
	wg.Wait()
	if n := len(s.now) + len(s.old); n > 2*seenMax {
		t.Errorf("%d entries", n)
	}
	s.put("a", 1, at.Add(time.Second))
	if v, ok := s.get("a", at); !ok || v != 1 {
		t.Error("forgotten at once")
	}
	if _, ok := s.get("a", at.Add(time.Second)); ok {
		t.Error("kept too long")
	}
}
