package rollout

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"ingot/capi/app"
	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
)

// TestCanarySteps: the counts are those that Cloud Controller's canary_step_plan gives for these weights.
func TestCanarySteps(t *testing.T) {
	for _, c := range []struct {
		instances int
		web       *int
		weights   []int
		want      []target
	}{
		{3, nil, nil, []target{{1, 4}}},
		{4, nil, []int{25, 50, 75}, []target{{1, 5}, {2, 5}, {3, 5}}},
		{10, nil, []int{1, 20, 45, 80, 100}, []target{{1, 11}, {2, 11}, {5, 11}, {8, 11}, {10, 10}}},
		{10, ptr(4), []int{50}, []target{{2, 5}}},
		{2, ptr(8), []int{50}, []target{{1, 3}}},
	} {
		d := &app.Deployment{Strategy: app.Canary, Original: c.instances}
		d.Options.V.Instances = c.web
		if c.weights != nil {
			d.Options.V.Canary = &app.CanaryOption{}
			for _, w := range c.weights {
				d.Options.V.Canary.Steps = append(d.Options.V.Canary.Steps, app.CanaryStep{Weight: w})
			}
		}
		for i, want := range c.want {
			if d.Step = i + 1; canary(d) != want {
				t.Errorf("%d instances, step %d of %v: %+v, want %+v", c.instances, i+1, c.weights, canary(d), want)
			}
		}
	}
}

func ptr(n int) *int { return &n }

// world stands for what runs: each step, wanted instances that were starting have settled, or are unhealthy.
type world struct {
	webs   []*Web
	broken map[string]bool
}

func (w *world) settle() {
	for _, p := range w.webs {
		p.Settled, p.Starting, p.Unhealthy = min(p.Settled+p.Starting, p.Wanted), 0, 0
		switch rest := p.Wanted - p.Settled; {
		case w.broken[p.GUID]:
			p.Settled, p.Unhealthy = 0, p.Wanted
		default:
			p.Starting = rest
		}
	}
}

func (w *world) apply(d *app.Deployment, p Plan) {
	for _, web := range w.webs {
		if n, ok := p.Scale[web.GUID]; ok {
			web.Wanted = n
			web.Settled = min(web.Settled, n)
		}
	}
	w.webs = slices.DeleteFunc(w.webs, func(web *Web) bool { return slices.Contains(p.Destroy, web.GUID) })
	if p.State != "" {
		d.Turn(p.State)
	}
}

// run plans until a step plans nothing twice. It checks after each step that enough answer, and how many new ones start.
func (w *world) run(t *testing.T, d *app.Deployment, least int) {
	t.Helper()
	steps := 0
	for quiet := 0; quiet < 3 && d.Value != "FINALIZED" && d.State != app.Paused; steps++ {
		if steps > 200 {
			t.Fatal("it does not end")
		}
		p := Next(d, w.webs)
		if again := Next(d, w.webs); fmt.Sprint(again) != fmt.Sprint(p) {
			t.Fatalf("the same rows, another plan: %v %v", p, again)
		}
		if quiet++; !p.Empty() {
			quiet = 0
		}
		w.apply(d, p)
		answer := 0
		for _, web := range w.webs {
			if answer += web.Settled; web.GUID == d.Process && web.Wanted-web.Settled > d.Options.V.MaxInFlight {
				t.Fatalf("%d of %d new instances are on their way, max_in_flight is %d", web.Wanted-web.Settled, web.Wanted, d.Options.V.MaxInFlight)
			}
		}
		if answer < least {
			t.Fatalf("step %d: only %d instances answer, want %d: %+v", steps, answer, least, p)
		}
		w.settle()
	}
}

func deployment(strategy string, original, most int) *app.Deployment {
	d := &app.Deployment{Strategy: strategy, Original: original, Process: "new", Step: 1}
	d.Options.V.MaxInFlight = most
	if d.Turn(app.Deploying); strategy == app.Canary {
		d.Turn(app.Prepaused)
	}
	return d
}

func (w *world) begin(d *app.Deployment) {
	w.webs = append(w.webs, &Web{GUID: d.Process, Wanted: First(d), Starting: First(d)})
}

func (w *world) text() (s string) {
	for _, web := range w.webs {
		s += fmt.Sprintf("%s x%d ", web.GUID, web.Wanted)
	}
	return s
}

// TestRolling: whatever the sizes, as many answer as before at each step, and in the end only the new ones are left.
func TestRolling(t *testing.T) {
	for original := 1; original <= 5; original++ {
		for most := 1; most <= 6; most++ {
			for goal := 0; goal <= 6; goal++ {
				d := deployment(app.Rolling, original, most)
				d.Options.V.Instances = ptr(goal)
				w := &world{webs: []*Web{{GUID: "old", Wanted: original, Settled: original}}}
				w.begin(d)
				w.run(t, d, min(original, goal))
				if want := fmt.Sprintf("new x%d ", goal); w.text() != want || d.State != app.Deployed {
					t.Errorf("%d to %d by %d: %s%s", original, goal, most, w.text(), d.State)
				}
			}
		}
	}
}

