package capi_test

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"ingot/cf"
	"ingot/rest/access"
	"ingot/rest/resttest"
)

func (w *world) newDroplet(app string) string {
	w.T.Helper()
	return w.Must(201, "admin", "POST /v3/droplets", `{"relationships":{"app":{"data":{"guid":"`+app+`"}}}}`).GUID()
}

func (w *world) uploadDroplet(guid, name string, tgz []byte) resttest.Answer {
	w.T.Helper()
	return w.sendBits("admin", "POST /v3/droplets/"+guid+"/upload", "", name, tgz)
}

// TestDropletUpload: from an empty droplet to the current one; what is refused can be sent again, and only once.
func TestDropletUpload(t *testing.T) {
	w := pushWorld(t)
	app := w.makeApp("dora")
	d := w.newDroplet(app)
	made := w.Must(200, "admin", "GET /v3/droplets/"+d, nil)
	if made.Get("state") != "AWAITING_UPLOAD" || made.Get("process_types", "web") != "" || made.Get("stack") != "cflinuxfs4" || made.Get("checksum") != nil {
		t.Error(made.Text)
	}
	if r := w.Must(422, "admin", "PATCH /v3/apps/"+app+"/relationships/current_droplet", `{"data":{"guid":"`+d+`"}}`); !strings.Contains(r.Detail(), "Unable to assign current droplet") {
		t.Error(r.Text)
	}
	for name, c := range map[string]struct {
		r    resttest.Answer
		want string
		code int
	}{
		"no form": {w.send("admin", "POST /v3/droplets/"+d+"/upload", "application/json", strings.NewReader("{}")), "Uploaded droplet file is invalid: A droplet tgz file must be uploaded as 'bits'", 10008},
		"no part": {w.sendBits("admin", "POST /v3/droplets/"+d+"/upload", "x", "", nil), "Uploaded droplet file is invalid: A droplet tgz file must be uploaded as 'bits'", 10008},
		"a zip":   {w.uploadDroplet(d, "droplet.zip", gzipped(t, "x")), "Uploaded droplet file is invalid: droplet.zip is not a tgz", 10008},
		"empty":   {w.uploadDroplet(d, "droplet.tgz", []byte{}), "Uploaded droplet file is invalid: droplet.tgz cannot be empty", 10008},
		"no gzip": {w.uploadDroplet(d, "droplet.tgz", []byte("hello")), "The droplet upload is invalid: it is not a tar.gz archive", 380002},
		"cut off": {w.send("admin", "POST /v3/droplets/"+d+"/upload", "multipart/form-data; boundary=x",
			strings.NewReader("--x\r\nContent-Disposition: form-data; name=\"bits\"; filename=\"a.tgz\"\r\n\r\n\x1f\x8bhalf")), "The droplet upload is invalid: the upload was cut off", 380002},
	} {
		if c.r.Detail() != c.want || c.r.Get("errors", 0, "code") != float64(c.code) {
			t.Errorf("%s: %d %s", name, c.r.Status, c.r.Text)
		}
	}
	up := w.uploadDroplet(d, "droplet.tar.gz", gzipped(t, "bits"))
	if w.must(202, up); up.Get("state") != "PROCESSING_UPLOAD" {
		t.Error(up.Text)
	}
	if j := w.Job(up); j.Get("operation") != "droplet.upload" || j.Get("state") != "COMPLETE" {
		t.Error(j.Text)
	}
	if r := w.Must(200, "admin", "GET /v3/droplets/"+d, nil); r.Get("state") != "STAGED" || r.Get("links", "upload") != nil || r.Get("checksum", "value") == nil {
		t.Error(r.Text)
	}
	if r := w.uploadDroplet(d, "droplet.tgz", gzipped(t, "bits")); r.Status != 422 || r.Detail() != "Droplet may be uploaded only once. Create a new droplet to upload bits." {
		t.Error(r.Text)
	}
	w.Must(302, "admin", "GET /v3/droplets/"+d+"/download", nil)
	w.Must(200, "admin", "PATCH /v3/apps/"+app+"/relationships/current_droplet", `{"data":{"guid":"`+d+`"}}`)
	w.Must(200, "admin", "POST /v3/apps/"+app+"/actions/start", nil)
	for _, kind := range []string{"create", "upload", "download"} {
		l := w.Must(200, "admin", "GET /v3/audit_events?types=audit.app.droplet."+kind+"&target_guids="+app, nil)
		if len(l.Names("guid")) != 1 || l.Get("resources", 0, "data", "droplet_guid") != d {
			t.Errorf("%s: %s", kind, l.Text)
		}
	}
}

// TestDropletUploadRace: of many uploads at once one counts.
func TestDropletUploadRace(t *testing.T) {
	w := pushWorld(t)
	d := w.newDroplet(w.makeApp("dora"))
	var all sync.WaitGroup
	status := make(chan int, 8)
	for i := range 8 {
		raw := gzipped(t, fmt.Sprint(i))
		all.Go(func() { status <- w.uploadDroplet(d, "a.tgz", raw).Status })
	}
	all.Wait()
	close(status)
	n := map[int]int{}
	for s := range status {
		n[s]++
	}
	if n[202] != 1 || n[422] != 7 {
		t.Errorf("answers: %v", n)
	}
}

