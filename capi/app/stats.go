package app

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
)

// LRP names what the scheduler runs for this version of the process.
func (p *Process) LRP() cf.ProcessID { return cf.ProcessID(p.GUID + "-" + p.Version) }

// states of an instance to the API. RUNNING means that requests reach it.
const (
	stateRunning  = "RUNNING"
	stateStarting = "STARTING"
	stateCrashed  = "CRASHED"
	stateDown     = "DOWN"
)

// instanceState says how an instance stands. One that is up but that the router does not know yet is STARTING; one
// that its readiness check took off the router is RUNNING and not routable.
func instanceState(a *cf.ActualLRP) string {
	switch {
	case a == nil:
		return stateDown
	case a.State == cf.LRPCrashed:
		return stateCrashed
	case a.Placement != "":
		return stateDown
	case a.State == cf.LRPRunning && (a.Routable || !a.Ready):
		return stateRunning
	}
	return stateStarting
}

// actual gives an entry for each desired instance of the process; nil where there is none.
func actual(p *Process, all []cf.ActualLRP) []*cf.ActualLRP {
	out := make([]*cf.ActualLRP, p.Instances)
	for i := range all {
		if a := &all[i]; a.LRP == p.LRP() && a.Index >= 0 && a.Index < len(out) {
			out[a.Index] = a
		}
	}
	return out
}

// hold is how long the statistics of a process that was just started wait for its first instance. Clients ask again
// only after seconds, so an answer that comes as soon as there is news is what makes a start look as fast as it is.
const (
	hold  = 5 * time.Second
	fresh = time.Minute
)

func (f *Family) stats(c *rest.Call, p *Process) error {
	ctx := c.Ctx()
	tick, end := time.NewTicker(25*time.Millisecond), time.After(hold)
	defer tick.Stop()
	var instances []*cf.ActualLRP
wait:
	for first := true; ; first = false {
		all, err := f.Scheduler.Instances(ctx, cf.AppID(p.AppGUID))
		if err != nil {
			return unavailable(err)
		}
		if instances = actual(p, all); !onlyStarting(instances) {
			break
		}
		if first {
			may, err := justStarted(ctx, c.DB(), p.AppGUID)
			if err != nil {
				return err
			}
			if !may {
				break
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end:
			break wait
		case <-tick.C:
		}
	}
	var use map[cf.InstanceID]cf.InstanceStats
	if slices.ContainsFunc(instances, func(a *cf.ActualLRP) bool { return a != nil }) {
		var err error
		if use, err = f.Scheduler.Stats(ctx, cf.AppID(p.AppGUID)); err != nil {
			return unavailable(err)
		}
	}
	out := []rest.Object{}
	for i, a := range instances {
		out = append(out, statView(p, i, a, use))
	}
	return c.JSON(http.StatusOK, rest.Object{"resources": out})
}

// justStarted tells whether an app is to run and was changed a moment ago.
func justStarted(ctx context.Context, db bun.IDB, app string) (bool, error) {
	a := new(App)
	err := db.NewSelect().Model(a).Column("state", "updated_at").Where("guid = ?", app).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return false, rest.NotFound("process") // it is being deleted, and its processes with it
	}
	return a.State == Started && time.Since(a.UpdatedAt.Time()) < fresh, err
}

func unavailable(err error) error {
	return cf.Wrap(cf.KindUnavailable, "StatsUnavailable", "Stats server temporarily unavailable.", err)
}

// onlyStarting tells whether there is nothing to tell yet: no instance runs, crashed or cannot be placed.
func onlyStarting(instances []*cf.ActualLRP) bool {
	return len(instances) > 0 && !slices.ContainsFunc(instances, func(a *cf.ActualLRP) bool { return a != nil && instanceState(a) != stateStarting })
}

func statView(p *Process, index int, a *cf.ActualLRP, use map[cf.InstanceID]cf.InstanceStats) rest.Object {
	state := instanceState(a)
	o := rest.Object{"type": p.Type, "index": index, "state": state, "routable": nil, "uptime": 0, "isolation_segment": nil, "details": nil}
	if a != nil && a.Placement != "" {
		o["details"] = a.Placement
	}
	if state == stateDown {
		return o
	}
	ports := []rest.Object{}
	for _, m := range a.Ports {
		ports = append(ports, rest.Object{"external": orNil(m.Host), "internal": m.Container,
			"external_tls_proxy_port": nil, "internal_tls_proxy_port": nil})
	}
	if a.State == cf.LRPRunning {
		o["routable"] = a.Routable
	}
	o["instance_guid"], o["host"], o["instance_internal_ip"], o["instance_ports"] = a.Instance, a.Host, a.Address, ports
	o["uptime"] = max(0, int(time.Since(a.Since).Seconds()))
	o["mem_quota"], o["disk_quota"] = int64(p.MemoryMB)<<20, int64(p.DiskMB)<<20
	o["log_rate_limit"], o["fds_quota"] = p.LogRate, FileDescriptors
	usage := rest.Object{}
	if u, ok := use[a.Instance]; ok {
		usage = rest.Object{"time": u.At.UTC().Format(time.RFC3339), "cpu": u.CPU, "cpu_entitlement": u.CPUEntitlement,
			"mem": u.MemoryBytes, "disk": u.DiskBytes, "log_rate": u.LogRate}
	}
	o["usage"] = usage
	return o
}

// brief gives index, state and seconds since that state for each desired instance.
func brief(p *Process, all []cf.ActualLRP) []rest.Object {
	out := []rest.Object{}
	for i, a := range actual(p, all) {
		since := p.UpdatedAt.Time()
		if a != nil {
			since = a.Since
		}
		out = append(out, rest.Object{"index": i, "state": instanceState(a), "since": max(1, int(time.Since(since).Seconds()))})
	}
	return out
}

// embed reads the instances of several processes at once.
func (f *Family) embed(ctx context.Context, ps []*Process) error {
	var apps []cf.AppID
	for _, p := range ps {
		apps = append(apps, cf.AppID(p.AppGUID))
	}
	all, err := f.Scheduler.Instances(ctx, apps...)
	if err != nil {
		return unavailable(err)
	}
	for _, p := range ps {
		p.embedded = brief(p, all)
	}
	return nil
}

func (f *Family) instances(c *rest.Call) error {
	p, err := f.process(c)
	if err != nil {
		return err
	}
	if err := f.embed(c.Ctx(), []*Process{p}); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, rest.Object{"resources": p.embedded, "links": rest.Object{
		"self": c.Link("/v3/processes/%s/process_instances", p.GUID), "process": c.Link("/v3/processes/%s", p.GUID),
	}})
}

func (f *Family) terminate(c *rest.Call, p *Process) error {
	if err := c.MayWriteSpace(p.SpaceGUID, access.AppManagers...); err != nil {
		return err
	}
	index, err := strconv.Atoi(c.Arg("index"))
	if err != nil || index < 0 || index >= p.Instances {
		return rest.NotFound("instance")
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		return f.RecordProcess(ctx, tx, "terminate_instance", p, map[string]any{"process_index": index})
	})
	if err != nil {
		return err
	}
	f.Say(p.AppGUID, "Terminating process: %q, index: \"%d\"", p.Type, index)
	if err := f.Scheduler.StopInstance(c.Ctx(), p.LRP(), index); err != nil {
		return cf.Wrap(cf.KindUnavailable, "RunnerUnavailable", "Unable to stop the instance", err)
	}
	return c.NoContent()
}
