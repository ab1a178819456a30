package capi_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest/access"
	"ingot/rest/resttest"
)

// taskSteps are the success cases of tasks, sidecars and usage events.
var taskSteps = []step{
	{line: "POST /v3/apps", body: `{"name":"tasks","relationships":{"space":{"data":{"guid":"own-space"}}}}`, keep: "app"},
	{line: "POST /v3/apps/{app}/actions/start", act: func(w *world, kept map[string]string) resttest.Answer {
		w.stage("admin", kept["app"])
		return w.Do("admin", "POST /v3/apps/"+kept["app"]+"/actions/start", nil)
	}},
	{line: "POST /v3/apps/{app}/tasks", body: `{"command":"rake","name":"m","memory_in_mb":64,"disk_in_mb":64,"log_rate_limit_in_bytes_per_second":-1,
		"metadata":{"labels":{"a":"b"}}}`, keep: "task"},
	{line: "GET /v3/tasks"},
	{line: "GET /v3/tasks/{task}"},
	{line: "PATCH /v3/tasks/{task}", body: `{"metadata":{"labels":{"a":"c"}}}`},
	{line: "GET /v3/apps/{app}/tasks", besides: []string{"resources[].command"}}, // for those who may read it; the example hides it
	{line: "POST /v3/tasks/{task}/actions/cancel"},
	{line: "POST /v3/apps/{app}/tasks", body: `{"template":{"process":{"guid":"{app}"}}}`, keep: "task"},
	{line: "PUT /v3/tasks/{task}/cancel"},
	{line: "POST /v3/apps/{app}/sidecars", body: `{"name":"s","command":"./s","process_types":["web","worker"],"memory_in_mb":10}`, keep: "sidecar"},
	{line: "GET /v3/sidecars/{sidecar}"},
	{line: "GET /v3/apps/{app}/sidecars"},
	{line: "GET /v3/processes/{app}/sidecars"},
	{line: "PATCH /v3/sidecars/{sidecar}", body: `{"name":"t","command":"./t","process_types":["web"],"memory_in_mb":20}`},
	{line: "DELETE /v3/sidecars/{sidecar}"},
	{line: "GET /v3/app_usage_events", keep: "use"},
	{line: "GET /v3/app_usage_events/{use}"},
	{line: "POST /v3/app_usage_events/actions/destructively_purge_all_and_reseed"},
	{line: "GET /v3/service_usage_events", keep: "use", act: func(w *world, _ map[string]string) resttest.Answer {
		freshServiceUse(w.API, "own", "service-use")
		return w.Do("admin", "GET /v3/service_usage_events", nil)
	}},
	{line: "GET /v3/service_usage_events/{use}"},
	{line: "POST /v3/service_usage_events/actions/destructively_purge_all_and_reseed"},
	{line: "DELETE /v3/apps/{app}"},
}

// TestTaskOracle runs a success case of every endpoint of tasks, sidecars and usage events.
func TestTaskOracle(t *testing.T) {
	w := pushWorld(t)
	walk(t, w, taskSteps)
	for _, table := range []string{"task_tasks", "task_sequences", "app_sidecars", "app_sidecar_types", "rest_service_usage"} {
		if n, err := w.DB.Read().NewSelect().TableExpr(table).Count(t.Context()); err != nil || n != 0 {
			t.Errorf("%d rows left in %s (%v)", n, table, err)
		}
	}
}

// ends tells the API what became of a task.
func (w *world) ends(guid, reason string) {
	w.T.Helper()
	task, ok := w.sched.task(guid)
	if !ok {
		w.T.Fatalf("no task %s was run", guid)
	}
	task.State, task.Failed, task.Reason = cf.TaskCompleted, reason != "", reason
	if err := w.api.TaskCompleted(w.T.Context(), task); err != nil {
		w.T.Fatal(err)
	}
}

// uses are the states of the usage events after that one, and the last event's guid.
func (w *world) uses(after string) (states []string, last string, all resttest.Answer) {
	w.T.Helper()
	line := "GET /v3/app_usage_events?per_page=5000"
	if after != "" {
		line += "&after_guid=" + after
	}
	all, last = w.Must(200, "admin", line, nil), after
	for i, guid := range all.Names("guid") {
		s, _ := all.Get("resources", i, "state", "current").(string)
		states, last = append(states, s), guid
	}
	return states, last, all
}

