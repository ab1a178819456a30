package capi_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"ingot/capi"
	"ingot/cf"
)

// running is a world with an app that was pushed and started.
func running(t testing.TB) (*world, string) {
	t.Helper()
	w := pushWorld(t)
	app := w.makeApp("dora")
	w.stage("admin", app)
	w.Must(200, "admin", "POST /v3/apps/"+app+"/actions/start", nil)
	return w, app
}

// again is a second process on the same database, as after a crash.
func (w *world) again(t testing.TB) {
	t.Helper()
	w.next(t, nil)
}

// next is again with an eye on who follows logs.
func (w *world) next(t testing.TB, who cf.LogFollowers) {
	t.Helper()
	_ = w.api.Stop(t.Context())
	b := *w.api
	next := &capi.API{DB: b.DB, Services: b.Services, Bindings: b.Bindings, Tokens: b.Tokens, Directory: b.Directory, URL: b.URL, Info: b.Info, Domain: b.Domain, MaxDisk: b.MaxDisk,
		Scheduler: b.Scheduler, Blobs: b.Blobs, Logs: b.Logs, Followers: who}
	if err := next.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = next.Stop(t.Context()) })
	w.api = next
}

// TestWhatTakesEffect: instances and routes at once; command, sizes and environment at the next start; a start makes
// a new LRP and ends the old one.
func TestWhatTakesEffect(t *testing.T) {
	w, app := running(t)
	first := w.sched.lrps(app)["web"]
	if !strings.HasPrefix(string(first.ID), app+"-") || first.Instances != 1 {
		t.Fatalf("LRP %s x%d", first.ID, first.Instances)
	}
	w.Must(202, "admin", "POST /v3/processes/"+app+"/actions/scale", `{"instances":3,"memory_in_mb":64}`)
	w.Must(200, "admin", "PATCH /v3/apps/"+app+"/environment_variables", `{"var":{"NEW":"1"}}`)
	w.Must(200, "admin", "PATCH /v3/processes/"+app, `{"command":"./other"}`)
	w.Must(200, "admin", "PATCH /v3/apps/"+app, `{"name":"renamed"}`)
	d := w.Must(200, "admin", "GET /v3/domains?names=apps.ingot.test", nil).Get("resources", 0, "guid").(string)
	r := w.Must(201, "admin", "POST /v3/routes", `{"host":"h","relationships":{"space":{"data":{"guid":"own-space"}},"domain":{"data":{"guid":"`+d+`"}}}}`).GUID()
	to := w.Must(200, "admin", "POST /v3/routes/"+r+"/destinations", `{"destinations":[{"app":{"guid":"`+app+`"}}]}`)
	same := w.sched.lrps(app)["web"]
	if same.ID != first.ID || same.Instances != 3 || len(same.Routes) != 1 || same.Routes[0].URI != "h.apps.ingot.test" || same.MetricTags["app_name"] != "renamed" {
		t.Errorf("not at once: %+v", same)
	}
	if same.Limits != first.Limits || same.Start != first.Start || strings.Join(same.Env, " ") != strings.Join(first.Env, " ") {
		t.Errorf("too early: %+v", same)
	}
	w.Must(204, "admin", "DELETE /v3/routes/"+r+"/destinations/"+to.Get("destinations", 0, "guid").(string), nil)
	if n := len(w.sched.lrps(app)["web"].Routes); n != 0 {
		t.Errorf("%d routes after unmapping", n)
	}
	w.Must(200, "admin", "POST /v3/apps/"+app+"/actions/start", nil)
	if w.sched.lrps(app)["web"].ID != first.ID {
		t.Error("a start of a started app began it anew")
	}
	w.Must(200, "admin", "POST /v3/apps/"+app+"/actions/restart", nil)
	next := w.sched.lrps(app)["web"]
	if next.ID == first.ID || next.Limits.MemoryMB != 64 || next.Start != "./other" || !strings.Contains(strings.Join(next.Env, " "), "NEW=1") {
		t.Errorf("not after a restart: %+v", next)
	}
	if all, _ := w.sched.Desired(t.Context(), ""); len(all) != 1 {
		t.Errorf("%d LRPs are desired", len(all))
	}
	w.Must(200, "admin", "POST /v3/apps/"+app+"/actions/stop", nil)
	if len(w.sched.lrps(app)) != 0 {
		t.Error("a stopped app is desired")
	}
	s := w.Must(200, "admin", "GET /v3/processes/"+app+"/stats", nil)
	if s.Get("resources", 2, "state") != "DOWN" || s.Get("resources", 3) != nil {
		t.Errorf("stats of a stopped app: %s", s.Text)
	}
}

