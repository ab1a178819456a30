package capi_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"ingot/rest/access"
	"ingot/rest/resttest"
	"ingot/rest/row"
)

// limited gives the organization "own" a quota, and its space one, with these limits ("" for none).
func (w *world) limited(org, space string) {
	w.T.Helper()
	if org != "" {
		w.Must(201, "admin", "POST /v3/organization_quotas", `{"name":"org quota",`+org+`,"relationships":{"organizations":{"data":[{"guid":"own"}]}}}`)
	}
	if space != "" {
		w.Must(201, "admin", "POST /v3/space_quotas", `{"name":"space quota",`+space+
			`,"relationships":{"organization":{"data":{"guid":"own"}},"spaces":{"data":[{"guid":"own-space"}]}}}`)
	}
}

// TestAppQuotas: what started apps may use, in the words of Cloud Controller's policies.
func TestAppQuotas(t *testing.T) {
	for _, c := range []struct{ org, space, scale, want string }{
		{`"apps":{"total_memory_in_mb":2048}`, ``, `{"instances":3}`, "memory quota_exceeded"},
		{``, `"apps":{"total_memory_in_mb":2048}`, `{"memory_in_mb":2049}`, "memory space_quota_exceeded"},
		{`"apps":{"per_process_memory_in_mb":1024}`, ``, `{"memory_in_mb":1025}`, "memory instance_memory_limit_exceeded"},
		{``, `"apps":{"per_process_memory_in_mb":1024}`, `{"memory_in_mb":1025}`, "memory space_instance_memory_limit_exceeded"},
		{`"apps":{"total_instances":2}`, ``, `{"instances":3}`, "app_instance_limit app_instance_limit_exceeded"},
		{``, `"apps":{"total_instances":2}`, `{"instances":3}`, "app_instance_limit space_app_instance_limit_exceeded"},
		{`"apps":{"log_rate_limit_in_bytes_per_second":100}`, ``, `{"log_rate_limit_in_bytes_per_second":101}`, "log_rate_limit exceeds organization log rate quota"},
		{`"apps":{"log_rate_limit_in_bytes_per_second":100}`, ``, `{"log_rate_limit_in_bytes_per_second":-1}`, "log_rate_limit cannot be unlimited in organization 'own'."},
		{``, `"apps":{"log_rate_limit_in_bytes_per_second":100}`, `{"log_rate_limit_in_bytes_per_second":51,"instances":2}`, "log_rate_limit exceeds space log rate quota"},
		{`"apps":{"total_memory_in_mb":1024,"total_instances":1}`, `"apps":{"total_memory_in_mb":1024}`, `{"instances":2}`,
			"memory space_quota_exceeded, memory quota_exceeded, app_instance_limit app_instance_limit_exceeded"},
	} {
		t.Run(c.org+c.space, func(t *testing.T) {
			w := pushWorld(t)
			guid := w.makeApp("dora")
			w.stage("admin", guid)
			for _, kind := range []string{"web", "worker"} {
				w.Must(202, "admin", "POST /v3/apps/"+guid+"/processes/"+kind+"/actions/scale", `{"log_rate_limit_in_bytes_per_second":10}`)
			}
			w.limited(c.org, c.space)
			scale := "POST /v3/apps/" + guid + "/processes/web/actions/scale"
			w.Must(202, "admin", scale, c.scale) // it is stopped
			if r := w.Must(422, "admin", "POST /v3/apps/"+guid+"/actions/start", nil); r.Detail() != c.want {
				t.Errorf("start\n got: %s\nwant: %s", r.Detail(), c.want)
			}
			w.Must(202, "admin", scale, `{"instances":1,"memory_in_mb":1024,"log_rate_limit_in_bytes_per_second":10}`)
			w.Must(200, "admin", "POST /v3/apps/"+guid+"/actions/start", nil)
			if r := w.Must(422, "admin", scale, c.scale); r.Detail() != c.want {
				t.Errorf("scale\n got: %s\nwant: %s", r.Detail(), c.want)
			}
			if r := w.Must(200, "admin", "GET /v3/processes/"+guid, nil); r.JSON["instances"] != 1.0 || r.JSON["memory_in_mb"] != 1024.0 {
				t.Error("it was scaled in spite of it:", r.Text)
			}
			w.Must(200, "admin", "POST /v3/apps/"+guid+"/actions/restart", nil)
		})
	}
}

