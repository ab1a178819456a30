package flow

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"

	"github.com/uptrace/bun"

	"ingot/capi/app"
	"ingot/capi/build"
	"ingot/capi/flow/manifest"
	"ingot/capi/flow/recipe"
	"ingot/capi/route"
	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/row"
)

// apply brings an app to what a manifest says of it, in CF's order and in one commit: features, processes, the app
// itself, routes, environment, services.
func (f *Flow) apply(ctx context.Context, guid string, m manifest.App) error {
	a := new(app.App)
	a.GUID = guid
	err := f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := row.Lock(ctx, f.DB, tx, a); err != nil {
			if errors.Is(err, sql.ErrNoRows) {
				return cf.Errorf(cf.KindNotFound, "ResourceNotFound", "App with guid '%s' not found", guid)
			}
			return err
		}
		if err := f.applyProcesses(ctx, tx, a, m.Processes); err != nil {
			return err
		}
		if err := f.applyApp(ctx, tx, a, m); err != nil {
			return err
		}
		if err := f.applyRoutes(ctx, tx, a, m); err != nil {
			return err
		}
		for _, s := range m.Services { // no service instance exists yet, of whatever name
			return cf.Errorf(cf.KindNotFound, "ResourceNotFound", "Service instance '%s' not found", s.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	f.changed(ctx, guid)
	return nil
}

// triggered marks events of manifests.
func triggered(data map[string]any) map[string]any {
	data["manifest_triggered"] = true
	return data
}

func (f *Flow) applyProcesses(ctx context.Context, tx bun.Tx, a *app.App, want []manifest.Process) error {
	ps, err := app.ProcessesOf(ctx, tx, a.GUID)
	if err != nil {
		return err
	}
	byType := map[string]*app.Process{}
	for _, p := range ps {
		byType[p.Type] = p
	}
	for _, w := range want {
		p := byType[w.Type]
		if p == nil {
			if p, err = app.AddProcess(ctx, tx, a, w.Type); err != nil {
				return err
			}
			if p.Detected, err = detected(ctx, tx, a, w.Type); err != nil {
				return err
			}
		}
		before, sized := *p, *p
		app.Change{Instances: w.Instances, MemoryMB: w.MemoryMB, DiskMB: w.DiskMB, LogRate: w.LogRate}.Apply(&sized)
		change(w).Apply(p)
		if reflect.DeepEqual(*p, before) {
			continue
		}
		told := map[string]bool{"scale": !reflect.DeepEqual(sized, before), "update": !reflect.DeepEqual(sized, *p)}
		what := "scale"
		if told["update"] {
			what = "update"
		}
		if err := app.Settled(ctx, tx, p, what); err != nil {
			return err
		}
		if err := row.Update(ctx, tx, p); err != nil {
			return err
		}
		for _, what := range []string{"update", "scale"} {
			if !told[what] {
				continue
			}
			if err := f.App.RecordProcess(ctx, tx, what, p, triggered(map[string]any{})); err != nil {
				return err
			}
		}
	}
	return nil
}

// detected is the command of the app's droplet for a type of process.
func detected(ctx context.Context, tx bun.Tx, a *app.App, kind string) (string, error) {
	d, err := build.DropletByGUID(ctx, tx, a.Droplet)
	if err != nil || d == nil {
		return "", err
	}
	return d.ProcessTypes.V[kind], nil
}

// change says in app's words what a manifest wants of a process.
func change(w manifest.Process) app.Change {
	check := func(k manifest.Check) app.CheckChange {
		return app.CheckChange{Type: k.Type, Endpoint: k.Endpoint, Timeout: k.Timeout, Invocation: k.Invocation, Interval: k.Interval}
	}
	return app.Change{Command: w.Command, User: w.User, Instances: w.Instances, MemoryMB: w.MemoryMB, DiskMB: w.DiskMB,
		LogRate: w.LogRate, Health: check(w.Health), Readiness: check(w.Readiness)}
}

func (f *Flow) applyApp(ctx context.Context, tx bun.Tx, a *app.App, m manifest.App) error {
	for _, s := range app.Features {
		if on, ok := m.Features[s.Name]; ok {
			*s.Of(a) = on
		}
	}
	if m.Buildpacks != nil {
		a.Buildpacks.V = *m.Buildpacks
	}
	if m.Stack != nil {
		a.Stack = *m.Stack
	}
	if err := (row.Patch{Labels: m.Labels, Annotations: m.Annotations}).Apply(a.Meta()); err != nil {
		return err
	}
	env := map[string]string{}
	for k, v := range a.Env.V {
		env[k] = v
	}
	app.Merge(env, m.Env)
	a.Env.V = env
	if err := row.Update(ctx, tx, a); err != nil {
		return err
	}
	return app.Record(ctx, tx, "audit.app.update", a, triggered(map[string]any{"request": map[string]any{"manifest": m.Name}}))
}

var plainHost = regexp.MustCompile(`^[\w-]+$`)

func (f *Flow) applyRoutes(ctx context.Context, tx bun.Tx, a *app.App, m manifest.App) error {
	if m.NoRoute {
		return f.Route.Unmap(ctx, tx, a.GUID)
	}
	if m.HasRoutes {
		for _, r := range m.Routes {
			if err := f.applyRoute(ctx, tx, a, r); err != nil {
				return inRoute(r.Text, err)
			}
		}
		return nil
	}
	if !m.RandomRoute && !m.DefaultRoute {
		return nil
	}
	if has, err := tx.NewSelect().Model((*route.Destination)(nil)).Where("app_guid = ?", a.GUID).Exists(ctx); err != nil || has {
		return err
	}
	host := a.Name
	if m.RandomRoute {
		host = recipe.RandomHost(a.Name)
	}
	const prefix = "Failed to create default route from app name: "
	switch {
	case len(host) > 63:
		return rest.Unprocessable(prefix + "Host cannot exceed 63 characters")
	case !plainHost.MatchString(host):
		return rest.Unprocessable(prefix + `Host must be either "*" or contain only alphanumeric characters, "_", or "-"`)
	}
	s, err := access.SpaceByGUID(ctx, tx, a.SpaceGUID)
	if err != nil {
		return err
	}
	d, err := route.Default(ctx, tx, s.OrgGUID)
	if err != nil {
		return err
	}
	if d == nil {
		return rest.Unprocessable("No default domains available")
	}
	return inRoute(host+"."+d.Name, f.applyRoute(ctx, tx, a, manifest.Route{Text: host + "." + d.Name, Host: host + "." + d.Name}))
}

// inRoute says of which route an error speaks.
func inRoute(text string, err error) error {
	var e *cf.Error
	if !errors.As(err, &e) || e.Kind != cf.KindUnprocessable {
		return err
	}
	return rest.Unprocessable("For route '%s': %s", text, e.Public)
}

// applyRoute finds or makes one route, and maps it to the web process unless it goes to the app already.
func (f *Flow) applyRoute(ctx context.Context, tx bun.Tx, a *app.App, want manifest.Route) error {
	r, err := f.routeFor(ctx, tx, a, want)
	if err != nil {
		return err
	}
	if r == nil {
		return cf.Errorf(cf.KindNotFound, "UnprocessableEntity", "No domains exist for route %s", want.Text)
	}
	has := new(route.Destination)
	err = tx.NewSelect().Model(has).Where("route_guid = ? AND app_guid = ?", r.GUID, a.GUID).OrderExpr("id").Limit(1).Scan(ctx)
	protocol := want.Protocol
	if err == nil && (protocol == "" || protocol == has.Protocol) {
		return nil
	}
	replace := err == nil // another protocol
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if protocol == "" {
		protocol = "http1"
	}
	to := &route.Destination{AppGUID: a.GUID, Process: app.Web, Port: recipe.DefaultPort, Protocol: protocol}
	_, err = f.Route.Map(ctx, tx, r, []*route.Destination{to}, replace)
	return err
}

// routeFor is the route that a manifest means; nil when no domain fits.
func (f *Flow) routeFor(ctx context.Context, tx bun.Tx, a *app.App, want manifest.Route) (*route.Route, error) {
	for _, pair := range want.Candidates() {
		d := new(route.Domain)
		err := tx.NewSelect().Model(d).Where("name = ?", pair[1]).Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, err
		}
		r := new(route.Route)
		err = tx.NewSelect().Model(r).Where("domain_guid = ? AND host_key = ? AND path = ? AND port = ?",
			d.GUID, access.Fold(pair[0]), want.Path, want.Port).Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			made := &route.Route{Host: pair[0], Path: want.Path, DomainGUID: d.GUID, SpaceGUID: a.SpaceGUID}
			return made, f.makeRoute(ctx, tx, made, want)
		}
		if err != nil {
			return nil, err
		}
		if r.SpaceGUID != a.SpaceGUID {
			return nil, rest.Unprocessable("Routes cannot be mapped to destinations in different spaces")
		}
		if len(want.Options) > 0 {
			r.Options.V = options(r.Options.V, want.Options)
			err = row.Update(ctx, tx, r)
		}
		return r, err
	}
	return nil, nil
}

func (f *Flow) makeRoute(ctx context.Context, tx bun.Tx, r *route.Route, want manifest.Route) error {
	if err := access.Enabled(ctx, tx, "route_creation"); err != nil {
		return err
	}
	if want.Port != 0 {
		return rest.Unprocessable("Routes with protocol 'http' do not support ports.")
	}
	r.Options.V = options(nil, want.Options)
	data := map[string]any{"request": map[string]any{"host": r.Host, "path": r.Path}}
	return f.Route.Insert(ctx, tx, r, triggered(data))
}

// options merges the options that a manifest gives a route; null removes one.
func options(has map[string]string, want map[string]any) map[string]string {
	out := map[string]string{}
	for k, v := range has {
		out[k] = v
	}
	for k, v := range want {
		if delete(out, k); v != nil {
			out[k] = fmt.Sprint(v)
		}
	}
	return out
}