// TestDropletUploadKilled: a process that dies after the bits came leaves a droplet that the next one finishes; bits that
// are gone make it FAILED.
func TestDropletUploadKilled(t *testing.T) {
	for _, lost := range []bool{false, true} {
		w := pushWorld(t)
		app := w.makeApp("dora")
		d := w.newDroplet(app)
		_ = w.api.Stop(t.Context()) // nothing runs jobs
		w.must(202, w.uploadDroplet(d, "a.tgz", gzipped(t, "x")))
		want := "STAGED"
		if lost {
			w.blobs.mu.Lock()
			clear(w.blobs.data)
			w.blobs.mu.Unlock()
			want = "FAILED"
		}
		w.again(t)
		until(t, "the droplet is "+want, func() bool {
			n, err := w.DB.Read().NewSelect().TableExpr("build_droplets").Where("guid = ? AND state = ?", d, want).Count(t.Context())
			return err == nil && n == 1
		})
	}
}

// TestStoreFull: where there is no room, an upload fails in CF's words, and the same upload works once there is.
func TestStoreFull(t *testing.T) {
	const full = "Failed to perform operation due to blobstore unavailability: the blob store is full."
	w := pushWorld(t)
	app := w.makeApp("dora")
	p, d := w.newPackage(app), w.newDroplet(app)
	w.blobs.pack = func(io.Reader, []cf.Resource) error {
		return cf.Errorf(cf.KindNoRoom, "BlobstoreUnavailable", full)
	}
	for _, r := range []resttest.Answer{w.upload("admin", p, "", zipped(t, "a")), w.uploadDroplet(d, "a.tgz", gzipped(t, "a"))} {
		if r.Status != 502 || r.Get("errors", 0, "code") != float64(150006) || r.Detail() != full {
			t.Errorf("%d %s", r.Status, r.Text)
		}
	}
	w.blobs.pack = nil
	w.must(200, w.upload("admin", p, "", zipped(t, "a")))
	w.must(202, w.uploadDroplet(d, "a.tgz", gzipped(t, "a")))
}

// TestDropletCopy: a copy has all of its source but the package, outlives it, and is told of once.
func TestDropletCopy(t *testing.T) {
	w := pushWorld(t)
	from, to := w.makeApp("from"), w.makeApp("to")
	d := w.stage("admin", from)
	body := `{"relationships":{"app":{"data":{"guid":"` + to + `"}}}}`
	copied := w.Must(201, "admin", "POST /v3/droplets?source_guid="+d, body)
	if copied.Get("state") != "STAGED" || copied.Get("process_types", "worker") != "./work" || copied.Get("stack") != "cflinuxfs4" {
		t.Error(copied.Text)
	}
	l := w.Must(200, "admin", "GET /v3/audit_events?types=audit.app.droplet.create&target_guids="+to, nil)
	if len(l.Names("guid")) != 1 || l.Get("resources", 0, "target", "name") != "to" || l.Get("resources", 0, "data", "request", "source_droplet_guid") != d {
		t.Error(l.Text)
	}
	w.Job(w.Must(202, "admin", "DELETE /v3/apps/"+from, nil))
	w.Must(302, "admin", "GET /v3/droplets/"+copied.GUID()+"/download", nil)
	w.blobs.mu.Lock()
	for _, k := range w.blobs.deleted {
		if strings.HasPrefix(k, "droplets/") {
			t.Error("the copy's blob was deleted with its source")
		}
	}
	w.blobs.mu.Unlock()
	waits := w.newDroplet(to)
	for line, want := range map[string]string{
		"POST /v3/droplets?source_guid=" + waits: "source droplet is not staged",
		"POST /v3/droplets?source_guid=" + d:     "Droplet not found",
		"POST /v3/droplets?source_guid=":         "Droplet not found",
	} {
		if r := w.Do("admin", line, body); r.Status < 400 || r.Detail() != want {
			t.Errorf("%s: %d %s", line, r.Status, r.Text)
		}
	}
	if r := w.Must(404, "admin", "POST /v3/droplets?source_guid="+copied.GUID(), `{"relationships":{"app":{"data":{"guid":"nope"}}}}`); r.Detail() != "App not found" {
		t.Error(r.Text)
	}
}

