package uaa

import (
	"maps"
	"strings"
	"testing"
)

// TestClients: the admin's client makes another, which gets tokens of its own until it is deleted; secrets are never shown.
func TestClients(t *testing.T) {
	w := start(t)
	ok(t, w.EnsureClient(t.Context(), AdminClient("top")))
	own := func(id, secret string) reply { return w.formAs(id, secret, "grant_type", "client_credentials") }
	admin := own("admin", "top").text("access_token")
	body := map[string]any{"client_id": "ci", "client_secret": "s3", "authorized_grant_types": []string{"client_credentials"},
		"authorities": []string{"cloud_controller.admin"}, "access_token_validity": 60}
	w.createUser("dev", "pw")
	for _, c := range []struct {
		token  string
		change map[string]any
		status int
		code   string
		words  string
	}{
		{"", nil, 401, "unauthorized", ""},
		{w.password("dev", "pw").text("access_token"), nil, 403, "insufficient_scope", ""},
		{w.admin(), nil, 403, "insufficient_scope", ""}, // the CLI may not ask for uaa.admin
		{admin, map[string]any{"client_id": ""}, 400, "invalid_client", "client_id"},
		{admin, map[string]any{"client_id": "a\x00"}, 400, "invalid_client", "client_id"},
		{admin, map[string]any{"client_secret": strings.Repeat("x", 256)}, 400, "invalid_client", "no more than 255 characters"},
		{admin, map[string]any{"client_secret": ""}, 400, "invalid_client", "Client secret is required for client_credentials"},
		{admin, map[string]any{"authorized_grant_types": []string{}}, 400, "invalid_client", "An authorized grant type must be provided"},
		{admin, map[string]any{"authorized_grant_types": []string{"magic"}}, 400, "invalid_client", "magic is not an allowed grant type"},
		{admin, map[string]any{"access_token_validity": -1}, 400, "invalid_client", "validity"},
		{admin, map[string]any{"client_id": "cf"}, 409, "invalid_client", "Client already exists: cf"},
	} {
		b := maps.Clone(body)
		maps.Copy(b, c.change)
		w.call(c.token, "POST", "/oauth/clients", b).want(t, c.status, c.code, c.words)
	}
	own("ci", "s3").want(t, 401, "unauthorized", "Bad credentials")

	r := w.call(admin, "POST", "/oauth/clients", body)
	if r.status != 201 || r.text("client_id") != "ci" || r.body["client_secret"] != nil || r.body["access_token_validity"] != 60.0 {
		t.Fatalf("%d %v", r.status, r.body)
	}
	own("ci", "wrong").want(t, 401, "unauthorized", "Bad credentials")
	tok := own("ci", "s3")
	if tok.status != 200 || tok.text("scope") != "cloud_controller.admin" || tok.body["expires_in"].(float64) > 60 {
		t.Fatalf("%d %v", tok.status, tok.body)
	}
	who, err := w.Verify(t.Context(), tok.text("access_token"))
	if err != nil || who.Client != "ci" || who.UserID != "" {
		t.Errorf("%+v %v", who, err)
	}

	w.call(w.admin(), "DELETE", "/oauth/clients/ci", nil).want(t, 403, "insufficient_scope", "")
	if r := w.call(admin, "DELETE", "/oauth/clients/ci", nil); r.status != 200 || r.text("client_id") != "ci" {
		t.Errorf("%d %v", r.status, r.body)
	}
	w.call(admin, "DELETE", "/oauth/clients/ci", nil).want(t, 404, "not_found", "No client with requested id: ci")
	own("ci", "s3").want(t, 401, "unauthorized", "Bad credentials")
	w.later(trust)
	if _, err := w.Verify(t.Context(), tok.text("access_token")); err == nil {
		t.Error("the token of a deleted client is good")
	}
}
