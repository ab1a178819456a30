package uaa

import (
	"context"
	"sync"
	"testing"
	"time"

	"ingot/uaa/grant"
)

func TestRefreshRotates(t *testing.T) {
	w := start(t)
	t0 := w.password("admin", adminPassword).text("refresh_token")
	step := func(token string) string {
		t.Helper()
		r := w.refresh(token)
		if r.status != 200 || r.text("refresh_token") == token || r.text("token_type") != "bearer" {
			t.Fatalf("%d %v", r.status, r.body)
		}
		return r.text("refresh_token")
	}
	t1 := step(t0)
	t1b := step(t0) // a second command that read the same file
	t2 := step(t1)  // now t0 is spent
	_ = step(t1b)   // but its other child, which may be what the file holds, is good
	w.refresh(t0).want(t, 401, "invalid_token", "")
	w.refresh(t2).want(t, 401, "invalid_token", "") // the whole chain is gone

	t0 = w.password("admin", adminPassword).text("refresh_token")
	t1 = step(t0)
	w.later(grant.Grace)
	_ = step(t0)
	w.later(time.Second)
	w.refresh(t0).want(t, 401, "invalid_token", "")
	w.refresh(t1).want(t, 401, "invalid_token", "")

	t0 = w.password("admin", adminPassword).text("refresh_token")
	w.later(30*24*time.Hour + time.Second)
	w.refresh(t0).want(t, 401, "invalid_token", "")
}

func TestRefreshKeepsLoginTimeAndClient(t *testing.T) {
	w := start(t)
	ok(t, w.EnsureClient(context.Background(), Client{ID: "other", Secret: "x", Grants: []string{"refresh_token"}, Scopes: []string{"openid"}}))
	r := w.password("admin", adminPassword)
	w.formAs("other", "x", "grant_type", "refresh_token", "refresh_token", r.text("refresh_token")).want(t, 401, "invalid_token", "")
	w.later(time.Hour)
	again := w.refresh(r.text("refresh_token"))
	_, c := claimsOf(t, w, again.text("access_token"))
	if c["auth_time"] != float64(w.base.Unix()) || c["iat"] != float64(w.base.Add(time.Hour).Unix()) || again.text("scope") != r.text("scope") {
		t.Errorf("claims %v", c)
	}
	narrow := w.form("grant_type", "refresh_token", "refresh_token", again.text("refresh_token"), "scope", "openid")
	if narrow.text("scope") != "openid" {
		t.Errorf("%v", narrow.body)
	}
	w.form("grant_type", "refresh_token", "refresh_token", again.text("refresh_token"), "scope", "uaa.admin").want(t, 400, "invalid_scope", "")
}

// TestParallelCommandsShareAFile: twenty commands find the access token about to expire and refresh with one token.
func TestParallelCommandsShareAFile(t *testing.T) {
	w := start(t)
	file := w.password("admin", adminPassword).text("refresh_token")
	for range 3 {
		got := make(chan string, 20)
		var wg sync.WaitGroup
		for range cap(got) {
			wg.Go(func() {
				r := w.refresh(file)
				if r.status != 200 {
					t.Errorf("%d %v", r.status, r.body)
				}
				got <- r.text("refresh_token")
			})
		}
		wg.Wait()
		close(got)
		all := map[string]bool{}
		for file = range got { // the last one writes the file
			all[file] = true
		}
		if len(all) != 20 {
			t.Fatalf("%d different tokens", len(all))
		}
		w.later(1200 * time.Second)
	}
}
