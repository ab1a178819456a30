package capi_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/cf"
	"ingot/rest/resttest"
)

// reason waits until a deployment's status has that reason.
func (w *world) reason(guid, want string) resttest.Answer {
	w.T.Helper()
	var r resttest.Answer
	until(w.T, "deployment "+want, func() bool {
		r = w.Must(200, "admin", "GET /v3/deployments/"+guid, nil)
		return r.Get("status", "reason") == want
	})
	return r
}

// deploy begins a deployment; more are fields of the body besides the app.
func (w *world) deploy(app, more string) resttest.Answer {
	w.T.Helper()
	return w.Must(201, "admin", "POST /v3/deployments", `{`+more+`"relationships":{"app":{"data":{"guid":"`+app+`"}}}}`)
}

// webs gives the web processes of an app, as "guid xN" in the API's order.
func (w *world) webs(app string) (out []string) {
	w.T.Helper()
	r := w.Must(200, "admin", "GET /v3/apps/"+app+"/processes?types=web", nil)
	for i := range r.Names("guid") {
		out = append(out, fmt.Sprintf("%v x%v", r.Get("resources", i, "guid"), r.Get("resources", i, "instances")))
	}
	return out
}

func guidOf(r resttest.Answer) string {
	g, _ := r.Get("new_processes", 0, "guid").(string)
	return g
}

// TestRolling: a second web process comes, the old one goes as the new one's instances are up, and the other processes
// begin anew at the end.
func TestRolling(t *testing.T) {
	w, app := running(t)
	w.Must(202, "admin", "POST /v3/processes/"+app+"/actions/scale", `{"instances":3}`)
	w.Must(202, "admin", "POST /v3/apps/"+app+"/processes/worker/actions/scale", `{"instances":1}`)
	before := w.sched.lrps(app)
	w.Must(200, "admin", "PATCH /v3/apps/"+app+"/environment_variables", `{"var":{"NEW":"1"}}`)
	up := make(chan struct{})
	w.sched.instance = func(d cf.DesiredLRP, _ int) *cf.ActualLRP {
		a := &cf.ActualLRP{State: cf.LRPRunning, Routable: true, Ready: true, Since: time.Now().Add(-time.Minute)}
		select {
		case <-up:
		default:
			if d.Process != app {
				a.State, a.Routable = cf.LRPClaimed, false
			}
		}
		return a
	}
	d := w.deploy(app, "")
	fresh := guidOf(d)
	if got := w.webs(app); !slices.Equal(got, []string{app + " x3", fresh + " x1"}) {
		t.Fatalf("web processes: %v", got)
	}
	if d.Get("status", "value") != "ACTIVE" || d.Get("status", "reason") != "DEPLOYING" || d.Get("status", "canary") != nil ||
		d.Get("strategy") != "rolling" || d.Get("options", "max_in_flight") != 1.0 || d.Get("revision", "version") != 2.0 ||
		d.Get("links", "continue") != nil {
		t.Error(d.Text)
	}
	if r := w.Must(200, "admin", "GET /v3/apps/"+app+"/revisions/deployed?order_by=-created_at", nil); len(r.Names("guid")) != 2 ||
		r.Get("resources", 0, "description") != "New environment variables deployed." || r.Get("resources", 1, "description") != "Initial revision." {
		t.Errorf("deployed revisions: %s", r.Text)
	}
	for _, c := range []struct{ line, body, want string }{
		{"POST /v3/processes/" + app + "/actions/scale", `{"instances":9}`, "Cannot scale this process while a deployment is in flight."},
		{"POST /v3/apps/" + app + "/processes/web/actions/scale", `{"instances":9}`, "Cannot scale this process while a deployment is in flight."},
		{"PATCH /v3/processes/" + fresh, `{"command":"x"}`, "Cannot update this process while a deployment is in flight."},
		{"PATCH /v3/apps/" + app + "/relationships/current_droplet", `{"data":{"guid":"` + d.Get("droplet", "guid").(string) + `"}}`,
			"Unable to assign current droplet while the app has a deployment in progress. Wait for the deployment to complete or cancel it."},
		{"POST /v3/deployments/" + d.GUID() + "/actions/continue", `{}`, "Cannot continue a deployment with status: ACTIVE and reason: DEPLOYING"},
	} {
		if r := w.Must(422, "admin", c.line, c.body); r.Detail() != c.want {
			t.Errorf("%s\n got: %s\nwant: %s", c.line, r.Detail(), c.want)
		}
	}
	w.Must(202, "admin", "POST /v3/apps/"+app+"/processes/worker/actions/scale", `{"instances":2}`) // only web is busy
	m := w.must(202, w.yaml("admin", "POST /v3/spaces/own-space/actions/apply_manifest", "applications: [{name: dora, instances: 7}]"))
	if j := w.Job(m); !strings.Contains(j.Text, "Cannot scale this process while a deployment is in flight.") {
		t.Errorf("a manifest scaled: %s", j.Text)
	}
	close(up)
	d = w.reason(d.GUID(), "DEPLOYED")
	if d.Get("status", "value") != "FINALIZED" || d.Get("links", "cancel") != nil {
		t.Error(d.Text)
	}
	if got := w.webs(app); !slices.Equal(got, []string{fresh + " x3"}) {
		t.Errorf("web processes in the end: %v", got)
	}
	var after map[string]cf.DesiredLRP
	until(t, "the scheduler knows", func() bool {
		all, _ := w.sched.Desired(t.Context(), "")
		after = w.sched.lrps(app)
		return len(all) == 2 && after["worker"].ID != before["worker"].ID
	})
	if after["web"].Process != fresh || !strings.Contains(strings.Join(after["web"].Env, " "), "NEW=1") || strings.Contains(strings.Join(before["web"].Env, " "), "NEW") {
		t.Errorf("%+v", after["web"])
	}
	if r := w.Must(200, "admin", "GET /v3/apps/"+app+"/processes/web", nil); r.GUID() != fresh || r.Get("relationships", "revision", "data", "guid") != d.Get("revision", "guid") {
		t.Error(r.Text)
	}
	w.Must(404, "admin", "GET /v3/processes/"+app, nil)
	for _, line := range []string{"Creating deployment for app with guid ", "Creating revision for app with guid "} {
		if !w.logs.has(app + " [API/0] " + line + app) {
			t.Errorf("no line %q", line)
		}
	}
	if r := w.Must(422, "admin", "POST /v3/deployments/"+d.GUID()+"/actions/cancel", nil); r.Detail() != "Cannot cancel a deployment with status: FINALIZED and reason: DEPLOYED" {
		t.Error(r.Detail())
	}
	e := w.Must(200, "admin", "GET /v3/audit_events?types=audit.app.deployment.create&target_guids="+app, nil)
	if e.Get("resources", 0, "data", "deployment_guid") != d.GUID() || e.Get("resources", 0, "data", "strategy") != "rolling" {
		t.Error(e.Text)
	}
}

