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

// unserved are the documented endpoints that are not served, and why.
var unserved = map[string]string{
	"DELETE /v3/route_policies/:guid": noRoutePolicies, "GET /v3/route_policies": noRoutePolicies, "GET /v3/route_policies/:guid": noRoutePolicies,
	"PATCH /v3/route_policies/:guid":     noRoutePolicies,
	"DELETE /v3/service_offerings/:guid": noBrokers, "PATCH /v3/service_offerings/:guid": noBrokers,
	"DELETE /v3/service_plans/:guid": noBrokers, "PATCH /v3/service_plans/:guid": noBrokers,
	"GET /v3/service_plans/:guid/visibility": noBrokers, "POST /v3/service_plans/:guid/visibility": noBrokers, "PATCH /v3/service_plans/:guid/visibility": noBrokers,
	"DELETE /v3/service_plans/:guid/visibility/:organization_guid": noBrokers,
	"DELETE /v3/service_brokers/:guid":                             noBrokers, "PATCH /v3/service_brokers/:guid": noBrokers,
	"DELETE /v3/service_route_bindings/:guid": noRouteServices, "PATCH /v3/service_route_bindings/:guid": noRouteServices,
	"GET /v3/service_route_bindings/:guid/parameters": noRouteServices,
	"POST /v3/security_groups":                        noGroups, "PATCH /v3/security_groups/:guid": noGroups, "DELETE /v3/security_groups/:guid": noGroups,
	"POST /v3/security_groups/:guid/relationships/running_spaces": noGroups, "DELETE /v3/security_groups/:guid/relationships/running_spaces/:space_guid": noGroups,
	"POST /v3/security_groups/:guid/relationships/staging_spaces": noGroups, "DELETE /v3/security_groups/:guid/relationships/staging_spaces/:space_guid": noGroups,
	"GET /v3/stacks/:guid/apps": "not yet",
}

const (
	noRoutePolicies = "route policies are absent"
	noBrokers       = "service brokers are absent"
	noRouteServices = "route services are absent"
	noGroups        = "nobody makes security groups or gives them to spaces yet"
	everybodys      = "it asks for no role"
	upload          = "a form, not JSON: its own test asks who may"
)

// unruled are the served endpoints without a line in TestRoles, and why.
var unruled = map[string]string{
	"PATCH /v3/apps/{guid}/processes/{type}":                        "not documented; it is PATCH /v3/processes/{guid} by another name",
	"GET /v3/service_instances/{guid}/parameters":                   "of managed instances: refused to everybody (TestServiceInstances)",
	"GET /v3/service_credential_bindings/{guid}/parameters":         "the same",
	"POST /v3/service_instances/{guid}/relationships/shared_spaces": "user-provided instances cannot be shared: refused to everybody",
	"GET /": everybodys, "GET /v3": everybodys, "GET /v3/info": everybodys, "GET /v2/info": everybodys, "GET /v3/jobs/{guid}": everybodys,
	"POST /v3/resource_matches": everybodys, "GET /routing/v1/router_groups": everybodys,
	"POST /v3/buildpacks/{guid}/upload": upload, "POST /v3/packages/{guid}/upload": upload, "POST /v3/droplets/{guid}/upload": upload,
	"POST /v3/route_policies": noRoutePolicies, "POST /v3/service_brokers": noBrokers, "GET /v3/service_brokers/{guid}": noBrokers,
	"GET /v3/service_offerings/{guid}": noBrokers, "GET /v3/service_plans/{guid}": noBrokers,
	"POST /v3/service_route_bindings": noRouteServices, "GET /v3/service_route_bindings/{guid}": noRouteServices,
}

func documented(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../testdata/oracle/endpoints.txt")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

func served(all []rest.Endpoint, line string) bool {
	method, path, _ := strings.Cut(line, " ")
	return slices.ContainsFunc(all, func(e rest.Endpoint) bool { return e.Method == method && same(path, e.Path) })
}

// TestDocumented: each documented endpoint is served (TestDocs sees to its success case), and each that is
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
		asked := slices.ContainsFunc(lines, func(c call) bool {
			method, path, _ := strings.Cut(c.line, " ")
			path, _, _ = strings.Cut(path, "?")
			return method == e.Method && same(argument.ReplaceAllString(e.Path, ":x"), path)
		})
		if line := e.Method + " " + e.Path; asked == (unruled[line] != "") {
			t.Errorf("%s: asked by TestRoles %v, and the reason why not is %q", line, asked, unruled[line])
		}
	}
	t.Logf("%d documented endpoints", n)
	used := map[string]bool{}
	for _, r := range resttest.Table(t, "roles.csv") {
		line := r[0] + " " + r[1]
		if r[3] != "conditional" || !served(all, line) {
			continue
		}
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
	"GET /v3/security_groups":                      "the platform's default groups, which everybody sees",
	"GET /v3/security_groups/:guid":                "the same",
	"GET /v3/organization_quotas":                  "OrganizationQuotasController asks for no role; the holders are those that the caller sees: TestSeen",
	"GET /v3/organization_quotas/:guid":            "the same",
	"GET /v3/apps/:guid/tasks":                     "the command is hidden: TestTaskHidden",
	"GET /v3/tasks/:guid":                          "the same",
	"GET /v3/droplets/:guid":                       "process types and execution metadata are hidden: TestConditions",
	"POST /v3/route_policies":                      noRoutePolicies,
	"PATCH /v3/builds/:guid":                       "build state updaters, who are absent",
	"PATCH /v3/droplets/:guid":                     "the same",
	"GET /v3/service_brokers":                      noBrokers,
	"GET /v3/service_brokers/:guid":                noBrokers,
	"GET /v3/service_offerings":                    noBrokers,
	"GET /v3/service_offerings/:guid":              noBrokers,
	"GET /v3/service_plans":                        noBrokers,
	"GET /v3/service_plans/:guid":                  noBrokers,
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
		droplet := w.Do(user, "GET /v3/droplets/x-droplet", nil)
		types, _ := droplet.Get("process_types").(map[string]any)
		if hides := types["redacted_message"] == "[PRIVATE DATA HIDDEN]"; droplet.Status == 200 && hides != (r != access.SpaceDeveloper) {
			t.Errorf("the droplet as %s: %s", r, droplet.Text)
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
