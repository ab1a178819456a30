package capi_test

import (
	"context"

	"github.com/uptrace/bun"

	"ingot/capi/app"
	"ingot/capi/build"
	"ingot/capi/route"
	"ingot/capi/task"
	"ingot/rest/access"
	"ingot/rest/resttest"
	"ingot/rest/row"
)

// fresh makes one object of each kind of a push, all with that guid, in the world's space.
func fresh(a *resttest.API, world, guid string) {
	space := world + "-space"
	base := func() row.Labelled { return row.Labelled{Row: base(guid)} }
	ap := &app.App{Labelled: base(), Name: guid, NameKey: guid, SpaceGUID: space, State: app.Stopped, Lifecycle: app.Buildpack, Stack: "cflinuxfs4", Droplet: guid + "-droplet"}
	web := &app.Process{Labelled: base(), AppGUID: guid, SpaceGUID: space, Type: "web", Version: "v", User: "vcap", Instances: 1, MemoryMB: 64, DiskMB: 64,
		LogRate: -1, HealthType: "port", ReadinessType: "process"}
	pack := &build.Package{Labelled: base(), AppGUID: guid, SpaceGUID: space, Type: "bits", State: build.Ready, Blob: "packages/" + guid}
	b := &build.Build{Labelled: base(), AppGUID: guid, SpaceGUID: space, PackageGUID: guid, State: build.Staged, Lifecycle: app.Buildpack, Stack: "cflinuxfs4"}
	current := &build.Droplet{Labelled: base(), AppGUID: guid, SpaceGUID: space, PackageGUID: guid, State: build.Staged, Blob: "droplets/" + guid, Stack: "cflinuxfs4"}
	current.ProcessTypes.V = map[string]string{"web": "secret command"}
	other := *current
	current.GUID = guid + "-droplet"
	d := &route.Domain{Labelled: base(), Name: guid + ".example.com", OrgGUID: world}
	r := &route.Route{Labelled: base(), Host: guid, HostKey: guid, DomainGUID: guid, DomainName: d.Name, SpaceGUID: space}
	to := &route.Destination{Row: base().Row, RouteGUID: guid, AppGUID: guid, Process: "web", Port: 8080, Protocol: "http1"}
	a.Insert(ap, web, pack, b, current, &other, d, r, to)
}

// deploying is fresh with a canary deployment that is paused, and a revision.
func deploying(a *resttest.API, world, guid string) {
	fresh(a, world, guid)
	space := world + "-space"
	base := func() row.Labelled { return row.Labelled{Row: base(guid)} }
	dep := &app.Deployment{Labelled: base(), AppGUID: guid, SpaceGUID: space, State: app.Paused, Value: app.Active, Reason: "PAUSED", Strategy: app.Canary, Step: 1,
		Previous: guid + "-droplet"}
	rev := &app.Revision{Labelled: base(), AppGUID: guid, SpaceGUID: space, Version: 1, Droplet: guid}
	a.Insert(dep, rev)
}

// tasking is fresh with a task that runs, and a sidecar.
func tasking(a *resttest.API, world, guid string) {
	fresh(a, world, guid)
	one := &task.Task{Labelled: row.Labelled{Row: base(guid)}, AppGUID: guid, SpaceGUID: world + "-space", Sequence: 1, Name: "n", State: task.Running, User: "vcap", Droplet: guid}
	beside := &app.Sidecar{Row: base(guid), AppGUID: guid, SpaceGUID: world + "-space", Name: "s", Command: "x", Origin: "user"}
	beside.ProcessTypes.V = []string{"web"}
	a.Insert(one, beside)
}

// everybodysDomain is a domain of no organization.
func everybodysDomain(a *resttest.API, _, guid string) {
	a.Insert(&route.Domain{Labelled: row.Labelled{Row: base(guid)}, Name: guid + ".example.com"})
}

