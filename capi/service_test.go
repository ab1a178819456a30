package capi_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"ingot/rest/access"
	"ingot/rest/resttest"
	"ingot/rest/row"
	"ingot/services"
)

// ofManaged are keys of the documented list that only instances of a service broker have.
var ofManaged = strings.Fields(`broker_provided_metadata broker_provided_metadata.attributes broker_provided_metadata.attributes.max_connections
	broker_provided_metadata.labels broker_provided_metadata.labels.service_engine_version dashboard_url links.parameters links.parameters.href
	links.service_plan links.service_plan.href links.shared_spaces links.shared_spaces.href maintenance_info maintenance_info.version
	relationships.service_plan relationships.service_plan.data relationships.service_plan.data.guid upgrade_available`)

func managedKeys() (out []string) {
	for _, k := range ofManaged {
		out = append(out, "resources[]."+k)
	}
	return out
}

// noParameters: Cloud Controller links the parameters of a binding only where a service broker has some.
var noParameters = []string{"links.parameters", "links.parameters.href", "last_operation.description"}

// serviceSteps are the endpoints of user-provided services.
var serviceSteps = []step{
	{line: "POST /v3/service_instances", keep: "instance", body: `{"type":"user-provided","name":"db","tags":["sql"],"credentials":{"password":"p"},
		"syslog_drain_url":"syslog://logs.test","metadata":{"labels":{"a":"b"}},"relationships":{"space":{"data":{"guid":"own-space"}}}}`},
	{line: "GET /v3/service_instances", besides: managedKeys()},
	{line: "GET /v3/service_instances/{instance}", shape: "single_user_provided_service_instance"},
	{line: "PATCH /v3/service_instances/{instance}", shape: "single_user_provided_service_instance",
		body: `{"name":"db2","credentials":{"username":"u","password":"p","other":"o"},"syslog_drain_url":null}`},
	{line: "GET /v3/service_instances/{instance}/credentials"},
	{line: "GET /v3/service_instances/{instance}/permissions"},
	{line: "GET /v3/service_instances/{instance}/relationships/shared_spaces", besides: []string{"data[].guid"}},
	{line: "GET /v3/service_instances/{instance}/relationships/shared_spaces/usage_summary", shape: "none"},
	{line: "DELETE /v3/service_instances/{instance}/relationships/shared_spaces/own-space"},
	{line: "POST /v3/apps", body: `{"name":"bound","relationships":{"space":{"data":{"guid":"own-space"}}}}`, keep: "app"},
	{line: "POST /v3/service_credential_bindings", keep: "binding", besides: noParameters, body: `{"type":"app","name":"b",
		"metadata":{"labels":{"baz":"qux"},"annotations":{"foo":"bar"}},
		"relationships":{"app":{"data":{"guid":"{app}"}},"service_instance":{"data":{"guid":"{instance}"}}}}`},
	{line: "GET /v3/service_credential_bindings", shape: "none"}, // the documented list shows a key as well
	{line: "GET /v3/service_credential_bindings/{binding}", besides: noParameters},
	{line: "GET /v3/service_credential_bindings/{binding}/details", shape: "none"},
	{line: "PATCH /v3/service_credential_bindings/{binding}", body: `{"metadata":{"labels":{"x":"y"}}}`, shape: "none"},
	{line: "DELETE /v3/service_credential_bindings/{binding}", status: 204},
	{line: "DELETE /v3/service_instances/{instance}", status: 204},
	{line: "GET /v3/service_brokers"}, {line: "GET /v3/service_offerings"}, {line: "GET /v3/service_plans", shape: "none"}, {line: "GET /v3/service_route_bindings"},
	{line: "DELETE /v3/apps/{app}"},
}

// freshService makes besides what fresh does an instance and a binding of that guid.
func freshService(a *resttest.API, world, guid string) {
	unbound(a, world, guid)
	a.Insert(&services.Binding{Labelled: row.Labelled{Row: base(guid)}, AppGUID: guid, InstanceGUID: guid, SpaceGUID: world + "-space"})
}

func unbound(a *resttest.API, world, guid string) {
	fresh(a, world, guid)
	a.Insert(&services.Instance{Labelled: row.Labelled{Row: base(guid)}, Name: guid, SpaceGUID: world + "-space"})
}

