package capi_test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"ingot/rest/resttest"
)

// buildpack makes one, uploads a zip of those files, and awaits the job.
func (w *world) buildpack(body, file string, files ...string) (guid string, job resttest.Answer) {
	w.T.Helper()
	guid = w.Must(201, "admin", "POST /v3/buildpacks", body).GUID()
	return guid, w.send202(guid, file, files...)
}

func (w *world) send202(guid, file string, files ...string) resttest.Answer {
	w.T.Helper()
	return w.Job(w.must(202, w.sendBits("admin", "POST /v3/buildpacks/"+guid+"/upload", "", file, zipped(w.T, files...))))
}

// order is the names and positions of a list of buildpacks.
func (w *world) order() string {
	w.T.Helper()
	var out []string
	list, _ := w.Must(200, "admin", "GET /v3/buildpacks", nil).Get("resources").([]any)
	for _, one := range list {
		b, _ := one.(map[string]any)
		out = append(out, fmt.Sprintf("%v:%v", b["position"], b["name"]))
	}
	return strings.Join(out, " ")
}

// The texts are Cloud Controller's (BuildpackCreate, BuildpackUpdate, BuildpackUploadMessage, UploadBuildpack).
func TestBuildpackNoun(t *testing.T) {
	w := newWorld(t)
	a, _ := w.buildpack(`{"name":"a"}`, "a.zip", "bin/compile")
	b := w.Must(201, "admin", "POST /v3/buildpacks", `{"name":"b","enabled":false,"locked":true}`)
	if b.Get("state") != "AWAITING_UPLOAD" || b.Get("stack") != nil || b.Get("filename") != nil || b.Get("lifecycle") != "buildpack" ||
		b.Get("enabled") != false || b.Get("locked") != true {
		t.Errorf("created %s", b.Text)
	}
	c := w.Must(201, "admin", "POST /v3/buildpacks", `{"name":"c","position":99}`).GUID()
	if got := w.order(); got != "1:b 2:a 3:c" {
		t.Errorf("order %s", got)
	}
	w.Must(200, "admin", "PATCH /v3/buildpacks/"+c, `{"position":2}`)
	if got := w.order(); got != "1:b 2:c 3:a" {
		t.Errorf("moved up: %s", got)
	}
	w.Must(200, "admin", "PATCH /v3/buildpacks/"+b.GUID(), `{"position":3}`)
	if got := w.order(); got != "1:c 2:a 3:b" {
		t.Errorf("moved down: %s", got)
	}
	w.Job(w.Must(202, "admin", "DELETE /v3/buildpacks/"+c, nil))
	if got := w.order(); got != "1:a 2:b" {
		t.Errorf("deleted: %s", got)
	}
	w.Must(404, "admin", "GET /v3/buildpacks/"+c, nil)
	got := w.Must(200, "admin", "PATCH /v3/buildpacks/"+a, `{"name":"x_1","stack":"cflinuxfs4","enabled":false,"locked":true,"metadata":{"labels":{"k":"v"}}}`)
	if got.Get("name") != "x_1" || got.Get("stack") != "cflinuxfs4" || got.Get("enabled") != false || got.Get("locked") != true || got.Get("position") != 1.0 || got.Get("state") != "READY" {
		t.Errorf("changed %s", got.Text)
	}
	for _, q := range []struct {
		query string
		n     int
	}{{"names=x_1", 1}, {"stacks=cflinuxfs4", 1}, {"stacks=", 1}, {"lifecycle=cnb", 0}, {"lifecycle=buildpack", 2}, {"label_selector=k=v", 1}} {
		if n := len(w.Must(200, "admin", "GET /v3/buildpacks?"+q.query, nil).Names("guid")); n != q.n {
			t.Errorf("%s gives %d", q.query, n)
		}
	}
	for _, c := range []struct{ line, body, want string }{
		{"POST /v3/buildpacks", `{}`, "Name can't be blank"},
		{"POST /v3/buildpacks", `{"name":"a b"}`, "Name is invalid"},
		{"POST /v3/buildpacks", `{"name":"n","position":0}`, "Position must be greater than or equal to 1"},
		{"POST /v3/buildpacks", `{"name":"n","enabled":"x"}`, "Enabled must be a boolean"},
		{"POST /v3/buildpacks", `{"name":"n","lifecycle":"x"}`, `Lifecycle must be either "buildpack" or "cnb"`},
		{"POST /v3/buildpacks", `{"name":"n","stack":"none"}`, "Stack 'none' does not exist"},
		{"POST /v3/buildpacks", `{"name":"n","dance":1}`, "Unknown field(s): 'dance'"},
		{"POST /v3/buildpacks", `{"name":"b"}`, "Buildpack with name 'b' and an unassigned stack already exists"},
		{"POST /v3/buildpacks", `{"name":"x_1","stack":"cflinuxfs4"}`, "Buildpack with name 'x_1', stack 'cflinuxfs4' and lifecycle 'buildpack' already exists"},
		{"PATCH /v3/buildpacks/" + a, `{"stack":null}`, "Buildpack stack cannot be changed"},
		{"PATCH /v3/buildpacks/" + a, `{"stack":"other"}`, "Buildpack stack cannot be changed"},
		{"PATCH /v3/buildpacks/" + a, `{"locked":null}`, "Locked must be a boolean"},
		{"PATCH /v3/buildpacks/" + b.GUID(), `{"stack":"none"}`, "Stack 'none' does not exist"},
	} {
		if r := w.Must(422, "admin", c.line, c.body); !strings.HasPrefix(r.Detail(), c.want) {
			t.Errorf("%s %s: %s, want %s", c.line, c.body, r.Detail(), c.want)
		}
	}
	w.Must(400, "admin", "POST /v3/buildpacks", `{"name":"n","lifecycle":"cnb"}`)
	for kind, n := range map[string]int{"create": 3, "update": 3, "upload": 1, "delete": 1} {
		if l := w.Must(200, "admin", "GET /v3/audit_events?types=audit.buildpack."+kind, nil).Names("guid"); len(l) != n {
			t.Errorf("%d events of %s, want %d", len(l), kind, n)
		}
	}
}

