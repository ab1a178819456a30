package capi_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"ingot/rest/access"
	"ingot/rest/job"
)

const applyLine = "POST /v3/spaces/own-space/actions/apply_manifest"

// applied applies a manifest and gives the ended job.
func (w *world) applied(text string) (state, detail string) {
	w.T.Helper()
	j := w.Job(w.must(202, w.yaml("admin", applyLine, text)))
	s, _ := j.Get("state").(string)
	return s, j.Detail()
}

// TestBadManifests: what is refused, by whom, in CF's words.
func TestBadManifests(t *testing.T) {
	w := pushWorld(t)
	w.Role("auditor", access.SpaceAuditor, "own")
	for _, line := range []string{applyLine, "POST /v3/spaces/own-space/manifest_diff"} {
		for _, c := range []struct {
			status int
			text   string
			code   float64
			want   string
		}{
			{400, "a: [", 1001, "Request invalid due to parse error: invalid request body"},
			{400, "applications: [{name: \"\xff\"}]", 1001, "Request invalid due to parse error: Invalid UTF-8 encoding in YAML data"},
			{400, "applications: [&a {name: x}, *a]", 1004, "Bad request: Manifest does not support Anchors and Aliases"},
			{400, "applications: [{name: " + strings.Repeat("x", 1<<20) + "}]", 1004, "Bad request: Manifest size is too large. The maximum supported size is 1MB."},
			{422, "version: 2\napplications: [{name: x}]", 10008, "Unsupported manifest schema version. Currently supported versions: [1]."},
			{422, "version: 1", 10008, "Cannot parse manifest with no 'applications' field."},
			{422, "applications: [{name: a, memory: lots}, {name: b, instances: -1}]", 10008,
				`For application 'a': Process "web": Memory is not a number; For application 'b': Process "web": Instances must be greater than or equal to 0`},
			{422, "applications: [{name: a, docker: {image: x}}]", 10008, "For application 'a': Feature Disabled: diego_docker"},
		} {
			r := w.yaml("admin", line, c.text)
			if r.Status != c.status || r.Detail() != c.want || r.Get("errors", 0, "code") != c.code {
				t.Errorf("%s %.60s\n got: %d %v %s\nwant: %d %v %s", line, c.text, r.Status, r.Get("errors", 0, "code"), r.Detail(), c.status, c.code, c.want)
			}
		}
		if r := w.send("admin", line, "application/json", strings.NewReader("{}")); r.Status != 400 || r.Detail() != "Bad request: Content-Type must be yaml" {
			t.Errorf("as JSON: %s", r.Text)
		}
		w.must(403, w.yaml("auditor", line, "applications: [{name: x}]"))
		w.must(404, w.yaml("stranger", line, "applications: [{name: x}]"))
	}
	if r := w.yaml("admin", applyLine, "applications: [{name: a, buildpacks: [nope]}]"); r.Status != 422 ||
		r.Detail() != `For application 'a': Buildpack "nope" for stack "cflinuxfs4" must be an existing admin buildpack or a valid git URI` {
		t.Error(r.Text)
	}
	if n := len(w.Must(200, "admin", "GET /v3/apps", nil).Names("name")); n != 0 {
		t.Errorf("%d apps of refused manifests", n)
	}
}

