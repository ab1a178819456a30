package capi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"ingot/rest/access"
)

// wrongs are what stands in place of a field; none of it is good anywhere but null and the lists and objects that are empty.
var wrongs = []string{`null`, `7`, `-7`, `1.5`, `true`, `"` + strings.Repeat("x", 10_000) + `"`, `"\u0000"`, `"😀"`, `[]`, `{}`, `[7]`, `["x"]`, `{"x":{"x":7}}`, `""`}

// foreignly are the requests about what lies in an organization or space, and the foreign one with which Cloud Controller's
// controllers answer 403 (unauthorized! before anything is said of who sees it), not as of one that is not there:
// DomainsController#check_create_private_domain_permissions!, RolesController#create_org_role and #create_space_role,
// SpaceQuotasController#create, RoutesController#create.
var foreignly = []string{`POST /v3/domains: "organization":{"data":{"guid":"other"}}`, `POST /v3/roles: "organization":{"data":{"guid":"other"}}`,
	`POST /v3/roles: "space":{"data":{"guid":"other-space"}}`, `POST /v3/space_quotas: "organization":{"data":{"guid":"other"}}`, `POST /v3/routes: "space":{"data":{"guid":"other-space"}}`}

// TestFields takes the good bodies of TestRoles and spoils each field of each: it is left out, of another type, too long,
// empty, or has an unknown one beside it. Nothing is a fault of ours, a wrong type is refused, and a foreign guid is answered
// like one that is not there, but where Cloud Controller does not (foreignly).
func TestFields(t *testing.T) {
	w := pushWorld(t)
	w.api.Limits.User = -1
	w.SetFlag("route_sharing", true)
	w.World("other")
	fresh(w.API, "other", "foreign")
	freshSpaceQuota(w.API, "other", "foreign-quota")
	bound(w.API, "other", "foreign-bound")
	for _, r := range []access.Role{access.OrgManager, access.SpaceDeveloper, access.SpaceManager} {
		w.Role("joe", r, "own")
	}
	n, x := 0, 0
	for _, c := range slices.Concat(calls, pushCalls, serviceCalls) {
		_, path, _ := strings.Cut(c.line, " ")
		if c.body == "" || !ten.MatchString(path) || strings.Contains(path, "manifest") {
			continue
		}
		var body map[string]any
		if err := json.Unmarshal([]byte(c.body), &body); err != nil {
			t.Fatal(err)
		}
		for _, spoilt := range spoil(body) {
			text, err := json.Marshal(spoilt.body)
			if err != nil {
				t.Fatal(err)
			}
			text = []byte(strings.Replace(string(text), `"HERE"`, spoilt.value, 1))
			x++
			guid := fmt.Sprint("f", x)
			if c.make != nil {
				c.make(w.API, "own", guid)
			}
			fill := strings.NewReplacer("{org}", "own", "{space}", "own-space", "{x}", guid).Replace
			user := "admin"
			if spoilt.guid {
				user = "joe"
			}
			r := w.Do(user, fill(c.line), fill(string(text)))
			if n++; r.Status >= 500 || r.Status >= 400 && (r.Detail() == "" || r.Get("errors", 0, "code") == nil) {
				t.Errorf("%s %.200s: %d %s", c.line, text, r.Status, r.Text)
			}
			if spoilt.refused && r.Status < 400 && !strings.Contains(string(text), `"labels":{"a":`) { // numbers become text there, as in CF
				t.Errorf("%s %.200s as %s: %d", c.line, text, user, r.Status)
			}
			if spoilt.guid {
				none := w.Do(user, fill(c.line), fill(strings.ReplaceAll(string(text), spoilt.value, `"no-such"`)))
				said := strings.ReplaceAll(r.Detail(), strings.Trim(spoilt.value, `"`), "no-such")
				if slices.ContainsFunc(foreignly, func(s string) bool {
					line, named, _ := strings.Cut(s, ": ")
					return line == c.line && strings.Contains(string(text), named)
				}) {
					if r.Status != 403 || r.Get("errors", 0, "code") != 10003.0 || none.Status != 422 || !strings.Contains(none.Detail(), "access to it.") {
						t.Errorf("%s %s: of a foreign one %s, of none %s", c.line, text, told(r), told(none))
					}
					continue
				}
				if none.Status != r.Status || none.Detail() != said {
					t.Errorf("%s %.200s: of a foreign one %d %s, of none %d %s", c.line, text, r.Status, r.Detail(), none.Status, none.Detail())
				}
			}
		}
	}
	t.Logf("%d bodies", n)
}

// spoilt is a body with one field "HERE", which value stands for.
type spoilt struct {
	body    any
	value   string
	refused bool // by every endpoint
	guid    bool // value is the guid of a foreign object
}

// spoil makes the bodies that differ from a good one in one field.
func spoil(v any) (out []spoilt) {
	object, ok := v.(map[string]any)
	if !ok {
		if list, ok := v.([]any); ok && len(list) > 0 {
			for _, s := range spoil(list[0]) {
				s.body = []any{s.body}
				out = append(out, s)
			}
		}
		return out
	}
	with := func(key string, value any) map[string]any {
		m := maps.Clone(object)
		m[key] = value
		return m
	}
	for key, old := range object {
		less := maps.Clone(object)
		delete(less, key)
		out = append(out, spoilt{body: less})
		for _, bad := range wrongs {
			out = append(out, spoilt{body: with(key, "HERE"), value: bad, refused: mismatch(old, bad)})
		}
		if key == "guid" {
			for _, foreign := range []string{"foreign", "other", "other-space", "foreign-quota"} {
				out = append(out, spoilt{body: with(key, "HERE"), value: `"` + foreign + `"`, refused: true, guid: true})
			}
		}
		for _, s := range spoil(old) {
			s.body = with(key, s.body)
			out = append(out, s)
		}
	}
	return append(out, spoilt{body: with("zzz", "HERE"), value: "7"})
}

// mismatch tells whether a value is of another type than the good one, and not null.
func mismatch(good any, text string) bool {
	var bad any
	if json.Unmarshal([]byte(text), &bad) != nil || bad == nil {
		return false
	}
	return fmt.Sprintf("%T", good) != fmt.Sprintf("%T", bad)
}
