package capi_test

import (
	"net/url"
	"strings"
	"testing"
)

// TestStackStates: a restricted stack is for apps that have a build, a disabled one for none, of a deprecated one all are
// warned; as Cloud Controller's StackStateValidator has it, where an app is made, changed and staged, and in manifests.
func TestStackStates(t *testing.T) {
	w := pushWorld(t)
	w.Must(201, "admin", "POST /v3/stacks", `{"name":"other"}`)
	stack, _ := w.Must(200, "admin", "GET /v3/stacks?names=cflinuxfs4", nil).Get("resources", 0, "guid").(string)
	newApp := func(name string) (string, string) {
		return "POST /v3/apps", `{"name":"` + name + `","relationships":{"space":{"data":{"guid":"own-space"}}}}`
	}
	fresh, built := w.makeApp("fresh"), w.makeApp("built")
	p := w.newPackage(built)
	w.must(200, w.upload("admin", p, "", zipped(t, "main.go")))
	w.staged(w.Must(201, "admin", "POST /v3/builds", `{"package":{"guid":"`+p+`"}}`).GUID(), map[string]string{"web": "x"})
	q := w.newPackage(fresh)
	w.must(200, w.upload("admin", q, "", zipped(t, "main.go")))
	same := `{"lifecycle":{"type":"buildpack","data":{"stack":"cflinuxfs4"}}}`
	create, body := newApp("next")
	for _, c := range []struct {
		state              string
		freshOK, builtOK   bool
		freshSays, oldSays string
	}{
		{"RESTRICTED", false, true, "ERROR: Staging failed. The stack 'cflinuxfs4' is 'RESTRICTED' and cannot be used for staging. why",
			"WARNING: The stack 'cflinuxfs4' is 'RESTRICTED' and will be removed in the future. why"},
		{"DISABLED", false, false, "ERROR: Staging failed. The stack 'cflinuxfs4' is 'DISABLED' and cannot be used for staging. why",
			"ERROR: Staging failed. The stack 'cflinuxfs4' is 'DISABLED' and cannot be used for staging. why"},
		{"DEPRECATED", true, true, "WARNING: The stack 'cflinuxfs4' is 'DEPRECATED' and will be removed in the future. why",
			"WARNING: The stack 'cflinuxfs4' is 'DEPRECATED' and will be removed in the future. why"},
		{"ACTIVE", true, true, "", ""},
	} {
		w.Must(200, "admin", "PATCH /v3/stacks/"+stack, `{"state":"`+c.state+`","state_reason":"why"}`)
		for _, one := range []struct {
			line, body, says string
			ok               bool
			code             float64
		}{
			{create, strings.Replace(body, "next", "next-"+c.state, 1), c.freshSays, c.freshOK, 10008},
			{"PATCH /v3/apps/" + fresh, same, c.freshSays, c.freshOK, 10008},
			{"PATCH /v3/apps/" + built, same, c.oldSays, c.builtOK, 10008},
			{"POST /v3/builds", `{"package":{"guid":"` + p + `"}}`, c.oldSays, c.builtOK, 250004},
		} {
			r := w.Do("admin", one.line, one.body)
			warned, _ := url.QueryUnescape(r.Header.Get("X-Cf-Warnings"))
			if one.ok && (r.Status >= 300 || warned != one.says) || !one.ok && (r.Status != 422 || r.Detail() != one.says || r.Get("errors", 0, "code") != one.code) {
				t.Errorf("%s %s: %d %s, warned of %q, want %q", c.state, one.line, r.Status, r.Text, warned, one.says)
			}
			if one.line == "POST /v3/builds" && one.ok {
				w.staged(r.GUID(), map[string]string{"web": "x"})
			}
		}
		if r := w.Do("admin", "POST /v3/builds", `{"package":{"guid":"`+q+`"}}`); !c.freshOK && r.Detail() != c.freshSays {
			t.Errorf("the first build on a %s stack: %s", c.state, r.Text)
		} else if c.freshOK {
			w.staged(r.GUID(), map[string]string{"web": "x"})
		}
		if c.state != "DISABLED" {
			continue
		}
		if r := w.yaml("admin", applyLine, "applications: [{name: m}]"); r.Status != 422 || r.Detail() != "For application 'm': "+c.freshSays {
			t.Errorf("a manifest's new app: %d %s", r.Status, r.Text)
		}
		if state, detail := w.applied("applications: [{name: built, stack: cflinuxfs4}]"); state != "FAILED" || detail != "For application 'built': "+c.oldSays {
			t.Errorf("a manifest's old app: %s %s", state, detail)
		}
		if state, _ := w.applied("applications: [{name: built, instances: 2}]"); state != "COMPLETE" {
			t.Errorf("a manifest that names no stack: %s", state)
		}
		if state, detail := w.applied("applications: [{name: m, stack: other}]"); state != "COMPLETE" {
			t.Errorf("a manifest's new app on another stack: %s %s", state, detail)
		}
	}
}
