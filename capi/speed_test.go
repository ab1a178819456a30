package capi_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"ingot/capi"
	"ingot/kit/sql"
	"ingot/kit/sql/sqltest"
	"ingot/rest"
	"ingot/rest/limit"
	"ingot/rest/resttest"
	"ingot/uaa"
)

// quiet is a seeded API that counts no requests and writes no lines.
func quiet(t testing.TB, n size) *world {
	t.Helper()
	slog.SetLogLoggerLevel(slog.LevelWarn)
	t.Cleanup(func() { slog.SetLogLoggerLevel(slog.LevelInfo) })
	w := newWorld(t)
	w.api.Limits.User = -1
	seed(t, w.API, n)
	return w
}

// lists are the paths of all lists that are served at the top.
func lists(w *world) (out []string) {
	for _, e := range w.api.Endpoints() {
		if e.Act == rest.Lists && e.Below == "" {
			out = append(out, e.Path)
		}
	}
	return out
}

// BenchmarkLists measures the first page of each list, as the admin, as a user with 500 spaces, as one with a single space, and
// as an auditor and a manager of an organization. INGOT_SPEED=apps measures only the lists with that in their address.
// INGOT_TEST_DATABASE=all takes SQLite, PostgreSQL and MariaDB in turn.
func BenchmarkLists(b *testing.B) {
	start := time.Now()
	w := quiet(b, platform)
	fmt.Printf("%s: seeded in %v\n", w.DB.Engine, time.Since(start).Round(time.Millisecond))
	more := []string{"/v3/audit_events?order_by=-created_at", "/v3/audit_events?target_guids=a7&order_by=-created_at", "/v3/audit_events?types=audit.app.3",
		"/v3/apps?order_by=name", "/v3/apps?label_selector=env=v7", "/v3/apps?space_guids=s1&include=space.organization", "/v3/routes?app_guids=a7",
		"/v3/apps?names=a7", "/v3/spaces?names=s1&organization_guids=o1"}
	var all []timing
	for _, line := range append(lists(w), more...) {
		if only := os.Getenv("INGOT_SPEED"); !strings.Contains(line, only) {
			continue
		}
		for _, user := range []string{"admin", "dev", "one", "auditor", "boss"} {
			t := timed(w.API, user, line, 100)
			all = append(all, t)
			if t.work > 30 && !strings.Contains(line, "?") && w.DB.Engine == sql.SQLite {
				b.Errorf("%s as %s: %.1f ms", line, user, t.work)
			}
		}
	}
	slices.SortFunc(all, func(a, b timing) int { return cmp.Compare(b.p50, a.p50) })
	for _, t := range all[:min(20, len(all))] { // a benchmark's log is cut
		fmt.Printf("%-8s %-45s %-8s p50 %6.1f ms  p99 %6.1f ms  CPU p99 %5.1f ms, %4.1f ms on average of the server's\n",
			w.DB.Engine, t.line, t.user, t.p50, t.p99, t.work, t.server)
	}
	worst := slices.MaxFunc(all, func(a, b timing) int { return cmp.Compare(a.p99, b.p99) })
	load, _ := os.ReadFile("/proc/loadavg") // it is there on Linux
	fmt.Printf("%s: the rest of %d is faster; p99 at most %.1f ms (%s as %s); load %s", w.DB.Engine, len(all), worst.p99, worst.line, worst.user, load)
}