// TestManifestJobs: what can only be seen when it is done fails the job, and leaves the app as it was.
func TestManifestJobs(t *testing.T) {
	w := pushWorld(t)
	w.World("other")
	w.Must(201, "admin", "POST /v3/routes", strings.ReplaceAll(routeBody("far", "", w.domain("apps.ingot.test")), "own-space", "other-space"))
	for _, c := range []struct{ text, want string }{
		{"{name: a, memory: 64M, services: [db]}", "For application 'a': Service instance 'db' not found"},
		{"{name: a, timeout: 181}", "For application 'a': health_check_timeout Maximum exceeded: max 180s"},
		{"{name: a, memory: 64M, routes: [{route: x.example.org}]}", "For application 'a': No domains exist for route x.example.org"},
		{"{name: a, memory: 64M, routes: [{route: far.apps.ingot.test}]}", "For application 'a': For route 'far.apps.ingot.test': Routes cannot be mapped to destinations in different spaces"},
		{"{name: a, memory: 64M, routes: [{route: apps.ingot.test}]}", "For application 'a': For route 'apps.ingot.test': Missing host. Routes in shared domains must have a host defined."},
		{"{name: 'a b', default-route: true}", `For application 'a b': Failed to create default route from app name: Host must be either "*" or contain only alphanumeric characters, "_", or "-"`},
		{"{name: " + strings.Repeat("l", 64) + ", default-route: true}", "For application '" + strings.Repeat("l", 64) + "': Failed to create default route from app name: Host cannot exceed 63 characters"},
	} {
		if state, detail := w.applied("applications: [" + c.text + "]"); state != "FAILED" || detail != c.want {
			t.Errorf("%s\n got: %s %s\nwant: %s", c.text, state, detail, c.want)
		}
	}
	p := w.Must(200, "admin", "GET /v3/processes", nil)
	if p.Get("resources", 0, "memory_in_mb") != float64(1024) {
		t.Errorf("a failed manifest changed the app: %s", p.Text)
	}
	w.Role("dev", access.SpaceDeveloper, "own")
	w.Must(200, "admin", "PATCH /v3/feature_flags/route_creation", map[string]any{"enabled": false})
	j := w.Job(w.must(202, w.yaml("dev", applyLine, "applications: [{name: f, default-route: true}]")))
	if j.Detail() != "For application 'f': Feature Disabled: route_creation" || j.Get("errors", 0, "code") != 330002.0 {
		t.Error(j.Text)
	}
	w.Job(w.Must(202, "admin", "DELETE /v3/domains/"+w.domain("apps.ingot.test"), nil))
	if _, detail := w.applied("applications: [{name: c, random-route: true}]"); detail != "For application 'c': No default domains available" {
		t.Error(detail)
	}
}

// TestManifest: what a manifest says is there afterwards, a second time changes nothing, and what was made can be written.
func TestManifest(t *testing.T) {
	w := pushWorld(t)
	const text = `
applications:
- name: Dora
  buildpacks: [go_buildpack]
  memory: 128M
  disk_quota: 256M
  log-rate-limit-per-second: 16K
  instances: 0
  command: ./run
  timeout: 90
  health-check-type: http
  health-check-http-endpoint: /health
  env: {A: 1, B: two}
  metadata: {labels: {team: red}, annotations: {note: hi}}
  features: {revisions: false}
  processes:
  - type: worker
    instances: 2
    command: ./work
  routes:
  - route: dora.apps.ingot.test
  - route: dora.apps.ingot.test/path
    protocol: http2
    options: {loadbalancing: least-connection}
`
	for range 2 {
		if state, detail := w.applied(text); state != job.Complete {
			t.Fatal(detail)
		}
		app, _ := w.Must(200, "admin", "GET /v3/apps?names=dora", nil).Get("resources", 0, "guid").(string)
		m := w.Must(200, "admin", "GET /v3/apps/"+app+"/manifest", nil)
		const want = `---
applications:
  - name: Dora
    env:
      A: "1"
      B: two
    lifecycle: buildpack
    buildpacks:
      - go_buildpack
    stack: cflinuxfs4
    features:
      revisions: false
      ssh: true
    routes:
      - route: dora.apps.ingot.test
        protocol: http1
      - route: dora.apps.ingot.test/path
        protocol: http2
        options:
          loadbalancing: least-connection
    metadata:
      labels:
        team: red
      annotations:
        note: hi
    processes:
      - type: web
        instances: 0
        memory: 128M
        disk_quota: 256M
        log-rate-limit-per-second: 16K
        command: ./run
        health-check-type: http
        health-check-http-endpoint: /health
        readiness-health-check-type: process
        timeout: 90
      - type: worker
        instances: 2
        memory: 1024M
        disk_quota: 1024M
        log-rate-limit-per-second: -1
        command: ./work
        health-check-type: process
        readiness-health-check-type: process
`
		if m.Text != want || m.Header.Get("Content-Type") != "application/x-yaml" {
			t.Errorf("got:\n%s", m.Text)
		}
	}
	if d := w.yaml("admin", "POST /v3/spaces/own-space/manifest_diff", strings.Replace(text, "instances: 2", "instances: 3", 1)); d.Status != 201 ||
		len(d.Get("diff").([]any)) != 1 || d.Get("diff", 0, "path") != "/applications/0/processes/0/instances" || d.Get("diff", 0, "was") != float64(2) {
		t.Errorf("diff: %s", d.Text)
	}
	w.applied("applications: [{name: dora, no-route: true, env: {A: null}, command: null, processes: [{type: web, command: null}]}]")
	app, _ := w.Must(200, "admin", "GET /v3/apps?names=dora", nil).Get("resources", 0, "guid").(string)
	if n := len(w.Must(200, "admin", "GET /v3/apps/"+app+"/routes", nil).Names("url")); n != 0 {
		t.Errorf("%d routes after no-route", n)
	}
	if v := w.Must(200, "admin", "GET /v3/apps/"+app+"/environment_variables", nil); v.Get("var", "A") != nil || v.Get("var", "B") != "two" {
		t.Error(v.Text)
	}
	if c := w.Must(200, "admin", "GET /v3/processes/"+app, nil).Get("command"); c != nil {
		t.Errorf("command: %v", c)
	}
	if state, detail := w.applied("applications: [{name: lucky, random-route: true}]"); state != job.Complete {
		t.Fatal(detail)
	}
	routes := w.Must(200, "admin", "GET /v3/routes", nil).Names("host")
	found := false
	for _, h := range routes {
		found = found || strings.HasPrefix(h, "lucky-") && strings.Count(h, "-") == 3
	}
	if !found {
		t.Errorf("no random route: %v", routes)
	}
}

