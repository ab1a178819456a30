package capi_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ingot/rest"
	"ingot/rest/resttest"
)

// ten are the paths of the nouns on which the engine is judged: organization, space, role, user, space quota, domain, route
// with destinations, app with processes, audit event, user-provided service instance with bindings.
var ten = regexp.MustCompile(`^/v3/(organizations|spaces|roles|users|space_quotas|domains|routes|apps|processes|audit_events|` +
	`service_instances|service_credential_bindings)(/|$)`)

// notTen are nouns of their own below one of the ten.
var notTen = regexp.MustCompile(`/(sidecars|tasks)$`)

// unserved are the documented endpoints of the ten that are not served, and why.
var unserved = map[string]string{}

// unruled are the served endpoints of the ten without a line in TestRoles, and why.
var unruled = map[string]string{
	"PATCH /v3/apps/{guid}/processes/{type}":                        "not documented; it is PATCH /v3/processes/{guid} by another name",
	"GET /v3/service_instances/{guid}/parameters":                   "of managed instances: refused to everybody (TestServiceInstances)",
	"GET /v3/service_credential_bindings/{guid}/parameters":         "the same",
	"POST /v3/service_instances/{guid}/relationships/shared_spaces": "user-provided instances cannot be shared: refused to everybody",
}

func documented(t *testing.T) (out []string) {
	t.Helper()
	text, err := os.ReadFile("../testdata/oracle/endpoints.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if _, path, _ := strings.Cut(line, " "); ten.MatchString(path) && !notTen.MatchString(path) {
			out = append(out, line)
		}
	}
	return out
}

func served(all []rest.Endpoint, line string) bool {
	method, path, _ := strings.Cut(line, " ")
	return slices.ContainsFunc(all, func(e rest.Endpoint) bool { return e.Method == method && same(path, e.Path) })
}

// TestDocumented: each documented endpoint of the ten nouns is served (TestDocs sees to its success case), and each that is
// served is asked by TestRoles as everybody.
func TestDocumented(t *testing.T) {
	w := newWorld(t)
	all := w.api.Endpoints()
	n := 0
	for _, line := range documented(t) {
		n++
		if served(all, line) == (unserved[line] != "") {
			t.Errorf("%s: served %v, and the reason why not is %q", line, served(all, line), unserved[line])
		}
	}
	lines := slices.Concat(calls, pushCalls, serviceCalls)
	for _, e := range all {
		if !ten.MatchString(e.Path) || notTen.MatchString(e.Path) {
			continue
		}
		asked := slices.ContainsFunc(lines, func(c call) bool {
			method, path, _ := strings.Cut(c.line, " ")
			path, _, _ = strings.Cut(path, "?")
			return method == e.Method && same(argument.ReplaceAllString(e.Path, ":x"), path)
		})
		if line := e.Method + " " + e.Path; asked == (unruled[line] != "") {
			t.Errorf("%s: asked by TestRoles %v, and the reason why not is %q", line, asked, unruled[line])
		}
	}
	t.Logf("%d documented endpoints of the ten nouns", n)
	for _, r := range resttest.Table(t, "roles.csv") {
		if r[3] != "conditional" || !ten.MatchString(r[1]) || !served(all, r[0]+" "+r[1]) {
			continue
		}
		if !slices.ContainsFunc(lines, func(c call) bool {
			method, path, _ := strings.Cut(c.line, " ")
			path, _, _ = strings.Cut(path, "?")
			return method == r[0] && same(r[1], path)
		}) {
			t.Errorf("%s %s: no case of what is conditional for %s", r[0], r[1], r[2])
		}
	}
}

var argument = regexp.MustCompile(`\{[\w.]+\}`)
