package capi_test

import (
	"fmt"
	"strings"
	"testing"

	"ingot/capi/app"
	"ingot/capi/route"
	"ingot/capi/task"
	"ingot/rest/access"
	"ingot/rest/resttest"
	"ingot/rest/row"
)

// deletion is a DELETE in a world {x} of its own (see full, to which TestDeletions adds), in which everything is in use.
type deletion struct {
	line   string
	first  []string // requests before it: "POST /v3/... {body}"
	want   string   // status and text
	failed string   // what its job says, if it shall fail
	gone   string   // words of /v3/<word>: each answers 404 then
	stay   string   // each answers 200 then
	user   string   // "" = admin
	source string   // of the rule, in Cloud Controller
}

const (
	shareDomain = `POST /v3/domains/{x}/relationships/shared_organizations {"data":[{"guid":"{x}-second"}]}`
	shareRoute  = `POST /v3/routes/{x}/relationships/shared_spaces {"data":[{"guid":"{x}-second-space"}]}`
	mapSecond   = `POST /v3/routes/{x}/destinations {"destinations":[{"app":{"guid":"{x}-other"}}]}`
	routeSecond = `POST /v3/routes {"host":"second","relationships":{"space":{"data":{"guid":"{x}-second-space"}},"domain":{"data":{"guid":"{x}"}}}}`
)

