// Package sign makes and checks the signed URLs of bits-service (systems.md §5): a URL that stands for a token, for one
// method, one path and a time.
//
// It promises comparison in constant time and keys that can be rotated. It will not know what the paths mean.
package sign

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"ingot/cf"
)

// Life is how long a signature lasts where the caller names no other time.
const Life = time.Hour

// Key is one signing key.
type Key struct {
	ID     string // empty where keys are not rotated
	Secret string
}

// Keys are the valid keys; the first one signs.
type Keys []Key

// Sign gives the query that allows method on path until expires.
func (k Keys) Sign(method, path string, expires time.Time) url.Values {
	until := expires.Unix()
	q := url.Values{"signature": {k[0].mac(method, path, until)}, "expires": {strconv.FormatInt(until, 10)}}
	if k[0].ID != "" {
		q.Set("AccessKeyId", k[0].ID)
	}
	return q
}

// Verify checks the query of a request; HEAD is covered by the signature of GET. It answers KindForbidden.
func (k Keys) Verify(method, path string, q url.Values, now time.Time) error {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	until, err := strconv.ParseInt(q.Get("expires"), 10, 64)
	if err != nil {
		return cf.Errorf(cf.KindForbidden, "", "the URL is not signed")
	}
	for _, key := range k {
		if key.ID != q.Get("AccessKeyId") || !hmac.Equal([]byte(key.mac(method, path, until)), []byte(q.Get("signature"))) {
			continue
		}
		if now.Unix() >= until {
			return cf.Errorf(cf.KindForbidden, "", "the signature has expired")
		}
		return nil
	}
	return cf.Errorf(cf.KindForbidden, "", "the signature is wrong")
}

// mac is hex HMAC-SHA256(secret, "<METHOD> <path> <secret> <unix expiry>").
func (k Key) mac(method, path string, until int64) string {
	h := hmac.New(sha256.New, []byte(k.Secret))
	h.Write([]byte(method + " " + path + " " + k.Secret + " " + strconv.FormatInt(until, 10)))
	return hex.EncodeToString(h.Sum(nil))
}