// serviceCalls are the requests about services, for TestRoles.
var serviceCalls = []call{
	{line: "GET /v3/service_instances"},
	{line: "POST /v3/service_instances", body: instanceBody("n{x}", "{space}", "")},
	{line: "GET /v3/service_instances/{x}", make: freshService},
	{line: "PATCH /v3/service_instances/{x}", make: freshService, body: `{"tags":["a"]}`},
	{line: "DELETE /v3/service_instances/{x}", make: freshService},
	{line: "GET /v3/service_instances/{x}/credentials", make: freshService, refused: []string{"Space Manager"}}, // can_read_secrets_in_space
	{line: "GET /v3/service_instances/{x}/permissions", make: freshService, all: true},
	{line: "GET /v3/service_instances/{x}/relationships/shared_spaces", make: freshService},
	{line: "GET /v3/service_instances/{x}/relationships/shared_spaces/usage_summary", make: freshService},
	{line: "DELETE /v3/service_instances/{x}/relationships/shared_spaces/{space}", make: freshService},
	{line: "GET /v3/service_credential_bindings"},
	{line: "POST /v3/service_credential_bindings", make: unbound, body: bindingBody("{x}", "{x}", "")},
	{line: "GET /v3/service_credential_bindings/{x}", make: freshService},
	{line: "GET /v3/service_credential_bindings/{x}/details", make: freshService, hidden: true},
	{line: "PATCH /v3/service_credential_bindings/{x}", make: freshService, body: `{"metadata":{}}`},
	{line: "DELETE /v3/service_credential_bindings/{x}", make: freshService},
	{line: "GET /v3/service_brokers"},
	{line: "GET /v3/service_offerings"},
	{line: "GET /v3/service_plans"},
	{line: "GET /v3/service_route_bindings"},
}

func instanceBody(name, space, more string) string {
	return fmt.Sprintf(`{"type":"user-provided","name":"%s",%s"relationships":{"space":{"data":{"guid":"%s"}}}}`, name, more, space)
}

func bindingBody(app, instance, more string) string {
	return fmt.Sprintf(`{"type":"app",%s"relationships":{"app":{"data":{"guid":"%s"}},"service_instance":{"data":{"guid":"%s"}}}}`, more, app, instance)
}

// bound makes an instance and an app in a world, both of that name, and binds them.
func bound(a *resttest.API, world, name string) (app, instance, binding string) {
	i := a.Must(201, "admin", "POST /v3/service_instances", instanceBody(name, world+"-space", `"credentials":{"password":"secret<&"},`)).GUID()
	app = a.Must(201, "admin", "POST /v3/apps", `{"name":"`+name+`","relationships":{"space":{"data":{"guid":"`+world+`-space"}}}}`).GUID()
	return app, i, a.Must(201, "admin", "POST /v3/service_credential_bindings", bindingBody(app, i, "")).GUID()
}