// sharedDomain is a domain that its own organization has a share of besides.
func sharedDomain(a *resttest.API, world, guid string) {
	a.Insert(&route.Domain{Labelled: row.Labelled{Row: base(guid)}, Name: guid + ".example.com", OrgGUID: world})
	err := a.DB.Write(a.T.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewRaw("INSERT INTO route_shared_domains (domain_guid, org_guid) VALUES (?, ?)", guid, world).Exec(ctx)
		return err
	})
	if err != nil {
		a.T.Fatal(err)
	}
}

// sharedRoute is fresh with a second space, in which the callers have the same roles; it is developers who may bring a route there.
func sharedRoute(a *resttest.API, world, guid string) {
	fresh(a, world, guid)
	second := guid + "-space"
	a.Insert(&access.Space{Labelled: row.Labelled{Row: base(second)}, Name: second, NameKey: second, OrgGUID: world, Status: access.Active})
	for _, r := range access.SpaceRoles {
		if t := r; world == "own" {
			if r == access.SpaceSupporter {
				t = access.SpaceDeveloper
			}
			a.Insert(&access.RoleRow{Type: t, UserGUID: string(r) + "-guid", OrgGUID: world, SpaceGUID: second})
		}
	}
	a.Must(200, "admin", "POST /v3/routes/"+guid+"/relationships/shared_spaces", `{"data":[{"guid":"`+second+`"}]}`)
}

const newApp = `{"name":"n{x}","relationships":{"space":{"data":{"guid":"{space}"}}}}`