// TestDeploymentCancelled: new instances that crash are not multiplied; cancelling brings back droplet and instances.
// The scheduler's LRP of the old process is never touched while it serves.
func TestDeploymentCancelled(t *testing.T) {
	w, app := running(t)
	w.Must(202, "admin", "POST /v3/processes/"+app+"/actions/scale", `{"instances":2}`)
	first := w.Must(200, "admin", "GET /v3/apps/"+app+"/droplets/current", nil).GUID()
	p := w.Must(201, "admin", "POST /v3/packages", `{"type":"bits","relationships":{"app":{"data":{"guid":"`+app+`"}}}}`).GUID()
	w.must(200, w.upload("admin", p, "", zipped(t, "main.go")))
	b := w.Must(201, "admin", "POST /v3/builds", `{"package":{"guid":"`+p+`"}}`).GUID()
	w.staged(b, map[string]string{"web": "./bad"})
	second, _ := w.Must(200, "admin", "GET /v3/builds/"+b, nil).Get("droplet", "guid").(string)
	w.sched.instance = func(d cf.DesiredLRP, _ int) *cf.ActualLRP {
		if d.Start == "./bad" {
			return &cf.ActualLRP{State: cf.LRPCrashed, Crashes: 3, Since: time.Now()}
		}
		return &cf.ActualLRP{State: cf.LRPRunning, Routable: true, Ready: true, Since: time.Now().Add(-time.Minute)}
	}
	old := w.sched.lrps(app)["web"]
	d := w.deploy(app, `"droplet":{"guid":"`+second+`"},"options":{"max_in_flight":5},`)
	if d.Get("droplet", "guid") != second || d.Get("previous_droplet", "guid") != first || len(w.webs(app)) != 2 {
		t.Error(d.Text)
	}
	time.Sleep(700 * time.Millisecond) // two looks: there is no event of nothing being done
	if got := w.webs(app); got[0] != app+" x2" || !strings.HasSuffix(got[1], " x2") {
		t.Errorf("with crashing instances: %v", got)
	}
	w.Must(200, "admin", "POST /v3/deployments/"+d.GUID()+"/actions/cancel", nil)
	w.reason(d.GUID(), "CANCELED")
	if got := w.webs(app); !slices.Equal(got, []string{app + " x2"}) {
		t.Errorf("after cancelling: %v", got)
	}
	if r := w.Must(200, "admin", "GET /v3/apps/"+app+"/droplets/current", nil); r.GUID() != first {
		t.Error("the droplet did not come back")
	}
	until(t, "one LRP", func() bool { all, _ := w.sched.Desired(t.Context(), ""); return len(all) == 1 })
	if now := w.sched.lrps(app)["web"]; now.ID != old.ID || now.Droplet != old.Droplet || now.Start != "./app" {
		t.Errorf("%+v", now)
	}
}

