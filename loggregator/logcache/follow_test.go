package logcache

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"ingot/cf"
)

// follow reads like the CLI does: it takes a line once that is old enough, and asks again 250 ms after it got nothing.
func follow(t *testing.T, a *API, user, address string, age time.Duration) (stop func()) {
	h, next, done := a.Handler(), time.Now().UnixNano(), make(chan struct{})
	read := func() (took bool) {
		r := httptest.NewRequestWithContext(t.Context(), "GET", fmt.Sprintf("/api/v1/read/app?envelope_types=LOG&start_time=%d", next), nil)
		r.RemoteAddr = address
		r.Header.Set("Authorization", "bearer "+user)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		for _, e := range parse(t, w.Body.String()).Envelopes.Batch {
			ns, err := strconv.ParseInt(e.Timestamp, 10, 64)
			if err != nil {
				t.Error(err)
			}
			if time.Since(time.Unix(0, ns)) >= age {
				next, took = ns+1, true
			}
		}
		return took
	}
	go func() {
		for {
			if read() {
				continue
			}
			select {
			case <-time.After(250 * time.Millisecond):
			case <-done:
				return
			}
		}
	}()
	return func() { close(done) }
}

// named takes the token for the user's name.
type named struct{}

func (named) Verify(_ context.Context, token string) (cf.Identity, error) {
	return cf.Identity{UserID: cf.UserID(token), Scopes: []string{"logs.admin"}}, nil
}

func TestCatchUp(t *testing.T) {
	const limit, cli, never = 4 * time.Second, 2 * time.Second, time.Hour
	for name, c := range map[string]struct {
		users       []string // who reads, each on a connection
		age         time.Duration
		gone        bool // they read no more once the line is there
		silent      bool // there is no line
		least, most time.Duration
	}{
		"nobody reads":  {},
		"another user":  {users: []string{"joe"}, age: never},
		"the CLI":       {users: []string{"me"}, age: cli, least: cli, most: cli + 250*time.Millisecond + showing},
		"three of them": {users: []string{"me", "me", "joe", "me"}, age: cli, least: cli, most: cli + 250*time.Millisecond + showing},
		"it went away":  {users: []string{"me"}, age: cli, gone: true, least: time.Second, most: following + time.Second + showing},
		"never":         {users: []string{"me"}, age: never, least: limit, most: limit + showing},
		"nothing said":  {users: []string{"me"}, age: cli, silent: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &API{Store: &Store{}, Tokens: named{}}
				for i, user := range c.users {
					stop := follow(t, a, user, fmt.Sprint("1:", i), c.age)
					time.Sleep(60 * time.Millisecond)
					if c.gone {
						stop()
					} else {
						defer stop()
					}
				}
				said := time.Now()
				if !c.silent {
					a.Store.Take([]cf.Envelope{line("app", said.UnixNano(), "Uploading complete")})
				}
				a.Store.Take([]cf.Envelope{line("app", said.Add(50*time.Millisecond).UnixNano(), "of no interest")})
				a.CatchUp(t.Context(), "app", cf.Identity{UserID: "me"}, said, limit)
				if d := time.Since(said); d < c.least || d > c.most {
					t.Errorf("waited %s, want %s to %s", d, c.least, c.most)
				}
			})
		})
	}
}

// TestFollowersAreForgotten: what is known of readers does not grow for ever.
func TestFollowersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f followers
		for i := range mostKnown + 100 {
			f.begin(fmt.Sprint("app", i%100), follower{"me", fmt.Sprint(i)}, 0)()
		}
		if f.known != mostKnown {
			t.Errorf("%d are known", f.known)
		}
		time.Sleep(following + time.Millisecond)
		f.begin("app", follower{"me", "1:1"}, 7)()
		if f.known != 1 || len(f.sources) != 1 || f.slowest(f.of("app"), "me") != 7 {
			t.Errorf("%d are known, of %d sources", f.known, len(f.sources))
		}
	})
}