// TestServiceInstances: what is refused, in the words of Cloud Controller (its controllers, messages and models).
func TestServiceInstances(t *testing.T) {
	w := pushWorld(t)
	w.World("foreign")
	w.Role("dev", access.OrgUser, "own")
	w.Role("dev", access.SpaceDeveloper, "own")
	i := w.Must(201, "dev", "POST /v3/service_instances", instanceBody("db", "own-space", `"tags":["a"],`)).GUID()
	for body, want := range map[string]string{
		`{}`:                                   "Type must be one of 'managed', 'user-provided', Relationships 'relationships' is not an object, Name can't be blank",
		instanceBody("db", "own-space", ``):    "The service instance name is taken: db.",
		instanceBody("x", "foreign-space", ``): "Invalid space. Ensure that the space exists and you have access to it.",
		instanceBody("x", "own-space", `"credentials":"x",`):                                                                         "Credentials must be an object",
		instanceBody("x", "own-space", `"tags":"x",`):                                                                                "Tags must be an array",
		instanceBody("x", "own-space", `"tags":[1],`):                                                                                "Tags must be a list of strings",
		instanceBody("x", "own-space", `"syslog_drain_url":"x y",`):                                                                  "Syslog drain url must be a valid URI",
		instanceBody("x", "own-space", `"route_service_url":"http://x",`):                                                            "Route service url must be https",
		instanceBody("x", "own-space", `"route_service_url":"https://",`):                                                            "Route service url must be a valid URI",
		instanceBody(strings.Repeat("x", 256), "own-space", ``):                                                                      "name max_length",
		instanceBody("x", "own-space", `"tags":["`+strings.Repeat("x", 2049)+`"],`):                                                  "tags too_long",
		instanceBody("x", "own-space", `"parameters":{},`):                                                                           "Unknown field(s): 'parameters'",
		`{"type":"managed","name":"x","relationships":{"space":{"data":{"guid":"own-space"}},"service_plan":{"data":{"guid":"p"}}}}`: "Invalid service plan. Ensure that the service plan exists, is available, and you have access to it.",
	} {
		if r := w.Must(422, "dev", "POST /v3/service_instances", body); r.Detail() != want {
			t.Errorf("%.60s: %s", body, r.Detail())
		}
	}
	one := "/v3/service_instances/" + i
	w.Must(201, "dev", "POST /v3/service_instances", instanceBody("other", "own-space", ""))
	if r := w.Must(422, "dev", "PATCH "+one, `{"name":"other"}`); r.Detail() != "The service instance name is taken: other." {
		t.Error(r.Text)
	}
	u := w.Must(200, "dev", "PATCH "+one, `{"credentials":{"z":1.50,"a":{"b":[]}}}`)
	if u.Get("last_operation", "type") != "update" || len(u.Get("tags").([]any)) != 1 {
		t.Error(u.Text)
	}
	if r := w.Must(200, "dev", "GET "+one+"/credentials", nil); r.Text != `{"z":1.50,"a":{"b":[]}}` && strings.TrimSpace(r.Text) != `{"z":1.50,"a":{"b":[]}}` {
		t.Errorf("credentials are kept as given: %s", r.Text)
	}
	if r := w.Must(400, "dev", "GET "+one+"/parameters", nil); r.Detail() != "This service does not support fetching service instance parameters." {
		t.Error(r.Text)
	}
	for user, want := range map[string][2]any{"dev": {true, true}, "global_auditor": {false, true}, "nobody": {false, false}} {
		if p := w.Must(200, user, "GET "+one+"/permissions", nil); p.Get("manage") != want[0] || p.Get("read") != want[1] {
			t.Errorf("%s: %s", user, p.Text)
		}
	}
	const shared = "/relationships/shared_spaces?fields[space]="
	if l := w.Must(200, "dev", "GET "+one+shared+"guid,name&fields[space.organization]=name", nil); len(l.Get("included", "spaces").([]any)) != 0 {
		t.Error(l.Text)
	}
	w.Must(400, "dev", "GET "+one+shared+"zzz", nil)
	w.Must(400, "dev", "GET "+one+"/relationships/shared_spaces?zzz=1", nil)
	w.SetFlag("service_instance_sharing", true)
	if r := w.Must(422, "admin", "POST "+one+"/relationships/shared_spaces", `{"data":[{"guid":"foreign-space"}]}`); r.Detail() != "User-provided services cannot be shared." {
		t.Error(r.Text)
	}
	w.Must(201, "admin", "POST /v3/organization_quotas", `{"name":"none","services":{"total_service_instances":0},"relationships":{"organizations":{"data":[{"guid":"own"}]}}}`)
	w.Must(201, "dev", "POST /v3/service_instances", instanceBody("uncounted", "own-space", "")) // quotas count managed ones
	w.SetFlag("service_instance_creation", false)
	w.Must(403, "dev", "POST /v3/service_instances", instanceBody("x", "own-space", ""))
	w.Must(201, "admin", "POST /v3/service_instances", instanceBody("x", "own-space", ""))
	l := w.Must(200, "dev", "GET /v3/service_instances?type=user-provided&names=db&fields[space]=guid,relationships.organization&fields[space.organization]=name&fields[service_plan]=guid", nil)
	if l.Get("included", "spaces", 0, "relationships", "organization", "data", "guid") != "own" || l.Get("included", "organizations", 0, "name") != "own" {
		t.Error(l.Text)
	}
	if n := len(w.Must(200, "dev", "GET /v3/service_instances?type=managed", nil).Names("guid")); n != 0 {
		t.Errorf("%d managed instances", n)
	}
	w.Must(204, "dev", "DELETE "+one+"?purge=true", nil)
	for _, e := range []string{"audit.user_provided_service_instance.create", "audit.user_provided_service_instance.update", "audit.user_provided_service_instance.show", "audit.service_instance.purge"} {
		l := w.Must(200, "admin", "GET /v3/audit_events?types="+e+"&target_guids="+i, nil)
		if len(l.Names("guid")) != 1 || strings.Contains(l.Text, "1.50") {
			t.Errorf("%s: %s", e, l.Text)
		}
	}
}

