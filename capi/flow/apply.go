package flow

import (
	"cmp"
	"context"
	"errors"
	"reflect"
	"regexp"

	"github.com/uptrace/bun"

	"ingot/capi/app"
	"ingot/capi/build"
	"ingot/capi/flow/manifest"
	"ingot/capi/flow/recipe"
	"ingot/capi/flow/used"
	"ingot/capi/route"
	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/fault"
	"ingot/rest/quota"
	"ingot/rest/row"
)

// apply brings an app to what a manifest says of it, in CF's order and in one commit: features, processes, the app
// itself, routes, environment. Before that it is bound to its services, each in a commit of their room: what they refuse
// leaves the app as it is.
func (f *Flow) apply(ctx context.Context, guid string, m manifest.App) error {
	if err := f.bind(ctx, guid, m.Services); err != nil {
		return err
	}
	a := new(app.App)
	a.GUID = guid
	var touched []string
	err := f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		h, err := f.holdApp(ctx, tx, a)
		if err != nil {
			return err
		}
		if err := f.applyProcesses(ctx, tx, h, a, m.Processes); err != nil {
			return err
		}
		for _, w := range m.Sidecars {
			if err := app.PutBeside(ctx, tx, a, app.Beside{Name: w.Name, Command: w.Command, MemoryMB: w.MemoryMB, Types: w.Types}); err != nil {
				return err
			}
		}
		if err := f.applyApp(ctx, tx, a, m); err != nil {
			return err
		}
		if touched, err = f.applyRoutes(ctx, tx, a, m); err != nil {
			return err
		}
		return used.App(ctx, tx, a)
	})
	if err != nil {
		return err
	}
	for _, other := range append(touched, guid) {
		f.changed(ctx, other)
	}
	return nil
}

func (f *Flow) bind(ctx context.Context, guid string, services []manifest.Service) error {
	for _, s := range services {
		if err := f.Bindings.Bind(ctx, cf.AppID(guid), s.Name, s.BindingName); err != nil {
			return within("service", s.Name, err)
		}
	}
	return nil
}

// holdApp holds an app, of which the guid is known, and before it its organization and space.
func (f *Flow) holdApp(ctx context.Context, tx bun.Tx, a *app.App) (*quota.Held, error) {
	was, err := app.ByGUID(ctx, tx, a.GUID) // its space is always the same
	var h *quota.Held
	if err == nil {
		h, err = quota.Hold(ctx, f.DB, tx, was.SpaceGUID)
	}
	if err == nil {
		err = row.Lock(ctx, f.DB, tx, a)
	}
	if errors.Is(err, sql.ErrNoRows) || cf.IsKind(err, cf.KindNotFound) {
		return nil, cf.Errorf(cf.KindNotFound, "ResourceNotFound", "App with guid '%s' not found", a.GUID)
	}
	return h, err
}

// triggered marks events of manifests.
func triggered(data map[string]any) map[string]any {
	data["manifest_triggered"] = true
	return data
}