// TestDropletBodies: what is wrong with bodies, in CF's words.
func TestDropletBodies(t *testing.T) {
	w := pushWorld(t)
	app := w.makeApp("dora")
	d := w.stage("admin", app)
	made := w.newDroplet(app)
	rel := `"relationships":{"app":{"data":{"guid":"` + app + `"}}}`
	w.Role("dev", access.SpaceDeveloper, "own")
	for _, c := range []struct {
		status           int
		user, line, body string
		want             string
	}{
		{422, "admin", "POST /v3/droplets", `{` + rel + `,"process_types":[]}`, "Process types must be an object"},
		{422, "admin", "POST /v3/droplets", `{` + rel + `,"process_types":{"":"x"}}`, "Process types key must not be empty"},
		{422, "admin", "POST /v3/droplets", `{` + rel + `,"process_types":{"web":1}}`, "Process types value must be a string"},
		{422, "admin", "POST /v3/droplets", `{"relationships":{"app":{"data":{"guid":"nope"}}}}`, `App with guid "nope" does not exist, or you do not have access to it.`},
		{422, "admin", "PATCH /v3/droplets/" + d, `{"image":"x"}`, "Images can only be updated for docker droplets"},
		{422, "admin", "PATCH /v3/droplets/" + made, `{"image":"x"}`, "Droplet image can only be updated on staged droplets"},
		{403, "dev", "PATCH /v3/droplets/" + d, `{"image":"x"}`, "You are not authorized to perform the requested action"},
		{422, "admin", "GET /v3/droplets/" + made + "/download", ``, "Only staged droplets can be downloaded."},
		{400, "admin", "POST /v3/packages", `{"type":"docker","data":{"image":"x"},` + rel + `}`, "Docker support has not been enabled."},
	} {
		r := w.Do(c.user, c.line, c.body)
		if r.Status != c.status || r.Detail() != c.want {
			t.Errorf("%s %s: %d %s", c.line, c.body, r.Status, r.Text)
		}
	}
	p := w.newPackage(app)
	if r := w.Must(422, "admin", "PATCH /v3/packages/"+p, `{"username":"joe"}`); r.Detail() != "Cannot update Docker credentials for a buildpack app." {
		t.Error(r.Text)
	}
}

// TestBuildState: who may end a build, and how.
func TestBuildState(t *testing.T) {
	w := pushWorld(t)
	app := w.makeApp("dora")
	w.Role("dev", access.SpaceDeveloper, "own")
	p := w.newPackage(app)
	w.must(200, w.upload("admin", p, "", zipped(t, "main.go")))
	b := w.Must(201, "admin", "POST /v3/builds", `{"package":{"guid":"`+p+`"}}`).GUID()
	line := "PATCH /v3/builds/" + b
	w.Must(403, "dev", line, `{"state":"FAILED"}`)
	w.Must(200, "dev", line, `{"metadata":{"labels":{"a":"b"}}}`)
	for body, want := range map[string]string{
		`{"state":"STAGING"}`: "State 'STAGING' is not a valid state",
		`{"state":"STAGED"}`:  "Lifecycle 'STAGED' builds require lifecycle data",
		`{"state":"STAGED","lifecycle":{"type":"docker","data":{"image":"x"}}}`: "Images can only be updated for docker droplets",
		`{"state":"FAILED","error":1}`:                                          "Error must be a string",
	} {
		if r := w.Must(422, "admin", line, body); r.Detail() != want {
			t.Errorf("%s: %s", body, r.Text)
		}
	}
	r := w.Must(200, "admin", line, `{"state":"FAILED","error":"no more"}`)
	if r.Get("state") != "FAILED" || r.Get("error") != "StagerError - Stager error: no more" || r.Get("metadata", "labels", "a") != "b" {
		t.Error(r.Text)
	}
	w.sched.mu.Lock()
	if !strings.Contains(strings.Join(w.sched.calls, "\n"), "cancel "+b) {
		t.Error("the staging goes on")
	}
	w.sched.mu.Unlock()
	if r := w.Must(422, "admin", line, `{"state":"FAILED"}`); r.Detail() != "Build has ended with state 'FAILED'." {
		t.Error(r.Text)
	}
	w.staged(b, map[string]string{"web": "x"}) // the cell was faster: nobody waits for its droplet
	if l := w.Must(200, "admin", "GET /v3/apps/"+app+"/droplets", nil); len(l.Names("guid")) != 0 {
		t.Error(l.Text)
	}
}

// TestUploadRoles: who may upload, against roles.csv. An upload without bits is refused to those who may, but not with 403.
func TestUploadRoles(t *testing.T) {
	w := pushWorld(t)
	for _, r := range access.AllRoles {
		w.Role(string(r), r, "own")
		if !r.OfOrg() {
			w.Role(string(r), access.OrgUser, "own")
		}
	}
	fresh(w.API, "own", "x")
	for _, noun := range []string{"packages", "droplets"} {
		documented := map[string]bool{}
		for _, r := range resttest.Table(t, "roles.csv") {
			if r[0] == "POST" && r[1] == "/v3/"+noun+"/:guid/upload" {
				documented[r[2]] = true
			}
		}
		if len(documented) != 2 {
			t.Fatalf("%s: %v", noun, documented)
		}
		for user, role := range callers {
			if user == "" {
				continue
			}
			r := w.sendBits(user, "POST /v3/"+noun+"/x/upload", "[]", "", nil)
			if may := r.Status == 400 || r.Status == 422; may != documented[role] || !may && r.Status != 403 && r.Status != 404 {
				t.Errorf("%s as %s: %d %s", noun, user, r.Status, r.Text)
			}
		}
	}
}
