package rest

import (
	"encoding/json"
	"strings"
)

// Empty tells whether the body has no fields at all.
func (b *Body) Empty() bool { return len(b.order) == 0 }

// Env declares an object of environment variables: texts, or null for one to be removed. CF refuses names that it
// sets itself.
func (b *Body) Env(key string) map[string]*string {
	raw := b.Raw(key)
	var m map[string]json.RawMessage
	if len(raw) == 0 || raw[0] != '{' || json.Unmarshal(raw, &m) != nil {
		b.Wrong(key, "must be an object")
		return nil
	}
	out := make(map[string]*string, len(m))
	for _, k := range sorted(m) {
		upper, v := strings.ToUpper(k), m[k]
		switch {
		case k == "":
			b.Wrong(key, "key must be a minimum length of 1")
		case strings.HasPrefix(upper, "VCAP_"):
			b.Wrong(key, "cannot start with VCAP_")
		case strings.HasPrefix(upper, "VMC"):
			b.Wrong(key, "cannot start with VMC_")
		case upper == "PORT":
			b.Wrong(key, "cannot set PORT")
		case string(v) == "null":
			out[k] = nil
		case v[0] != '"':
			b.Fault("Non-string value in environment variable for key '%s', value '%s'", k, v)
		default:
			s := new(string)
			if json.Unmarshal(v, s) != nil || strings.ContainsAny(k+*s, "\x00") {
				b.Wrong(key, "must not contain null characters")
			}
			out[k] = s
		}
	}
	return out
}
