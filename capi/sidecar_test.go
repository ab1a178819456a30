package capi_test

import (
	"strings"
	"testing"

	"ingot/cf"
)

// TestSidecars: the rules of memory and names, what the scheduler is told and when, and manifests.
func TestSidecars(t *testing.T) {
	w, app := running(t)
	line := "POST /v3/apps/" + app + "/sidecars"
	const tooLarge = `The memory allocation defined is too large to run with the dependent "web" process`
	for body, want := range map[string]string{
		`{}`: "Name can't be blank, Command can't be blank, Process types must be an array, Process types must have at least 1 process_type",
		`{"name":"a","command":"x","process_types":[],"memory_in_mb":0,"foo":1}`: "Unknown field(s): 'foo', Process types must have at least 1 process_type, Memory in mb must be greater than 0",
		`{"name":"a","command":"x","process_types":["web"],"memory_in_mb":1024}`: tooLarge,
	} {
		if r := w.Must(422, "admin", line, body); r.Detail() != want {
			t.Errorf("%s: %s", body, r.Detail())
		}
	}
	first := w.Must(201, "admin", line, `{"name":"a","command":"./a","process_types":["worker","web"],"memory_in_mb":500}`).GUID()
	second := w.Must(201, "admin", line, `{"name":"b","command":"./b","process_types":["worker"]}`).GUID()
	if r := w.Must(422, "admin", line, `{"name":"a","command":"x","process_types":["web"]}`); r.Detail() != "Sidecar with name 'a' already exists for given app" {
		t.Error(r.Detail())
	}
	if r := w.Must(422, "admin", "PATCH /v3/sidecars/"+second, `{"process_types":["web"],"memory_in_mb":524}`); r.Detail() != tooLarge {
		t.Error(r.Detail())
	}
	w.Must(200, "admin", "PATCH /v3/sidecars/"+second, `{"process_types":["web"],"memory_in_mb":523}`)
	if r := w.Must(422, "admin", "POST /v3/processes/"+app+"/actions/scale", `{"memory_in_mb":1023}`); r.Detail() != "The requested memory allocation is not large enough to run all of your sidecar processes" {
		t.Error(r.Detail())
	}
	worker := w.Must(200, "admin", "GET /v3/apps/"+app+"/processes/worker", nil).GUID()
	if got := w.Must(200, "admin", "GET /v3/processes/"+worker+"/sidecars", nil).Names("name"); len(got) != 1 || got[0] != "a" {
		t.Errorf("of the worker: %v", got)
	}
	if n := len(w.sched.lrps(app)["web"].Sidecars); n != 0 {
		t.Errorf("%d sidecars before the start", n)
	}
	w.Must(200, "admin", "POST /v3/apps/"+app+"/actions/restart", nil)
	if got := w.sched.lrps(app)["web"].Sidecars; len(got) != 2 || got[0].Name != "a" || got[0].Start != "./a" || got[0].MemoryMB != 500 {
		t.Errorf("told: %+v", got)
	}
	w.Must(204, "admin", "DELETE /v3/sidecars/"+first, nil)
	w.Job(w.must(202, w.yaml("admin", "POST /v3/spaces/own-space/actions/apply_manifest", `applications:
- name: dora
  sidecars:
  - {name: b, command: ./c, process_types: [web], memory: 100M}
  - {name: new, command: ./n, process-types: [web, worker]}`)))
	w.Must(200, "admin", "POST /v3/apps/"+app+"/actions/restart", nil)
	if got := w.sched.lrps(app)["web"].Sidecars; len(got) != 2 || got[0].Start != "./c" || got[0].MemoryMB != 100 || got[1].Name != "new" {
		t.Errorf("told: %+v", got)
	}
	text := w.Must(200, "admin", "GET /v3/apps/"+app+"/manifest", nil).Text
	if !strings.Contains(text, "sidecars:") || !strings.Contains(text, "memory: 100M") {
		t.Error(text)
	}
	diff := w.must(201, w.yaml("admin", "POST /v3/spaces/own-space/manifest_diff", text))
	if d, _ := diff.Get("diff").([]any); len(d) != 0 {
		t.Errorf("its own manifest differs: %s", diff.Text)
	}
	bad := w.yaml("admin", "POST /v3/spaces/own-space/actions/apply_manifest", `applications: [{name: dora, sidecars: [{name: x, memory: lots}, {command: y, process_types: [web]}]}]`)
	if bad.Status != 422 || !strings.Contains(bad.Text, `Sidecar \"x\": Command can't be blank`) || !strings.Contains(bad.Text, "Sidecar name can't be blank") {
		t.Error(bad.Text)
	}
}

