package sign

import (
	"net/url"
	"testing"
	"time"

	"ingot/cf"
)

func TestSignatures(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	keys := Keys{{Secret: "s3cret"}}
	old, rotated := Keys{{ID: "a", Secret: "one"}}, Keys{{ID: "b", Secret: "two"}, {ID: "a", Secret: "one"}}
	good := keys.Sign("GET", "/bits/droplets/x", now.Add(Life))
	change := func(k, v string) url.Values {
		q := url.Values{"signature": good["signature"], "expires": good["expires"]}
		q.Set(k, v)
		return q
	}
	for _, c := range []struct {
		name, method, path string
		keys               Keys
		q                  url.Values
		at                 time.Time
		ok                 bool
	}{
		{"good", "GET", "/bits/droplets/x", keys, good, now, true},
		{"head", "HEAD", "/bits/droplets/x", keys, good, now, true},
		{"last second", "GET", "/bits/droplets/x", keys, good, now.Add(Life - time.Second), true},
		{"expired", "GET", "/bits/droplets/x", keys, good, now.Add(Life), false},
		{"other path", "GET", "/bits/droplets/y", keys, good, now, false},
		{"other method", "PUT", "/bits/droplets/x", keys, good, now, false},
		{"later expiry", "GET", "/bits/droplets/x", keys, change("expires", "2000000"), now, false},
		{"no expiry", "GET", "/bits/droplets/x", keys, change("expires", ""), now, false},
		{"no signature", "GET", "/bits/droplets/x", keys, change("signature", ""), now, false},
		{"unsigned", "GET", "/bits/droplets/x", keys, nil, now, false},
		{"foreign key id", "GET", "/bits/droplets/x", keys, change("AccessKeyId", "a"), now, false},
		{"other secret", "GET", "/bits/droplets/x", Keys{{Secret: "other"}}, good, now, false},
		{"no keys", "GET", "/bits/droplets/x", nil, good, now, false},
		{"old key after rotation", "GET", "/p", rotated, old.Sign("GET", "/p", now.Add(Life)), now, true},
		{"new key", "GET", "/p", rotated, rotated.Sign("GET", "/p", now.Add(Life)), now, true},
		{"key taken away", "GET", "/p", rotated[:1], old.Sign("GET", "/p", now.Add(Life)), now, false},
	} {
		err := c.keys.Verify(c.method, c.path, c.q, c.at)
		if c.ok != (err == nil) || err != nil && !cf.IsKind(err, cf.KindForbidden) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// The value was computed with openssl: printf '%s' 'GET /p s3cret 1000' | openssl dgst -sha256 -hmac s3cret
func TestForm(t *testing.T) {
	const want = "26614c0cba5a57960a9d3713529caafc47dd36a497c9b8ae87d2e2a72be805d3"
	if got := (Keys{{Secret: "s3cret"}}).Sign("GET", "/p", time.Unix(1000, 0)).Get("signature"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