// TestStagingQuotas: what a build wants must be left, in the words of Cloud Controller's controller of builds; builds are
// not counted themselves, and one that wants less than the least staging memory always may begin.
func TestStagingQuotas(t *testing.T) {
	for _, c := range []struct{ org, space, much, fits, want string }{
		{`"apps":{"total_memory_in_mb":2500}`, ``, `,"staging_memory_in_mb":1477`, `,"staging_memory_in_mb":1476`, "organization's memory limit exceeded: staging requires 1477M memory"},
		{`"apps":{"total_memory_in_mb":2047}`, ``, ``, `,"staging_memory_in_mb":1023`, "organization's memory limit exceeded: staging requires 1024M memory"},
		{``, `"apps":{"total_memory_in_mb":2500}`, `,"staging_memory_in_mb":1477`, `,"staging_memory_in_mb":1476`, "space's memory limit exceeded: staging requires 1477M memory"},
		{`"apps":{"log_rate_limit_in_bytes_per_second":100}`, ``, `,"staging_log_rate_limit_bytes_per_second":91`, `,"staging_log_rate_limit_bytes_per_second":90`,
			"organization's log rate limit exceeded: staging requires 91 bytes per second"},
		{``, `"apps":{"log_rate_limit_in_bytes_per_second":100}`, `,"staging_log_rate_limit_bytes_per_second":91`, `,"staging_log_rate_limit_bytes_per_second":90`,
			"space's log rate limit exceeded: staging requires 91 bytes per second"},
	} {
		t.Run(c.want, func(t *testing.T) {
			w := pushWorld(t)
			running, next := w.makeApp("dora"), []string{w.makeApp("one"), w.makeApp("two")}
			w.stage("admin", running)
			for _, kind := range []string{"web", "worker"} {
				w.Must(202, "admin", "POST /v3/apps/"+running+"/processes/"+kind+"/actions/scale", `{"log_rate_limit_in_bytes_per_second":10}`)
			}
			w.Must(200, "admin", "POST /v3/apps/"+running+"/actions/start", nil) // 1024 MB, 10 bytes a second
			w.limited(c.org, c.space)
			packs := map[string]string{}
			for _, app := range next {
				packs[app] = w.newPackage(app)
				w.must(200, w.upload("admin", packs[app], "", zipped(t, "main.go")))
			}
			build := func(app, wants string) resttest.Answer {
				return w.Do("admin", "POST /v3/builds", `{"package":{"guid":"`+packs[app]+`"}`+wants+`}`)
			}
			r := build(next[0], c.much)
			if w.must(422, r); r.Detail() != c.want || r.Get("errors", 0, "code") != 10008.0 {
				t.Errorf("got %s", r.Text)
			}
			if r := w.Must(200, "admin", "GET /v3/apps/"+next[0]+"/builds", nil); r.Get("pagination", "total_results") != 0.0 {
				t.Error("there is a build:", r.Text)
			}
			for _, app := range next { // both at once
				w.must(201, build(app, c.fits))
			}
		})
	}
}

