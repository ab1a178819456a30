package capi_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ingot/capi"
	"ingot/capi/admin"
	"ingot/kit/sql/sqltest"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/doc"
	"ingot/rest/limit"
	"ingot/rest/resttest"
	"ingot/services"
)

// start serves the whole API on a fresh database.
func start(t testing.TB) *resttest.API {
	t.Helper()
	return newWorld(t).API
}

func newWorld(t testing.TB) *world {
	t.Helper()
	db := sqltest.Open(t)
	users := &resttest.Users{}
	w := &world{sched: newScheduler(), blobs: &blobs{data: map[string][]byte{}}, logs: &logs{}, rec: &doc.Recorder{}}
	svc := &services.Services{DB: db}
	w.api = &capi.API{DB: db, Services: svc, Bindings: svc, Limits: &limit.Requests{}, Tokens: users, Directory: users, URL: "https://api.ingot.test", Domain: "ingot.test",
		Scheduler: w.sched, Blobs: w.blobs, Logs: w.logs, Info: admin.Info{
			UAA: "https://uaa.ingot.test", Login: "https://login.ingot.test", LogCache: "https://log-cache.ingot.test",
			LogStream: "https://log-stream.ingot.test", Doppler: "wss://doppler.ingot.test:443", Routing: "https://api.ingot.test/routing",
			SSH: "ssh.ingot.test:2222", SSHFingerprint: "x",
		}}
	if err := w.api.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.api.Stop(context.Background()) })
	w.API = resttest.Serving(t, db, users, w.api.URL, w.rec.Wrap(w.api.Handler()))
	return w
}

// step is one request of a walk through the API.
type step struct {
	line, body, keep string
	status           int                                                    // 0 where the oracle's first status is right
	shape            string                                                 // "" where the oracle's first shape is right
	besides          []string                                               // keys that differ from the documented example, and why
	act              func(w *world, kept map[string]string) resttest.Answer // instead of sending the body; nil: it is sent
}

// groupExample is what the example of a security group shows and none of the default ones has.
var groupExample = []string{"relationships.staging_spaces.data[]", "relationships.staging_spaces.data[].guid", "rules[].code", "rules[].description", "rules[].type", "rules[].ports"}