// TestCanaryAndSupersede: a canary pauses at its steps; a newer deployment takes over from it.
func TestCanaryAndSupersede(t *testing.T) {
	w, app := running(t)
	w.Must(202, "admin", "POST /v3/processes/"+app+"/actions/scale", `{"instances":4}`)
	d := w.deploy(app, `"strategy":"canary","options":{"canary":{"steps":[{"instance_weight":25},{"instance_weight":50}]}},`)
	at := func(step float64, want ...string) {
		t.Helper()
		r := w.reason(d.GUID(), "PAUSED")
		if r.Get("status", "canary", "steps", "current") != step || r.Get("status", "canary", "steps", "total") != 2.0 || !slices.Equal(w.webs(app), want) {
			t.Errorf("%v %s", w.webs(app), r.Text)
		}
	}
	fresh := guidOf(d)
	at(1, app+" x4", fresh+" x1")
	w.Must(200, "admin", "POST /v3/deployments/"+d.GUID()+"/actions/continue", nil)
	at(2, app+" x3", fresh+" x2")
	next := w.deploy(app, `"options":{"max_in_flight":4},`)
	if r := w.Must(200, "admin", "GET /v3/deployments/"+d.GUID(), nil); r.Get("status", "value") != "FINALIZED" || r.Get("status", "reason") != "SUPERSEDED" {
		t.Error(r.Text)
	}
	w.reason(next.GUID(), "DEPLOYED")
	if got := w.webs(app); !slices.Equal(got, []string{guidOf(next) + " x4"}) {
		t.Errorf("%v", got)
	}
	if r := w.Must(200, "admin", "GET /v3/deployments?states=CANCELED&status_reasons=SUPERSEDED&status_values=FINALIZED&app_guids="+app, nil); len(r.Names("guid")) != 1 {
		t.Error(r.Text)
	}
	if r := w.Must(200, "admin", "GET /v3/deployments?status_values=ACTIVE&app_guids="+app, nil); len(r.Names("guid")) != 0 {
		t.Error(r.Text)
	}
	if r := w.Must(200, "admin", "GET /v3/apps/"+app+"/revisions", nil); len(r.Names("guid")) != 1 {
		t.Errorf("a mere restart made a revision: %s", r.Text)
	}
}

