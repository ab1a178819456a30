package capi_test

import (
	"fmt"
	"strings"
)

const (
	label  = `{"metadata":{"labels":{"k{n}":"v"}}}`
	inOrg  = `"relationships":{"organization":{"data":{"guid":"{x}"}}}`
	inS    = `"relationships":{"space":{"data":{"guid":"{x}-space"}}}`
	unmaps = "422 Unable to unmap route from destination. Ensure the route has a destination with this guid."
)

// labelled looks whether all labels that writers gave to one object are there.
func labelled(path string) func(w *world, x string, n int) string {
	return func(w *world, x string, n int) string {
		labels, _ := w.Must(200, "admin", "GET /v3/"+strings.ReplaceAll(path, "{x}", x), nil).Get("metadata", "labels").(map[string]any)
		if len(labels) != n {
			return fmt.Sprintf("%d of %d labels: %v", len(labels), n, labels)
		}
		return ""
	}
}

// listed looks whether a list has so many objects.
func listed(path string, want int) func(w *world, x string, n int) string {
	return func(w *world, x string, _ int) string {
		r := w.Must(200, "admin", "GET /v3/"+strings.ReplaceAll(path, "{x}", x), nil)
		if got, _ := r.Get("pagination", "total_results").(float64); int(got) != want {
			return fmt.Sprintf("%s: %v objects, want %d", path, got, want)
		}
		return ""
	}
}

func ok() []int      { return []int{200} }
func made() []int    { return []int{201} }
func started() []int { return []int{202} }
func gone() []int    { return []int{204} }

// rivalless are the requests that no two writers are set on, and why.
var rivalless = map[string]string{
	"POST /v3/service_instances/:x/relationships/shared_spaces":      "refused to everybody",
	"DELETE /v3/service_instances/:x/relationships/shared_spaces/:x": "changes nothing",
	"POST /v3/spaces/:x/manifest_diff":                               "changes nothing",
	"PATCH /v3/apps/:x/processes/:x":                                 "PATCH /v3/processes/:x by another name",
	"POST /v3/apps/:x/processes/:x/actions/scale":                    "POST /v3/processes/:x/actions/scale by another name",
	"DELETE /v3/apps/:x/processes/:x/instances/:x":                   "changes no row",
	"DELETE /v3/processes/:x/instances/:x":                           "changes no row",
}