// TestMaxDisk: no process, task or build asks for more disk than the platform allows, whatever the quotas say, in the words of
// Cloud Controller's MaxDiskQuotaPolicy, TaskCreate and controller of builds; a build may always have the least staging disk.
func TestMaxDisk(t *testing.T) {
	w := pushWorld(t)
	guid := w.makeApp("dora")
	w.stage("admin", guid)
	const words = "disk_quota too much disk requested (requested %d MB - must be less than %d MB)"
	scale := func(status, mb int) resttest.Answer {
		t.Helper()
		return w.Must(status, "admin", "POST /v3/processes/"+guid+"/actions/scale", fmt.Sprintf(`{"disk_in_mb":%d}`, mb))
	}
	refused := func(r resttest.Answer, want string) {
		t.Helper()
		if r.Detail() != want || r.Get("errors", 0, "title") != "CF-UnprocessableEntity" || r.Get("errors", 0, "code") != 10008.0 {
			t.Errorf("got %s, want %s", r.Text, want)
		}
	}
	scale(202, 2048)
	refused(scale(422, 2049), fmt.Sprintf(words, 2049, 2048)) // of an app that is stopped
	w.Must(200, "admin", "POST /v3/apps/"+guid+"/actions/start", nil)
	refused(scale(422, 2049), fmt.Sprintf(words, 2049, 2048))
	if r := w.Must(200, "admin", "GET /v3/processes/"+guid, nil); r.Get("disk_in_mb") != 2048.0 {
		t.Error("it was scaled in spite of it:", r.Text)
	}
	if state, detail := w.applied("applications:\n- name: dora\n  disk_quota: 3G\n"); state != "FAILED" ||
		detail != "For application 'dora': "+fmt.Sprintf(words, 3072, 2048) {
		t.Error(state, detail)
	}
	refused(w.Must(422, "admin", "POST /v3/deployments", `{"options":{"disk_in_mb":4000},"relationships":{"app":{"data":{"guid":"`+guid+`"}}}}`),
		fmt.Sprintf(words, 4000, 2048))
	refused(w.Must(422, "admin", "POST /v3/apps/"+guid+"/tasks", `{"command":"rake","disk_in_mb":2049}`), "Cannot request disk_in_mb greater than 2048")
	pack := w.newPackage(guid)
	w.must(200, w.upload("admin", pack, "", zipped(t, "main.go")))
	build := `{"package":{"guid":"` + pack + `"},"staging_disk_in_mb":%d}`
	refused(w.Must(422, "admin", "POST /v3/builds", fmt.Sprintf(build, 4097)), "disk limit exceeded")
	w.Must(201, "admin", "POST /v3/builds", fmt.Sprintf(build, 4096))
	allow := func(mb int) {
		w.api.MaxDisk = mb
		w.again(t)
		w.API = resttest.Serving(t, w.DB, w.Users, w.api.URL, w.api.Handler())
	}
	allow(8192)
	scale(202, 8192)
	w.Must(200, "admin", "POST /v3/apps/"+guid+"/actions/stop", nil)
	allow(4096)
	refused(w.Must(422, "admin", "POST /v3/apps/"+guid+"/actions/start", nil), fmt.Sprintf(words, 8192, 4096))
}

// TestManifestQuota: a manifest that passes the quota fails, in whole.
func TestManifestQuota(t *testing.T) {
	w := pushWorld(t)
	w.limited(`"apps":{"total_memory_in_mb":2048}`, "")
	guid := w.makeApp("dora")
	w.Role("dev", access.SpaceDeveloper, "own")
	w.stage("dev", guid)
	w.Must(200, "dev", "POST /v3/apps/"+guid+"/actions/start", nil)
	state, detail := w.applied("applications:\n- name: dora\n  instances: 3\n  env: {A: b}\n")
	if state != "FAILED" || detail != "For application 'dora': memory quota_exceeded" {
		t.Error(state, detail)
	}
	if r := w.Must(200, "admin", "GET /v3/apps/"+guid+"/environment_variables", nil); strings.Contains(r.Text, `"A"`) {
		t.Error("half of it was applied:", r.Text)
	}
	if state, detail = w.applied("applications:\n- name: dora\n  instances: 2\n"); state != "COMPLETE" {
		t.Error(state, detail)
	}
}

