package capi_test

import (
	"fmt"
	"sync"
	"testing"

	"ingot/rest/resttest"
)

// together runs fn in n goroutines at once and counts the answers by status.
func together(n int, fn func(i int) resttest.Answer) map[int]int {
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := map[int]int{}
	for i := range n {
		wg.Go(func() {
			r := fn(i)
			mu.Lock()
			defer mu.Unlock()
			out[r.Status]++
		})
	}
	wg.Wait()
	return out
}

// TestAppRaces: one name is one app's, also by renaming; variables that many set at once are all there, and one upload of a package wins.
func TestAppRaces(t *testing.T) {
	w := pushWorld(t)
	app := w.makeApp("dora")
	space := w.Must(200, "admin", "GET /v3/apps/"+app, nil).Get("relationships", "space", "data", "guid")
	if got := together(12, func(int) resttest.Answer {
		return w.Do("admin", "POST /v3/apps", fmt.Sprintf(`{"name":"one","relationships":{"space":{"data":{"guid":%q}}}}`, space))
	}); got[201] != 1 || got[422] != 11 {
		t.Errorf("one name: %v", got)
	}
	var apps []string
	for i := range 6 {
		apps = append(apps, w.makeApp(fmt.Sprint("app", i)))
	}
	if got := together(6, func(i int) resttest.Answer { return w.Do("admin", "PATCH /v3/apps/"+apps[i], `{"name":"Taken"}`) }); got[200] != 1 || got[422] != 5 {
		t.Errorf("one new name: %v", got)
	}
	if got := together(12, func(i int) resttest.Answer {
		return w.Do("admin", "PATCH /v3/apps/"+app+"/environment_variables", fmt.Sprintf(`{"var":{"K%d":"v"}}`, i))
	}); got[200] != 12 {
		t.Errorf("variables: %v", got)
	}
	if vars, _ := w.Must(200, "admin", "GET /v3/apps/"+app+"/environment_variables", nil).Get("var").(map[string]any); len(vars) != 12 {
		t.Errorf("%d of 12 variables", len(vars))
	}
	p := w.newPackage(app)
	body := zipped(t, "x")
	got := together(6, func(int) resttest.Answer { return w.upload("admin", p, "", body) })
	if got[200] != 1 || got[400] != 5 {
		t.Errorf("uploads of one package: %v", got)
	}
}

// TestDomainRaces: of two private domains one of which lies in the other, and of a route and a domain of one name, one is made.
func TestDomainRaces(t *testing.T) {
	w := pushWorld(t)
	w.World("other")
	private := func(name, org string) resttest.Answer {
		return w.Do("admin", "POST /v3/domains", fmt.Sprintf(`{"name":%q,"relationships":{"organization":{"data":{"guid":%q}}}}`, name, org))
	}
	for i := range 12 {
		name := fmt.Sprintf("r%d.example.net", i)
		if got := together(4, func(n int) resttest.Answer {
			return []func() resttest.Answer{
				func() resttest.Answer { return private(name, "own") },
				func() resttest.Answer { return private("sub."+name, "other") },
			}[n%2]()
		}); got[201] != 1 || got[422] != 3 {
			t.Errorf("%s: %v", name, got)
		}
		d := private(fmt.Sprintf("d%d.example.net", i), "own")
		if got := together(4, func(n int) resttest.Answer {
			if n%2 == 0 {
				return private(fmt.Sprintf("host.d%d.example.net", i), "own")
			}
			return w.Do("admin", "POST /v3/routes", fmt.Sprintf(`{"host":"host","relationships":{"space":{"data":{"guid":"own-space"}},"domain":{"data":{"guid":%q}}}}`, d.GUID()))
		}); got[201] != 1 || got[422] != 3 {
			t.Errorf("a route or a domain: %v", got)
		}
	}
}
