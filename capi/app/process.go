package app

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/row"
)

// Web is the process type that every app has.
const Web = "web"

// hiddenInLists stands for commands in lists.
const hiddenInLists = "[PRIVATE DATA HIDDEN IN LISTS]"

func (f *Family) processes() *rest.Resource[Process] {
	return &rest.Resource[Process]{
		Kind: "process", Path: "/v3/processes", Visible: access.InSpaces("space_guid"),
		Filters: []rest.Filter{
			{Param: "types", Where: "type IN (?)"},
			{Param: "space_guids", Where: "space_guid IN (?)"},
			{Param: "organization_guids", Where: "space_guid IN (SELECT guid FROM rest_spaces WHERE org_guid IN (?))"},
			{Param: "app_guids", Where: "app_guid IN (?)"},
			{Param: "embed", Shown: true, Check: rest.OneOf("embed", "process_instances"),
				By: func(_ *rest.Call, q *bun.SelectQuery, _ []string) (*bun.SelectQuery, error) { return q, nil }},
		},
		Subs: []rest.Sub{{Path: "/v3/apps/{guid}/processes", Parent: "app", Where: "app_guid = ?"}},
		Fill: f.fill, View: processView, Update: f.updateProcess,
	}
}

func (f *Family) processRoutes() []rest.Route {
	const one, ofApp = "/v3/processes/{guid}", "/v3/apps/{guid}/processes/{type}"
	var out []rest.Route
	both := func(method, below string, h func(c *rest.Call, p *Process) error) {
		run := func(c *rest.Call) error {
			p, err := f.process(c)
			if err != nil {
				return err
			}
			return h(c, p)
		}
		out = append(out, rest.Route{Pattern: method + " " + ofApp + below, Handle: run})
		if below != "" { // the engine serves the process itself
			out = append(out, rest.Route{Pattern: method + " " + one + below, Handle: run})
		}
	}
	both("GET", "", func(c *rest.Call, p *Process) error { return f.Processes.Show(c, http.StatusOK, p) })
	both("PATCH", "", func(c *rest.Call, p *Process) error {
		if err := f.updateProcess(c, p); err != nil {
			return err
		}
		return f.Processes.Show(c, http.StatusOK, p)
	})
	both("POST", "/actions/scale", f.scale)
	both("GET", "/stats", f.stats)
	both("DELETE", "/instances/{index}", f.terminate)
	return append(out, rest.Route{Pattern: "GET " + one + "/process_instances", Handle: f.instances})
}

// process finds the process of a request: by its own guid, or by its app and type; then the newest, which a deployment
// made.
func (f *Family) process(c *rest.Call) (*Process, error) {
	kind := c.Arg("type")
	if kind == "" {
		return f.Processes.Find(c, c.Arg("guid"))
	}
	a, err := f.Apps.Find(c, c.Arg("guid"))
	if err != nil {
		return nil, err
	}
	return f.Processes.FindWhere(c, "id = (SELECT MAX(id) FROM app_processes WHERE app_guid = ? AND type = ?)", a.GUID, kind)
}

// fill hides commands where CF does, and embeds instances if asked.
func (f *Family) fill(c *rest.Call, ps []*Process) error {
	list := strings.HasSuffix(c.R.Pattern, "/processes")
	for _, p := range ps {
		p.shown = p.Command
		if p.shown == "" {
			p.shown = p.Detected
		}
		if list && p.shown != "" {
			p.shown = hiddenInLists
		}
	}
	if !list && c.R.Method == http.MethodGet {
		ok, err := c.ReadsSecrets(ps[0].SpaceGUID, access.SecretReaders...)
		if err != nil {
			return err
		}
		if !ok && ps[0].shown != "" {
			ps[0].shown = Hidden
		}
	}
	if c.R.URL.Query().Get("embed") == "process_instances" {
		return f.embed(c.Ctx(), ps)
	}
	return nil
}

func processView(c *rest.Call, p *Process) rest.Object {
	link := func(what string) rest.Object { return c.Link("/v3/processes/%s/"+what, p.GUID) }
	o := rest.Object{
		"version": p.Version, "type": p.Type, "command": orNil(p.shown), "user": p.User, "instances": p.Instances,
		"memory_in_mb": p.MemoryMB, "disk_in_mb": p.DiskMB, "log_rate_limit_in_bytes_per_second": p.LogRate,
		"health_check":           checkView(p.HealthType, p.HealthEndpoint, p.HealthInvocation, p.HealthInterval),
		"readiness_health_check": checkView(p.ReadinessType, p.ReadinessEndpoint, p.ReadinessInvocation, p.ReadinessInterval),
		"relationships":          rest.Object{"app": rest.ToOne(p.AppGUID), "revision": nil},
		"links": rest.Object{
			"scale": c.Action("/v3/processes/%s/actions/scale", p.GUID), "app": c.Link("/v3/apps/%s", p.AppGUID),
			"space": c.Link("/v3/spaces/%s", p.SpaceGUID), "stats": link("stats"), "process_instances": link("process_instances"),
		},
	}
	o["health_check"].(rest.Object)["data"].(rest.Object)["timeout"] = orNil(p.HealthTimeout)
	if p.Revision != "" {
		o["relationships"].(rest.Object)["revision"] = rest.ToOne(p.Revision)
	}
	if p.embedded != nil {
		o["process_instances"] = p.embedded
	}
	return o
}

func checkView(kind, endpoint string, invocation, interval int) rest.Object {
	data := rest.Object{"invocation_timeout": orNil(invocation), "interval": orNil(interval)}
	if kind == "http" {
		data["endpoint"] = endpoint
	}
	return rest.Object{"type": kind, "data": data}
}

func orNil[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

// AddProcess makes a process of the app with CF's defaults, and its event.
func AddProcess(ctx context.Context, tx bun.Tx, a *App, kind string) (*Process, error) {
	p := &Process{AppGUID: a.GUID, SpaceGUID: a.SpaceGUID, Type: kind, Version: cf.NewGUID(), User: "vcap",
		MemoryMB: DefaultMemoryMB, DiskMB: DefaultDiskMB, LogRate: -1, HealthType: "process", ReadinessType: "process"}
	if kind == Web {
		p.GUID, p.Instances, p.HealthType = a.GUID, 1, "port"
	}
	if err := row.Insert(ctx, tx, p); err != nil {
		return nil, err
	}
	return p, Record(ctx, tx, "audit.app.process.create", a, map[string]any{"process_guid": p.GUID, "process_type": kind})
}

// ProcessesOf reads the processes of an app, oldest first.
func ProcessesOf(ctx context.Context, db bun.IDB, app string) ([]*Process, error) {
	var ps []*Process
	err := db.NewSelect().Model(&ps).Where("app_guid = ?", app).OrderExpr("id").Scan(ctx)
	return ps, err
}

// TakeTypes gives the app a process for each of its droplet's types of process, by command, and each process the droplet's command.
func TakeTypes(ctx context.Context, tx bun.Tx, a *App, types map[string]string) error {
	ps, err := ProcessesOf(ctx, tx, a.GUID)
	if err != nil {
		return err
	}
	for _, kind := range slices.Sorted(maps.Keys(types)) {
		if !slices.ContainsFunc(ps, func(p *Process) bool { return p.Type == kind }) {
			p, err := AddProcess(ctx, tx, a, kind)
			if err != nil {
				return err
			}
			ps = append(ps, p)
		}
	}
	for _, p := range ps {
		if command := types[p.Type]; p.Detected != command {
			p.Detected = command
			if err := row.Update(ctx, tx, p); err != nil {
				return err
			}
		}
	}
	return nil
}