func (f *Flow) applyProcesses(ctx context.Context, tx bun.Tx, h *quota.Held, a *app.App, want []manifest.Process) error {
	ps, err := app.ProcessesOf(ctx, tx, a.GUID)
	if err != nil {
		return err
	}
	byType := map[string]*app.Process{}
	for _, p := range ps {
		byType[p.Type] = p
	}
	for _, w := range want {
		if err := change(w).Allowed(); err != nil {
			return err
		}
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
		if w.MemoryMB != nil {
			if err := app.Bears(ctx, tx, p); err != nil {
				return err
			}
		}
		if told["scale"] {
			if err := f.App.Fits(ctx, tx, h, a, p); err != nil {
				return err
			}
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
		if _, err := f.stackState(ctx, tx, a.Stack, a.GUID); err != nil {
			return err
		}
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

// applyRoutes gives the other apps that a changed route leads to.
func (f *Flow) applyRoutes(ctx context.Context, tx bun.Tx, a *app.App, m manifest.App) (touched []string, err error) {
	if m.NoRoute {
		return nil, f.Route.Unmap(ctx, tx, a.GUID)
	}
	if m.HasRoutes {
		for _, r := range m.Routes {
			others, err := f.applyRoute(ctx, tx, a, r)
			if err != nil {
				return nil, within("route", r.Text, err)
			}
			touched = append(touched, others...)
		}
		return touched, nil
	}
	if !m.RandomRoute && !m.DefaultRoute {
		return nil, nil
	}
	if has, err := tx.NewSelect().Model((*route.Destination)(nil)).Where("app_guid = ?", a.GUID).Exists(ctx); err != nil || has {
		return nil, err
	}
	return nil, f.applyDefault(ctx, tx, a, m)
}

// applyDefault makes a route of the app's name.
func (f *Flow) applyDefault(ctx context.Context, tx bun.Tx, a *app.App, m manifest.App) error {
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
	text := host + "." + d.Name
	_, err = f.applyRoute(ctx, tx, a, manifest.Route{Text: text, Host: text})
	return within("route", text, err)
}

// within says of which route or service of an app an error speaks.
func within(kind, name string, err error) error {
	if cf.IsKind(err, cf.KindUnprocessable) {
		return rest.Unprocessable("For %s '%s': %s", kind, name, fault.Words(err))
	}
	return err
}

// applyRoute finds or makes one route, and maps it to the web process unless it goes to the app already. It gives the
// apps besides that hear of the route's change.
func (f *Flow) applyRoute(ctx context.Context, tx bun.Tx, a *app.App, want manifest.Route) (touched []string, err error) {
	r, touched, err := f.routeFor(ctx, tx, a, want)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, cf.Errorf(cf.KindNotFound, "UnprocessableEntity", "No domains exist for route %s", want.Text)
	}
	has := new(route.Destination)
	err = tx.NewSelect().Model(has).Where("route_guid = ? AND app_guid = ?", r.GUID, a.GUID).OrderExpr("id").Limit(1).Scan(ctx)
	if err == nil {
		if want.Protocol == "" || want.Protocol == has.Protocol {
			return touched, nil
		}
		return touched, f.Route.SetProtocol(ctx, tx, has, want.Protocol)
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	to := &route.Destination{AppGUID: a.GUID, Process: app.Web, Port: recipe.DefaultPort, Protocol: cmp.Or(want.Protocol, "http1")}
	_, err = f.Route.Map(ctx, tx, r, []*route.Destination{to}, false)
	return touched, err
}

// routeFor is the route that a manifest means; nil when no domain fits.
func (f *Flow) routeFor(ctx context.Context, tx bun.Tx, a *app.App, want manifest.Route) (r *route.Route, touched []string, err error) {
	for _, pair := range want.Candidates() {
		d := new(route.Domain)
		err := tx.NewSelect().Model(d).Where("name = ?", pair[1]).Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		r := new(route.Route)
		err = tx.NewSelect().Model(r).Where("domain_guid = ? AND host_key = ? AND LOWER(path) = ? AND port = ?",
			d.GUID, access.Fold(pair[0]), access.Fold(want.Path), want.Port).Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			made := &route.Route{Host: pair[0], Path: want.Path, Port: want.Port, DomainGUID: d.GUID, SpaceGUID: a.SpaceGUID}
			return made, nil, f.makeRoute(ctx, tx, made, want)
		}
		if err != nil {
			return nil, nil, err
		}
		if ok, err := r.Available(ctx, tx, a.SpaceGUID); err != nil {
			return nil, nil, err
		} else if !ok {
			return nil, nil, rest.Unprocessable("Routes cannot be mapped to destinations in different spaces")
		}
		if len(want.Options) > 0 {
			touched, err = f.Route.SetOptions(ctx, tx, r, want.Options)
		}
		return r, touched, err
	}
	return nil, nil, nil
}

func (f *Flow) makeRoute(ctx context.Context, tx bun.Tx, r *route.Route, want manifest.Route) (err error) {
	if err := access.Enabled(ctx, tx, "route_creation"); err != nil {
		return err
	}
	if r.Options.V, err = route.Options(want.Options).Merge(nil); err != nil {
		return err
	}
	data := map[string]any{"request": map[string]any{"host": r.Host, "path": r.Path}}
	return f.Route.Insert(ctx, tx, r, triggered(data))
}