// TestTask: what a task is told, its states, and its events; each outcome counts once.
func TestTask(t *testing.T) {
	w, app := running(t)
	_, before, _ := w.uses("")
	w.Must(200, "admin", "PATCH /v3/environment_variable_groups/running", `{"var":{"GROUP":"g","OWN":"of the group"}}`)
	w.Must(200, "admin", "PATCH /v3/apps/"+app+"/environment_variables", `{"var":{"OWN":"o"}}`)
	task := w.Must(202, "admin", "POST /v3/apps/"+app+"/tasks", `{"command":"echo $SECRET","name":"mreow","memory_in_mb":"128"}`)
	if task.Get("state") != "RUNNING" || task.Get("sequence_id") != float64(1) || task.Get("command") != "echo $SECRET" || task.Get("user") != "vcap" {
		t.Error(task.Text)
	}
	told, _ := w.sched.task(task.GUID())
	env := strings.Join(told.Env, " ")
	if told.Start != "echo $SECRET" || told.SourceType != "APP/TASK/mreow" || told.Limits.MemoryMB != 128 || told.Staging != nil ||
		!strings.Contains(env, "GROUP=g") || !strings.Contains(env, "OWN=o") || !strings.Contains(env, "VCAP_SERVICES=") || told.VCAPApp["application_id"] != app {
		t.Errorf("told: %+v", told)
	}
	var stored string
	err := w.DB.Read().NewSelect().TableExpr("task_tasks").Column("command").Scan(t.Context(), &stored)
	if err != nil || strings.Contains(stored, "SECRET") {
		t.Errorf("the command rests as %q (%v)", stored, err)
	}
	w.ends(task.GUID(), "")
	w.ends(task.GUID(), "APP/TASK/mreow: Exited with status 7")
	if done := w.Must(200, "admin", "GET /v3/tasks/"+task.GUID(), nil); done.Get("state") != "SUCCEEDED" || done.Get("result", "failure_reason") != nil {
		t.Error(done.Text)
	}
	second := w.Must(202, "admin", "POST /v3/apps/"+app+"/tasks", `{"template":{"process":{"guid":"`+app+`"}}}`)
	if second.Get("command") != "./app" || second.Get("sequence_id") != float64(2) || len(second.Get("name").(string)) != 8 {
		t.Error(second.Text)
	}
	w.ends(second.GUID(), "APP/TASK/x: Exited with status 7")
	if done := w.Must(200, "admin", "GET /v3/apps/"+app+"/tasks?sequence_ids=2&states=FAILED", nil); done.Get("resources", 0, "result", "failure_reason") != "APP/TASK/x: Exited with status 7" {
		t.Error(done.Text)
	}
	states, _, all := w.uses(before)
	if want := []string{"TASK_STARTED", "TASK_STOPPED", "TASK_STARTED", "TASK_STOPPED"}; !slices.Equal(states, want) {
		t.Errorf("events %v", states)
	}
	if e := all.Get("resources", 0).(map[string]any); all.Get("resources", 0, "app", "guid") != app || all.Get("resources", 0, "task", "name") != "mreow" ||
		all.Get("resources", 0, "process", "guid") != nil || all.Get("resources", 0, "process", "type") != nil || all.Get("resources", 0, "memory_in_mb_per_instance", "current") != float64(128) {
		t.Errorf("%v", e)
	}
	event := w.Must(200, "admin", "GET /v3/audit_events?types=audit.app.task.create", nil)
	if len(event.Names("type")) != 2 || event.Get("resources", 0, "data", "task_guid") != task.GUID() || strings.Contains(event.Text, "SECRET") {
		t.Error(event.Text)
	}
}

// TestTaskHidden: commands are for those who read secrets, and in no list of all tasks.
func TestTaskHidden(t *testing.T) {
	w, app := running(t)
	guid := w.Must(202, "admin", "POST /v3/apps/"+app+"/tasks", `{"command":"secret"}`).GUID()
	for user, want := range map[string][3]bool{"admin": {true, true}, "dev": {true, true}, "aud": {}, "global_auditor": {}, "admin_read_only": {true, true}} {
		if role := map[string]string{"dev": "space_developer", "aud": "space_auditor"}[user]; role != "" {
			w.Role(user, "organization_user", "own")
			w.Role(user, access.Role(role), "own")
		}
		for i, path := range []string{"/v3/tasks/" + guid, "/v3/apps/" + app + "/tasks", "/v3/tasks"} {
			r := w.Must(200, user, "GET "+path, nil)
			if got := strings.Contains(r.Text, `"command"`); got != want[i] || !strings.Contains(r.Text, guid) {
				t.Errorf("%s sees in %s: %s", user, path, r.Text)
			}
		}
	}
}