// TestManyManifests: pushes of one app at the same time all succeed, and there is one app.
func TestManyManifests(t *testing.T) {
	w := pushWorld(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			r := w.yaml("admin", applyLine, fmt.Sprintf("applications: [{name: dora, default-route: true, env: {N%d: x}}]", i))
			if r.Status != 202 {
				t.Errorf("%d %s", r.Status, r.Text)
				return
			}
			if j := w.Job(r); j.JSON["state"] != job.Complete {
				t.Errorf("%s", j.Text)
			}
		})
	}
	wg.Wait()
	l := w.Must(200, "admin", "GET /v3/apps", nil)
	if n := l.Names("guid"); len(n) != 1 {
		t.Fatalf("%d apps", len(n))
	}
	if v := w.Must(200, "admin", "GET /v3/apps/"+l.Names("guid")[0]+"/environment_variables", nil); len(v.Get("var").(map[string]any)) != 8 {
		t.Error(v.Text)
	}
	if n := len(w.Must(200, "admin", "GET /v3/routes", nil).Names("guid")); n != 1 {
		t.Errorf("%d routes", n)
	}
}

// TestDeleteOrg: an organization goes with everything in it, running apps too.
func TestDeleteOrg(t *testing.T) {
	w, app := running(t)
	w.applied("applications: [{name: dora, routes: [{route: dora.apps.ingot.test}]}, {name: second, default-route: true}]")
	w.Must(201, "admin", "POST /v3/domains", `{"name":"own.example.com","relationships":{"organization":{"data":{"guid":"own"}}}}`)
	if j := w.Job(w.Must(202, "admin", "DELETE /v3/organizations/own", nil)); j.JSON["state"] != job.Complete {
		t.Fatal(j.Text)
	}
	for _, table := range []string{"app_apps", "app_processes", "build_packages", "build_builds", "build_droplets", "route_routes", "route_destinations", "rest_labels"} {
		if n, err := w.DB.Read().NewSelect().TableExpr(table).Count(t.Context()); err != nil || n != 0 {
			t.Errorf("%d rows left in %s (%v)", n, table, err)
		}
	}
	if len(w.sched.lrps(app)) != 0 {
		t.Error("the app still runs")
	}
	if names := w.Must(200, "admin", "GET /v3/domains", nil).Names("name"); len(names) != 2 { // the platform's
		t.Errorf("domains: %v", names)
	}
}
