package capi_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ingot/rest"
	"ingot/rest/access"
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
	used := map[string]bool{}
	for _, r := range resttest.Table(t, "roles.csv") {
		if r[3] != "conditional" || !ten.MatchString(r[1]) || notTen.MatchString(r[1]) {
			continue
		}
		line := r[0] + " " + r[1]
		if used[line] = true; conditions[line] == "" {
			t.Errorf("%s: nobody says on what it depends for %s", line, r[2])
		}
	}
	for line := range conditions {
		if !used[line] {
			t.Errorf("%s depends on nothing", line)
		}
	}
}

// conditions are what the permissions depend on that the documentation calls conditional, and the cases of it. "Own and
// foreign" are the two worlds of TestRoles, where every line is asked in both.
var conditions = map[string]string{
	"DELETE /v3/domains/:guid":                    "private domains of the own organization: own and foreign",
	"PATCH /v3/domains/:guid":                     "the same",
	"POST /v3/domains":                            "private domains: both lines of pushCalls",
	"GET /v3/domains/:guid":                       "billing managers see shared domains: both lines of pushCalls",
	"GET /v3/domains/:guid/route_reservations":    "the same",
	"GET /v3/organizations/:guid/domains/default": "the default domain is a shared one",
	"DELETE /v3/domains/:guid/relationships/shared_organizations/:org_guid": "managers of the owner, or of who was given it: TestSharedDomain",
	"POST /v3/roles":                                         "managers of a space give roles in it only: both lines of calls",
	"DELETE /v3/roles/:guid":                                 "the same, both lines",
	"GET /v3/roles/:guid":                                    "roles in what the caller sees: own and foreign",
	"GET /v3/users":                                          "users of the own organizations: TestSeen",
	"GET /v3/users/:guid":                                    "the same: own and foreign",
	"POST /v3/users":                                         "the setting allow_user_creation_by_org_manager, which is off",
	"POST /v3/organizations":                                 "the flag user_org_creation: TestConditions has it on",
	"PATCH /v3/organizations/:guid":                          "not suspension: both lines of calls",
	"PATCH /v3/spaces/:guid":                                 "not suspension: both lines of calls",
	"GET /v3/space_quotas/:guid":                             "with a role in a space that has it: TestConditions; managers of its organization: own and foreign",
	"POST /v3/space_quotas":                                  "of the own organization: own and foreign",
	"PATCH /v3/space_quotas/:guid":                           "the same",
	"DELETE /v3/space_quotas/:guid":                          "the same",
	"POST /v3/space_quotas/:quota_guid/relationships/spaces": "the same",
	"DELETE /v3/space_quotas/:quota_guid/relationships/spaces/:space_guid": "the same",
	"GET /v3/audit_events/:guid":                   "events of the own space or organization: own and foreign",
	"GET /v3/apps/:guid/env":                       "the flag space_developer_env_var_visibility: TestConditions has it off",
	"GET /v3/apps/:guid/processes/:type":           "the command is hidden: TestConditions",
	"GET /v3/processes/:guid":                      "the same",
	"GET /v3/apps/:guid/processes/:type/stats":     "the documentation says that fields are hidden; ProcessesController#stats presents all",
	"GET /v3/processes/:guid/stats":                "the same",
	"PATCH /v3/apps/:guid/features/:name":          "supporters change revisions only: both lines of pushCalls",
	"GET /v3/spaces/:guid/running_security_groups": "the platform's default groups, which everybody sees",
	"GET /v3/spaces/:guid/staging_security_groups": "the same",
	"POST /v3/service_credential_bindings":         "bindings of apps: there are no others",
	"DELETE /v3/service_credential_bindings/:guid": "the same",
	"DELETE /v3/service_instances/:guid":           "in the own space: own and foreign",
}

// TestConditions: permissions that depend on something, on its other side.
func TestConditions(t *testing.T) {
	w := pushWorld(t)
	for _, r := range access.AllRoles {
		w.Role(string(r), r, "own")
	}
	fresh(w.API, "own", "x")
	w.Must(201, "admin", "POST /v3/space_quotas", `{"name":"q","relationships":{"organization":{"data":{"guid":"own"}},"spaces":{"data":[{"guid":"own-space"}]}}}`)
	quota := w.Must(200, "admin", "GET /v3/space_quotas", nil).Names("guid")[0]
	w.change("x", `{"command":"very secret"}`)
	for _, r := range access.AllRoles {
		user, sees := string(r), !r.OfOrg() || r == access.OrgManager
		if got := w.Do(user, "GET /v3/space_quotas/"+quota, nil).Status; (got == 200) != sees {
			t.Errorf("the quota of the own space as %s: %d", r, got)
		}
		for _, path := range []string{"/v3/processes/x", "/v3/apps/x/processes/web"} {
			got := w.Do(user, "GET "+path, nil)
			if clear := got.Get("command") == "very secret"; clear != (r == access.SpaceDeveloper) || sees && !clear && got.Get("command") != "[PRIVATE DATA HIDDEN]" {
				t.Errorf("%s as %s: %v", path, r, got.Get("command"))
			}
		}
	}
	w.SetFlag("space_developer_env_var_visibility", false)
	for user, want := range map[string]int{"admin": 200, "admin_read_only": 200, "space_developer": 403, "space_supporter": 403, "space_manager": 403, "organization_user": 404} {
		if got := w.Do(user, "GET /v3/apps/x/env", nil); got.Status != want {
			t.Errorf("env as %s: %d %s", user, got.Status, got.Detail())
		}
	}
	w.SetFlag("user_org_creation", true)
	if r := w.Must(201, "space_auditor", "POST /v3/organizations", `{"name":"mine"}`); r.GUID() == "" {
		t.Error("no organization")
	}
}

func (w *world) change(process, body string) {
	w.T.Helper()
	w.Must(200, "admin", "PATCH /v3/processes/"+process, body)
}

var argument = regexp.MustCompile(`\{[\w.]+\}`)