// TestLostCalls: what the scheduler could not be told is told by convergence, at the next start at the latest.
func TestLostCalls(t *testing.T) {
	w, app := running(t)
	w.sched.fail = func(string) error { return errors.New("the scheduler is away") }
	w.Must(202, "admin", "POST /v3/processes/"+app+"/actions/scale", `{"instances":5}`)
	gone := w.makeApp("gone")
	w.sched.mu.Lock()
	w.sched.desired["stale"] = cf.DesiredLRP{ID: "stale", AppID: "nobody", Instances: 1}
	w.sched.fail = nil
	w.sched.mu.Unlock()
	w.again(t)
	until(t, "the LRPs are as the rows say", func() bool {
		all, _ := w.sched.Desired(t.Context(), "")
		return len(all) == 1 && all[0].Instances == 5
	})
	if len(w.sched.lrps(gone)) != 0 {
		t.Error("an app that was never started is desired")
	}
	w.sched.mu.Lock()
	before := len(w.sched.calls)
	w.sched.mu.Unlock()
	w.again(t)
	time.Sleep(20 * time.Millisecond) // convergence has nothing to do: there is no event to wait for
	w.sched.mu.Lock()
	defer w.sched.mu.Unlock()
	if n := len(w.sched.calls) - before; n != 0 {
		t.Errorf("%d calls although nothing changed: %v", n, w.sched.calls[before:])
	}
}

// TestStats: each desired instance has its entry, in CF's states.
func TestStats(t *testing.T) {
	w, app := running(t)
	w.Must(202, "admin", "POST /v3/processes/"+app+"/actions/scale", `{"instances":6}`)
	at := time.Now().Add(-time.Hour)
	w.sched.instance = func(_ cf.DesiredLRP, i int) *cf.ActualLRP {
		return []*cf.ActualLRP{
			{State: cf.LRPRunning, Routable: true, Ready: true, Since: at, Instance: "i"},
			{State: cf.LRPRunning, Ready: true, Since: at},
			{State: cf.LRPCrashed, Since: at},
			{State: cf.LRPUnclaimed, Placement: "insufficient resources: memory", Since: at},
			{State: cf.LRPRunning, Ready: false, Since: at},
			nil,
		}[i]
	}
	s := w.Must(200, "admin", "GET /v3/apps/"+app+"/processes/web/stats", nil)
	for i, want := range []string{"RUNNING", "STARTING", "CRASHED", "DOWN", "RUNNING", "DOWN"} {
		if got := s.Get("resources", i, "state"); got != want {
			t.Errorf("instance %d is %v, want %s", i, got, want)
		}
	}
	if s.Get("resources", 3, "details") != "insufficient resources: memory" || s.Get("resources", 4, "routable") != false || s.Get("resources", 0, "uptime").(float64) < 3599 {
		t.Error(s.Text)
	}
	brief := w.Must(200, "admin", "GET /v3/processes?app_guids="+app+"&types=web&embed=process_instances", nil)
	if brief.Get("resources", 0, "process_instances", 5, "state") != "DOWN" || brief.Get("resources", 0, "process_instances", 5, "since").(float64) <= 0 {
		t.Error(brief.Text)
	}
	if n := w.Must(200, "admin", "GET /v3/apps/"+app+"/processes/worker/stats", nil).Get("resources"); len(n.([]any)) != 0 {
		t.Errorf("a process without instances: %v", n)
	}
	w.Must(404, "admin", "DELETE /v3/processes/"+app+"/instances/6", nil)
	w.Must(204, "admin", "DELETE /v3/processes/"+app+"/instances/5", nil)
}