// steps is one success case for each endpoint that is served, in an order in which they work. {name} is the guid of an
// earlier answer that was kept under that name.
var steps = []step{
	{line: "GET /", besides: []string{"links.cloud_controller_v2"}}, // there only with version 2
	{line: "GET /v3", besides: []string{
		// Cloud Controller's controller lists these two; the documentation's example is older and marks service_instances.
		"links.service_credential_bindings", "links.service_route_bindings", "links.service_instances.experimental"}},
	{line: "GET /v3/info", shape: "empty_info"},
	{line: "GET /v3/info/usage_summary"},
	{line: "POST /v3/organizations", body: `{"name":"acme","metadata":{"labels":{"a":"b"}}}`, keep: "org"},
	{line: "GET /v3/organizations"},
	{line: "GET /v3/organizations/{org}"},
	{line: "PATCH /v3/organizations/{org}", body: `{"name":"acme2"}`},
	{line: "GET /v3/organizations/{org}/usage_summary"},
	{line: "GET /v3/organizations/{org}/relationships/default_isolation_segment", besides: []string{"data", "links.related"}}, // none is set
	{line: "PATCH /v3/organizations/{org}/relationships/default_isolation_segment", body: `{"data":null}`, besides: []string{"data", "links.related"}},
	{line: "GET /v3/organization_quotas", keep: "quota"},
	{line: "GET /v3/organization_quotas/{quota}"},
	{line: "POST /v3/organization_quotas", keep: "small",
		body: `{"name":"small","apps":{"total_memory_in_mb":100},"relationships":{"organizations":{"data":[{"guid":"{org}"}]}}}`},
	{line: "PATCH /v3/organization_quotas/{small}", body: `{"apps":{"total_memory_in_mb":null},"domains":{"total_domains":3}}`},
	{line: "POST /v3/organization_quotas/{quota}/relationships/organizations", body: `{"data":[{"guid":"{org}"}]}`},
	{line: "DELETE /v3/organization_quotas/{small}"},
	{line: "POST /v3/isolation_segments", body: `{"name":"iso"}`, keep: "segment"},
	{line: "GET /v3/isolation_segments"},
	{line: "GET /v3/isolation_segments/{segment}"},
	{line: "PATCH /v3/isolation_segments/{segment}", body: `{"name":"iso2"}`},
	{line: "POST /v3/isolation_segments/{segment}/relationships/organizations", body: `{"data":[{"guid":"{org}"}]}`},
	{line: "GET /v3/isolation_segments/{segment}/relationships/organizations"},
	{line: "GET /v3/isolation_segments/{segment}/organizations"},
	{line: "PATCH /v3/organizations/{org}/relationships/default_isolation_segment", body: `{"data":{"guid":"{segment}"}}`},
	{line: "GET /v3/organizations/{org}/relationships/default_isolation_segment"},
	{line: "PATCH /v3/organizations/{org}/relationships/default_isolation_segment", body: `{"data":null}`, besides: []string{"data", "links.related"}},
	{line: "POST /v3/spaces", body: `{"name":"dev","relationships":{"organization":{"data":{"guid":"{org}"}}}}`, keep: "space"},
	{line: "GET /v3/spaces", besides: []string{"resources[].links.quota"}}, // there only with a space quota
	{line: "GET /v3/spaces/{space}"},
	{line: "PATCH /v3/spaces/{space}", body: `{"name":"dev2"}`},
	{line: "GET /v3/spaces/{space}/features"},
	{line: "GET /v3/spaces/{space}/features/ssh"},
	{line: "PATCH /v3/spaces/{space}/features/ssh", body: `{"enabled":false}`},
	{line: "GET /v3/spaces/{space}/usage_summary", besides: []string{"links.organization", "links.space"}}, // the controller links the space
	{line: "GET /v3/spaces/{space}/relationships/isolation_segment", besides: []string{"data", "links.related"}},
	{line: "PATCH /v3/spaces/{space}/relationships/isolation_segment", body: `{"data":null}`, besides: []string{"data", "links.related"}},
	{line: "PATCH /v3/spaces/{space}/relationships/isolation_segment", body: `{"data":{"guid":"{segment}"}}`},
	{line: "GET /v3/spaces/{space}/relationships/isolation_segment"},
	{line: "GET /v3/isolation_segments/{segment}/relationships/spaces"},
	{line: "PATCH /v3/spaces/{space}/relationships/isolation_segment", body: `{"data":null}`, besides: []string{"data", "links.related"}},
	{line: "DELETE /v3/isolation_segments/{segment}/relationships/organizations/{org}"},
	{line: "DELETE /v3/isolation_segments/{segment}"},
	{line: "POST /v3/space_quotas", keep: "squota", body: `{"name":"tiny","routes":{"total_routes":1},
		"relationships":{"organization":{"data":{"guid":"{org}"}},"spaces":{"data":[{"guid":"{space}"}]}}}`},
	{line: "GET /v3/space_quotas", besides: []string{
		// the example of the list says organizations where the presenter, and the single quota, say organization
		"resources[].relationships.organization", "resources[].relationships.organizations"}},
	{line: "GET /v3/space_quotas/{squota}"},
	{line: "PATCH /v3/space_quotas/{squota}", body: `{"name":"tiny2"}`},
	{line: "DELETE /v3/space_quotas/{squota}/relationships/spaces/{space}"},
	{line: "POST /v3/space_quotas/{squota}/relationships/spaces", body: `{"data":[{"guid":"{space}"}]}`},
	{line: "DELETE /v3/space_quotas/{squota}/relationships/spaces/{space}"},
	{line: "DELETE /v3/space_quotas/{squota}"},
	{line: "GET /v3/spaces/{space}/running_security_groups", shape: "none"},
	{line: "GET /v3/spaces/{space}/staging_security_groups", shape: "none"},
	{line: "GET /v3/security_groups", keep: "group", shape: "none"},
	{line: "GET /v3/security_groups/{group}", besides: groupExample},
	{line: "POST /v3/users", body: `{"guid":"ann"}`, keep: "user", shape: "single_user"},
	{line: "GET /v3/users"},
	{line: "GET /v3/users/{user}"},
	{line: "PATCH /v3/users/{user}", body: `{"metadata":{"labels":{"a":"b"}}}`},
	{line: "POST /v3/roles", keep: "role",
		body: `{"type":"organization_user","relationships":{"user":{"data":{"guid":"ann"}},"organization":{"data":{"guid":"{org}"}}}}`},
	{line: "GET /v3/roles", besides: []string{"resources[].links.space"}}, // there only with roles in spaces
	{line: "GET /v3/roles/{role}"},
	{line: "GET /v3/organizations/{org}/users"},
	{line: "GET /v3/spaces/{space}/users"},
	{line: "GET /v3/audit_events", keep: "event", besides: []string{"resources[].data.organization_guid", "resources[].data.space_guid"}}, // who got a quota
	{line: "GET /v3/audit_events/{event}"},
	{line: "GET /v3/feature_flags"},
	{line: "GET /v3/feature_flags/diego_docker"},
	{line: "PATCH /v3/feature_flags/diego_docker", body: `{"enabled":true}`},
	{line: "GET /v3/environment_variable_groups/running"},
	{line: "PATCH /v3/environment_variable_groups/running", body: `{"var":{"foo":"bar"}}`, shape: "environment_variable_group"},
	{line: "GET /v3/stacks", keep: "stack"},
	{line: "GET /v3/stacks/{stack}"},
	{line: "POST /v3/stacks", body: `{"name":"other"}`, keep: "other"},
	{line: "PATCH /v3/stacks/{other}", body: `{"state":"DISABLED","state_reason":"old"}`},
	{line: "GET /v3/buildpacks"},
	{line: "POST /v3/buildpacks", body: `{"name":"mine","position":1,"metadata":{"labels":{"a":"b"}}}`, keep: "buildpack"},
	{line: "GET /v3/buildpacks/{buildpack}"},
	{line: "PATCH /v3/buildpacks/{buildpack}", body: `{"name":"ours","stack":"cflinuxfs4","position":2,"enabled":false,"locked":false}`},
	{line: "POST /v3/buildpacks/{buildpack}/upload", act: func(w *world, kept map[string]string) resttest.Answer {
		return w.sendBits("admin", "POST /v3/buildpacks/"+kept["buildpack"]+"/upload", "", "x.zip", zipped(w.T, "bin/compile"))
	}},
	{line: "DELETE /v3/buildpacks/{buildpack}"},
	{line: "POST /v3/admin/actions/clear_buildpack_cache"},
	{line: "DELETE /v3/roles/{role}", keep: "job"},
	{line: "GET /v3/jobs/{job}", shape: "single_complete_job"},
	{line: "DELETE /v3/users/{user}"},
	{line: "DELETE /v3/spaces/{space}"},
	{line: "DELETE /v3/organizations/{org}"},
}

