package capi_test

import (
	"math/rand/v2"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"ingot/rest/access"
)

// pieces of which malformed requests are made.
var (
	scraps = []string{"", " ", "null", "-1", "0", "1e9", "99999999999999999999", "true", "[]", "{}", "a", "A b", "a,b", ",", "'", "\"", "\\", "%", "%2C",
		"\x00", "\xff\xfe", "é", "日本", "😀", "a/b", "../x", "?", "#", "[", "]", "(", ")", "a in (", "a notin ()", "!", "=", "a==b", "a!=b,c",
		"2020-01-01T00:00:00Z", "2020-99-99T99:99:99Z", "created_at", "-name", "+name", "guid", "id; DROP TABLE x", strings.Repeat("x", 300), "acme", "acme-space"}
	values = []string{`null`, `1`, `-1.5`, `1e400`, `true`, `""`, `"a"`, `"\u0000"`, `"\ud800"`, `[]`, `[1]`, `[null]`, `{}`, `{"data":null}`, `{"data":{"guid":null}}`,
		`{"data":{"guid":"acme"}}`, `{"data":{"guid":"acme","x":1}}`, `{"data":[{"guid":"acme"}]}`, `{"data":{"username":1,"origin":[]}}`, `{"labels":{"a":{}}}`,
		`{"labels":[],"annotations":"x"}`, `{"annotations":{"a":[1,2]}}`, `{"organization":{"data":{"guid":"acme"}},"user":{"data":{"guid":"acme"}}}`,
		`{"space":{"data":{"guid":"acme-space"}},"user":{"data":{"username":"\u0000"}}}`, `"` + strings.Repeat("y", 400) + `"`, `{"foo":1,"VCAP_X":"y","ok":"z"}`}
	keys = []string{"name", "suspended", "metadata", "relationships", "type", "guid", "username", "origin", "data", "enabled", "custom_error_message", "var", "state", "x", "", "\\u0000",
		"environment_variables", "lifecycle", "host", "path", "port", "options", "destinations", "protocol", "weight", "instances", "memory_in_mb", "disk_in_mb", "log_rate_limit_in_bytes_per_second",
		"health_check", "readiness_health_check", "command", "user", "package", "resources", "app", "internal", "router_group", "description", "position", "suspended"}
	params   = []string{"page", "per_page", "order_by", "created_ats", "updated_ats", "guids", "names", "organization_guids", "space_guids", "user_guids", "types", "include", "label_selector", "target_guids", "usernames", "partial_usernames", "origins", "stacks", "lifecycle", "default", "fields[space]", "zzz"}
	suffixes = []string{"", "", "", "[gt]", "[lt]", "[not]", "[]", "[x]", "["}
)

func any1[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

// TestMalformed: whatever is sent, the answer is CF's and never a 5xx. INGOT_MALFORMED sets how many requests.
func TestMalformed(t *testing.T) {
	w := newWorld(t)
	w.api.Limits.User = -1
	a := w.API
	a.World("acme")
	fresh(a, "acme", "acme")
	a.Role("boss", access.OrgManager, "acme")
	a.Role("boss", access.SpaceDeveloper, "acme")
	n := 3000
	if s := os.Getenv("INGOT_MALFORMED"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	r := rand.New(rand.NewPCG(1, 2))
	var lines []string
	names := params
	for _, e := range w.api.Endpoints() {
		if e.Method != "DELETE" {
			lines = append(lines, e.Method+" "+e.Path)
		}
		for _, p := range e.Query {
			names = append(names, p.Name)
		}
	}
	for range n {
		line := argument.ReplaceAllStringFunc(any1(r, lines), func(string) string {
			return any1(r, []string{"acme", "acme", "acme-space", url.PathEscape(any1(r, scraps))})
		})
		if strings.Contains(line, "/../") {
			continue
		}
		body := ""
		if strings.HasPrefix(line, "GET") {
			line += "?"
			for range r.IntN(4) {
				v := any1(r, scraps)
				if r.IntN(4) > 0 {
					v = url.QueryEscape(v)
				}
				line += any1(r, names) + any1(r, suffixes) + "=" + v + "&"
			}
			line = strings.NewReplacer(" ", "+", "\x00", "%00", "\xff\xfe", "%ff%fe", "#", "%23", "\\", "%5c", "\"", "%22").Replace(line[4:])
			line = "GET " + line
		} else {
			var parts []string
			for range r.IntN(5) {
				parts = append(parts, `"`+any1(r, keys)+`":`+any1(r, values))
			}
			body = "{" + strings.Join(parts, ",") + "}"
			if r.IntN(20) == 0 {
				body = body[:r.IntN(len(body))]
			}
		}
		if got := a.Do(any1(r, []string{"admin", "boss"}), line, body); got.Status >= 500 || got.Status >= 400 && got.Detail() == "" {
			t.Fatalf("%s %s\n%d %s", line, body, got.Status, got.Text)
		}
	}
}