// TestStatsWait: right after a start the statistics come when there is news, not before.
func TestStatsWait(t *testing.T) {
	w, app := running(t)
	begin := time.Now()
	w.sched.instance = func(cf.DesiredLRP, int) *cf.ActualLRP {
		a := &cf.ActualLRP{State: cf.LRPClaimed, Since: begin}
		if time.Since(begin) > 200*time.Millisecond {
			a = &cf.ActualLRP{State: cf.LRPRunning, Routable: true, Ready: true, Since: time.Now()}
		}
		return a
	}
	s := w.Must(200, "admin", "GET /v3/processes/"+app+"/stats", nil)
	if d := time.Since(begin); s.Get("resources", 0, "state") != "RUNNING" || d < 200*time.Millisecond || d > time.Second {
		t.Errorf("after %s: %s", d, s.Text)
	}
}

// TestCrash: a crash is recorded once, under both types, however often it is told.
func TestCrash(t *testing.T) {
	w, app := running(t)
	c := cf.Crash{ActualLRP: cf.ActualLRP{LRP: w.sched.lrps(app)["web"].ID, AppID: cf.AppID(app), Process: app, Instance: cf.NewInstanceID(), Crashes: 1},
		ExitCode: 1, Text: "APP/PROC/WEB: Exited with status 1", At: time.Now()}
	for range 3 {
		if err := w.api.InstanceCrashed(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	c.Instance = cf.NewInstanceID()
	if err := w.api.InstanceCrashed(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"app.crash", "audit.app.process.crash"} {
		l := w.Must(200, "admin", "GET /v3/audit_events?target_guids="+app+"&types="+kind, nil)
		if n := len(l.Names("type")); n != 2 || l.Get("resources", 0, "data", "exit_description") != "APP/PROC/WEB: Exited with status 1" {
			t.Errorf("%d events %s: %s", n, kind, l.Text)
		}
	}
	c.Process = "gone"
	if err := w.api.InstanceCrashed(t.Context(), c); err != nil {
		t.Errorf("a crash of a process that is gone: %v", err)
	}
}

// TestReadiness: each change of an instance's readiness is one event, however often it is told.
func TestReadiness(t *testing.T) {
	w, app := running(t)
	a := cf.ActualLRP{LRP: w.sched.lrps(app)["web"].ID, AppID: cf.AppID(app), Process: app, Instance: cf.NewInstanceID(), Cell: "cell-0"}
	for _, a.Ready = range []bool{true, true, false, false, true} {
		if err := w.api.InstanceReadiness(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	for kind, want := range map[string]int{"audit.app.process.ready": 2, "audit.app.process.not-ready": 1} {
		l := w.Must(200, "admin", "GET /v3/audit_events?target_guids="+app+"&types="+kind, nil)
		if n := len(l.Names("type")); n != want || l.Get("resources", 0, "data", "instance") != string(a.Instance) ||
			l.Get("resources", 0, "data", "version") == "" || l.Get("resources", 0, "actor", "type") != "process" {
			t.Errorf("%d events %s: %s", n, kind, l.Text)
		}
	}
	a.Process = "gone"
	if err := w.api.InstanceReadiness(t.Context(), a); err != nil {
		t.Errorf("readiness of a process that is gone: %v", err)
	}
}

// TestStarting: the refusals of start and of droplets.
func TestStarting(t *testing.T) {
	w := pushWorld(t)
	app, other := w.makeApp("one"), w.makeApp("two")
	d := w.stage("admin", other)
	for _, c := range []struct{ line, body, want string }{
		{"POST /v3/apps/" + app + "/actions/start", "", "Assign a droplet before starting this app."},
		{"POST /v3/apps/" + app + "/actions/restart", "", "Assign a droplet before starting this app."},
		{"PATCH /v3/apps/" + app + "/relationships/current_droplet", `{"data":null}`, "Current droplet cannot be removed. Replace it with a preferred droplet."},
		{"PATCH /v3/apps/" + app + "/relationships/current_droplet", `{"data":{"guid":"` + d + `"}}`,
			"Unable to assign current droplet. Ensure the droplet exists and belongs to this app."},
		{"DELETE /v3/droplets/" + d, "", `The droplet is currently used by app with guid "` + other + `".`},
		{"POST /v3/processes/" + app + "/actions/scale", `{"instances":-1,"memory_in_mb":0,"disk_in_mb":"x","foo":1}`,
			"Unknown field(s): 'foo', Instances must be greater than or equal to 0, Memory in mb must be greater than 0, Disk in mb is not a number"},
		{"PATCH /v3/processes/" + app, `{"health_check":{"type":"ping","data":{"timeout":0,"endpoint":"x"}},"command":""}`,
			`Command must be between 1 and 4096 characters, Health check type must be "port", "process", or "http", Health check timeout must be greater than or equal to 1, Health check endpoint must be a valid URI path`},
		{"PATCH /v3/apps/" + app + "/environment_variables", `{"var":{"PORT":"1","VCAP_X":"2","N":3}}`,
			"Non-string value in environment variable for key 'N', value '3', Var cannot set PORT, Var cannot start with VCAP_"},
		{"POST /v3/apps", `{"name":"one","relationships":{"space":{"data":{"guid":"own-space"}}}}`, "App with the name 'one' already exists."},
		{"POST /v3/apps", `{"name":"x","relationships":{"space":{"data":{"guid":"none"}}}}`, "Invalid space. Ensure that the space exists and you have access to it."},
		{"POST /v3/apps", `{"name":"x","relationships":{"space":{"data":{"guid":"own-space"}}},"lifecycle":{"type":"buildpack","data":{"buildpacks":["nope"]}}}`,
			`Buildpack "nope" for stack "cflinuxfs4" must be an existing admin buildpack or a valid git URI`},
		{"POST /v3/apps", `{"name":"x","relationships":{"space":{"data":{"guid":"own-space"}}},"lifecycle":{"type":"buildpack","data":{"stack":"nope"}}}`, "Stack must be an existing stack"},
		{"POST /v3/apps", `{"name":"x","relationships":{"space":{"data":{"guid":"own-space"}}},"lifecycle":{"type":"rpm","data":{}}}`,
			"Lifecycle type is not included in the list: buildpack, docker, cnb"},
	} {
		if r := w.Must(422, "admin", c.line, c.body); r.Detail() != c.want {
			t.Errorf("%s %s\n got: %s\nwant: %s", c.line, c.body, r.Detail(), c.want)
		}
	}
	for line, want := range map[string]string{
		"GET /v3/apps/" + app + "/droplets/current":              "Droplet not found",
		"GET /v3/apps/" + app + "/processes/none":                "Process not found",
		"GET /v3/apps/" + app + "/features/none":                 "Feature not found",
		"GET /v3/apps/none/tasks":                                "App not found",
		"DELETE /v3/apps/" + app + "/processes/web/instances/9":  "Instance not found",
		"GET /v3/apps/" + app + "/relationships/current_droplet": "Droplet not found",
		"GET /v3/apps/none/processes":                            "App not found",
		"POST /v3/apps/none/actions/start":                       "App not found",
	} {
		if r := w.Must(404, "admin", line, nil); r.Detail() != want {
			t.Errorf("%s: %s", line, r.Detail())
		}
	}
}
