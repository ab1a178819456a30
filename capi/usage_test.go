package capi_test

import (
	"slices"
	"testing"

	"ingot/rest/resttest"
	"ingot/rest/usage"
)

func freshUse(a *resttest.API, world, guid string) {
	a.Insert(&usage.App{Row: base(guid), State: "STARTED", AppGUID: "a", OrgGUID: world, SpaceGUID: world + "-space"})
}

func freshServiceUse(a *resttest.API, world, guid string) {
	a.Insert(&usage.Service{Row: base(guid), State: "CREATED", InstanceGUID: "i", OrgGUID: world, SpaceGUID: world + "-space"})
}

// TestUsage: the events of an app's life, in Cloud Controller's order and with what was before.
func TestUsage(t *testing.T) {
	w := pushWorld(t)
	app := w.makeApp("dora")
	w.stage("admin", app)
	states, last, all := w.uses("")
	if !slices.Equal(states, []string{"STAGING_STARTED", "STAGING_STOPPED", "BUILDPACK_SET"}) {
		t.Errorf("staging: %v", states)
	}
	for i := range states {
		if all.Get("resources", i, "app", "name") != "dora" || all.Get("resources", i, "process", "guid") != nil || all.Get("resources", i, "task", "guid") != nil ||
			all.Get("resources", i, "space", "guid") != "own-space" || all.Get("resources", i, "organization", "guid") != "own" {
			t.Errorf("%s", all.Text)
		}
	}
	if all.Get("resources", 2, "buildpack", "name") != "go_buildpack" || all.Get("resources", 2, "buildpack", "guid") == nil || all.Get("resources", 0, "memory_in_mb_per_instance", "current") != float64(1024) {
		t.Error(all.Text)
	}
	for _, c := range []struct {
		line, body string
		want       []string
	}{
		{"POST /v3/processes/" + app + "/actions/scale", `{"instances":2}`, nil}, // it is stopped
		{"POST /v3/apps/" + app + "/actions/start", "", []string{"STARTED", "STARTED"}},
		{"POST /v3/apps/" + app + "/actions/restart", "", nil},
		{"POST /v3/processes/" + app + "/actions/scale", `{"instances":3,"memory_in_mb":512}`, []string{"STARTED"}},
		{"POST /v3/processes/" + app + "/actions/scale", `{"disk_in_mb":512}`, nil},
		{"POST /v3/apps/" + app + "/actions/stop", "", []string{"STOPPED", "STOPPED"}},
	} {
		status := map[bool]int{true: 202, false: 200}[c.body != ""]
		w.Must(status, "admin", c.line, c.body)
		states, last, all = w.uses(last)
		if !slices.Equal(states, c.want) {
			t.Errorf("%s: %v", c.line, states)
		}
		if len(states) == 1 && (all.Get("resources", 0, "instance_count", "previous") != float64(2) || all.Get("resources", 0, "instance_count", "current") != float64(3) ||
			all.Get("resources", 0, "memory_in_mb_per_instance", "previous") != float64(1024) || all.Get("resources", 0, "state", "previous") != "STARTED") {
			t.Errorf("%s: %s", c.line, all.Text)
		}
		if len(states) == 2 && (all.Get("resources", 0, "process", "type") != "web" || all.Get("resources", 1, "process", "type") != "worker" ||
			all.Get("resources", 1, "instance_count", "current") != float64(0) || all.Get("resources", 0, "process", "guid") != app) {
			t.Errorf("%s: %s", c.line, all.Text)
		}
	}
	w.Must(200, "admin", "POST /v3/apps/"+app+"/actions/start", nil)
	w.Must(200, "admin", "POST /v3/app_usage_events/actions/destructively_purge_all_and_reseed", nil)
	states, last, all = w.uses("")
	if !slices.Equal(states, []string{"STARTED", "STARTED"}) || all.Get("resources", 0, "instance_count", "previous") != float64(3) {
		t.Errorf("after the purge: %s", all.Text)
	}
	w.must(202, w.yaml("admin", "POST /v3/spaces/own-space/actions/apply_manifest", "applications: [{name: dora, instances: 5}]"))
	until(t, "the manifest's scaling is told", func() bool {
		states, _, all = w.uses(last)
		return slices.Equal(states, []string{"STARTED"}) && all.Get("resources", 0, "instance_count", "current") == float64(5)
	})
	_, last, _ = w.uses("")
	w.Job(w.Must(202, "admin", "DELETE /v3/apps/"+app, nil))
	if states, _, _ := w.uses(last); !slices.Equal(states, []string{"STOPPED", "STOPPED"}) {
		t.Errorf("deletion: %v", states)
	}
	if r := w.Must(422, "admin", "GET /v3/app_usage_events?after_guid=nope", nil); r.Detail() != "After guid filter must be a valid app usage event guid." {
		t.Error(r.Detail())
	}
	if r := w.Must(422, "admin", "GET /v3/app_usage_events?after_guid=a,b&updated_ats=2020-01-01T00:00:00Z", nil); r.Status != 422 {
		t.Error(r.Text)
	}
	if r := w.Must(200, "stranger", "GET /v3/app_usage_events", nil); r.Get("pagination", "total_results") != float64(0) {
		t.Error(r.Text)
	}
}