func TestBuildpackUpload(t *testing.T) {
	w := newWorld(t)
	w.Must(201, "admin", "POST /v3/stacks", `{"name":"other"}`)
	a, job := w.buildpack(`{"name":"a"}`, "../dir/a-v1.zip", "bin/compile", "stack=cflinuxfs4")
	got := w.Must(200, "admin", "GET /v3/buildpacks/"+a, nil)
	if job.Get("state") != "COMPLETE" || job.Get("operation") != "buildpack.upload" || got.Get("stack") != "cflinuxfs4" || got.Get("filename") != "a-v1.zip" || got.Get("state") != "READY" {
		t.Errorf("%s\n%s", job.Text, got.Text)
	}
	first := w.blobs.packs()
	if w.send202(a, "a-v2.zip", "bin/compile", "bin/release"); w.Must(200, "admin", "GET /v3/buildpacks/"+a, nil).Get("filename") != "a-v2.zip" {
		t.Error("it was not renewed")
	}
	w.await("the old zip is gone", func() bool { return !slices.Contains(w.blobs.packs(), first[0]) })

	for _, c := range []struct{ stack, want string }{
		{"other", "Uploaded buildpack stack (other) does not match cflinuxfs4"},
		{"none", "Uploaded buildpack stack (none) does not match cflinuxfs4"},
	} {
		if job := w.send202(a, "x.zip", "stack="+c.stack); job.Get("state") != "FAILED" || job.Get("errors", 0, "detail") != c.want {
			t.Errorf("%s: %s", c.stack, job.Text)
		}
	}
	_, job = w.buildpack(`{"name":"z"}`, "x.zip", "stack=none")
	if job.Get("errors", 0, "detail") != "Uploaded buildpack stack (none) does not exist" {
		t.Errorf("%s", job.Text)
	}
	_, job = w.buildpack(`{"name":"a"}`, "x.zip", "stack=cflinuxfs4", "more")
	if job.Get("errors", 0, "detail") != "The buildpack name a is already in use for the stack cflinuxfs4 and the lifecycle buildpack" {
		t.Errorf("%s", job.Text)
	}
	w.await("refused zips are gone", func() bool { return len(w.blobs.packs()) == 1 })

	line := "POST /v3/buildpacks/" + a + "/upload"
	for want, r := range map[string]resttest.Answer{
		"Uploaded buildpack file is invalid: A buildpack zip file must be uploaded as 'bits'":                                       w.sendBits("admin", line, "[]", "", nil),
		"Uploaded buildpack file is invalid: e.zip cannot be empty":                                                                 w.sendBits("admin", line, "", "e.zip", []byte{}),
		`Uploaded buildpack file is invalid: t.tgz is not a zip file. Buildpacks of lifecycle "buildpack" must be valid zip files.`: w.sendBits("admin", line, "", "t.tgz", []byte("\x1f\x8b\x08 and more")),
		"Buildpack zip error: buildpack zipfile is not valid":                                                                       w.sendBits("admin", line, "", "b.zip", []byte("PK\x03\x04 and no more")),
	} {
		if r.Status != 422 || r.Detail() != want {
			t.Errorf("%d %s, want %s", r.Status, r.Detail(), want)
		}
	}
	cut := "--x\r\nContent-Disposition: form-data; name=\"bits\"; filename=\"a.zip\"\r\n\r\nPK\x03\x04 and then"
	if r := w.send("admin", line, "multipart/form-data; boundary=x", io.NopCloser(strings.NewReader(cut))); r.Status != 400 || r.Detail() != "The buildpack upload is invalid: the upload was cut off" {
		t.Errorf("cut off: %s", r.Text)
	}
	w.World("own")
	for _, user := range []string{"admin_read_only", "global_auditor", "space_developer"} {
		w.must(403, w.sendBits(user, line, "", "x.zip", zipped(t, "y"))) // roles.csv: admins only
	}
	w.Must(200, "admin", "PATCH /v3/buildpacks/"+a, `{"locked":true}`)
	if r := w.sendBits("admin", line, "", "x.zip", zipped(t, "y")); r.Status != 422 || r.Detail() != "Buildpack is locked" {
		t.Errorf("locked: %s", r.Text)
	}
	w.Job(w.Must(202, "admin", "DELETE /v3/buildpacks/"+a, nil))
	w.await("its zip is gone", func() bool { return len(w.blobs.packs()) == 0 })
	w.Job(w.Must(202, "admin", "POST /v3/admin/actions/clear_buildpack_cache", nil))
	if !slices.Contains(w.blobs.gone(), "buildpack_cache:") {
		t.Error("the caches are not cleared")
	}
}