// TestServiceBindings: what is refused, and several bindings of one app to one instance.
func TestServiceBindings(t *testing.T) {
	w := pushWorld(t)
	w.World("foreign")
	w.Role("dev", access.SpaceDeveloper, "own")
	w.Role("auditor", access.SpaceAuditor, "own")
	app, i, b := bound(w.API, "own", "db")
	_, foreign, _ := bound(w.API, "foreign", "theirs")
	const all = "POST /v3/service_credential_bindings"
	for body, want := range map[string]string{
		bindingBody(app, i, ""):                                     "The app is already bound to the service instance",
		bindingBody(app, i, `"strategy":"single",`):                 "The app is already bound to the service instance",
		bindingBody(app, i, `"strategy":"x",`):                      "Strategy must be 'single' or 'multiple'",
		bindingBody(app, i, `"name":"x",`):                          "The binding name cannot be changed for the same app and service instance",
		bindingBody(app, i, `"parameters":{},`):                     "Binding parameters are not supported for user-provided service instances",
		bindingBody("nope", i, ""):                                  "The app could not be found: 'nope'",
		bindingBody(app, foreign, ""):                               "The service instance could not be found: '" + foreign + "'",
		strings.Replace(bindingBody(app, i, ""), `"app"`, `"x"`, 1): "Type must be 'app' or 'key'",
		`{"type":"key","name":"k","relationships":{"service_instance":{"data":{"guid":"` + i + `"}}}}`: "Service credential bindings of type 'key' are not supported for user-provided service instances.",
		`{"type":"key","relationships":{"service_instance":{"data":{"guid":"` + i + `"}}}}`:            "Name can't be blank",
	} {
		if r := w.Must(422, "dev", all, body); r.Detail() != want {
			t.Errorf("%.60s: %s", body, r.Detail())
		}
	}
	if r := w.Must(422, "admin", all, bindingBody(app, foreign, "")); r.Detail() != "The service instance and the app are in different spaces" {
		t.Error(r.Text)
	}
	w.Must(403, "auditor", all, bindingBody(app, i, ""))
	w.Must(404, "auditor", "GET /v3/service_credential_bindings/"+b+"/details", nil)
	if r := w.Must(400, "dev", "GET /v3/service_credential_bindings/"+b+"/parameters", nil); r.Detail() != "This service does not support fetching service binding parameters." {
		t.Error(r.Text)
	}
	if d := w.Must(200, "dev", "GET /v3/service_credential_bindings/"+b+"/details", nil); d.Get("credentials", "password") != "secret<&" {
		t.Error(d.Text)
	}
	other := w.Must(201, "dev", "POST /v3/service_instances", instanceBody("other", "own-space", "")).GUID()
	for name, want := range map[string]string{"a b": "The binding name is invalid. Valid characters are alphanumeric, underscore, and dash.",
		strings.Repeat("x", 256): "The binding name is invalid. App binding names must be less than 256 characters."} {
		if r := w.Must(422, "dev", all, bindingBody(app, other, `"name":"`+name+`",`)); r.Detail() != want {
			t.Error(r.Text)
		}
	}
	w.Must(201, "dev", all, bindingBody(app, other, `"name":"x",`))
	third := w.Must(201, "dev", "POST /v3/service_instances", instanceBody("third", "own-space", "")).GUID()
	if r := w.Must(422, "dev", all, bindingBody(app, third, `"name":"x",`)); r.Detail() != "The binding name is invalid. Binding names must be unique for a given service instance and app. The app already has a binding with name 'x'." {
		t.Error(r.Text)
	}
	for range 4 {
		b = w.Must(201, "dev", all, bindingBody(app, i, `"strategy":"multiple",`)).GUID()
	}
	if r := w.Must(422, "dev", all, bindingBody(app, i, `"strategy":"multiple",`)); r.Detail() != "The app has too many bindings to this service instance (limit: 5). Consider deleting existing/orphaned bindings." {
		t.Error(r.Text)
	}
	env := w.Must(200, "dev", "GET /v3/apps/"+app+"/env", nil)
	if l := env.Get("system_env_json", "VCAP_SERVICES", "user-provided").([]any); len(l) != 2 || env.Get("system_env_json", "VCAP_SERVICES", "user-provided", 1, "binding_guid") != b {
		t.Errorf("not the newest of each instance: %s", env.Text)
	}
	l := w.Must(200, "dev", "GET /v3/service_credential_bindings?include=app,service_instance&service_instance_names=db&app_names=db&type=app&order_by=-created_at", nil)
	if len(l.Names("guid")) != 5 || l.Get("included", "apps", 0, "guid") != app || l.Get("included", "service_instances", 0, "guid") != i {
		t.Error(l.Text)
	}
	w.Must(204, "dev", "DELETE /v3/service_instances/"+i, nil)
	if left := w.Must(200, "dev", "GET /v3/service_credential_bindings", nil).Names("guid"); len(left) != 1 {
		t.Errorf("%d bindings are left, one is of another instance", len(left))
	}
	if e := w.Must(200, "admin", "GET /v3/audit_events?types=audit.service_binding.delete", nil); len(e.Names("guid")) != 5 || strings.Contains(e.Text, "secret") {
		t.Error(e.Text)
	}
}