// TestTaskRefused: what Cloud Controller refuses, in its words.
func TestTaskRefused(t *testing.T) {
	w, app := running(t)
	bare := w.makeApp("bare")
	line := "POST /v3/apps/" + app + "/tasks"
	for _, c := range []struct {
		status           int
		line, body, want string
	}{
		{422, line, `{}`, "Command No command or template provided"},
		{422, line, `{"command":"x","memory_in_mb":0,"disk_in_mb":"a","log_rate_limit_in_bytes_per_second":-2,"foo":1}`,
			"Unknown field(s): 'foo', Disk in mb is not a number, Memory in mb must be greater than 0, Log rate limit in bytes per second must be greater than -2"},
		{422, line, `{"command":"x","user":"root"}`, "user invalid (requested user root not allowed, permitted users are: 'vcap')"},
		{422, line, `{"command":"x","name":""}`, "name format, name presence"},
		{422, line, `{"command":""}`, "command presence"},
		{404, line, `{"command":"x","droplet_guid":"nope"}`, "Droplet not found"},
		{422, "POST /v3/apps/" + bare + "/tasks", `{"command":"x"}`, "Task must have a droplet. Specify droplet or assign current droplet to app."},
		{404, line, `{"template":{"process":{"guid":"nope"}}}`, "Process not found"},
		{400, "GET /v3/tasks?sequence_ids=1", "", "The query parameter is invalid: Unknown query parameter(s): 'sequence_ids'"},
		{400, "GET /v3/apps/" + bare + "/tasks?app_guids=x&names=y&space_guids=x", "", "The query parameter is invalid: Unknown query parameter(s): 'space_guids', 'app_guids'"},
	} {
		if r := w.Must(c.status, "admin", c.line, c.body); r.Detail() != c.want {
			t.Errorf("%s %s: %s", c.line, c.body, r.Detail())
		}
	}
	guid := w.Must(202, "admin", line, `{"command":"x"}`).GUID()
	w.ends(guid, "")
	if r := w.Must(422, "admin", "PUT /v3/tasks/"+guid+"/cancel", nil); r.Detail() != "Task state is SUCCEEDED and therefore cannot be canceled" {
		t.Error(r.Detail())
	}
	w.SetFlag("task_creation", false)
	w.Role("dev", "organization_user", "own")
	w.Role("dev", "space_developer", "own")
	if r := w.Must(403, "dev", line, `{"command":"x"}`); r.Detail() != "Feature Disabled: task_creation" {
		t.Error(r.Detail())
	}
}

// TestTaskQuota: running tasks count, in both quotas.
func TestTaskQuota(t *testing.T) {
	w, app := running(t)
	w.Must(200, "admin", "POST /v3/apps/"+app+"/actions/stop", nil)
	q := w.Must(201, "admin", "POST /v3/organization_quotas", `{"name":"q","apps":{"total_memory_in_mb":200,"per_app_tasks":2},"relationships":{"organizations":{"data":[{"guid":"own"}]}}}`)
	_ = q
	line := "POST /v3/apps/" + app + "/tasks"
	first := w.Must(202, "admin", line, `{"command":"x","memory_in_mb":100}`).GUID()
	if r := w.Must(422, "admin", line, `{"command":"x","memory_in_mb":101}`); r.Detail() != "memory_in_mb exceeds organization memory quota" {
		t.Error(r.Detail())
	}
	w.Must(202, "admin", line, `{"command":"x","memory_in_mb":1}`)
	if r := w.Must(422, "admin", line, `{"command":"x","memory_in_mb":1}`); r.Detail() != "app_task_limit quota exceeded" {
		t.Error(r.Detail())
	}
	w.Must(202, "admin", "POST /v3/processes/"+app+"/actions/scale", `{"memory_in_mb":150}`)
	if r := w.Must(422, "admin", "POST /v3/apps/"+app+"/actions/start", nil); r.Detail() != "memory quota_exceeded" {
		t.Error(r.Detail())
	}
	if u := w.Must(200, "admin", "GET /v3/organizations/own/usage_summary", nil); u.Get("usage_summary", "per_app_tasks") != float64(2) || u.Get("usage_summary", "memory_in_mb") != float64(101) {
		t.Error(u.Text)
	}
	w.ends(first, "")
	w.Must(200, "admin", "POST /v3/apps/"+app+"/actions/start", nil)
}