// pushCalls are the requests of a push, for TestRoles.
var pushCalls = []call{
	{line: "GET /v3/apps"},
	{line: "POST /v3/apps", body: newApp},
	{line: "GET /v3/apps/{x}", make: fresh},
	{line: "PATCH /v3/apps/{x}", body: `{"metadata":{"labels":{"a":"b"}}}`, make: fresh},
	{line: "DELETE /v3/apps/{x}", make: fresh},
	{line: "GET /v3/apps/{x}/environment_variables", make: fresh},
	{line: "PATCH /v3/apps/{x}/environment_variables", body: `{"var":{"A":"b"}}`, make: fresh},
	{line: "GET /v3/apps/{x}/env", make: fresh},
	{line: "GET /v3/apps/{x}/manifest", make: fresh},
	{line: "GET /v3/apps/{x}/permissions", make: fresh},
	{line: "GET /v3/apps/{x}/features", make: fresh},
	{line: "GET /v3/apps/{x}/features/ssh", make: fresh},
	{line: "PATCH /v3/apps/{x}/features/ssh", body: `{"enabled":true}`, make: fresh, conditional: []string{"Space Supporter"}}, // only revisions
	{line: "PATCH /v3/apps/{x}/features/revisions", body: `{"enabled":true}`, make: fresh},
	{line: "GET /v3/apps/{x}/ssh_enabled", make: fresh},
	{line: "POST /v3/apps/{x}/actions/start", make: fresh},
	{line: "POST /v3/apps/{x}/actions/stop", make: fresh},
	{line: "POST /v3/apps/{x}/actions/restart", make: fresh},
	{line: "POST /v3/apps/{x}/actions/clear_buildpack_cache", make: fresh},
	{line: "GET /v3/apps/{x}/droplets/current", make: fresh},
	{line: "GET /v3/apps/{x}/relationships/current_droplet", make: fresh},
	{line: "PATCH /v3/apps/{x}/relationships/current_droplet", body: `{"data":{"guid":"{x}"}}`, make: fresh},
	{line: "GET /v3/apps/{x}/builds", make: fresh},
	{line: "GET /v3/apps/{x}/packages", make: fresh},
	{line: "GET /v3/apps/{x}/droplets", make: fresh},
	{line: "GET /v3/apps/{x}/processes", make: fresh},
	{line: "GET /v3/apps/{x}/routes", make: fresh},
	{line: "GET /v3/apps/{x}/processes/web", make: fresh},
	{line: "GET /v3/apps/{x}/processes/web/stats", make: fresh},
	{line: "POST /v3/apps/{x}/processes/web/actions/scale", body: `{"instances":1}`, make: fresh},
	{line: "DELETE /v3/apps/{x}/processes/web/instances/0", make: fresh},
	{line: "GET /v3/processes"},
	{line: "GET /v3/processes/{x}", make: fresh},
	{line: "GET /v3/processes/{x}/stats", make: fresh},
	{line: "GET /v3/processes/{x}/process_instances", make: fresh},
	{line: "PATCH /v3/processes/{x}", body: `{"command":"x"}`, make: fresh},
	{line: "POST /v3/processes/{x}/actions/scale", body: `{"instances":1}`, make: fresh},
	{line: "DELETE /v3/processes/{x}/instances/0", make: fresh},
	{line: "GET /v3/packages"},
	{line: "GET /v3/packages/{x}", make: fresh},
	{line: "POST /v3/packages", body: `{"type":"bits","relationships":{"app":{"data":{"guid":"{x}"}}}}`, make: fresh},
	{line: "PATCH /v3/packages/{x}", body: `{"metadata":{"labels":{"a":"b"}}}`, make: fresh},
	{line: "GET /v3/packages/{x}/download", make: fresh},
	{line: "GET /v3/packages/{x}/droplets", make: fresh},
	{line: "DELETE /v3/packages/{x}", make: fresh},
	{line: "GET /v3/builds"},
	{line: "GET /v3/builds/{x}", make: fresh},
	{line: "POST /v3/builds", body: `{"package":{"guid":"{x}"}}`, make: fresh},
	{line: "PATCH /v3/builds/{x}", body: `{"metadata":{"labels":{"a":"b"}}}`, make: fresh},
	{line: "GET /v3/droplets"},
	{line: "POST /v3/droplets", body: `{"relationships":{"app":{"data":{"guid":"{x}"}}}}`, make: fresh},
	{line: "GET /v3/droplets/{x}", make: fresh},
	{line: "GET /v3/droplets/{x}/download", make: fresh},
	{line: "PATCH /v3/droplets/{x}", body: `{"metadata":{"labels":{"a":"b"}}}`, make: fresh},
	{line: "DELETE /v3/droplets/{x}", make: fresh},
	{line: "GET /v3/domains"},
	{line: "GET /v3/domains/{x}", make: fresh, conditional: []string{"Org Billing Manager"}}, // only shared domains
	{line: "GET /v3/domains/{x}", make: everybodysDomain, all: true},
	{line: "POST /v3/domains", body: `{"name":"n{x}.example.com","relationships":{"organization":{"data":{"guid":"{org}"}}}}`},
	{line: "POST /v3/domains", body: `{"name":"n{x}.example.com"}`, conditional: []string{"Org Manager"}}, // only private ones
	{line: "PATCH /v3/domains/{x}", body: `{"metadata":{"labels":{"a":"b"}}}`, make: fresh},
	{line: "DELETE /v3/domains/{x}", make: fresh},
	{line: "GET /v3/domains/{x}/route_reservations", make: fresh, conditional: []string{"Org Billing Manager"}},
	{line: "GET /v3/organizations/{org}/domains", orgUser: true},
	{line: "GET /v3/organizations/{org}/domains/default", orgUser: true},
	{line: "GET /v3/routes"},
	{line: "GET /v3/routes/{x}", make: fresh},
	{line: "POST /v3/routes", make: fresh,
		body: `{"host":"n{x}","relationships":{"space":{"data":{"guid":"{space}"}},"domain":{"data":{"guid":"{x}"}}}}`},
	{line: "PATCH /v3/routes/{x}", body: `{"metadata":{"labels":{"a":"b"}}}`, make: fresh},
	{line: "DELETE /v3/routes/{x}", make: fresh},
	{line: "GET /v3/routes/{x}/destinations", make: fresh},
	{line: "POST /v3/routes/{x}/destinations", body: `{"destinations":[{"app":{"guid":"{x}"}}]}`, make: fresh},
	{line: "PATCH /v3/routes/{x}/destinations", body: `{"destinations":[]}`, make: fresh},
	{line: "PATCH /v3/routes/{x}/destinations/{x}", body: `{"protocol":"http2"}`, make: fresh},
	{line: "DELETE /v3/routes/{x}/destinations/{x}", make: fresh},
	{line: "DELETE /v3/spaces/{space}/routes?unmapped=true"},
	{line: "POST /v3/domains/{x}/relationships/shared_organizations", body: `{"data":[]}`, make: fresh},
	{line: "DELETE /v3/domains/{x}/relationships/shared_organizations/{org}", make: sharedDomain},
	{line: "GET /v3/routes/{x}/relationships/shared_spaces", make: fresh},
	{line: "POST /v3/routes/{x}/relationships/shared_spaces", body: `{"data":[{"guid":"{x}-space"}]}`, make: sharedRoute},
	{line: "DELETE /v3/routes/{x}/relationships/shared_spaces/{x}-space", make: sharedRoute},
	{line: "POST /v3/spaces/{space}/manifest_diff", body: `{"applications":[{"name":"m{x}"}]}`},
	{line: "POST /v3/spaces/{space}/actions/apply_manifest", body: `{"applications":[{"name":"m{x}"}]}`},
	{line: "PATCH /v3/routes/{x}/relationships/space", body: `{"data":{"guid":"{space}"}}`, make: fresh}, // to where it is
	{line: "GET /v3/apps/{x}/tasks", make: tasking},
	{line: "POST /v3/apps/{x}/tasks", body: `{"command":"x"}`, make: fresh},
	{line: "GET /v3/tasks"},
	{line: "GET /v3/tasks/{x}", make: tasking},
	{line: "PATCH /v3/tasks/{x}", body: `{"metadata":{"labels":{"a":"b"}}}`, make: tasking},
	{line: "POST /v3/tasks/{x}/actions/cancel", make: tasking},
	{line: "PUT /v3/tasks/{x}/cancel", make: tasking},
	{line: "GET /v3/apps/{x}/sidecars", make: tasking},
	{line: "GET /v3/processes/{x}/sidecars", make: tasking},
	{line: "POST /v3/apps/{x}/sidecars", body: `{"name":"n","command":"x","process_types":["web"]}`, make: fresh},
	{line: "GET /v3/sidecars/{x}", make: tasking},
	{line: "PATCH /v3/sidecars/{x}", body: `{"name":"n"}`, make: tasking},
	{line: "DELETE /v3/sidecars/{x}", make: tasking},
	{line: "GET /v3/app_usage_events"},
	{line: "GET /v3/app_usage_events/{x}", make: freshUse},
	{line: "POST /v3/app_usage_events/actions/destructively_purge_all_and_reseed"},
	{line: "GET /v3/service_usage_events"},
	{line: "GET /v3/service_usage_events/{x}", make: freshServiceUse},
	{line: "POST /v3/service_usage_events/actions/destructively_purge_all_and_reseed"},
	{line: "GET /v3/deployments"},
	{line: "POST /v3/deployments", body: `{"relationships":{"app":{"data":{"guid":"{x}"}}}}`, make: fresh},
	{line: "GET /v3/deployments/{x}", make: deploying},
	{line: "PATCH /v3/deployments/{x}", body: `{"metadata":{"labels":{"a":"b"}}}`, make: deploying},
	{line: "POST /v3/deployments/{x}/actions/continue", make: deploying},
	{line: "POST /v3/deployments/{x}/actions/cancel", make: deploying},
	{line: "GET /v3/apps/{x}/revisions", make: deploying},
	{line: "GET /v3/apps/{x}/revisions/deployed", make: deploying},
	{line: "GET /v3/revisions/{x}", make: deploying},
	{line: "PATCH /v3/revisions/{x}", body: `{"metadata":{"labels":{"a":"b"}}}`, make: deploying},
	{line: "GET /v3/revisions/{x}/environment_variables", make: deploying},
}
