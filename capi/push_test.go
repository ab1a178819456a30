package capi_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"mime/multipart"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"ingot/capi/admin"
	"ingot/cf"
	"ingot/rest/resttest"
)

// upload sends an app's bits; resources is JSON, or "" for none.
func (w *world) upload(user, guid, resources string, zip []byte) resttest.Answer {
	w.T.Helper()
	return w.sendBits(user, "POST /v3/packages/"+guid+"/upload", resources, "package.zip", zip)
}

// sendBits sends a form with resources, unless they are "", and a file called name, unless it is nil.
func (w *world) sendBits(user, line, resources, name string, zip []byte) resttest.Answer {
	w.T.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	if resources != "" {
		if err := m.WriteField("resources", resources); err != nil {
			w.T.Fatal(err)
		}
	}
	if zip != nil {
		part, err := m.CreateFormFile("bits", name)
		if err == nil {
			_, err = part.Write(zip)
		}
		if err != nil {
			w.T.Fatal(err)
		}
	}
	if err := m.Close(); err != nil {
		w.T.Fatal(err)
	}
	return w.send(user, line, m.FormDataContentType(), &b)
}

// staged tells the API that a staging ended well.
func (w *world) staged(build string, types map[string]string, sidecars ...cf.StagedSidecar) {
	w.T.Helper()
	task, ok := w.sched.task(build)
	if !ok {
		w.T.Fatalf("no task %s was run", build)
	}
	droplet, err := w.blobs.Put(w.T.Context(), cf.BlobDroplet, bytes.NewReader([]byte("droplet of "+build)))
	if err != nil {
		w.T.Fatal(err)
	}
	task.State = cf.TaskCompleted
	task.Result = &cf.StagingResult{Droplet: droplet.Key, SHA256: droplet.SHA256, Size: droplet.Size, ProcessTypes: types, Sidecars: sidecars, Metadata: "{}",
		Buildpacks: []cf.DetectedBuildpack{{Key: "go_buildpack", Name: "go", Version: "1.2.3", DetectOutput: "go"}}}
	if err := w.api.TaskCompleted(w.T.Context(), task); err != nil {
		w.T.Fatal(err)
	}
}

// stage pushes bits through to a droplet that is current, and gives it.
func (w *world) stage(user, app string) string {
	w.T.Helper()
	d := w.droplet(user, app)
	w.Must(200, user, "PATCH /v3/apps/"+app+"/relationships/current_droplet", `{"data":{"guid":"`+d+`"}}`)
	return d
}

// droplet pushes bits through to a droplet, and gives it.
func (w *world) droplet(user, app string, sidecars ...cf.StagedSidecar) string {
	w.T.Helper()
	p := w.Must(201, user, "POST /v3/packages", `{"type":"bits","relationships":{"app":{"data":{"guid":"`+app+`"}}}}`).GUID()
	w.must(200, w.upload(user, p, "", zipped(w.T, "main.go")))
	b := w.Must(201, user, "POST /v3/builds", `{"package":{"guid":"`+p+`"}}`).GUID()
	w.staged(b, map[string]string{"web": "./app", "worker": "./work"}, sidecars...)
	d, _ := w.Must(200, user, "GET /v3/builds/"+b, nil).Get("droplet", "guid").(string)
	return d
}