var deletions = []deletion{
	{line: "domains/{x}", want: "202", gone: "domains/{x} routes/{x}", stay: "apps/{x} organizations/{x}", source: "Domain: routes :destroy"},
	{line: "domains/{x}-everybodys", want: "202", gone: "domains/{x}-everybodys routes/{x}-shared", stay: "apps/{x} routes/{x}", source: "SharedDomain: routes :destroy"},
	{line: "domains/{x}", first: []string{shareDomain}, want: "422 This domain is shared with other organizations. Unshare before deleting.", stay: "domains/{x} routes/{x}",
		source: "DomainsController#destroy"},
	{line: "domains/{x}/relationships/shared_organizations/{x}-second", first: []string{shareDomain, routeSecond},
		want: "422 This domain has associated routes in this organization. Delete the routes before unsharing.", stay: "domains/{x}", source: "DomainDeleteSharedOrg"},
	{line: "domains/{x}/relationships/shared_organizations/{x}-second", first: []string{shareDomain}, want: "204", stay: "domains/{x} routes/{x}", source: "DomainDeleteSharedOrg"},

	{line: "space_quotas/{x}-used", want: "422 This quota is applied to one or more spaces. Remove this quota from all spaces before deleting.", stay: "space_quotas/{x}-used",
		source: "SpaceQuotasController#destroy"},
	{line: "space_quotas/{x}-used/relationships/spaces/{x}-space", want: "204", stay: "space_quotas/{x}-used spaces/{x}-space", source: "SpaceQuotaUnapply"},

	{line: "organizations/{x}", want: "202", gone: "organizations/{x} spaces/{x}-space apps/{x} processes/{x} routes/{x} domains/{x} service_instances/{x} service_credential_bindings/{x} " +
		"space_quotas/{x}-used space_quotas/{x}-free roles/{x}-role packages/{x} droplets/{x} tasks/{x} deployments/{x} routes/{x}-shared",
		stay: "users/{x}-guid organizations/{x}-second domains/{x}-everybodys apps/{x}-other", source: "OrganizationDelete"},
	{line: "organizations/{x}", first: []string{shareDomain}, want: "202", failed: "Deletion of organization {x} failed because one or more resources within could not be deleted.\n\n" +
		"Domain '{x}.example.com' is shared with other organizations. Unshare before deleting.", stay: "organizations/{x} domains/{x}", gone: "spaces/{x}-space", source: "OrganizationDelete: spaces go first"},
	{line: "organizations/{x}-second", first: []string{shareDomain, routeSecond}, want: "202", gone: "organizations/{x}-second spaces/{x}-second-space apps/{x}-other", stay: "domains/{x} routes/{x}",
		source: "OrganizationDelete#unshare_private_domains"},
	{line: "organizations/{x}", user: "{x}", want: "403 You are not authorized to perform the requested action", stay: "organizations/{x}", source: "#fetch_deletable_org"},

	{line: "spaces/{x}-space", want: "202", gone: "spaces/{x}-space apps/{x} processes/{x} routes/{x} service_instances/{x} service_credential_bindings/{x} packages/{x} droplets/{x} tasks/{x} routes/{x}-shared",
		stay: "organizations/{x} domains/{x} users/{x}-guid space_quotas/{x}-used roles/{x}-role domains/{x}-everybodys", source: "SpaceDelete"},
	{line: "spaces/{x}-space", first: []string{shareRoute, mapSecond}, want: "202", gone: "spaces/{x}-space routes/{x}", stay: "spaces/{x}-second-space apps/{x}-other", source: "Space: routes :destroy"},
	{line: "spaces/{x}-second-space", first: []string{shareRoute, mapSecond}, want: "202", gone: "spaces/{x}-second-space apps/{x}-other", stay: "routes/{x} apps/{x}", source: "SpaceDelete"},
	{line: "spaces/{x}-space", user: "{x}", want: "202", gone: "spaces/{x}-space apps/{x}", source: "SpacesV3Controller#destroy: managers of the organization"},
	{line: "spaces/{x}-space", user: "{x}", first: []string{`PATCH /v3/organizations/{x} {"suspended":true}`}, want: "403 The organization is suspended", stay: "spaces/{x}-space apps/{x}",
		source: "require_writable_org_id!"},
	{line: "spaces/{x}-space/routes?unmapped=true", want: "202", gone: "routes/{x}-shared", stay: "routes/{x}", source: "SpaceDeleteUnmappedRoutes"},
	{line: "spaces/{x}-space/routes", want: "422 Unmapped can't be blank, Mass delete not supported for routes. Use 'unmapped=true' parameter to delete all unmapped routes., Unmapped must be a boolean",
		stay: "routes/{x} routes/{x}-shared", source: "SpaceDeleteUnmappedRoutesMessage"},

	{line: "users/{x}-guid", want: "202", gone: "users/{x}-guid roles/{x}-role", stay: "spaces/{x}-space organizations/{x}", source: "User: all roles :nullify"},
	{line: "roles/{x}-orguser", want: "422 Cannot delete organization_user role while user has roles in spaces in that organization.", stay: "roles/{x}-orguser", source: "RolesController#destroy"},
	{line: "roles/{x}-anns", want: "202", gone: "roles/{x}-anns", stay: "users/{x}-ann", source: "RolesController#destroy"},
	{line: "roles/{x}-manager", want: "202", gone: "roles/{x}-manager", stay: "organizations/{x} roles/{x}-orguser", source: "RolesController#destroy: the last manager may go"},

	{line: "routes/{x}", first: []string{shareRoute, mapSecond}, want: "202", gone: "routes/{x}", stay: "apps/{x} apps/{x}-other domains/{x}", source: "RouteDeleteAction"},
	{line: "routes/{x}/destinations/{x}", want: "204", stay: "routes/{x} apps/{x}", source: "UpdateRouteDestinations.delete"},
	{line: "routes/{x}/destinations/{x}-heavy", first: []string{"heavy"}, want: "422 Weighted destinations cannot be deleted individually.", stay: "routes/{x}", source: "UpdateRouteDestinations.delete"},
	{line: "routes/{x}/destinations/none", want: "422 Unable to unmap route from destination. Ensure the route has a destination with this guid.", source: "RoutesController#destroy_destination"},
	{line: "routes/{x}/relationships/shared_spaces/{x}-second-space", first: []string{shareRoute, mapSecond}, want: "204", stay: "routes/{x} apps/{x}-other", source: "RouteUnshare: what is mapped stays"},
	{line: "routes/{x}/relationships/shared_spaces/{x}-space", want: "422 Unable to unshare route '{x}.{x}.example.com' from space '{x}-space'. Routes cannot be removed from the space that owns them.",
		stay: "routes/{x}", source: "RouteUnshare"},

	{line: "apps/{x}", want: "202", gone: "apps/{x} processes/{x} packages/{x} droplets/{x} builds/{x} tasks/{x} deployments/{x} revisions/{x} sidecars/{x} service_credential_bindings/{x}",
		stay: "routes/{x} service_instances/{x} spaces/{x}-space", source: "AppDelete"},
	{line: "apps/{x}", user: "{x}", first: []string{`PATCH /v3/spaces/{x}-space {"suspended":true}`}, want: "202", gone: "apps/{x}", source: "require_writable_space!: not managers of the organization"},
	{line: "apps/{x}", user: "{x}-dev", first: []string{`PATCH /v3/spaces/{x}-space {"suspended":true}`}, want: "403 The space is suspended", stay: "apps/{x}", source: "require_writable_space!"},
	{line: "droplets/{x}-droplet", want: `422 The droplet is currently used by app with guid "{x}".`, stay: "droplets/{x}-droplet", source: "DropletsController#destroy"},
	{line: "service_instances/{x}", want: "204", gone: "service_instances/{x} service_credential_bindings/{x}", stay: "apps/{x}", source: "ServiceInstanceDelete#remove_associations"},
	{line: "service_instances/{x}?purge=true", want: "204", gone: "service_instances/{x} service_credential_bindings/{x}", stay: "apps/{x}", source: "ServiceInstancePurge"},
	{line: "service_credential_bindings/{x}", want: "204", gone: "service_credential_bindings/{x}", stay: "service_instances/{x} apps/{x}", source: "ServiceCredentialBindingDelete"},
	{line: "domains/{default}", want: "202", gone: "domains/{default}", stay: "organizations/{x} organizations/{x}/domains/default", source: "no domain is kept"},
}

