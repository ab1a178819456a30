package capi_test

import (
	"context"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
)

// TestClockIsSetBack: the scheduler has what was desired an hour from now, and still takes what the rows say.
func TestClockIsSetBack(t *testing.T) {
	w, app := running(t)
	w.sched.mu.Lock()
	for id, d := range w.sched.desired {
		d.Updated = d.Updated.Add(time.Hour)
		w.sched.desired[id] = d
	}
	w.sched.mu.Unlock()
	for _, n := range []string{"3", "2"} {
		w.Must(202, "admin", "POST /v3/processes/"+app+"/actions/scale", `{"instances":`+n+`}`)
	}
	if d := w.sched.lrps(app)["web"]; d.Instances != 2 {
		t.Errorf("%d instances", d.Instances)
	}
}

// TestClockIsSetForward: a staging that goes on is not late because the clock says so.
func TestClockIsSetForward(t *testing.T) {
	w := pushWorld(t)
	p := w.newPackage(w.makeApp("dora"))
	w.must(200, w.upload("admin", p, "", zipped(t, "x")))
	b := w.Must(201, "admin", "POST /v3/builds", `{"package":{"guid":"`+p+`"}}`).GUID()
	err := w.DB.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Table("build_builds").Set("created_at = ?", sql.At(time.Now().Add(-time.Hour))).Where("guid = ?", b).Exec(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w.sched.mu.Lock()
	w.sched.calls = nil
	w.sched.mu.Unlock()
	w.again(t) // it converges at once
	until(t, "convergence has looked at the build", func() bool {
		w.sched.mu.Lock()
		defer w.sched.mu.Unlock()
		return len(w.sched.calls) > 0
	})
	if got := w.Must(200, "admin", "GET /v3/builds/"+b, nil).Get("state"); got != "STAGING" {
		t.Errorf("the build is %s", got)
	}
}
