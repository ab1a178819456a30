package capi_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"ingot/capi"
	"ingot/capi/build"
	"ingot/rest/job"
	"ingot/rest/retain"
	"ingot/rest/row"
)

// TestSweep: what is old, or too much, goes in small steps, also where a sweep was cut off; the rest stays.
func TestSweep(t *testing.T) {
	w := pushWorld(t)
	app := w.makeApp("dora")
	labels := row.Labelled{}
	labels.Meta().Labels = map[string]string{"a": "b"}
	noun := func(i int) row.Labelled {
		l := labels
		l.GUID = fmt.Sprintf("n%03d", i)
		return l
	}
	files := w.newPackage(app)
	w.must(200, w.upload("admin", files, "", zipped(t, "x")))
	for i := range 104 {
		b := &build.Build{Labelled: noun(i), AppGUID: app, State: build.Staged}
		if i == 1 { // the scheduler's to end
			b.State, b.PackageGUID, b.Lifecycle, b.Stack = build.Staging, files, "buildpack", "cflinuxfs4"
		}
		w.Insert(b)
	}
	w.Insert(&build.Droplet{Labelled: noun(200), AppGUID: app, State: build.Expired}, &build.Droplet{Labelled: noun(201), AppGUID: app, State: build.Staged, Blob: "x"},
		&build.Package{Labelled: noun(300), AppGUID: app, State: build.Expired}, &build.Package{Labelled: noun(301), AppGUID: app, State: build.AwaitingUpload})
	w.Insert(&job.Job{Row: row.Row{GUID: "ended"}, State: job.Failed}, &job.Job{Row: row.Row{GUID: "runs"}, State: job.Processing, Operation: "x", Lease: 1 << 60})
	count := func(table, where string) int64 {
		t.Helper()
		n, err := w.DB.Read().NewSelect().Table(table).Where(where).Count(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	sweep := func(ctx context.Context, days int) (int, error) {
		s := &retain.Sweep{DB: w.DB, Rules: capi.Retention(), Step: 2, Now: func() time.Time { return time.Now().Add(time.Duration(days)*retain.Day + time.Minute) }}
		return s.Once(ctx)
	}
	cut, cancel := context.WithCancel(t.Context())
	rules := 0
	cutOff := &retain.Sweep{DB: w.DB, Rules: capi.Retention(), Step: 1, Now: func() time.Time {
		if rules++; rules == 3 { // before the droplets
			cancel()
		}
		return time.Now()
	}}
	if n, err := cutOff.Once(cut); err == nil || n == 0 || count("build_droplets", "1 = 1") != 2 {
		t.Errorf("a sweep that was cut off: %d rows, %v", n, err)
	}
	if n, err := sweep(t.Context(), 0); err != nil || n == 0 {
		t.Fatalf("%d rows went, %v", n, err)
	}
	events := count("rest_events", "1 = 1")
	if b, p, d := count("build_builds", "1 = 1"), count("build_packages", "1 = 1"), count("build_droplets", "1 = 1"); b != 101 || p != 2 || d != 1 || events == 0 {
		t.Errorf("%d builds, %d packages, %d droplets, %d events", b, p, d, events)
	}
	if n := count("build_builds", "guid IN ('n001', 'n004', 'n103')"); n != 3 {
		t.Errorf("of those that stay %d are there", n)
	}
	if n := count("rest_labels", "resource_guid IN ('n000', 'n200', 'n300')"); n != 0 {
		t.Errorf("%d labels of what went", n)
	}
	if _, err := sweep(t.Context(), 30); err != nil || count("rest_events", "1 = 1") != events {
		t.Errorf("events went before their time: %v", err)
	}
	if _, err := sweep(t.Context(), 31); err != nil || count("rest_events", "1 = 1") != 0 || count("rest_jobs", "guid = 'ended'") != 1 {
		t.Errorf("after 31 days there are %d events: %v", count("rest_events", "1 = 1"), err)
	}
	if _, err := sweep(t.Context(), 90); err != nil || count("rest_jobs", "guid = 'ended'") != 0 || count("rest_jobs", "guid = 'runs'") != 1 {
		t.Errorf("jobs after 90 days: %v", err)
	}
	if n, err := sweep(t.Context(), 90); n != 0 || err != nil {
		t.Errorf("again: %d %v", n, err)
	}
}
