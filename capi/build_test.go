package capi_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest/resttest"
)

func (w *world) newPackage(app string) string {
	w.T.Helper()
	return w.Must(201, "admin", "POST /v3/packages", `{"type":"bits","relationships":{"app":{"data":{"guid":"`+app+`"}}}}`).GUID()
}

// TestUploads: what bits refuse becomes CF's error and a FAILED package; what was cut off can be sent again.
func TestUploads(t *testing.T) {
	w := pushWorld(t)
	app := w.makeApp("dora")
	state := func(p string) any { return w.Must(200, "admin", "GET /v3/packages/"+p, nil).Get("state") }

	p := w.newPackage(app)
	r := w.upload("admin", p, "", zipped(t, "../escape"))
	if r.Status != 400 || r.Detail() != "The app upload is invalid: The path '../escape' leads out of the app" || state(p) != "FAILED" {
		t.Errorf("a path out: %d %s, %v", r.Status, r.Text, state(p))
	}
	p = w.newPackage(app)
	if r := w.upload("admin", p, "", []byte("no zip")); r.Status != 400 || r.Get("errors", 0, "code") != float64(160001) {
		t.Errorf("no zip: %s", r.Text)
	}
	p = w.newPackage(app)
	for name, c := range map[string]struct{ kind, body, want string }{
		"nothing":   {"application/json", "{}", "Upload must include either resources or bits"},
		"no parts":  {"multipart/form-data; boundary=x", "--x--\r\n", "Upload must include either resources or bits"},
		"resources": {"multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"resources\"\r\n\r\n{]\r\n--x--\r\n", "Resources must be valid JSON."},
	} {
		if r := w.send("admin", "POST /v3/packages/"+p+"/upload", c.kind, strings.NewReader(c.body)); r.Status != 422 || r.Detail() != c.want {
			t.Errorf("%s: %d %s", name, r.Status, r.Text)
		}
	}
	var whole bytes.Buffer
	m := multipart.NewWriter(&whole)
	part, err := m.CreateFormFile("bits", "package.zip")
	if err != nil {
		t.Fatal(err)
	}
	bits := zipped(t, "main.go")
	if _, err := part.Write(bits[:len(bits)/2]); err != nil {
		t.Fatal(err)
	}
	r = w.send("admin", "POST /v3/packages/"+p+"/upload", m.FormDataContentType(), &whole) // no closing boundary
	if r.Status != 400 || state(p) != "AWAITING_UPLOAD" {
		t.Errorf("half an upload: %d %s, %v", r.Status, r.Text, state(p))
	}
	w.must(200, w.upload("admin", p, `[{"checksum":{"value":"a"},"size_in_bytes":1,"path":"x","mode":"644"}]`, bits))
	if state(p) != "READY" {
		t.Errorf("after the second try: %v", state(p))
	}
	if r := w.upload("admin", p, "", bits); r.Status != 400 || r.Get("errors", 0, "code") != float64(150004) {
		t.Errorf("a second upload: %s", r.Text)
	}
	w.SetFlag("app_bits_upload", false)
	w.Role("dev", "space_developer", "own")
	p = w.newPackage(app)
	w.must(403, w.upload("dev", p, "", bits))
}

// TestUploadStreams: bits arrive while the client still sends.
func TestUploadStreams(t *testing.T) {
	w := pushWorld(t)
	p := w.newPackage(w.makeApp("dora"))
	began, rest := make(chan struct{}), zipped(t, "main.go")
	w.blobs.pack = func(in io.Reader, _ []cf.Resource) error {
		var one [1]byte
		_, err := io.ReadFull(in, one[:])
		close(began)
		return err
	}
	pr, pw := io.Pipe()
	m := multipart.NewWriter(pw)
	done := make(chan resttest.Answer)
	go func() { done <- w.send("admin", "POST /v3/packages/"+p+"/upload", m.FormDataContentType(), pr) }()
	part, err := m.CreateFormFile("bits", "package.zip")
	if err != nil {
		t.Fatal(err)
	}
	// One byte more than the zip, which the fake takes off; 5 kB, for multipart's own buffer.
	if _, err := part.Write(append([]byte{0}, rest[:10]...)); err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write(bytes.Repeat([]byte("x"), 1<<16)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-began:
	case <-time.After(time.Minute):
		t.Fatal("nothing arrived before the end")
	}
	_ = pw.CloseWithError(io.ErrUnexpectedEOF)
	if r := <-done; r.Status != http.StatusBadRequest {
		t.Errorf("the rest never came: %d", r.Status)
	}
}