// TestBindAtOnce: of many who bind the same app to the same instance, one does.
func TestBindAtOnce(t *testing.T) {
	w := pushWorld(t)
	app, i, b := bound(w.API, "own", "db")
	w.Must(204, "admin", "DELETE /v3/service_credential_bindings/"+b, nil)
	var wg sync.WaitGroup
	made := make(chan int, 8)
	for range 8 {
		wg.Go(func() {
			made <- w.Do("admin", "POST /v3/service_credential_bindings", bindingBody(app, i, "")).Status
		})
	}
	wg.Wait()
	close(made)
	n := 0
	for s := range made {
		if s == 201 {
			n++
		} else if s != 422 {
			t.Errorf("status %d", s)
		}
	}
	if n != 1 {
		t.Errorf("bound %d times", n)
	}
}

// TestVCAPServices: the value in stagings, running apps and the API has CF's keys in CF's order (docs: "Environment
// variables", VCAP_SERVICES); a change reaches an app with its next start.
func TestVCAPServices(t *testing.T) {
	w := pushWorld(t)
	w.Role("dev", access.SpaceDeveloper, "own")
	app, i, b := bound(w.API, "own", "db")
	want := fmt.Sprintf(`VCAP_SERVICES={"user-provided":[{"label":"user-provided","name":"db","tags":[],"instance_guid":"%s","instance_name":"db",`+
		`"binding_guid":"%s","binding_name":null,"credentials":{"password":"secret<&"},"syslog_drain_url":null,"volume_mounts":[]}]}`, i, b)
	p := w.newPackage(app)
	w.must(200, w.upload("admin", p, "", zipped(t, "main.go")))
	build := w.Must(201, "admin", "POST /v3/builds", `{"package":{"guid":"`+p+`"}}`).GUID()
	task, _ := w.sched.task(build)
	if got := vcapServices(task.Env); got != want {
		t.Errorf("staging:\n%s\n%s", got, want)
	}
	w.staged(build, map[string]string{"web": "./x"})
	d := w.Must(200, "admin", "GET /v3/builds/"+build, nil).Get("droplet", "guid").(string)
	w.Must(200, "admin", "PATCH /v3/apps/"+app+"/relationships/current_droplet", `{"data":{"guid":"`+d+`"}}`)
	w.Must(200, "dev", "POST /v3/apps/"+app+"/actions/start", nil)
	if got := vcapServices(w.sched.lrps(app)["web"].Env); got != want {
		t.Errorf("running: %s", got)
	}
	w.Must(200, "dev", "PATCH /v3/service_instances/"+i, `{"credentials":{"new":true}}`)
	if got := vcapServices(w.sched.lrps(app)["web"].Env); got != want {
		t.Errorf("changed while it runs: %s", got)
	}
	w.Must(200, "dev", "POST /v3/apps/"+app+"/actions/restart", nil)
	if got := vcapServices(w.sched.lrps(app)["web"].Env); !strings.Contains(got, `"credentials":{"new":true}`) {
		t.Errorf("after a restart: %s", got)
	}
	env := w.Must(200, "dev", "GET /v3/apps/"+app+"/env", nil).Get("system_env_json", "VCAP_SERVICES")
	if text, _ := json.Marshal(env); !strings.Contains(string(text), `"new":true`) {
		t.Errorf("env: %s", text)
	}
}

