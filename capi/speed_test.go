package capi_test

import (
	"log/slog"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/resttest"
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

// TestSpeed measures the first page of each list, as the admin, as a user with 500 spaces and as one with a single space.
// INGOT_SPEED=1 runs it: it is about figures, not about right and wrong.
func TestSpeed(t *testing.T) {
	if os.Getenv("INGOT_SPEED") == "" {
		t.Skip("INGOT_SPEED=1 measures")
	}
	start := time.Now()
	w := quiet(t, platform)
	t.Logf("seeded in %v", time.Since(start).Round(time.Millisecond))
	more := []string{"/v3/audit_events?order_by=-created_at", "/v3/audit_events?target_guids=a7&order_by=-created_at", "/v3/audit_events?types=audit.app.3",
		"/v3/apps?order_by=name", "/v3/apps?label_selector=env=v7", "/v3/apps?space_guids=s1&include=space.organization", "/v3/routes?app_guids=a7",
		"/v3/apps?names=a7", "/v3/spaces?names=s1&organization_guids=o1"}
	for _, line := range append(lists(w), more...) {
		for _, user := range []string{"admin", "dev", "one", "auditor", "boss"} {
			p50, p99, work := timed(w.API, user, line, 100)
			t.Logf("%-55s %-8s p50 %7.2f ms  p99 %7.2f ms  cpu p99 %7.2f ms", line, user, p50, p99, work)
			if work > 30 && w.DB.Engine == sql.SQLite {
				t.Errorf("%s as %s: %.1f ms", line, user, work)
			}
		}
	}
}

// timed asks n times and gives the median and the worst but one in a hundred, in milliseconds: by the clock, and by what
// this process worked, which others on the machine do not change.
func timed(a *resttest.API, user, line string, n int) (p50, p99, work float64) {
	took, busy := make([]time.Duration, n), make([]time.Duration, n)
	for i := range took {
		began, worked := time.Now(), cpu()
		a.Must(200, user, "GET "+line, nil)
		took[i], busy[i] = time.Since(began), cpu()-worked
	}
	slices.Sort(took)
	slices.Sort(busy)
	ms := func(d time.Duration) float64 { return float64(d) / 1e6 }
	last := n - 1 - n/100
	return ms(took[n/2]), ms(took[last]), ms(busy[last])
}

// cpu is the time that this process has worked.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it cannot fail for oneself
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