// TestBuilds: one at a time per application; failures in CF's words; an outcome counts once.
func TestBuilds(t *testing.T) {
	w := pushWorld(t)
	app := w.makeApp("dora")
	p := w.newPackage(app)
	body := `{"package":{"guid":"` + p + `"}}`
	if r := w.Must(400, "admin", "POST /v3/builds", body); r.Detail() != "Bad request: Cannot stage package whose state is not ready." {
		t.Error(r.Text)
	}
	w.must(200, w.upload("admin", p, "", zipped(t, "main.go")))
	var wg sync.WaitGroup
	status := make(chan int, 8)
	for range 8 {
		wg.Go(func() { status <- w.Do("admin", "POST /v3/builds", body).Status })
	}
	wg.Wait()
	close(status)
	made := 0
	for s := range status {
		if s == 201 {
			made++
		} else if s != 422 {
			t.Errorf("status %d", s)
		}
	}
	if made != 1 {
		t.Fatalf("%d builds at a time", made)
	}
	r := w.Must(422, "admin", "POST /v3/builds", body)
	if r.Detail() != "Only one build can be STAGING at a time per application." || r.Get("errors", 0, "title") != "CF-StagingInProgress" {
		t.Error(r.Text)
	}
	b := w.Must(200, "admin", "GET /v3/builds?states=STAGING", nil).Get("resources", 0, "guid").(string)
	for reason, want := range map[string]string{
		"STG: Exited with status 222":        "NoAppDetectedError - An app was not successfully detected by any available buildpack",
		"STG: Exited with status 223":        "BuildpackCompileFailed - App staging failed in the buildpack compile phase",
		"insufficient resources: memory":     "InsufficientResources - Insufficient resources",
		"found no compatible cell":           "NoCompatibleCell - Found no compatible cell",
		"exceeded 15m0s timeout":             "StagingTimeExpired - Staging time expired: exceeded 15m0s timeout",
		"cell disappeared before completion": "StagingError - Staging error: staging failed",
		"Uploading failed: no room":          "StagingError - Staging error: Uploading failed: no room",
	} {
		task, ok := w.sched.task(b)
		if !ok {
			t.Fatal("no task")
		}
		task.Failed, task.Reason = true, reason
		for range 2 {
			if err := w.api.TaskCompleted(t.Context(), task); err != nil {
				t.Fatal(err)
			}
		}
		got := w.Must(200, "admin", "GET /v3/builds/"+b, nil)
		if got.Get("state") != "FAILED" || got.Get("error") != want || got.Get("droplet") != nil {
			t.Errorf("%s: %s", reason, got.Text)
		}
		b = w.Must(201, "admin", "POST /v3/builds", body).GUID()
	}
	w.staged(b, map[string]string{"web": "x"})
	w.staged(b, map[string]string{"web": "x"})
	if l := w.Must(200, "admin", "GET /v3/apps/"+app+"/droplets", nil); len(l.Names("guid")) != 1 {
		t.Errorf("an outcome counted twice: %s", l.Text)
	}
	b = w.Must(201, "admin", "POST /v3/builds", body).GUID()
	w.staged(b, nil)
	if e := w.Must(200, "admin", "GET /v3/builds/"+b, nil).Get("error"); e != "StagingError - Staging error: Start command not specified" {
		t.Errorf("without a command: %v", e)
	}
	if l := w.Must(200, "admin", "GET /v3/audit_events?types=audit.app.build.failed&per_page=100", nil); len(l.Names("guid")) != 8 {
		t.Errorf("%d events of failed builds", len(l.Names("guid")))
	}
	w.Must(422, "admin", "POST /v3/builds", `{"package":{"guid":"nope"}}`)
}