// TestBuildpackSidecars: they come and go with the droplet, a user's of the same name is in their way, and a revision brings
// them back as what they were (cloud_controller_ng, sidecar_synchronize_from_app_droplet.rb).
func TestBuildpackSidecars(t *testing.T) {
	w, app := running(t)
	sidecars := "GET /v3/apps/" + app + "/sidecars"
	have := func() (out string) {
		t.Helper()
		r := w.Must(200, "admin", sidecars, nil)
		for i, name := range r.Names("name") {
			origin, _ := r.Get("resources", i, "origin").(string)
			out += name + " " + origin + "; "
		}
		return out
	}
	assign := func(status int, droplet string) string {
		t.Helper()
		r := w.Must(status, "admin", "PATCH /v3/apps/"+app+"/relationships/current_droplet", `{"data":{"guid":"`+droplet+`"}}`)
		if status == 200 {
			return ""
		}
		return r.Detail()
	}
	w.Must(201, "admin", "POST /v3/apps/"+app+"/sidecars", `{"name":"mine","command":"./m","process_types":["web"],"memory_in_mb":10}`)
	sleep := cf.StagedSidecar{Name: "sleepy", Command: "sleep infinity", ProcessTypes: []string{"web", "other"}, MemoryMB: 20}
	first := w.droplet("admin", app, sleep, cf.StagedSidecar{Name: "agent", Command: "./a", ProcessTypes: []string{"web"}})
	if got := have(); got != "mine user; " {
		t.Errorf("before the droplet is current: %s", got)
	}
	assign(200, first)
	if got := have(); got != "mine user; sleepy buildpack; agent buildpack; " {
		t.Errorf("with the droplet: %s", got)
	}
	w.Must(200, "admin", "POST /v3/apps/"+app+"/actions/restart", nil)
	if got := w.sched.lrps(app)["web"].Sidecars; len(got) != 3 || got[2].Name != "sleepy" || got[2].Start != "sleep infinity" || got[2].MemoryMB != 20 {
		t.Errorf("told: %+v", got)
	}
	revision := w.Must(200, "admin", "GET /v3/apps/"+app+"/revisions?order_by=-created_at", nil)
	if strings.Contains(revision.Text, "origin") {
		t.Errorf("a revision shows more than CF's: %s", revision.Text)
	}

	for want, bad := range map[string]cf.StagedSidecar{
		"Buildpack defined sidecar 'mine' conflicts with an existing user-defined sidecar. Consider renaming 'mine'.": {Name: "mine", Command: "x", ProcessTypes: []string{"web"}},
		`The memory allocation defined is too large to run with the dependent "web" process`:                          {Name: "fat", Command: "x", ProcessTypes: []string{"web"}, MemoryMB: 1014},
		"The droplet's buildpacks declare more than 100 sidecars.":                                                    {Name: "many", Command: "x", ProcessTypes: make([]string, 101)},
		"Buildpack defined sidecar 'less' needs a name, a command, a process type, and memory that is not negative.":  {Name: "less", Command: "x", ProcessTypes: []string{"web"}, MemoryMB: -1},
	} {
		if got := assign(422, w.droplet("admin", app, bad)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := have(); got != "mine user; sleepy buildpack; agent buildpack; " {
		t.Errorf("after refusals: %s", got)
	}
	copied := w.Must(201, "admin", "POST /v3/droplets?source_guid="+first, `{"relationships":{"app":{"data":{"guid":"`+app+`"}}}}`).GUID()
	assign(200, w.droplet("admin", app, cf.StagedSidecar{Name: "sleepy", Command: "sleep 1", ProcessTypes: []string{"web"}}))
	if got := have(); got != "mine user; sleepy buildpack; " {
		t.Errorf("with the next droplet: %s", got)
	}
	w.Must(200, "admin", "POST /v3/apps/"+app+"/actions/restart", nil)
	d := w.deploy(app, `"revision":{"guid":"`+revision.Names("guid")[0]+`"},`)
	if got := have(); got != "agent buildpack; mine user; sleepy buildpack; " {
		t.Errorf("after a rollback: %s", got)
	}
	w.reason(d.GUID(), "DEPLOYED")
	assign(200, copied)
	if got := have(); got != "mine user; sleepy buildpack; agent buildpack; " {
		t.Errorf("with the copied droplet: %s", got)
	}
}