// TestDeploymentWait: one look is enough to see the end.
func TestDeploymentWait(t *testing.T) {
	w, app := running(t)
	up := make(chan struct{})
	w.sched.instance = func(cf.DesiredLRP, int) *cf.ActualLRP {
		select {
		case <-up:
			return &cf.ActualLRP{State: cf.LRPRunning, Routable: true, Ready: true, Since: time.Now().Add(-time.Minute)}
		default:
			return &cf.ActualLRP{State: cf.LRPClaimed, Since: time.Now()}
		}
	}
	d := w.deploy(app, "").GUID()
	time.AfterFunc(300*time.Millisecond, func() { close(up) })
	if r := w.Must(200, "admin", "GET /v3/deployments/"+d, nil); r.Get("status", "reason") != "DEPLOYED" {
		t.Error(r.Text)
	}
	if r := w.Must(200, "admin", "GET /v3/deployments", nil); r.Get("resources", 0, "status", "value") != "FINALIZED" {
		t.Error(r.Text)
	}
}

// TestDeployStopped: a deployment of a stopped app starts it with what it asks for, and is over.
func TestDeployStopped(t *testing.T) {
	w, app := running(t)
	w.Must(200, "admin", "POST /v3/apps/"+app+"/actions/stop", nil)
	d := w.deploy(app, `"options":{"web_instances":2,"memory_in_mb":77},`)
	if d.Get("status", "reason") != "DEPLOYED" || len(w.webs(app)) != 1 {
		t.Error(d.Text)
	}
	if lrp := w.sched.lrps(app)["web"]; lrp.Instances != 2 || lrp.Limits.MemoryMB != 77 {
		t.Errorf("%+v", lrp)
	}
	if w.Must(200, "admin", "GET /v3/apps/"+app, nil).Get("state") != "STARTED" {
		t.Error("not started")
	}
}

// TestDeploymentGoesOn: what was lost with a process, before and after each of its writes, the next one does.
func TestDeploymentGoesOn(t *testing.T) {
	w, app := running(t)
	w.Must(202, "admin", "POST /v3/processes/"+app+"/actions/scale", `{"instances":2}`)
	w.sched.mu.Lock()
	w.sched.fail = func(string) error { return errors.New("the scheduler is away") }
	w.sched.mu.Unlock()
	d := w.deploy(app, "")
	_ = w.api.Stop(t.Context())
	w.sched.mu.Lock()
	w.sched.fail = nil
	w.sched.mu.Unlock()
	w.again(t)
	w.reason(d.GUID(), "DEPLOYED")
	until(t, "only the new LRP is left", func() bool {
		all, _ := w.sched.Desired(t.Context(), "")
		return len(all) == 1 && all[0].Process == guidOf(d) && all[0].Instances == 2
	})
}

// TestDeploymentRefused: codes and words are Cloud Controller's.
func TestDeploymentRefused(t *testing.T) {
	w, app := running(t)
	bare, other := w.makeApp("bare"), w.makeApp("other")
	foreign := w.stage("admin", other)
	const unable = "Unable to use app. Ensure that the app exists and you have access to it."
	to := func(app, more string) string {
		return `{` + more + `"relationships":{"app":{"data":{"guid":"` + app + `"}}}}`
	}
	for _, c := range []struct{ body, want string }{
		{`{}`, unable}, {to("none", ""), unable},
		{to(bare, ""), "Invalid droplet. Please specify a droplet in the request or set a current droplet for the app."},
		{to(app, `"droplet":{"guid":"none"},`), "Unable to assign current droplet. Ensure the droplet exists and belongs to this app."},
		{to(app, `"droplet":{"guid":"`+foreign+`"},`), "Unable to assign current droplet. Ensure the droplet exists and belongs to this app."},
		{to(app, `"revision":{"guid":"none"},`), "The revision does not exist"},
		{to(app, `"strategy":"blue-green",`), "Strategy 'blue-green' is not a supported deployment strategy"},
	} {
		if r := w.Must(422, "admin", "POST /v3/deployments", c.body); r.Detail() != c.want {
			t.Errorf("%s\n got: %s\nwant: %s", c.body, r.Detail(), c.want)
		}
	}
	w.Must(200, "admin", "PATCH /v3/apps/"+app+"/features/revisions", `{"enabled":false}`)
	if r := w.Must(422, "admin", "POST /v3/deployments", to(app, `"revision":{"guid":"x"},`)); r.Detail() != "Cannot create deployment from a revision for an app without revisions enabled" {
		t.Error(r.Detail())
	}
	if d := w.deploy(app, ""); d.Get("revision") != nil {
		t.Error(d.Text)
	}
}