// TestBuildWakes: who asks for a build that is staging is answered as soon as it ended.
func TestBuildWakes(t *testing.T) {
	w := pushWorld(t)
	p := w.newPackage(w.makeApp("dora"))
	w.must(200, w.upload("admin", p, "", zipped(t, "main.go")))
	b := w.Must(201, "admin", "POST /v3/builds", `{"package":{"guid":"`+p+`"}}`).GUID()
	done := make(chan resttest.Answer)
	go func() { done <- w.Do("admin", "GET /v3/builds/"+b, nil) }()
	select {
	case r := <-done:
		t.Fatalf("answered while it is staging: %s", r.Text)
	case <-time.After(50 * time.Millisecond):
	}
	w.staged(b, map[string]string{"web": "x"})
	select {
	case r := <-done:
		if r.Get("state") != "STAGED" {
			t.Error(r.Text)
		}
	case <-time.After(900 * time.Millisecond):
		t.Error("not woken")
	}
}

// audience stands for the log cache's knowledge of who follows.
type audience chan string

func (a audience) CatchUp(_ context.Context, source string, who cf.Identity, said time.Time, limit time.Duration) {
	a <- fmt.Sprint(source, " ", who.UserID, " ", time.Since(said) < limit && limit > 3*time.Second)
	<-a
}

