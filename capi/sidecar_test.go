package capi_test

import (
	"strings"
	"testing"
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