// TestUnhealthy: a new process that does not come up is not scaled, nothing old goes, and cancelling brings all back.
func TestUnhealthy(t *testing.T) {
	d := deployment(app.Rolling, 3, 2)
	w := &world{webs: []*Web{{GUID: "old", Wanted: 3, Settled: 3}}, broken: map[string]bool{"new": true}}
	w.begin(d)
	w.run(t, d, 3)
	if d.State != app.Deploying || w.text() != "old x3 new x2 " {
		t.Errorf("%s%s", w.text(), d.State)
	}
	d.Turn(app.Canceling)
	w.run(t, d, 3)
	if d.State != app.Canceled || w.text() != "old x3 " {
		t.Errorf("after cancelling: %s%s", w.text(), d.State)
	}
}

// TestCancelLate: what was rolled away comes back before what came goes.
func TestCancelLate(t *testing.T) {
	for settled := 0; settled <= 4; settled++ {
		d := deployment(app.Rolling, 4, 1)
		w := &world{webs: []*Web{{GUID: "old", Wanted: 4 - settled, Settled: 4 - settled}, {GUID: "new", Wanted: settled, Settled: settled}}}
		d.Turn(app.Canceling)
		w.run(t, d, 4)
		if d.State != app.Canceled || w.text() != "old x4 " {
			t.Errorf("with %d new ones: %s%s", settled, w.text(), d.State)
		}
	}
	// neither works: the old one is what its owner asked for
	d := deployment(app.Rolling, 2, 1)
	w := &world{webs: []*Web{{GUID: "old", Wanted: 2, Unhealthy: 2}, {GUID: "new", Wanted: 1, Settled: 1}}, broken: map[string]bool{"old": true}}
	d.Turn(app.Canceling)
	w.run(t, d, 0)
	if d.State != app.Canceled || w.text() != "old x2 " {
		t.Errorf("with old ones that crash: %s%s", w.text(), d.State)
	}
}

// TestCanary pauses at each step with both sides answering, and goes through when continued.
func TestCanary(t *testing.T) {
	d := deployment(app.Canary, 4, 1)
	d.Options.V.Canary = &app.CanaryOption{Steps: []app.CanaryStep{{Weight: 25}, {Weight: 50}, {Weight: 75}}}
	w := &world{webs: []*Web{{GUID: "old", Wanted: 4, Settled: 4}}}
	w.begin(d)
	for i, want := range []string{"old x4 new x1 ", "old x3 new x2 ", "old x2 new x3 "} {
		w.run(t, d, 4)
		if d.State != app.Paused || w.text() != want {
			t.Errorf("step %d: %s%s", i+1, w.text(), d.State)
		}
		d.Step++
		d.Turn(app.Prepaused)
	}
	d.Turn(app.Deploying)
	w.run(t, d, 4)
	if d.State != app.Deployed || w.text() != "new x4 " {
		t.Errorf("%s%s", w.text(), d.State)
	}
}

// TestSupersede: what was dropped goes first, and never as the last that answers; what was kept is the way back.
func TestSupersede(t *testing.T) {
	d := deployment(app.Rolling, 4, 1)
	w := &world{webs: []*Web{{GUID: "old", Wanted: 2, Settled: 2}, {GUID: "dropped", Wanted: 3, Settled: 3, Dropped: true}}}
	w.begin(d)
	w.apply(d, Next(d, w.webs))
	if w.text() != "old x2 new x1 " {
		t.Errorf("a dropped canary: %s", w.text())
	}
	d = deployment(app.Rolling, 4, 1)
	w = &world{webs: []*Web{{GUID: "old"}, {GUID: "dropped", Wanted: 4, Settled: 4, Dropped: true}}}
	w.begin(d)
	w.run(t, d, 4)
	if w.text() != "new x4 " {
		t.Errorf("a dropped canary that served alone: %s", w.text())
	}
	d = deployment(app.Rolling, 4, 1)
	w = &world{webs: []*Web{{GUID: "old", Wanted: 2, Settled: 2}, {GUID: "kept", Wanted: 2, Settled: 2, Kept: true}, {GUID: "new", Wanted: 1, Settled: 1}}}
	d.Turn(app.Canceling)
	w.run(t, d, 4)
	if w.text() != "kept x4 " {
		t.Errorf("a deployment that was superseded on its way: %s", w.text())
	}
}

