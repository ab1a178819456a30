package capi_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/uptrace/bun"

	"ingot/capi/app"
	"ingot/cf"
	"ingot/rest/row"
)

// TestRevisions: what begins a revision, in Cloud Controller's words, and what does not.
func TestRevisions(t *testing.T) {
	w, guid := running(t)
	restart := func() { w.Must(200, "admin", "POST /v3/apps/"+guid+"/actions/restart", nil) }
	newest := func() string {
		t.Helper()
		r := w.Must(200, "admin", "GET /v3/apps/"+guid+"/revisions?order_by=-created_at", nil)
		return fmt.Sprintf("%v %v", r.Get("resources", 0, "version"), r.Get("resources", 0, "description"))
	}
	if got := newest(); got != "1 Initial revision." {
		t.Error(got)
	}
	restart()
	w.Must(202, "admin", "POST /v3/processes/"+guid+"/actions/scale", `{"instances":2,"memory_in_mb":99}`)
	restart()
	if got := newest(); got != "1 Initial revision." {
		t.Errorf("nothing changed, but: %s", got)
	}
	for i, c := range []struct{ line, body, want string }{
		{"PATCH /v3/apps/" + guid + "/environment_variables", `{"var":{"A":"secret-of-a"}}`, "New environment variables deployed."},
		{"PATCH /v3/processes/" + guid, `{"command":"./x"}`, "Custom start command added for 'web' process."},
		{"PATCH /v3/processes/" + guid, `{"command":"./y"}`, "Custom start command updated for 'web' process."},
		{"PATCH /v3/processes/" + guid, `{"command":null}`, "Custom start command removed for 'web' process."},
	} {
		w.Must(200, "admin", c.line, c.body)
		restart()
		if got, want := newest(), fmt.Sprintf("%d %s", i+2, c.want); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	w.stage("admin", guid)
	w.Must(200, "admin", "PATCH /v3/apps/"+guid+"/environment_variables", `{"var":{"A":"2"}}`)
	w.Must(200, "admin", "POST /v3/apps/"+guid+"/actions/stop", nil)
	w.Must(200, "admin", "POST /v3/apps/"+guid+"/actions/start", nil)
	if got := newest(); got != "6 New droplet deployed. New environment variables deployed." {
		t.Error(got)
	}
	r := w.Must(200, "admin", "GET /v3/apps/"+guid+"/revisions?versions=2,4", nil)
	if len(r.Names("guid")) != 2 || len(w.Must(200, "admin", "GET /v3/apps/"+guid+"/revisions?versions=x", nil).Names("guid")) != 0 {
		t.Error(r.Text)
	}
	if r.Get("resources", 1, "processes", "web", "command") != "./y" || r.Get("resources", 0, "deployable") != true {
		t.Error(r.Text)
	}
	env := w.Must(200, "admin", "GET /v3/revisions/"+r.Names("guid")[0]+"/environment_variables", nil)
	if env.Get("var", "A") != "secret-of-a" {
		t.Error(env.Text)
	}
	e := w.Must(200, "admin", "GET /v3/audit_events?types=audit.app.revision.create&target_guids="+guid, nil)
	if len(e.Names("guid")) != 6 || strings.Contains(e.Text, "secret-of-a") {
		t.Errorf("%d events of revisions", len(e.Names("guid")))
	}
	if r := w.Must(200, "admin", "GET /v3/audit_events?types=audit.app.revision.environment_variables.show", nil); len(r.Names("guid")) != 1 {
		t.Error(r.Text)
	}
}

// TestRollback: a deployment of an old revision brings back droplet, environment and command as a new revision.
func TestRollback(t *testing.T) {
	w, guid := running(t)
	first := w.Must(200, "admin", "GET /v3/apps/"+guid+"/droplets/current", nil).GUID()
	one := w.Must(200, "admin", "GET /v3/apps/"+guid+"/revisions", nil).Names("guid")[0]
	w.stage("admin", guid)
	w.Must(200, "admin", "PATCH /v3/apps/"+guid+"/environment_variables", `{"var":{"A":"b"}}`)
	w.Must(200, "admin", "PATCH /v3/processes/"+guid, `{"command":"./x"}`)
	w.Must(200, "admin", "POST /v3/apps/"+guid+"/actions/restart", nil)
	d := w.deploy(guid, `"revision":{"guid":"`+one+`"},`)
	w.reason(d.GUID(), "DEPLOYED")
	if d.Get("droplet", "guid") != first || d.Get("revision", "version") != 3.0 {
		t.Error(d.Text)
	}
	r := w.Must(200, "admin", "GET /v3/revisions/"+d.Get("revision", "guid").(string), nil)
	if want := "Custom start command removed for 'web' process. New droplet deployed. New environment variables deployed. Rolled back to revision 1."; r.Get("description") != want {
		t.Errorf("%v", r.Get("description"))
	}
	var lrp string
	until(t, "the scheduler knows", func() bool {
		l := w.sched.lrps(guid)["web"]
		lrp = l.Start + " " + strings.Join(l.Env, " ")
		return len(w.sched.lrps(guid)) == 1 && l.Process == guidOf(d)
	})
	if lrp != "./app VCAP_SERVICES={}" {
		t.Error(lrp)
	}
	if r := w.Do("admin", "POST /v3/deployments", `{"revision":{"guid":"`+r.GUID()+`"},"relationships":{"app":{"data":{"guid":"`+guid+`"}}}}`); r.Status != 422 ||
		r.Detail() != "Unable to rollback. The code and configuration you are rolling back to is the same as the deployed revision." {
		t.Errorf("%d %s", r.Status, r.Detail())
	}
	w.Must(202, "admin", "DELETE /v3/droplets/"+w.Must(200, "admin", "GET /v3/apps/"+guid+"/revisions?versions=2", nil).Get("resources", 0, "droplet", "guid").(string), nil)
	until(t, "the revision cannot be deployed", func() bool {
		return w.Must(200, "admin", "GET /v3/apps/"+guid+"/revisions?versions=2", nil).Get("resources", 0, "deployable") == false
	})
	two := w.Must(200, "admin", "GET /v3/apps/"+guid+"/revisions?versions=2", nil).Names("guid")[0]
	if r := w.Must(422, "admin", "POST /v3/deployments", `{"revision":{"guid":"`+two+`"},"relationships":{"app":{"data":{"guid":"`+guid+`"}}}}`); r.Detail() != "Unable to deploy this revision, the droplet for this revision no longer exists." {
		t.Error(r.Detail())
	}
}

// TestRevisionsKept: an app keeps a hundred revisions and a hundred deployments, those that are used among them.
func TestRevisionsKept(t *testing.T) {
	w, guid := running(t)
	deployments := func() int {
		return int(w.Must(200, "admin", "GET /v3/deployments?app_guids="+guid, nil).Get("pagination", "total_results").(float64))
	}
	revisions := func() int {
		return int(w.Must(200, "admin", "GET /v3/apps/"+guid+"/revisions", nil).Get("pagination", "total_results").(float64))
	}
	err := w.DB.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		for i := range 120 {
			d := &app.Deployment{AppGUID: guid, SpaceGUID: "own-space", Strategy: app.Rolling}
			d.Turn(app.Deployed)
			r := &app.Revision{AppGUID: guid, SpaceGUID: "own-space", Version: i + 2, Droplet: "x"}
			if err := row.Insert(ctx, tx, d); err != nil {
				return err
			}
			if err := row.Insert(ctx, tx, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w.sched.instance = func(cf.DesiredLRP, int) *cf.ActualLRP { return nil } // it waits
	d := w.deploy(guid, "")
	if n := deployments(); n != 100 {
		t.Errorf("%d deployments are kept", n)
	}
	if n := revisions(); n != 101 { // the first one still runs
		t.Errorf("%d revisions are kept", n)
	}
	if d.Get("revision", "version") != 122.0 {
		t.Error(d.Text)
	}
	w.Must(200, "admin", "GET /v3/revisions/"+w.Must(200, "admin", "GET /v3/processes/"+guid, nil).Get("relationships", "revision", "data", "guid").(string), nil)
}