// TestTaskLost: whatever call was lost, a task is handed over once, ends, and is never handed over after its end.
func TestTaskLost(t *testing.T) {
	w, app := running(t)
	away := func(what string) func(string) error {
		return func(call string) error {
			if strings.HasPrefix(call, what) {
				return errors.New("the scheduler is away")
			}
			return nil
		}
	}
	set := func(fail func(string) error) {
		w.sched.mu.Lock()
		defer w.sched.mu.Unlock()
		w.sched.fail = fail
	}
	state := func(guid, want string) func() bool {
		return func() bool { return w.Must(200, "admin", "GET /v3/tasks/"+guid, nil).Get("state") == want }
	}
	line := "POST /v3/apps/" + app + "/tasks"
	set(away("run "))
	lost := w.Must(202, "admin", line, `{"command":"x"}`)
	if lost.Get("state") != "PENDING" {
		t.Error(lost.Text)
	}
	old, never := w.Must(202, "admin", line, `{"command":"x"}`).GUID(), w.Must(202, "admin", line, `{"command":"x"}`).GUID()
	w.aged("task_tasks", "created_at", old, 6*time.Minute)
	w.Must(202, "admin", "PUT /v3/tasks/"+never+"/cancel", nil)
	w.aged("task_tasks", "updated_at", never, 2*time.Minute)
	set(nil)
	w.again(t)
	until(t, "the lost task runs", state(lost.GUID(), "RUNNING"))
	until(t, "the old task is given up", state(old, "FAILED"))
	until(t, "the cancelled task ends", state(never, "FAILED"))
	if r := w.Must(200, "admin", "GET /v3/tasks/"+old, nil); r.Get("result", "failure_reason") != "Task expired in PENDING state" {
		t.Error(r.Text)
	}
	if r := w.Must(200, "admin", "GET /v3/tasks/"+never, nil); r.Get("result", "failure_reason") != "task was cancelled" {
		t.Error(r.Text)
	}
	for _, guid := range []string{old, never} {
		if _, ran := w.sched.task(guid); ran {
			t.Errorf("%s was run", guid)
		}
	}
	set(away("cancel "))
	if r := w.Must(202, "admin", "POST /v3/tasks/"+lost.GUID()+"/actions/cancel", nil); r.Get("state") != "CANCELING" {
		t.Error(r.Text)
	}
	set(nil)
	w.again(t)
	until(t, "the scheduler was asked to cancel", func() bool {
		w.sched.mu.Lock()
		defer w.sched.mu.Unlock()
		return slices.Contains(w.sched.calls, "cancel "+lost.GUID())
	})
	w.ends(lost.GUID(), "task was cancelled")
	if r := w.Must(200, "admin", "GET /v3/tasks/"+lost.GUID(), nil); r.Get("state") != "FAILED" || r.Get("result", "failure_reason") != "task was cancelled" {
		t.Error(r.Text)
	}
	open := w.Must(202, "admin", line, `{"command":"x"}`).GUID()
	_, before, _ := w.uses("")
	w.Job(w.Must(202, "admin", "DELETE /v3/apps/"+app, nil))
	if !slices.Contains(w.sched.calls, "cancel "+open) {
		t.Error("the task of a deleted app goes on")
	}
	if states, _, _ := w.uses(before); !slices.Equal(states, []string{"TASK_STOPPED", "STOPPED"}) && !slices.Equal(states, []string{"TASK_STOPPED", "STOPPED", "STOPPED"}) {
		t.Errorf("last use: %v", states)
	}
	w.ends(open, "task was cancelled")
}

// aged makes a row as old as that.
func (w *world) aged(table, column, guid string, age time.Duration) {
	w.T.Helper()
	err := w.DB.Write(w.T.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().TableExpr(table).Set("? = ?", bun.Ident(column), sql.At(time.Now().Add(-age))).Where("guid = ?", guid).Exec(ctx)
		return err
	})
	if err != nil {
		w.T.Fatal(err)
	}
}