var rivals = []rival{
	{line: "POST /v3/organizations", body: `{"name":"new-{x}"}`, good: made(), once: true, others: []string{"422 Organization 'new-{x}' already exists."}},
	{line: "PATCH /v3/organizations/{x}", body: label, good: ok(), after: labelled("organizations/{x}"), beside: []string{noOrg}},
	{line: "PATCH /v3/organizations/{x}", body: `{"suspended":true}`, good: ok(), beside: []string{noOrg}},
	{line: "PATCH /v3/organizations/{x}/relationships/default_isolation_segment", body: `{"data":null}`, good: ok(), beside: []string{noOrg}},
	{line: "DELETE /v3/organizations/{x}", good: started(), others: []string{"404 Organization not found"}},

	{line: "POST /v3/spaces", body: `{"name":"new",` + inOrg + `}`, good: made(), once: true, others: []string{"422 Name must be unique per organization"},
		after: listed("spaces?organization_guids={x}", 2), beside: []string{noOrg}},
	{line: "PATCH /v3/spaces/{x}-space", body: label, good: ok(), after: labelled("spaces/{x}-space"), beside: []string{noSpace, noOrg}},
	{line: "PATCH /v3/spaces/{x}-space/features/ssh", body: `{"enabled":false}`, good: ok(), beside: []string{noSpace}},
	{line: "PATCH /v3/spaces/{x}-space/relationships/isolation_segment", body: `{"data":null}`, good: ok(), beside: []string{noSpace, noOrg}},
	{line: "POST /v3/spaces/{x}-space/actions/apply_manifest", body: "applications: [{name: m, routes: [{route: m.{x}.example.com}], services: [{x}]}]", good: started(),
		after: listed("apps?names=m&space_guids={x}-space", 1), beside: []string{noSpace, noInstance, noDomain}},
	{line: "DELETE /v3/spaces/{x}-space", good: started(), others: []string{"404 Space not found"}, beside: []string{noOrg}},
	{line: "DELETE /v3/spaces/{x}-space/routes?unmapped=true", good: started(), beside: []string{noSpace}},

	{line: "POST /v3/roles", body: `{"type":"space_auditor","relationships":{"user":{"data":{"guid":"{x}-guid"}},"space":{"data":{"guid":"{x}-space"}}}}`, good: made(), once: true,
		others: []string{"422 User '{x}-guid' already has 'space_auditor' role in space '{x}-space'."}, beside: []string{noUser, noSpace, noOrg}},
	{line: "POST /v3/roles", body: `{"type":"space_auditor","relationships":{"user":{"data":{"guid":"{x}-ann"}},"space":{"data":{"guid":"{x}-space"}}}}`, good: made(), once: true,
		others: []string{"422 User '{x}-ann' already has 'space_auditor' role in space '{x}-space'."}, beside: []string{"roles/{x}-anns"},
		gone: []string{"422 Cannot delete organization_user role while user has roles in spaces in that organization."}},
	{line: "POST /v3/roles", body: `{"type":"organization_billing_manager","relationships":{"user":{"data":{"guid":"{x}-guid"}},"organization":{"data":{"guid":"{x}"}}}}`, good: made(), once: true,
		others: []string{"422 User '{x}-guid' already has 'organization_billing_manager' role in organization '{x}'."}, beside: []string{noUser, noOrg}},
	{line: "DELETE /v3/roles/{x}-role", good: started(), others: []string{"404 Role not found"}, beside: []string{noUser, noOrg}},
	{line: "POST /v3/users", body: `{"guid":"new-{x}"}`, good: made(), once: true, others: []string{"422 User with guid 'new-{x}' already exists."}},
	{line: "PATCH /v3/users/{x}-guid", body: label, good: ok(), after: labelled("users/{x}-guid"), beside: []string{noUser}},
	{line: "DELETE /v3/users/{x}-guid", good: started(), others: []string{"404 User not found"}, beside: []string{noOrg}},

	{line: "POST /v3/space_quotas", body: `{"name":"new","relationships":{"organization":{"data":{"guid":"{x}"}},"spaces":{"data":[{"guid":"{x}-space"}]}}}`, good: made(), once: true,
		others: []string{"422 Space Quota 'new' already exists."}, beside: []string{noOrg, noSpace}},
	{line: "PATCH /v3/space_quotas/{x}-free", body: `{"apps":{"total_instances":1}}`, good: ok(), beside: []string{noQuota, noOrg}},
	{line: "POST /v3/space_quotas/{x}-free/relationships/spaces", body: `{"data":[{"guid":"{x}-space"}]}`, good: ok(), beside: []string{noQuota, noSpace, noOrg},
		gone: []string{"422 This quota is applied to one or more spaces. Remove this quota from all spaces before deleting."}},
	{line: "DELETE /v3/space_quotas/{x}-free/relationships/spaces/{x}-space", first: `POST /v3/space_quotas/{x}-free/relationships/spaces {"data":[{"guid":"{x}-space"}]}`, once: true, good: gone(), beside: []string{noQuota, noSpace},
		others: []string{"422 Unable to remove quota from space with guid '{x}-space'. Ensure the space quota is applied to this space."},
		gone:   []string{"422 This quota is applied to one or more spaces. Remove this quota from all spaces before deleting."}},
	{line: "DELETE /v3/space_quotas/{x}-free", good: started(), others: []string{"404 Space quota not found"}, beside: []string{noOrg}},

	{line: "POST /v3/domains", body: `{"name":"new-{x}.example.org",` + inOrg + `}`, good: made(), once: true,
		others: []string{`422 The domain name "new-{x}.example.org" is already in use`}, beside: []string{noOrg}},
	{line: "PATCH /v3/domains/{x}", body: label, good: ok(), after: labelled("domains/{x}"), beside: []string{noDomain, noOrg}},
	{line: "POST /v3/domains/{x}/relationships/shared_organizations", body: `{"data":[{"guid":"{x}-second"}]}`, good: ok(), beside: []string{noDomain, "organizations/{x}-second"},
		gone: []string{"422 This domain is shared with other organizations. Unshare before deleting."}},
	{line: "DELETE /v3/domains/{x}/relationships/shared_organizations/{x}-second", once: true,
		first: `POST /v3/domains/{x}/relationships/shared_organizations {"data":[{"guid":"{x}-second"}]}`, good: gone(), beside: []string{"organizations/{x}-second"},
		others: []string{"422 Unable to unshare domain from organization with name '{x}-second'. Ensure the domain is shared to this organization."}},
	{line: "DELETE /v3/domains/{x}", good: started(), others: []string{"404 Domain not found"}, beside: []string{noOrg, noRoute}},

	{line: "POST /v3/routes", body: `{"host":"new","relationships":{"space":{"data":{"guid":"{x}-space"}},"domain":{"data":{"guid":"{x}"}}}}`, good: made(), once: true,
		others: []string{"422 Route already exists with host 'new' for domain '{x}.example.com'."}, beside: []string{noDomain, noSpace, noOrg}},
	{line: "PATCH /v3/routes/{x}", body: label, good: ok(), after: labelled("routes/{x}"), beside: []string{noRoute, noDomain}},
	{line: "POST /v3/routes/{x}/destinations", body: `{"destinations":[{"app":{"guid":"{x}"},"port":9000}]}`, good: ok(), beside: []string{noApp, noRoute, noSpace},
		after: destinations(2)},
	{line: "PATCH /v3/routes/{x}/destinations", body: `{"destinations":[{"app":{"guid":"{x}"},"port":900{n}}]}`, good: ok(), beside: []string{noApp, noRoute}, after: destinations(1),
		others: []string{"422 Destinations[0]: port must be a positive integer between 1024 and 65535 inclusive."}},
	{line: "PATCH /v3/routes/{x}/destinations/{x}", body: `{"protocol":"http2"}`, good: ok(), beside: []string{noApp, noRoute, "routes/{x}/destinations/{x}"}},
	{line: "DELETE /v3/routes/{x}/destinations/{x}", good: gone(), others: []string{unmaps}, once: true, after: destinations(0), beside: []string{noApp, noRoute}},
	{line: "POST /v3/routes/{x}/relationships/shared_spaces", body: `{"data":[{"guid":"{x}-second-space"}]}`, good: ok(), beside: []string{noRoute, "spaces/{x}-second-space"}},
	{line: "DELETE /v3/routes/{x}/relationships/shared_spaces/{x}-second-space", first: `POST /v3/routes/{x}/relationships/shared_spaces {"data":[{"guid":"{x}-second-space"}]}`, good: gone(), beside: []string{noRoute, "spaces/{x}-second-space"}},
	{line: "PATCH /v3/routes/{x}/relationships/space", body: `{"data":{"guid":"{x}-space"}}`, good: gone(), beside: []string{noRoute, noSpace}},
	{line: "DELETE /v3/routes/{x}", good: started(), others: []string{"404 Route not found"}, beside: []string{noApp, noSpace}},

	{line: "POST /v3/apps", body: `{"name":"new",` + inS + `}`, good: made(), once: true, others: []string{"422 App with the name 'new' already exists."}, beside: []string{noSpace, noOrg}},
	{line: "PATCH /v3/apps/{x}", body: label, good: ok(), after: labelled("apps/{x}"), beside: []string{noApp, noSpace}},
	{line: "PATCH /v3/apps/{x}/environment_variables", body: `{"var":{"K{n}":"v"}}`, good: ok(), beside: []string{noApp},
		after: func(w *world, x string, n int) string {
			if vars, _ := w.Must(200, "admin", "GET /v3/apps/"+x+"/environment_variables", nil).Get("var").(map[string]any); len(vars) != n {
				return fmt.Sprintf("%d of %d variables", len(vars), n)
			}
			return ""
		}},
	{line: "PATCH /v3/apps/{x}/features/ssh", body: `{"enabled":false}`, good: ok(), beside: []string{noApp}},
	{line: "PATCH /v3/apps/{x}/relationships/current_droplet", body: `{"data":{"guid":"{x}"}}`, good: ok(), beside: []string{noApp, "droplets/{x}"},
		gone: []string{"422 The droplet is currently used by app with guid \"{x}\"."}},
	{line: "POST /v3/apps/{x}/actions/start", good: ok(), beside: []string{noApp, noSpace}},
	{line: "POST /v3/apps/{x}/actions/stop", good: ok(), beside: []string{noApp}},
	{line: "POST /v3/apps/{x}/actions/restart", good: ok(), beside: []string{noApp}},
	{line: "POST /v3/apps/{x}/actions/clear_buildpack_cache", good: started(), beside: []string{noApp}},
	{line: "DELETE /v3/apps/{x}", good: started(), others: []string{"404 App not found"}, beside: []string{noSpace, noOrg, noRoute, noInstance}},
	{line: "PATCH /v3/processes/{x}", body: label, good: ok(), after: labelled("processes/{x}"), beside: []string{noApp, noSpace}},
	{line: "POST /v3/processes/{x}/actions/scale", body: `{"instances":{n}}`, good: started(), beside: []string{noApp, noSpace}},

	{line: "POST /v3/service_instances", body: `{"type":"user-provided","name":"new",` + inS + `}`, good: made(), once: true, others: []string{"422 The service instance name is taken: new."},
		beside: []string{noSpace, noOrg}},
	{line: "PATCH /v3/service_instances/{x}", body: label, good: ok(), after: labelled("service_instances/{x}"), beside: []string{noInstance, noSpace}},
	{line: "DELETE /v3/service_instances/{x}", good: gone(), others: []string{"404 Service instance not found"}, beside: []string{noSpace, noBinding, noApp}},
	{line: "POST /v3/service_credential_bindings", body: `{"type":"app","strategy":"multiple","relationships":{"app":{"data":{"guid":"{x}"}},"service_instance":{"data":{"guid":"{x}"}}}}`, good: made(),
		others: []string{"422 The app has too many bindings to this service instance (limit: 5). Consider deleting existing/orphaned bindings."},
		after: func(w *world, x string, n int) string {
			return listed("service_credential_bindings?app_guids={x}", min(n+1, 5))(w, x, n)
		}, beside: []string{noApp, noInstance, noSpace}},
	{line: "PATCH /v3/service_credential_bindings/{x}", body: label, good: ok(), after: labelled("service_credential_bindings/{x}"), beside: []string{noBinding, noInstance, noApp}},
	{line: "DELETE /v3/service_credential_bindings/{x}", good: gone(), others: []string{"404 Service credential binding not found"}, beside: []string{noInstance, noApp}},
}

// destinations looks whether the route {x} has so many.
func destinations(want int) func(w *world, x string, n int) string {
	return func(w *world, x string, _ int) string {
		all, _ := w.Must(200, "admin", "GET /v3/routes/"+x+"/destinations", nil).Get("destinations").([]any)
		if len(all) != want {
			return fmt.Sprintf("%d destinations, want %d", len(all), want)
		}
		return ""
	}
}