func TestCount(t *testing.T) {
	now := time.Now()
	at := func(lrp cf.ProcessID, i int, s cf.LRPState, routable bool, age time.Duration, placement string) cf.ActualLRP {
		return cf.ActualLRP{LRP: lrp, Index: i, State: s, Routable: routable, Since: now.Add(-age), Placement: placement}
	}
	w := &Web{Wanted: 7}
	w.Count("p", []cf.ActualLRP{
		at("p", 0, cf.LRPRunning, true, Settle, ""),
		at("p", 1, cf.LRPRunning, true, Settle-time.Millisecond, ""),
		at("p", 2, cf.LRPRunning, false, time.Hour, ""),
		at("p", 3, cf.LRPClaimed, false, 0, ""),
		at("p", 4, cf.LRPUnclaimed, false, 0, "insufficient resources"),
		at("p", 5, cf.LRPCrashed, false, 0, ""),
		at("p", 7, cf.LRPRunning, true, time.Hour, ""), // not wanted any more
		at("q", 0, cf.LRPRunning, true, time.Hour, ""),
	}, now)
	if w.Settled != 1 || w.Starting != 3 || w.Unhealthy != 2 {
		t.Errorf("%+v", w)
	}
}

func TestNews(t *testing.T) {
	for name, c := range map[string]struct {
		most int // of 3 in flight
		age  time.Duration
		then func(d *app.Deployment)
		want bool
	}{
		"begins in steps":   {1, 0, nil, true},
		"begins in one":     {3, 0, nil, false},
		"is on its way":     {1, 2 * time.Second, nil, false},
		"waits":             {1, time.Hour, func(d *app.Deployment) { d.Error = "no room" }, true},
		"goes on":           {1, time.Hour, func(d *app.Deployment) { d.Healthy = sql.Now() }, false},
		"is through":        {1, time.Hour, func(d *app.Deployment) { d.Turn(app.Deployed) }, true},
		"is at a step":      {3, 0, func(d *app.Deployment) { d.Turn(app.Paused) }, true},
		"is cancelled":      {1, time.Hour, func(d *app.Deployment) { d.Turn(app.Canceling) }, true},
		"makes way":         {1, time.Hour, func(d *app.Deployment) { d.Supersede() }, true},
		"begins, is waited": {1, 0, func(d *app.Deployment) {}, false},
	} {
		first := deployment(app.Rolling, 3, c.most)
		first.Turn(app.Deploying)
		first.Changed = sql.At(time.Now().Add(-c.age))
		d := first
		if c.then != nil {
			later := *first
			c.then(&later)
			d = &later
		}
		if got := News(first, d); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
		if d.Value != app.Active || d.State == app.Paused {
			if !News(d, d) {
				t.Errorf("%s: another look waits", name)
			}
		}
	}
}

// TestBody: the words are those of Cloud Controller's DeploymentCreateMessage.
func TestBody(t *testing.T) {
	for body, want := range map[string]string{
		`{"strategy":"blue"}`:                              "Strategy 'blue' is not a supported deployment strategy",
		`{"droplet":{"guid":"a"},"revision":{"guid":"b"}}`: "Droplet Cannot set both fields 'droplet' and 'revision'",
		`{"options":3}`:                                    "Options must be an object",
		`{"options":{"b":1,"a":2}}`:                        "Options has unsupported key(s): a, b",
		`{"options":{"max_in_flight":0}}`:                  "Max in flight must be an integer greater than 0",
		`{"options":{"web_instances":-1,"memory_in_mb":0,"disk_in_mb":"x","log_rate_limit_in_bytes_per_second":-2}}`: "Web instances must be greater than or equal to 0, " +
			"Memory in mb must be greater than 0, Disk in mb is not a number, Log rate limit in bytes per second must be greater than or equal to -1",
		`{"options":{"canary":{"steps":[]}}}`:                                                                "Options canary are only valid for Canary deployments",
		`{"strategy":"canary","options":{"canary":1}}`:                                                       "Options canary must be an object",
		`{"strategy":"canary","options":{"canary":{"steps":1}}}`:                                             "Options canary steps must be an array of objects",
		`{"strategy":"canary","options":{"canary":{"steps":[{"x":1,"instance_weight":1}]}}}`:                 "Options canary steps has unsupported key(s): x",
		`{"strategy":"canary","options":{"canary":{"steps":[{"instance_weight":0}]}}}`:                       "Options canary steps instance weight must be an Integer between 1-100 (inclusive)",
		`{"strategy":"canary","options":{"canary":{"steps":[{"instance_weight":9},{"instance_weight":8}]}}}`: "Options canary steps instance weight must be sorted in ascending order",
		`{"foo":1}`: "Unknown field(s): 'foo'",
	} {
		err := rest.TakeFrom([]byte(body), new(Body))
		var e *cf.Error
		if !errors.As(err, &e) || e.Public != want {
			t.Errorf("%s\n got: %v\nwant: %s", body, err, want)
		}
	}
	b := new(Body)
	err := rest.TakeFrom([]byte(`{"strategy":"canary","droplet":{"guid":"d"},"relationships":{"app":{"data":{"guid":"a"}}},
		"options":{"max_in_flight":2,"web_instances":0,"canary":{"steps":[{"instance_weight":1},{"instance_weight":100}]}}}`), b)
	if err != nil || b.App != "a" || b.Droplet != "d" || b.Options.MaxInFlight != 2 || *b.Options.Instances != 0 || b.Options.Steps() != 2 {
		t.Errorf("%+v %v", b, err)
	}
}