// TestOracle runs a success case of every endpoint against the documented status and shape.
func TestOracle(t *testing.T) {
	w := newWorld(t)
	b := admin.Buildpack{Name: "go_buildpack", Stack: "cflinuxfs4", Position: 1, Filename: "go.zip", Blob: "buildpacks/x", SHA256: "x"}
	if err := w.api.Admin.EnsureBuildpack(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	walk(t, w, steps)
}

func walk(t *testing.T, w *world, steps []step) {
	t.Helper()
	documented := resttest.Table(t, "responses.csv")
	kept := map[string]string{}
	fill := func(s string) string {
		for k, v := range kept {
			s = strings.ReplaceAll(s, "{"+k+"}", v)
		}
		return s
	}
	for _, s := range steps {
		method, path, _ := strings.Cut(s.line, " ")
		path, _, _ = strings.Cut(path, "?")
		i := slices.IndexFunc(documented, func(r []string) bool { return r[0] == method && same(r[1], path) })
		if i < 0 {
			t.Errorf("%s is not documented", s.line)
			continue
		}
		status, err := strconv.Atoi(documented[i][2])
		if err != nil {
			t.Fatal(err)
		}
		if s.status != 0 {
			status = s.status
		}
		var r resttest.Answer
		if s.act != nil {
			r = w.must(status, s.act(w, kept))
		} else {
			r = w.Must(status, "admin", fill(s.line), fill(s.body))
		}
		shape := s.shape
		if shapes := strings.Fields(documented[i][3]); shape == "" && len(shapes) > 0 {
			shape = shapes[0]
		}
		if shape != "" && shape != "none" {
			w.Shape(r, shape, s.besides...)
		}
		if status == http.StatusAccepted && r.Header.Get("Location") != "" {
			if j := w.Job(r); j.JSON["state"] != "COMPLETE" {
				t.Errorf("%s: %s", s.line, j.Text)
			} else if s.keep != "" {
				kept[s.keep] = j.GUID()
			}
		} else if s.keep != "" {
			kept[s.keep] = r.GUID()
			if g, ok := r.Get("resources", 0, "guid").(string); ok {
				kept[s.keep] = g
			}
		}
	}
}

// same compares a documented path with one of ours, whose arguments are named differently.
func same(documented, ours string) bool {
	d, o := strings.Split(documented, "/"), strings.Split(ours, "/")
	if len(d) != len(o) {
		return false
	}
	for i := range d {
		fixed := !strings.HasPrefix(d[i], ":")
		if fixed && d[i] != o[i] {
			return false
		}
	}
	return true
}

// TestParameters asks each list that is served for each documented query parameter, and looks for those of single
// objects among what their rows declare.
func TestParameters(t *testing.T) {
	w := newWorld(t)
	a := w.API
	a.World("acme")
	fresh(a, "acme", "x1")
	freshUse(a, "acme", "x1")
	freshServiceUse(a, "acme", "x1")
	value := map[string]string{"order_by": "", "page": "1", "per_page": "2", "created_ats": "2020-01-01T00:00:00Z",
		"updated_ats": "2020-01-01T00:00:00Z", "label_selector": "a", "default": "true", "globally_enabled_running": "true", "globally_enabled_staging": "true", "lifecycle": "buildpack", "lifecycle_type": "buildpack",
		"embed": "process_instances", "current": "true", "available": "true", "service_instance.type": "managed", "service_credential_binding.type": "key", "ports": "80", "port": "80", "origins": "uaa&usernames=x", "after_guid": "x1"}
	n, unserved := 0, 0
	for _, row := range resttest.Table(t, "parameters.csv") {
		method, path, kind, name := row[0], row[1], row[2], row[3]
		all := w.api.Endpoints()
		i := slices.IndexFunc(all, func(e rest.Endpoint) bool { return e.Method == method && same(path, e.Path) })
		switch {
		case method != "GET" || kind != "query":
			continue
		case i < 0:
			unserved++
			continue
		}
		if name == "Resource" || strings.HasSuffix(path, "/shared_spaces") {
			continue // the head of a documented table; a plain handler, which TestServiceInstances asks
		}
		n++
		e := all[i]
		if slices.ContainsFunc(e.Query, func(p rest.Parameter) bool { return p.Name == "fields["+name+"]" }) {
			name = "fields[" + name + "]" // the documented table of fields is taken for parameters
		}
		at := slices.IndexFunc(e.Query, func(p rest.Parameter) bool { return p.Name == name || strings.HasPrefix(p.Name, name+"[") })
		if e.Act != "" && at < 0 {
			t.Errorf("%s %s does not take %s", method, e.Path, name)
			continue
		}
		v := "x"
		if at >= 0 && (name == "include" || strings.HasPrefix(name, "fields")) {
			name, v = e.Query[at].Name, e.Query[at].Values[0]
		}
		if given, ok := value[name]; ok {
			v = given
		} else if given, ok := value[e.Noun+"."+name]; ok {
			v = given
		}
		if e.Act == rest.Shows {
			continue
		}
		path = strings.ReplaceAll(strings.ReplaceAll(path, "organizations/:guid", "organizations/acme"), "spaces/:guid", "spaces/acme-space")
		path = strings.ReplaceAll(path, "isolation_segments/:guid", "isolation_segments/933b4c58-120b-499a-b85d-4b6fc9e2903b") // the shared one
		path = strings.NewReplacer(":guid", "x1", ":type", "web").Replace(path)
		a.Must(200, "admin", fmt.Sprintf("GET %s?%s=%s", path, name, v), nil)
		if e.Below == "" && e.Act == rest.Lists {
			a.Must(200, "nobody", fmt.Sprintf("GET %s?%s=%s", path, name, v), nil)
		}
	}
	t.Logf("%d parameters are taken; %d are of endpoints that are not served", n, unserved)
	if n < 200 {
		t.Errorf("only %d parameters were asked for", n)
	}
}

// TestSeen: what a user sees of two organizations, by role in one of them.
func TestSeen(t *testing.T) {
	a := start(t)
	a.World("own")
	a.World("other")
	for _, r := range access.AllRoles {
		u := string(r)
		a.Role(u, r, "own")
		if !r.OfOrg() {
			a.Role(u, access.OrgUser, "own")
		}
		for _, path := range []string{"/v3/organizations", "/v3/spaces", "/v3/roles", "/v3/users", "/v3/audit_events"} {
			if l := a.Must(200, u, "GET "+path, nil); strings.Contains(l.Text, `other`) {
				t.Errorf("%s sees of the other organization in %s: %s", r, path, l.Text)
			}
		}
		if got := len(a.Must(200, u, "GET /v3/organizations", nil).Names("name")); got != 1 {
			t.Errorf("%s sees %d organizations", r, got)
		}
		want := 1
		if r.OfOrg() && r != access.OrgManager {
			want = 0
		}
		if got := len(a.Must(200, u, "GET /v3/spaces", nil).Names("name")); got != want {
			t.Errorf("%s sees %d spaces, want %d", r, got, want)
		}
	}
	for _, u := range []string{"admin", "admin_read_only", "global_auditor"} {
		if got := len(a.Must(200, u, "GET /v3/spaces", nil).Names("name")); got != 2 {
			t.Errorf("%s sees %d spaces", u, got)
		}
	}
}