// TestBuildIsShownWithItsLog: a build that ended is shown once its client has the log, and an old one at once.
func TestBuildIsShownWithItsLog(t *testing.T) {
	w := pushWorld(t)
	follows := make(audience)
	w.next(t, follows)
	w.API = resttest.Serving(t, w.DB, w.Users, w.api.URL, w.api.Handler())
	app := w.makeApp("dora")
	p := w.newPackage(app)
	w.must(200, w.upload("admin", p, "", zipped(t, "main.go")))
	b := w.Must(201, "admin", "POST /v3/builds", `{"package":{"guid":"`+p+`"}}`).GUID()
	w.staged(b, map[string]string{"web": "x"})
	done := make(chan resttest.Answer, 1)
	go func() { done <- w.Do("admin", "GET /v3/builds/"+b, nil) }()
	if got, want := <-follows, app+" admin-guid true"; got != want {
		t.Errorf("asked for %q, want %q", got, want)
	}
	select {
	case r := <-done:
		t.Fatalf("shown before its client has the log: %s", r.Text)
	case <-time.After(20 * time.Millisecond):
	}
	follows <- ""
	if r := <-done; r.Get("state") != "STAGED" {
		t.Error(r.Text)
	}
	err := w.DB.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Table("build_builds").Set("updated_at = ?", sql.At(time.Now().Add(-time.Minute))).Where("guid = ?", b).Exec(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if r := w.Must(200, "admin", "GET /v3/builds/"+b, nil); r.Get("state") != "STAGED" { // and nobody is asked
		t.Error(r.Text)
	}
}

// TestStagingTask: what a staging is told.
func TestStagingTask(t *testing.T) {
	w := pushWorld(t)
	w.Must(200, "admin", "PATCH /v3/environment_variable_groups/staging", `{"var":{"GROUP":"g","A":"group"}}`)
	app := w.makeApp("dora")
	w.Must(200, "admin", "PATCH /v3/apps/"+app+"/environment_variables", `{"var":{"A":"app"}}`)
	w.Must(202, "admin", "POST /v3/processes/"+app+"/actions/scale", `{"memory_in_mb":2048}`)
	p := w.newPackage(app)
	w.must(200, w.upload("admin", p, "", zipped(t, "main.go")))
	b := w.Must(201, "admin", "POST /v3/builds", `{"package":{"guid":"`+p+`"}}`)
	task, _ := w.sched.task(b.GUID())
	if got := strings.Join(task.Env, " "); got != "A=app CF_STACK=cflinuxfs4 GROUP=g VCAP_SERVICES={}" {
		t.Errorf("env: %s", got)
	}
	if task.Limits.MemoryMB != 2048 || task.Limits.DiskMB != 4096 || task.Timeout != 15*time.Minute || task.SourceType != "STG" {
		t.Errorf("task: %+v", task)
	}
	if s := task.Staging; s == nil || len(s.Buildpacks) != 1 || s.Buildpacks[0].SkipDetect || s.Cache != app+"-cflinuxfs4" || !strings.HasPrefix(s.Package, "packages/") {
		t.Errorf("staging: %+v", task.Staging)
	}
	if b.Get("staging_memory_in_mb") != float64(2048) {
		t.Error(b.Text)
	}
}

// TestRestartWhileStaging: a build whose task was never handed over is handed over after a restart; one whose package is
// gone fails. Nothing stays STAGING.
func TestRestartWhileStaging(t *testing.T) {
	w := pushWorld(t)
	var builds []string
	for _, name := range []string{"one", "two"} {
		p := w.newPackage(w.makeApp(name))
		w.must(200, w.upload("admin", p, "", zipped(t, name)))
		w.sched.mu.Lock()
		w.sched.fail = func(string) error { return cf.Errorf(cf.KindUnavailable, "", "away") }
		w.sched.mu.Unlock()
		builds = append(builds, w.Must(201, "admin", "POST /v3/builds", `{"package":{"guid":"`+p+`"}}`).GUID())
		w.sched.mu.Lock()
		w.sched.fail = nil
		w.sched.mu.Unlock()
	}
	pack := w.Must(200, "admin", "GET /v3/apps?names=two", nil).Get("resources", 0, "guid").(string)
	list := w.Must(200, "admin", "GET /v3/apps/"+pack+"/packages", nil)
	w.Job(w.Must(202, "admin", "DELETE /v3/packages/"+list.Names("guid")[0], nil))
	w.again(t)
	until(t, "the task of the first build", func() bool { _, ok := w.sched.task(builds[0]); return ok })
	until(t, "the end of the second build", func() bool {
		b, err := w.DB.Read().NewSelect().TableExpr("build_builds").Where("guid = ? AND state = 'FAILED'", builds[1]).Count(t.Context())
		return err == nil && b == 1
	})
	w.staged(builds[0], map[string]string{"web": "x"})
}

// TestDeleteWhileStaging: the staging is cancelled, its late droplet is given back, and nothing is left.
func TestDeleteWhileStaging(t *testing.T) {
	w := pushWorld(t)
	app := w.makeApp("dora")
	p := w.newPackage(app)
	w.must(200, w.upload("admin", p, "", zipped(t, "main.go")))
	b := w.Must(201, "admin", "POST /v3/builds", `{"package":{"guid":"`+p+`"}}`).GUID()
	if j := w.Job(w.Must(202, "admin", "DELETE /v3/apps/"+app, nil)); j.JSON["state"] != "COMPLETE" {
		t.Fatal(j.Text)
	}
	w.sched.mu.Lock()
	if calls := strings.Join(w.sched.calls, "\n"); !strings.Contains(calls, "cancel "+b) {
		t.Error(calls)
	}
	w.sched.mu.Unlock()
	w.staged(b, map[string]string{"web": "x"}) // the cell was faster than the cancellation
	until(t, "blobs are given back", func() bool {
		w.blobs.mu.Lock()
		defer w.blobs.mu.Unlock()
		return len(w.blobs.data) == 0
	})
}

// TestSharedBlob: a blob that two packages share goes with the last of them.
func TestSharedBlob(t *testing.T) {
	w := pushWorld(t)
	app := w.makeApp("dora")
	var ps []string
	for range 2 {
		p := w.newPackage(app)
		w.must(200, w.upload("admin", p, "", zipped(t, "same")))
		ps = append(ps, p)
	}
	same := w.Must(422, "admin", "POST /v3/packages?source_guid="+ps[0], `{"relationships":{"app":{"data":{"guid":"`+app+`"}}}}`)
	if same.Detail() != "Source and destination app cannot be the same" {
		t.Error(same.Text)
	}
	copied := w.Must(201, "admin", "POST /v3/packages/?source_guid="+ps[0], `{"relationships":{"app":{"data":{"guid":"`+w.makeApp("copy")+`"}}}}`)
	if copied.Get("state") != "READY" {
		t.Error(copied.Text)
	}
	for _, p := range ps {
		w.Job(w.Must(202, "admin", "DELETE /v3/packages/"+p, nil))
	}
	w.blobs.mu.Lock()
	if len(w.blobs.deleted) != 0 {
		t.Errorf("deleted %v while a copy refers to it", w.blobs.deleted)
	}
	w.blobs.mu.Unlock()
	w.Job(w.Must(202, "admin", "DELETE /v3/packages/"+copied.GUID(), nil))
	until(t, "the blob is given back", func() bool {
		w.blobs.mu.Lock()
		defer w.blobs.mu.Unlock()
		return len(w.blobs.deleted) == 1
	})
}

// TestMatch: resource matching, and what is wrong with its body.
func TestMatch(t *testing.T) {
	w := pushWorld(t)
	a, b := strings.Repeat("a", 40), strings.Repeat("b", 40)
	r := w.Must(201, "admin", "POST /v3/resource_matches", `{"resources":[{"checksum":{"value":"`+a+`"},"size_in_bytes":3,"path":"x"},{"checksum":{"value":"`+b+`"},"size_in_bytes":4}]}`)
	if len(r.Get("resources").([]any)) != 1 || r.Get("resources", 0, "mode") != "744" || r.Get("resources", 0, "path") != "x" {
		t.Error(r.Text)
	}
	for body, want := range map[string]string{
		`{}`:               "Resources must be an array",
		`{"resources":[]}`: "Resources must have at least 1 resource",
		`{"resources":[{"checksum":1,"size_in_bytes":1}]}`:                "Resources array contains at least one resource with a non-object checksum",
		`{"resources":[{"checksum":{"value":"x"},"size_in_bytes":-1}]}`:   "Resources array contains at least one resource with a non-SHA1 checksum value, Resources array contains at least one resource with a negative size_in_bytes",
		`{"resources":[{"checksum":{"value":"` + a + `"},"mode":"999"}]}`: "Resources array contains at least one resource with a non-integer size_in_bytes, Resources array contains at least one resource with an incorrect mode",
		`{"resources":[` + strings.Repeat(`{},`, 5000) + `{}]}`:           "Resources array can have at most 5000 resources",
	} {
		if r := w.Must(422, "admin", "POST /v3/resource_matches", body); r.Detail() != want {
			t.Errorf("%.60s: %s", body, r.Detail())
		}
	}
	w.SetFlag("resource_matching", false)
	if r := w.Must(201, "admin", "POST /v3/resource_matches", `{"resources":[{"checksum":{"value":"`+a+`"},"size_in_bytes":3}]}`); len(r.Get("resources").([]any)) != 0 {
		t.Error(r.Text)
	}
}

// TestExpiry: of many pushes the last few keep their bits, and the current one always.
func TestExpiry(t *testing.T) {
	w := pushWorld(t)
	app := w.makeApp("dora")
	current := ""
	for i := range 9 {
		p := w.newPackage(app)
		w.must(200, w.upload("admin", p, "", zipped(t, fmt.Sprint(i))))
		b := w.Must(201, "admin", "POST /v3/builds", `{"package":{"guid":"`+p+`"}}`).GUID()
		w.staged(b, map[string]string{"web": "x"})
		if i == 0 {
			current, _ = w.Must(200, "admin", "GET /v3/builds/"+b, nil).Get("droplet", "guid").(string)
			w.Must(200, "admin", "PATCH /v3/apps/"+app+"/relationships/current_droplet", `{"data":{"guid":"`+current+`"}}`)
		}
	}
	if s := w.Must(200, "admin", "GET /v3/droplets/"+current, nil).Get("state"); s != "STAGED" {
		t.Errorf("the current droplet is %v", s)
	}
	for kind, state := range map[string]string{"droplets": "STAGED", "packages": "READY"} {
		if n := len(w.Must(200, "admin", "GET /v3/apps/"+app+"/"+kind+"?states="+state, nil).Names("guid")); n != 6 {
			t.Errorf("%d %s are whole", n, kind)
		}
	}
	until(t, "the others' blobs are given back", func() bool {
		w.blobs.mu.Lock()
		defer w.blobs.mu.Unlock()
		return len(w.blobs.data) == 12
	})
	w.Must(422, "admin", "GET /v3/packages/"+w.Must(200, "admin", "GET /v3/packages?states=EXPIRED", nil).Names("guid")[0]+"/download", nil)
}