// gzipped is a droplet as far as the fake of bits looks.
func gzipped(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// makeApp makes an app in the world's space.
func (w *world) makeApp(name string) string {
	w.T.Helper()
	return w.Must(201, "admin", "POST /v3/apps", `{"name":"`+name+`","relationships":{"space":{"data":{"guid":"own-space"}}}}`).GUID()
}

// pushWorld is a world with an organization "own", its space, and a buildpack.
func pushWorld(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	w.World("own")
	b := admin.Buildpack{Name: "go_buildpack", Stack: "cflinuxfs4", Position: 1, Filename: "go.zip", Blob: "buildpacks/x", SHA256: "x"}
	if err := w.api.Admin.EnsureBuildpack(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return w
}

// keys that the documented examples show for other kinds of objects: private domains, router groups, route policies;
// docker packages; a build that is STAGING. Cloud Controller's presenters have current_droplet and port everywhere.
var (
	aShared  = []string{"links.organization", "links.shared_organizations"}
	domains  = []string{"resources[].links.organization", "resources[].links.shared_organizations", "resources[].links.router_group", "resources[].enforce_route_policies", "resources[].route_policies_scope", "resources[].relationships.organization.data"}
	anApp    = []string{"resources[].relationships.droplet", "resources[].relationships.current_droplet"}
	httpOnly = []string{"resources[].readiness_health_check.data.endpoint"}
	docker   = []string{"resources[].data.image", "resources[].data.username", "resources[].data.password"}
	ended    = []string{"resources[].droplet", "resources[].links.droplet"}
	checks   = []string{"health_check.data.invocation_timeout", "health_check.data.interval", "readiness_health_check.data.interval"} // as the list has them
	notYet   = []string{"links.continue"}                                                                                             // only what is PAUSED
	ofCanary = []string{"resources[].status.canary", "resources[].options", "resources[].links.cancel", "resources[].links.continue"}
	webOnly  = []string{"resources[].processes.rake"}
	port     = []string{"resources[].port"}
)

// pushSteps walk through all that a push needs, and leave nothing.
var pushSteps = []step{
	{line: "GET /v3/domains", keep: "domain", besides: domains}, // shared
	{line: "GET /v3/domains/{domain}", besides: aShared},
	{line: "PATCH /v3/domains/{domain}", body: `{"metadata":{"labels":{"a":"b"}}}`, besides: aShared},
	{line: "POST /v3/domains", body: `{"name":"private.example.com","relationships":{"organization":{"data":{"guid":"own"}}}}`, keep: "private"},
	{line: "GET /v3/domains/{domain}/route_reservations"},
	{line: "POST /v3/domains/{private}/relationships/shared_organizations", body: `{"data":[{"guid":"second"}]}`},
	{line: "GET /v3/domains/{private}"},
	{line: "DELETE /v3/domains/{private}/relationships/shared_organizations/second"},
	{line: "GET /v3/organizations/own/domains", besides: domains},
	{line: "GET /v3/organizations/own/domains/default", besides: aShared},
	{line: "POST /v3/apps", body: `{"name":"dora","relationships":{"space":{"data":{"guid":"own-space"}}},"environment_variables":{"A":"b"},
		"lifecycle":{"type":"buildpack","data":{"buildpacks":["go_buildpack"],"stack":"cflinuxfs4"}},"metadata":{"labels":{"x":"y"}}}`, keep: "app"},
	{line: "GET /v3/apps", besides: anApp},
	{line: "GET /v3/apps/{app}"},
	{line: "PATCH /v3/apps/{app}", body: `{"name":"dora2"}`},
	{line: "GET /v3/apps/{app}/environment_variables"},
	{line: "PATCH /v3/apps/{app}/environment_variables", body: `{"var":{"A":null,"B":"c"}}`},
	{line: "GET /v3/apps/{app}/env"},
	{line: "GET /v3/apps/{app}/permissions"},
	{line: "GET /v3/apps/{app}/features"},
	{line: "GET /v3/apps/{app}/features/ssh"},
	{line: "PATCH /v3/apps/{app}/features/revisions", body: `{"enabled":false}`},
	{line: "GET /v3/apps/{app}/ssh_enabled"},
	{line: "GET /v3/apps/{app}/processes", besides: httpOnly},
	{line: "GET /v3/apps/{app}/processes/web", shape: "single_process", besides: checks},
	{line: "GET /v3/apps/{app}/sidecars"},
	{line: "GET /v3/apps/{app}/manifest"},
	{line: "GET /v3/processes", besides: httpOnly},
	{line: "GET /v3/processes/{app}", besides: checks},
	{line: "GET /v3/processes/{app}/sidecars"},
	{line: "PATCH /v3/processes/{app}", body: `{"command":"x","health_check":{"type":"port","data":{"timeout":60}}}`, besides: checks},
	{line: "POST /v3/processes/{app}/actions/scale", body: `{"instances":2}`, besides: checks},
	{line: "POST /v3/apps/{app}/processes/web/actions/scale", body: `{"memory_in_mb":"256","disk_in_mb":512}`, besides: checks},
	{line: "GET /v3/deployments"},
	{line: "POST /v3/resource_matches", body: `{"resources":[{"checksum":{"value":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},"size_in_bytes":3,"path":"x","mode":"644"}]}`},
	{line: "POST /v3/packages", body: `{"type":"bits","relationships":{"app":{"data":{"guid":"{app}"}}}}`, keep: "package", shape: "single_bits_package"},
	{line: "GET /v3/packages", besides: docker},
	{line: "GET /v3/packages/{package}"},
	{line: "GET /v3/apps/{app}/packages"},
	{line: "PATCH /v3/packages/{package}", body: `{"metadata":{"annotations":{"a":"b"}}}`},
	{line: "POST /v3/packages/{package}/upload", act: func(w *world, kept map[string]string) resttest.Answer {
		return w.upload("admin", kept["package"], "[]", zipped(w.T, "main.go"))
	}},
	{line: "GET /v3/packages/{package}/download", shape: "none"},
	{line: "POST /v3/builds", body: `{"package":{"guid":"{package}"}}`, keep: "build"},
	{line: "GET /v3/builds", besides: ended, act: func(w *world, kept map[string]string) resttest.Answer {
		w.staged(kept["build"], map[string]string{"web": "./app", "rake": "./rake"})
		return w.Do("admin", "GET /v3/builds", nil)
	}},
	{line: "GET /v3/builds/{build}"},
	{line: "PATCH /v3/builds/{build}", body: `{"metadata":{"labels":{"a":"b"}}}`},
	{line: "GET /v3/apps/{app}/builds", besides: ended},
	{line: "GET /v3/droplets", keep: "droplet"},
	{line: "GET /v3/droplets/{droplet}"},
	{line: "PATCH /v3/droplets/{droplet}", body: `{"metadata":{"labels":{"a":"b"}}}`},
	{line: "GET /v3/droplets/{droplet}/download"},
	{line: "GET /v3/apps/{app}/droplets"},
	{line: "GET /v3/packages/{package}/droplets"},
	{line: "POST /v3/apps", body: `{"name":"copy","relationships":{"space":{"data":{"guid":"own-space"}}}}`, keep: "other"},
	{line: "POST /v3/packages?source_guid={package}", body: `{"relationships":{"app":{"data":{"guid":"{other}"}}}}`, besides: []string{"data", "links.upload", "links.download"}, shape: "copy_of_packages"},
	{line: "POST /v3/droplets?source_guid={droplet}", body: `{"relationships":{"app":{"data":{"guid":"{other}"}}}}`, besides: []string{"links.package", "links.download", "checksum", "buildpacks[]", "process_types"}, shape: "single_copying_buildpack_droplet"},
	{line: "POST /v3/droplets", body: `{"relationships":{"app":{"data":{"guid":"{other}"}}},"process_types":{"web":"./run","rake":"./rake"}}`, keep: "made", shape: "single_created_droplet_without_package"},
	{line: "POST /v3/droplets/{made}/upload", act: func(w *world, kept map[string]string) resttest.Answer {
		return w.sendBits("admin", "POST /v3/droplets/"+kept["made"]+"/upload", "", "droplet.tgz", gzipped(w.T, "made elsewhere"))
	}},
	{line: "DELETE /v3/apps/{other}"},
	{line: "PATCH /v3/apps/{app}/relationships/current_droplet", body: `{"data":{"guid":"{droplet}"}}`},
	{line: "GET /v3/apps/{app}/relationships/current_droplet"},
	{line: "GET /v3/apps/{app}/droplets/current"},
	{line: "POST /v3/apps/{app}/actions/start"},
	{line: "GET /v3/processes/{app}/stats"},
	{line: "GET /v3/apps/{app}/processes/web/stats"},
	{line: "GET /v3/processes/{app}/process_instances"},
	{line: "POST /v3/apps/{app}/actions/restart"},
	{line: "PATCH /v3/apps/{app}/features/revisions", body: `{"enabled":true}`},
	{line: "POST /v3/deployments", body: `{"strategy":"canary","options":{"max_in_flight":2,"web_instances":2,"memory_in_mb":64,"disk_in_mb":64,
		"log_rate_limit_in_bytes_per_second":-1,"canary":{"steps":[{"instance_weight":50}]}},"relationships":{"app":{"data":{"guid":"{app}"}}}}`,
		keep: "deployment", besides: notYet},
	{line: "GET /v3/deployments/{deployment}", act: func(w *world, kept map[string]string) resttest.Answer {
		w.reason(kept["deployment"], "PAUSED")
		return w.Do("admin", "GET /v3/deployments/"+kept["deployment"], nil)
	}},
	{line: "GET /v3/deployments", besides: ofCanary},
	{line: "PATCH /v3/deployments/{deployment}", body: `{"metadata":{"labels":{"a":"b"}}}`},
	{line: "POST /v3/deployments/{deployment}/actions/continue"},
	{line: "POST /v3/deployments/{deployment}/actions/cancel"},
	{line: "GET /v3/apps/{app}/revisions", keep: "revision", besides: webOnly},
	{line: "GET /v3/apps/{app}/revisions/deployed", besides: webOnly},
	{line: "GET /v3/revisions/{revision}", besides: []string{"processes.rake"}},
	{line: "PATCH /v3/revisions/{revision}", body: `{"metadata":{"labels":{"a":"b"}}}`, besides: []string{"processes.rake"}},
	{line: "GET /v3/revisions/{revision}/environment_variables", act: func(w *world, kept map[string]string) resttest.Answer {
		w.reason(kept["deployment"], "CANCELED")
		return w.Do("admin", "GET /v3/revisions/"+kept["revision"]+"/environment_variables", nil)
	}},
	{line: "DELETE /v3/processes/{app}/instances/0"},
	{line: "DELETE /v3/apps/{app}/processes/web/instances/1"},
	{line: "POST /v3/routes", body: `{"host":"dora","path":"/x","relationships":{"space":{"data":{"guid":"own-space"}},"domain":{"data":{"guid":"{domain}"}}},"options":{"loadbalancing":"round-robin"}}`, keep: "route"},
	{line: "POST /v3/routes/{route}/destinations", body: `{"destinations":[{"app":{"guid":"{app}"}}]}`},
	{line: "GET /v3/routes", besides: port},
	{line: "GET /v3/routes/{route}"},
	{line: "PATCH /v3/routes/{route}", body: `{"options":{"loadbalancing":"least-connection"}}`},
	{line: "GET /v3/apps/{app}/routes", besides: port},
	{line: "GET /v3/routes/{route}/destinations"},
	{line: "PATCH /v3/routes/{route}/destinations", body: `{"destinations":[{"app":{"guid":"{app}"},"weight":100,"port":9000,"protocol":"http2"}]}`},
	{line: "POST /v3/routes/{route}/relationships/shared_spaces", body: `{"data":[{"guid":"second-space"}]}`},
	{line: "GET /v3/routes/{route}/relationships/shared_spaces"},
	{line: "PATCH /v3/routes/{route}/relationships/space", body: `{"data":{"guid":"second-space"}}`},
	{line: "PATCH /v3/routes/{route}/relationships/space", body: `{"data":{"guid":"own-space"}}`},
	{line: "DELETE /v3/routes/{route}/relationships/shared_spaces/second-space"},
	{line: "PATCH /v3/routes/{route}/destinations", body: `{"destinations":[]}`},
	{line: "DELETE /v3/spaces/own-space/routes?unmapped=true"},
	{line: "POST /v3/apps/{app}/actions/stop"},
	{line: "POST /v3/apps/{app}/actions/clear_buildpack_cache"},
	{line: "POST /v3/spaces/own-space/manifest_diff", act: func(w *world, _ map[string]string) resttest.Answer {
		return w.yaml("admin", "POST /v3/spaces/own-space/manifest_diff", "applications: [{name: dora2, instances: 3}]")
	}},
	{line: "POST /v3/spaces/own-space/actions/apply_manifest", act: func(w *world, _ map[string]string) resttest.Answer {
		return w.yaml("admin", "POST /v3/spaces/own-space/actions/apply_manifest", "applications: [{name: dora2, instances: 3, default-route: true}]")
	}},
	{line: "DELETE /v3/domains/{private}"},
	{line: "DELETE /v3/apps/{app}"},
}

// TestPushOracle runs a success case of every endpoint of a push against the documented status and shape.
func TestPushOracle(t *testing.T) {
	w := pushWorld(t)
	w.World("second")
	w.SetFlag("route_sharing", true)
	walk(t, w, pushSteps)
	for _, table := range []string{"app_apps", "app_processes", "build_packages", "build_builds", "build_droplets", "route_destinations", "route_shared_domains", "route_shared_routes",
		"app_deployments", "app_revisions"} {
		if n, err := w.DB.Read().NewSelect().TableExpr(table).Count(t.Context()); err != nil || n != 0 {
			t.Errorf("%d rows left in %s (%v)", n, table, err)
		}
	}
	until(t, "the package and the droplet are given back", func() bool {
		w.blobs.mu.Lock()
		defer w.blobs.mu.Unlock()
		return len(w.blobs.data) == 0
	})
	if len(w.sched.lrps("")) != 0 {
		t.Error("the scheduler still wants something")
	}
}

// TestPush goes the official CLI's way from a manifest to a running app, and looks at what the scheduler was told.
func TestPush(t *testing.T) {
	w := pushWorld(t)
	begin := time.Now()
	r := w.must(202, w.yaml("admin", "POST /v3/spaces/own-space/actions/apply_manifest", `---
version: 1
applications:
- name: Dora
  path: /home/me/dora
  memory: 256M
  instances: 2
  env: {FOO: bar}
  default-route: true
`))
	if j := w.Must(200, "admin", "GET "+r.Header.Get("Location"), nil); j.JSON["state"] != "COMPLETE" {
		t.Fatalf("the job was not done at the first look: %s", j.Text)
	}
	app, _ := w.Must(200, "admin", "GET /v3/apps?names=Dora&space_guids=own-space", nil).Get("resources", 0, "guid").(string)
	if !w.logs.has(app + " [API/0] Created app with guid " + app) {
		t.Error("no line of the app's creation")
	}
	w.stage("admin", app)
	w.Must(200, "admin", "POST /v3/apps/"+app+"/actions/restart", nil)
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("a push without staging took %s", d)
	}
	lrps := w.sched.lrps(app)
	web, ok := lrps["web"]
	if !ok || len(lrps) != 1 { // the worker has no instances
		t.Fatalf("desired: %v", lrps)
	}
	if web.Instances != 2 || web.Start != "./app" || web.Limits.MemoryMB != 256 || web.Stack != "cflinuxfs4" {
		t.Errorf("LRP: %+v", web)
	}
	if len(web.Routes) != 1 || web.Routes[0].URI != "dora.apps.ingot.test" || web.Routes[0].Port != 8080 {
		t.Errorf("routes: %+v", web.Routes)
	}
	if web.VCAPApp["application_name"] != "Dora" || web.MetricTags["process_type"] != "web" || len(web.Env) != 2 {
		t.Errorf("told: %v %v %v", web.VCAPApp, web.MetricTags, web.Env)
	}
	s := w.Must(200, "admin", "GET /v3/processes/"+app+"/stats", nil)
	if s.Get("resources", 1, "state") != "RUNNING" || s.Get("resources", 1, "usage", "mem") != float64(1<<20) {
		t.Error(s.Text)
	}
}

// TestNothingNewInWhatIsDeleted: what comes into a space while its deletion runs would be left behind.
func TestNothingNewInWhatIsDeleted(t *testing.T) {
	w := pushWorld(t)
	apps := w.Must(200, "admin", "GET /v3/domains?names=apps.ingot.test", nil).Names("guid")[0]
	err := w.DB.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().TableExpr("rest_spaces").Set("deleting = ?", true).Where("guid = ?", "own-space").Exec(ctx)
		if err == nil {
			_, err = tx.NewUpdate().TableExpr("rest_organizations").Set("deleting = ?", true).Where("guid = ?", "own").Exec(ctx)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for line, body := range map[string]string{
		"POST /v3/apps":    `{"name":"late","relationships":{"space":{"data":{"guid":"own-space"}}}}`,
		"POST /v3/routes":  routeBody("late", "", apps),
		"POST /v3/domains": `{"name":"late.example.com","relationships":{"organization":{"data":{"guid":"own"}}}}`,
	} {
		if r := w.Do("admin", line, body); r.Status != 422 || !strings.HasSuffix(r.Detail(), "is being deleted") {
			t.Errorf("%s: %d %s", line, r.Status, r.Detail())
		}
	}
}
