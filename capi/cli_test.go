package capi_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// BenchmarkAppsOfTheCLI has the official cf list a space with 1,000 apps, and counts what it asks. The statistics are one request
// for each app by the CLI's own making; without them it is a handful.
func BenchmarkAppsOfTheCLI(b *testing.B) {
	cf, err := filepath.Abs("../bin/cf")
	if err != nil {
		b.Fatal(err)
	}
	var (
		h  http.Handler
		mu sync.Mutex
	)
	asked, said := map[string]int{}, map[string]*httptest.ResponseRecorder{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked[r.Method+" "+regexp.MustCompile(`/a\d+`).ReplaceAllString(r.URL.Path, "/:guid")]++
		rec, known := said[r.URL.String()]
		mu.Unlock()
		if !known {
			rec = httptest.NewRecorder()
			h.ServeHTTP(rec, r)
		}
		maps.Copy(w.Header(), rec.Header())
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes()) // the client is there until it has all
		mu.Lock()
		said[r.URL.String()] = rec
		mu.Unlock()
	}))
	defer s.Close()
	api, admin, _ := signed(b, quiet(b, size{orgs: 1, spaces: 1, apps: 1000, routes: 1000, events: 100}), s.URL)
	h = api
	home := b.TempDir()
	config, err := json.Marshal(map[string]any{"ConfigVersion": 4, "Target": s.URL, "APIVersion": "3.180.0", "AccessToken": "bearer " + admin,
		"RefreshToken": "none", "AuthorizationEndpoint": s.URL, "UaaEndpoint": s.URL, "UAAOAuthClient": "cf",
		"OrganizationFields": map[string]string{"GUID": "o0", "Name": "o0"}, "SpaceFields": map[string]string{"GUID": "s0", "Name": "s0"}})
	if err == nil {
		err = os.Mkdir(filepath.Join(home, ".cf"), 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(home, ".cf", "config.json"), config, 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
	for i, args := range [][]string{{"apps", "--no-stats"}, {"apps"}, {"apps"}} {
		clear(asked)
		if i < 2 {
			clear(said)
		}
		c := exec.Command(cf, args...)
		c.Env = []string{"CF_HOME=" + home, "PATH=/usr/bin:/bin"}
		began := time.Now()
		out, err := c.CombinedOutput()
		took := time.Since(began).Round(time.Millisecond)
		if err != nil || strings.Count(string(out), "cflinux")+strings.Count(string(out), "stopped") < 1000 {
			b.Fatalf("%v\n%.2000s", err, out)
		}
		b.Logf("cf %s: %v, %v%s", strings.Join(args, " "), took, asked, []string{"", "", ", said again as before: what the CLI itself needs"}[i])
	}
}

// BenchmarkPaging reads everything page by page: what is held does not grow with it.
func BenchmarkPaging(b *testing.B) {
	w := quiet(b, platform)
	held := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / 1e6
	}
	for _, user := range []string{"admin", "dev"} {
		for _, path := range []string{"/v3/apps?per_page=50", "/v3/audit_events?per_page=1000", "/v3/routes?per_page=1000"} {
			var first, most float64
			began, pages, rows := time.Now(), 0, 0
			for next := path; next != ""; pages++ {
				a := w.Must(200, user, "GET "+next, nil)
				rows += len(a.Names("guid"))
				next, _ = a.Get("pagination", "next", "href").(string)
				a.JSON, a.Text = nil, ""
				if pages%20 == 0 {
					if h := held(); pages == 0 {
						first = h
					} else {
						most = max(most, h)
					}
				}
			}
			b.Logf("%-32s %-6s %6d rows on %4d pages in %v: %.1f MB held after the first, at most %.1f later", path, user, rows, pages,
				time.Since(began).Round(time.Millisecond), first, most)
			if most > first+20 {
				b.Errorf("%s as %s: %.1f MB are held after the first page, and %.1f later", path, user, first, most)
			}
		}
	}
}

// TestInfoLimits: what the platform tells about its rate limit is what it counts.
func TestInfoLimits(t *testing.T) {
	r := newWorld(t).Must(200, "", "GET /v3/info", nil)
	if r.Get("rate_limits", "enabled") != true || r.Get("rate_limits", "general_limit") != 20_000.0 || r.Get("rate_limits", "reset_interval_in_minutes") != 60.0 {
		t.Error(r.Text)
	}
}