// TestWhichBuildpacksStage: those that are enabled, by position, for detection; by name, the stack's before any's; by address.
func TestWhichBuildpacksStage(t *testing.T) {
	w := newWorld(t)
	w.World("own")
	w.Must(201, "admin", "POST /v3/stacks", `{"name":"other"}`)
	p := w.Must(201, "admin", "POST /v3/packages", `{"type":"bits","relationships":{"app":{"data":{"guid":"`+w.makeApp("x")+`"}}}}`).GUID()
	w.must(200, w.upload("admin", p, "", zipped(t, "f")))
	build := func(names string) resttest.Answer {
		return w.Do("admin", "POST /v3/builds", `{"package":{"guid":"`+p+`"},"lifecycle":{"type":"buildpack","data":{"buildpacks":[`+names+`]}}}`)
	}
	if r := build(""); r.Status != 400 || r.Detail() != "There are no buildpacks available" {
		t.Errorf("none: %s", r.Text)
	}
	w.buildpack(`{"name":"last"}`, "x.zip", "last")
	off, _ := w.buildpack(`{"name":"off","enabled":false}`, "x.zip", "off")
	w.buildpack(`{"name":"two"}`, "x.zip", "stack=cflinuxfs4")
	w.buildpack(`{"name":"two"}`, "x.zip", "any")
	w.buildpack(`{"name":"foreign"}`, "x.zip", "stack=other")
	w.Must(201, "admin", "POST /v3/buildpacks", `{"name":"waits"}`)
	used := func(names, want string, skip bool) {
		t.Helper()
		r := build(names)
		task, ok := w.sched.task(w.must(201, r).GUID())
		if !ok {
			t.Fatal("no task")
		}
		var got []string
		for _, b := range task.Staging.Buildpacks {
			got = append(got, b.Name)
			if b.SkipDetect != skip || (b.Blob == "") != strings.Contains(b.Name, "://") {
				t.Errorf("%+v", b)
			}
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%s stages with %s, want %s", names, text, want)
		}
		if strings.Contains(r.Text, "secret") {
			t.Errorf("the build shows a password: %s", r.Text)
		}
		w.staged(r.GUID(), map[string]string{"web": "x"})
	}
	used("", "two two last", false)
	used(`"last","two"`, "last two", true)
	used(`"https://me:secret@example.com/x.zip","last"`, "https://me:secret@example.com/x.zip last", true)
	used(`"https://example.com/x.git#v1"`, "https://example.com/x.git#v1", true)
	r := build(`"two"`)
	task, _ := w.sched.task(w.must(201, r).GUID())
	if raw := w.blobs.get(task.Staging.Buildpacks[0].Blob); !bytes.Contains(raw, []byte("stack=cflinuxfs4")) {
		t.Error("of two with a name, the one without a stack was taken")
	}
	w.staged(r.GUID(), map[string]string{"web": "x"})
	for names, want := range map[string]string{
		`"foreign"`:             `Buildpack "foreign" for stack "cflinuxfs4" must be an existing admin buildpack or a valid git URI`,
		`"waits"`:               `Buildpack "waits" for stack "cflinuxfs4" must be an existing admin buildpack or a valid git URI`,
		`"file:///etc"`:         `Buildpack "file:///etc" for stack "cflinuxfs4" must be an existing admin buildpack or a valid git URI`,
		`"ext::sh -c touch% x"`: `Buildpack "ext::sh -c touch% x" for stack "cflinuxfs4" must be an existing admin buildpack or a valid git URI`,
	} {
		if r := build(names); r.Status != 422 || r.Detail() != want {
			t.Errorf("%s: %s", names, r.Text)
		}
	}
	const disabled = "Requested buildpack(s) 'off' are disabled and cannot be used for staging"
	if r := build(`"off","last"`); r.Status != 400 || r.Detail() != "Buildpack is invalid: "+disabled {
		t.Errorf("disabled: %s", r.Text)
	}
	w.Must(200, "admin", "PATCH /v3/buildpacks/"+off, `{"enabled":true}`)
	used(`"off"`, "off", true)
}