// inUse adds to the world {x}: a space quota in use, another space's app, a domain of everybody with a route, a task, a
// deployment, a revision and a sidecar of the app, and a developer.
func inUse(w *world, x string) {
	w.T.Helper()
	full(w, x)
	space := x + "-space"
	labelled := func(guid string) row.Labelled { return row.Labelled{Row: base(guid)} }
	freshSpaceQuota(w.API, x, x+"-used")
	w.Must(200, "admin", "POST /v3/space_quotas/"+x+"-used/relationships/spaces", `{"data":[{"guid":"`+space+`"}]}`)
	everybodysDomain(w.API, "", x+"-everybodys")
	beside := &app.Sidecar{Row: base(x), AppGUID: x, SpaceGUID: space, Name: "s", Command: "x", Origin: "user"}
	beside.ProcessTypes.V = []string{"web"}
	w.Insert(&app.App{Labelled: labelled(x + "-other"), Name: "other", NameKey: "other", SpaceGUID: x + "-second-space", State: app.Stopped, Lifecycle: app.Buildpack, Stack: "cflinuxfs4"},
		&route.Route{Labelled: labelled(x + "-shared"), Host: x, HostKey: x, DomainGUID: x + "-everybodys", DomainName: x + "-everybodys.example.com", SpaceGUID: space},
		&task.Task{Labelled: labelled(x), AppGUID: x, SpaceGUID: space, Sequence: 1, Name: "n", State: task.Running, User: "vcap", Droplet: x},
		&app.Deployment{Labelled: labelled(x), AppGUID: x, SpaceGUID: space, State: app.Paused, Value: app.Active, Reason: "PAUSED", Strategy: app.Canary, Step: 1},
		&app.Revision{Labelled: labelled(x), AppGUID: x, SpaceGUID: space, Version: 1, Droplet: x}, beside)
	for _, r := range []access.Role{access.OrgUser, access.SpaceDeveloper} {
		w.Role(x+"-dev", r, x)
	}
}

// named gives the guid of x's user's role, since the worlds' own have none that is known.
func (w *world) named(x, kind string) string {
	return w.Must(200, "admin", "GET /v3/roles?user_guids="+x+"-guid&types="+kind, nil).Names("guid")[0]
}

// TestDeletions: what Cloud Foundry answers to the deletion of each of the ten nouns while it is in use, and what is there
// then. No row is left that names what is gone.
func TestDeletions(t *testing.T) {
	w := pushWorld(t)
	freshQuota(w.API, "", "quota")
	w.SetFlag("route_sharing", true)
	def, _ := w.Must(200, "admin", "GET /v3/organizations/own/domains/default", nil).JSON["guid"].(string)
	for i, d := range deletions {
		x := fmt.Sprint("d", i)
		inUse(w, x)
		fill := strings.NewReplacer("{x}-orguser", w.named(x, "organization_user"), "{x}-manager", w.named(x, "organization_manager"), "{default}", def, "{x}", x).Replace
		for _, f := range d.first {
			if f == "heavy" {
				w.Insert(&route.Destination{Row: base(x + "-heavy"), RouteGUID: x, AppGUID: x, Process: "web", Port: 9000, Protocol: "http1", Weight: 100})
				continue
			}
			line, body, _ := strings.Cut(fill(f), " {")
			if r := w.Do("admin", line, "{"+body); r.Status >= 300 {
				t.Fatalf("%s: %s", line, told(r))
			}
		}
		user := "admin"
		if d.user != "" {
			user = fill(d.user)
		}
		r := w.Do(user, "DELETE /v3/"+fill(d.line), nil)
		if got := told(r); got != fill(d.want) {
			t.Errorf("DELETE %s: %s, want %s (%s)", d.line, got, fill(d.want), d.source)
		}
		d.ended(w, r, fill)
		for _, path := range strings.Fields(fill(d.gone)) {
			if got := w.Do("admin", "GET /v3/"+path, nil); got.Status != 404 {
				t.Errorf("after DELETE %s: GET %s: %d (%s)", d.line, path, got.Status, d.source)
			}
		}
		for _, path := range strings.Fields(fill(d.stay)) {
			if got := w.Do("admin", "GET /v3/"+path, nil); got.Status != 200 {
				t.Errorf("after DELETE %s: GET %s: %s (%s)", d.line, path, told(got), d.source)
			}
		}
		if left := w.orphans(); len(left) > 0 {
			t.Fatalf("after DELETE %s: %s", d.line, strings.Join(left, "\n"))
		}
	}
}

// ended awaits the job of a deletion.
func (d deletion) ended(w *world, r resttest.Answer, fill func(string) string) {
	w.T.Helper()
	if r.Status != 202 {
		return
	}
	j := w.Job(r)
	if failed := d.failed != ""; (j.JSON["state"] == "FAILED") != failed || j.Detail() != fill(d.failed) {
		w.T.Errorf("DELETE %s: its job is %v: %q, want %q (%s)", d.line, j.JSON["state"], j.Detail(), fill(d.failed), d.source)
	}
}