// TestRouteAndDomainQuotas: how many there may be.
func TestRouteAndDomainQuotas(t *testing.T) {
	w := pushWorld(t)
	apps := w.domain("apps.ingot.test")
	w.limited(`"routes":{"total_routes":2},"domains":{"total_domains":1}`, `"routes":{"total_routes":1}`)
	w.Insert(&access.Space{Labelled: row.Labelled{Row: base("own-two")}, Name: "two", NameKey: "two", OrgGUID: "own", Status: access.Active})
	two := func(host string) string { return strings.Replace(routeBody(host, "", apps), "own-space", "own-two", 1) }
	w.Must(201, "admin", "POST /v3/routes", routeBody("a", "", apps))
	if r := w.Must(422, "admin", "POST /v3/routes", routeBody("b", "", apps)); r.Detail() != "Routes quota exceeded for space 'own-space'." {
		t.Error(r.Detail())
	}
	w.Must(201, "admin", "POST /v3/routes", two("b"))
	if r := w.Must(422, "admin", "POST /v3/routes", two("c")); r.Detail() != "Routes quota exceeded for organization 'own'." {
		t.Error(r.Detail())
	}
	domain := `{"name":"%s","relationships":{"organization":{"data":{"guid":"own"}}}}`
	w.Must(201, "admin", "POST /v3/domains", fmt.Sprintf(domain, "one.example.com"))
	r := w.Must(422, "admin", "POST /v3/domains", fmt.Sprintf(domain, "two.example.com"))
	if r.Detail() != `The number of private domains exceeds the quota for organization "own"` {
		t.Error(r.Detail())
	}
	u := w.Must(200, "admin", "GET /v3/organizations/own/usage_summary", nil)
	if u.Get("usage_summary", "routes") != 2.0 || u.Get("usage_summary", "domains") != 1.0 {
		t.Error(u.Text)
	}
}

// TestQuotaRaces: those who come at the same time do not pass a limit together.
func TestQuotaRaces(t *testing.T) {
	w := pushWorld(t)
	apps := w.domain("apps.ingot.test")
	var guids []string
	for i := range 6 {
		guid := w.makeApp(fmt.Sprintf("app%d", i))
		w.stage("admin", guid)
		guids = append(guids, guid)
	}
	w.limited(`"apps":{"total_memory_in_mb":8192},"routes":{"total_routes":3}`, "")
	count := func(n int, fn func(i int) resttest.Answer) map[int]int {
		var mu sync.Mutex
		var wg sync.WaitGroup
		out := map[int]int{}
		for i := range n {
			wg.Add(1)
			go func() {
				defer wg.Done()
				status := fn(i).Status
				mu.Lock()
				out[status]++
				mu.Unlock()
			}()
		}
		wg.Wait()
		return out
	}
	for _, g := range guids {
		w.Must(200, "admin", "POST /v3/apps/"+g+"/actions/start", nil)
	}
	// six apps use 6 of 8 GB: two of the scales, or of the starts besides, have room
	got := count(12, func(i int) resttest.Answer {
		return w.Do("admin", "POST /v3/processes/"+guids[i%6]+"/actions/scale", `{"instances":2}`)
	})
	if got[202]+got[422] != 12 || got[422] == 0 {
		t.Errorf("concurrent scales: %v", got)
	}
	memory := func() any {
		return w.Must(200, "admin", "GET /v3/organizations/own/usage_summary", nil).Get("usage_summary", "memory_in_mb")
	}
	if memory() != 8192.0 {
		t.Errorf("%v MB are used after it", memory())
	}
	for _, g := range guids {
		w.Must(200, "admin", "POST /v3/apps/"+g+"/actions/stop", nil)
		w.Must(202, "admin", "POST /v3/processes/"+g+"/actions/scale", `{"instances":3}`)
	}
	got = count(6, func(i int) resttest.Answer { return w.Do("admin", "POST /v3/apps/"+guids[i]+"/actions/start", nil) })
	if got[200] != 2 || got[422] != 4 || memory() != 6144.0 {
		t.Errorf("concurrent starts: %v, %v MB", got, memory())
	}
	got = count(8, func(i int) resttest.Answer {
		return w.Do("admin", "POST /v3/routes", routeBody(fmt.Sprintf("r%d", i), "", apps))
	})
	if got[201] != 3 || got[422] != 5 {
		t.Errorf("concurrent routes: %v", got)
	}
}