func vcapServices(env []string) string {
	for _, e := range env {
		if strings.HasPrefix(e, "VCAP_SERVICES=") {
			return e
		}
	}
	return ""
}

// TestServicesOfManifests: a manifest binds, once; the generated one shows it, and neither differs from the other.
func TestServicesOfManifests(t *testing.T) {
	w := pushWorld(t)
	app, _, _ := bound(w.API, "own", "db")
	w.Must(201, "admin", "POST /v3/service_instances", instanceBody("Cache", "own-space", ""))
	const text = "applications:\n- name: db\n  services:\n  - db\n  - name: Cache\n    binding_name: c\n"
	for range 2 {
		if j := w.Job(w.must(202, w.send("admin", "POST /v3/spaces/own-space/actions/apply_manifest", "application/x-yaml", strings.NewReader(text)))); j.JSON["state"] != "COMPLETE" {
			t.Fatal(j.Text)
		}
	}
	l := w.Must(200, "admin", "GET /v3/service_credential_bindings?app_guids="+app, nil)
	if len(l.Names("guid")) != 2 || l.Get("resources", 1, "name") != "c" {
		t.Error(l.Text)
	}
	if m := w.Must(200, "admin", "GET /v3/apps/"+app+"/manifest", nil); !strings.Contains(m.Text, "services:\n      - Cache\n      - db\n") {
		t.Errorf("%s", m.Text)
	}
	d := w.must(201, w.send("admin", "POST /v3/spaces/own-space/manifest_diff", "application/x-yaml", strings.NewReader("applications:\n- name: db\n  services: [db]\n")))
	if len(d.Get("diff").([]any)) != 0 {
		t.Errorf("a manifest without news: %s", d.Text)
	}
	w.Must(201, "admin", "POST /v3/service_instances", instanceBody("third", "own-space", ""))
	const twice = "applications:\n- name: db\n  services: [{name: third, binding_name: c}]\n"
	j := w.Job(w.must(202, w.send("admin", "POST /v3/spaces/own-space/actions/apply_manifest", "application/x-yaml", strings.NewReader(twice))))
	if j.Get("errors", 0, "detail") != "For application 'db': For service 'third': The binding name is invalid. Binding names must be unique for a given service instance and app. The app already has a binding with name 'c'." {
		t.Error(j.Text)
	}
}

// TestServicesGo: with an app go its bindings, with a space its instances.
func TestServicesGo(t *testing.T) {
	w := pushWorld(t)
	app, i, b := bound(w.API, "own", "db")
	w.Job(w.Must(202, "admin", "DELETE /v3/apps/"+app, nil))
	w.Must(404, "admin", "GET /v3/service_credential_bindings/"+b, nil)
	w.Must(200, "admin", "GET /v3/service_instances/"+i, nil)
	if j := w.Job(w.Must(202, "admin", "DELETE /v3/spaces/own-space", nil)); j.JSON["state"] != "COMPLETE" {
		t.Fatal(j.Text)
	}
	w.Must(404, "admin", "GET /v3/service_instances/"+i, nil)
	e := w.Must(200, "admin", "GET /v3/audit_events?types=audit.service_binding.delete,audit.user_provided_service_instance.delete", nil)
	if len(e.Names("guid")) != 2 {
		t.Error(e.Text)
	}
}

// TestServicesAreSealed: no credential lies readable in the database.
func TestServicesAreSealed(t *testing.T) {
	w := pushWorld(t)
	w.Must(201, "admin", "POST /v3/service_instances", instanceBody("db", "own-space",
		`"credentials":{"password":"hunter2"},"syslog_drain_url":"syslog://u:hunter2@x.test","route_service_url":"https://u:hunter2@x.test",`))
	for _, query := range []string{
		"SELECT count(*) FROM services_instances WHERE credentials LIKE '%hunter2%' OR syslog_drain_url LIKE '%hunter2%' OR route_service_url LIKE '%hunter2%'",
		"SELECT count(*) FROM rest_events WHERE data LIKE '%hunter2%'",
	} {
		var n int
		if err := w.DB.Read().NewRaw(query).Scan(t.Context(), &n); err != nil || n != 0 {
			t.Errorf("%s: %d %v", query, n, err)
		}
	}
}
