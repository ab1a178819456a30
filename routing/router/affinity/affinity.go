// Package affinity reads which instance a request asks for, and writes the cookie that keeps a session with one, as
// gorouter does.
//
// It promises that only gorouter's forms are taken. It will not look for the instance.
package affinity

import (
	"net/http"
	"slices"
	"strings"
)

// VCAPID is the cookie that names the instance of a session.
const VCAPID = "__VCAP_ID__"

// App reads X-Cf-App-Instance: the app's GUID, a colon, and an index.
func App(v string) (guid, index string, ok bool) {
	guid, index, ok = strings.Cut(v, ":")
	return guid, index, ok && isGUID(guid) && isIndex(index)
}

// Process reads X-Cf-Process-Instance: the process's GUID, and perhaps a colon and an index.
func Process(v string) (guid, index string, ok bool) {
	guid, index, colon := strings.Cut(v, ":")
	return guid, index, isGUID(guid) && (!colon || isIndex(index))
}

func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c, dash := s[i], i == 8 || i == 13 || i == 18 || i == 23
		if digit := '0' <= c && c <= '9' || 'a' <= c && c <= 'f'; dash && c != '-' || !dash && !digit {
			return false
		}
	}
	return true
}

func isIndex(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// Names are those of the apps' session cookies; nil means JSESSIONID.
type Names []string

func (n Names) has(name string) bool {
	return name == "JSESSIONID" && n == nil || slices.Contains(n, name)
}

// Read finds in a Cookie header whether there is a session, and the instance that it belongs to.
func (n Names) Read(cookies string, session *bool, instance *string) {
	for rest := cookies; rest != ""; {
		var one string
		one, rest, _ = strings.Cut(rest, ";")
		name, value, _ := strings.Cut(strings.TrimSpace(one), "=")
		switch {
		case name == VCAPID:
			*instance = strings.Trim(value, `"`)
		case n.has(name):
			*session = true
		}
	}
}

// Set is what a response's Set-Cookie fields mean for the session.
type Set struct {
	own bool         // the app sets the instance's cookie itself
	as  *http.Cookie // the session's cookie that the app sets
}

// Note takes the value of a Set-Cookie field.
func (s *Set) Note(n Names, v string) {
	name, _, _ := strings.Cut(v, "=")
	name = strings.TrimSpace(name)
	if name == VCAPID {
		s.own = true
	}
	if s.as != nil || !n.has(name) {
		return
	}
	if c, err := http.ParseSetCookie(v); err == nil {
		s.as = c
	}
}

// Cookie gives the value of the Set-Cookie field that ties the session to the instance, "" when none is due. moved
// tells that the request asked for another instance. path is the route's context path.
func (s *Set) Cookie(instance, path string, moved bool) string {
	if s.own || instance == "" || s.as == nil && !moved {
		return ""
	}
	if path == "" {
		path = "/"
	}
	c := http.Cookie{Name: VCAPID, Value: instance, Path: path, HttpOnly: true}
	if s.as != nil {
		c.Secure, c.SameSite, c.Expires, c.Partitioned = s.as.Secure, s.as.SameSite, s.as.Expires, s.as.Partitioned
		c.MaxAge = min(s.as.MaxAge, 0) // a session that ends now ends; how long another lasts is the app's matter
	}
	return c.String()
}