// signed serves the seeded API at an address with UAA's own tokens, and gives one of the admin and one of a developer in half of the spaces.
func signed(t testing.TB, w *world, address string) (h http.Handler, admin, dev string) {
	t.Helper()
	u := &uaa.Server{DB: sqltest.Open(t), KeyFile: filepath.Join(t.TempDir(), "keys.json"), URL: "https://uaa.ingot.test", LoginURL: "https://login.ingot.test"}
	err := u.Start(t.Context())
	if err == nil {
		err = u.EnsureAdmin(t.Context(), "admin", "a very long password")
	}
	if err != nil {
		t.Fatal(err)
	}
	ask := func(path, token, kind, body string) map[string]any {
		r := httptest.NewRequest(http.MethodPost, "https://uaa.ingot.test"+path, strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		if r.SetBasicAuth("cf", ""); token != "" {
			r.Header.Set("Authorization", "bearer "+token)
		}
		rec := httptest.NewRecorder()
		u.Handler().ServeHTTP(rec, r)
		var out map[string]any
		if err := json.Unmarshal(rec.Body.Bytes(), &out); err != nil || rec.Code > 299 {
			t.Fatalf("%s: %d %s", path, rec.Code, rec.Body)
		}
		return out
	}
	token := func(name string) string {
		body := url.Values{"grant_type": {"password"}, "username": {name}, "password": {"a very long password"}}.Encode()
		text, _ := ask("/oauth/token", "", "application/x-www-form-urlencoded", body)["access_token"].(string)
		return text
	}
	admin = token("admin")
	id, _ := ask("/Users", admin, "application/json", `{"userName":"joe","password":"a very long password","emails":[{"value":"joe@ingot.test"}]}`)["id"].(string)
	err = w.DB.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().TableExpr("rest_roles").Set("user_guid = ?", id).Where("user_guid = 'dev-guid'").Exec(ctx)
		return err
	})
	api := &capi.API{DB: w.DB, Services: w.api.Services, Bindings: w.api.Bindings, Limits: &limit.Requests{User: -1}, Tokens: u, Directory: u,
		URL: address, Domain: w.api.Domain, Scheduler: w.sched, Blobs: w.blobs, Logs: w.logs}
	if err == nil {
		err = api.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Stop(context.Background()) })
	return api.Handler(), admin, token("joe")
}

// BenchmarkApp is GET /v3/apps/:guid through the handler, the token's check in it, as UAA does it; -cpu 1 for one core.
func BenchmarkApp(b *testing.B) {
	h, admin, dev := signed(b, quiet(b, platform), "https://api.ingot.test")
	for user, token := range map[string]string{"admin": admin, "dev": dev} {
		b.Run(user, func(b *testing.B) {
			for b.Loop() {
				r := httptest.NewRequest(http.MethodGet, "https://api.ingot.test/v3/apps/a7", nil)
				r.Header.Set("Authorization", "bearer "+token)
				rec := httptest.NewRecorder()
				if h.ServeHTTP(rec, r); rec.Code != http.StatusOK {
					b.Fatalf("%d %s", rec.Code, rec.Body)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}

// timing is how long a request took, in milliseconds: the median and the worst but one in a hundred by the clock, the latter also by
// what this process worked, which others on the machine do not change, and the mean of what the database's server worked.
type timing struct {
	line, user             string
	p50, p99, work, server float64
}

// timed asks n times.
func timed(a *resttest.API, user, line string, n int) timing {
	took, busy := make([]time.Duration, n), make([]time.Duration, n)
	served := children()
	for i := range took {
		began, worked := time.Now(), cpu()
		a.Must(200, user, "GET "+line, nil)
		took[i], busy[i] = time.Since(began), cpu()-worked
	}
	served = children() - served
	slices.Sort(took)
	slices.Sort(busy)
	ms := func(d time.Duration) float64 { return float64(d) / 1e6 }
	last := n - 1 - n/100
	return timing{line, user, ms(took[n/2]), ms(took[last]), ms(busy[last]), ms(served) / float64(n)}
}

// cpu is the time that this process has worked.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it cannot fail for oneself
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// children is the time that the processes below this one have worked: a database's server, and those that it starts.
func children() (sum time.Duration) {
	const tick = 10 * time.Millisecond // USER_HZ, on every Linux
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	parent, worked := map[int]int{}, map[int]time.Duration{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		var pid, up, skip int
		var state string
		var user, kernel int64
		_, _ = fmt.Sscan(string(text), &pid)
		after := string(text[bytes.LastIndexByte(text, ')')+1:])
		if _, err := fmt.Sscan(after, &state, &up, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &user, &kernel); err == nil {
			parent[pid], worked[pid] = up, time.Duration(user+kernel)*tick
		}
	}
	for pid, up := range parent {
		if self := os.Getpid(); up == self || parent[up] == self {
			sum += worked[pid]
		}
	}
	return sum
}
