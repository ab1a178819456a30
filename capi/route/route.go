// Package route is the family of nouns by which requests find apps: domains, routes and their destinations.
//
// It promises that a name belongs to one route whatever its case, that the platform's own names belong to none, and
// that whoever runs processes hears of each change of an app's routes (Family.Changed) after its commit. It will not
// tell the router: routes ride in the LRP.
package route

import (
	"context"
	"embed"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/job"
	"ingot/rest/row"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the family's tables up to date.
func Migrate(ctx context.Context, db *sql.DB) error {
	return db.Migrate(ctx, migrations, "capi_route_schema")
}

// Family holds the nouns. Set its fields, then take its Nouns, Routes and Jobs.
type Family struct {
	DB     *sql.DB
	Domain string // the platform's: the system names are under it
	// App is an app as events name it; KindNotFound when there is none. It does not ask who sees it.
	App func(ctx context.Context, db bun.IDB, app string) (event.Target, error)
	// Changed is told, after the commit, of an app whose routes changed.
	Changed func(ctx context.Context, app string)

	Domains  *rest.Resource[Domain]
	Resource *rest.Resource[Route]
}

// Nouns makes the family's nouns.
func (f *Family) Nouns() []rest.Noun {
	f.Domains = f.domains()
	f.Resource = &rest.Resource[Route]{
		Kind: "route", Path: "/v3/routes", Visible: visibleRoutes,
		Filters: []rest.Filter{
			{Param: "hosts", Where: "host_key IN (?)", Fold: true},
			{Param: "space_guids", By: ofSpaces},
			{Param: "organization_guids", Where: "space_guid IN (SELECT guid FROM rest_spaces WHERE org_guid IN (?))"},
			{Param: "domain_guids", Where: "domain_guid IN (?)"},
			{Param: "paths", Where: "LOWER(path) IN (?)", Fold: true},
			{Param: "app_guids", Where: "guid IN (SELECT route_guid FROM route_destinations WHERE app_guid IN (?))"},
			{Param: "ports", Where: "port IN (?)", Number: true},
			{Param: "service_instance_guids", By: none}, // route services are absent
		},
		Subs: []rest.Sub{{Path: "/v3/apps/{guid}/routes", Parent: "app",
			Where: "guid IN (SELECT route_guid FROM route_destinations WHERE app_guid = ?)"}},
		Fill: fillRoutes, View: routeView, Create: f.create, Update: f.update,
		Delete: func(c *rest.Call, r *Route) error { return c.MayWriteSpace(r.SpaceGUID, access.AppManagers...) },
		Remove: func(ctx context.Context, j *job.Job) error { return f.RemoveWhere(ctx, "guid = ?", j.ResourceGUID) },
	}
	return []rest.Noun{f.Domains, f.Resource}
}

func none(_ *rest.Call, q *bun.SelectQuery, _ []string) (*bun.SelectQuery, error) {
	return q.Where("1 = 0"), nil
}

// Routes are the family's other endpoints.
func (f *Family) Routes() []rest.Route {
	return slices.Concat(f.domainRoutes(), f.destinationRoutes(), f.sharingRoutes(), []rest.Route{
		{Pattern: "DELETE /v3/spaces/{guid}/routes", Handle: f.deleteUnmapped},
		{Pattern: "GET /routing/v1/router_groups", Handle: routerGroups},
		{Pattern: "POST /v3/route_policies", Handle: func(*rest.Call) error { return rest.Unprocessable(noPolicies) }},
	})
}

const noPolicies = "Route policies are not available on this platform yet."

// Jobs are the family's other jobs.
func (f *Family) Jobs() []job.Kind {
	return []job.Kind{{Operation: "space.delete_unmapped_routes", Run: func(ctx context.Context, j *job.Job) error {
		return f.RemoveWhere(ctx, unmapped, j.ResourceGUID)
	}}}
}

const unmapped = "space_guid = ? AND guid NOT IN (SELECT route_guid FROM route_destinations)"

// fillRoutes reads the destinations of all routes of an answer at once.
func fillRoutes(c *rest.Call, rs []*Route) error {
	byGUID := map[string]*Route{}
	for _, r := range rs {
		r.to, byGUID[r.GUID] = nil, r
	}
	var ds []*Destination
	err := c.DB().NewSelect().Model(&ds).Where("route_guid IN (?)", bun.List(slices.Collect(maps.Keys(byGUID)))).OrderExpr("id").Scan(c.Ctx())
	for _, d := range ds {
		r := byGUID[d.RouteGUID]
		r.to = append(r.to, d)
	}
	return err
}

func routeView(c *rest.Call, r *Route) rest.Object {
	o := rest.Object{
		"protocol": "http", "host": r.Host, "path": r.Path, "port": nil, "url": r.URL(), "destinations": destinationViews(r.to),
		"options":       rest.Object{},
		"relationships": rest.Object{"space": rest.ToOne(r.SpaceGUID), "domain": rest.ToOne(r.DomainGUID)},
		"links": rest.Object{
			"space": c.Link("/v3/spaces/%s", r.SpaceGUID), "domain": c.Link("/v3/domains/%s", r.DomainGUID),
			"destinations": c.Link("/v3/routes/%s/destinations", r.GUID),
		},
	}
	if r.Options.V != nil {
		o["options"] = r.Options.V
	}
	return o
}

func (f *Family) deleteUnmapped(c *rest.Call) error {
	s, err := rest.Find[access.Space](c, "space", c.Arg("guid"))
	if err != nil {
		return err
	}
	if err := access.MayWriteSpace(c.Ctx(), c.DB(), s, access.AppManagers...); err != nil {
		return err
	}
	if err := onlyUnmapped(c.R.URL.Query()); err != nil {
		return err
	}
	var j *job.Job
	err = c.Write(func(ctx context.Context, tx bun.Tx) (err error) {
		j, err = job.Enqueue(ctx, tx, job.Work{Operation: "space.delete_unmapped_routes", Kind: "space", GUID: s.GUID})
		return err
	})
	if err != nil {
		return err
	}
	return c.Accepted(j)
}

// onlyUnmapped refuses to delete more than what is unmapped.
func onlyUnmapped(q url.Values) error {
	const all = "Mass delete not supported for %sroutes. Use 'unmapped=true' parameter to delete all unmapped routes."
	given := q.Get("unmapped")
	delete(q, "unmapped")
	switch unknown := slices.Sorted(maps.Keys(q)); {
	case len(unknown) > 0:
		return rest.Unprocessable("Unknown field(s): '%s'", strings.Join(unknown, "', '"))
	case given == "":
		return rest.Unprocessable("Unmapped can't be blank, "+all+", Unmapped must be a boolean", "")
	case given == "false":
		return rest.Unprocessable(all, "mapped ")
	case given != "true":
		return rest.Unprocessable("Unmapped must be a boolean")
	}
	return nil
}

// RemoveWhere deletes the routes that meet a condition, with their destinations and events, and tells the apps.
// Routes that are gone already are no error.
func (f *Family) RemoveWhere(ctx context.Context, where string, args ...any) error {
	var apps []string
	err := f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		apps, err = f.remove(ctx, tx, where, args...)
		return err
	})
	if err != nil {
		return err
	}
	f.tell(ctx, apps)
	return nil
}

func (f *Family) remove(ctx context.Context, tx bun.Tx, where string, args ...any) (apps []string, err error) {
	var rs []*Route
	if err := f.DB.ForUpdate(tx.NewSelect().Model(&rs).Where(where, args...)).Scan(ctx); err != nil {
		return nil, err
	}
	for _, r := range rs {
		var mapped []string
		err := tx.NewSelect().Model((*Destination)(nil)).Column("app_guid").Where("route_guid = ?", r.GUID).Scan(ctx, &mapped)
		if err != nil {
			return nil, err
		}
		apps = append(apps, mapped...)
		if _, err := tx.NewDelete().Model((*Destination)(nil)).Where("route_guid = ?", r.GUID).Exec(ctx); err != nil {
			return nil, err
		}
		if err := sharedRoutes.Remove(ctx, tx, "route_guid = ?", r.GUID); err != nil {
			return nil, err
		}
		if err := record(ctx, tx, "audit.route.delete-request", r, map[string]any{"request": map[string]any{"recursive": true}}); err != nil {
			return nil, err
		}
		if err := row.Delete(ctx, tx, r); err != nil {
			return nil, err
		}
	}
	return apps, nil
}

func (f *Family) tell(ctx context.Context, apps []string) {
	slices.Sort(apps)
	for _, a := range slices.Compact(apps) {
		f.Changed(ctx, a)
	}
}

// record writes an event about the route.
func record(ctx context.Context, tx bun.Tx, kind string, r *Route, data map[string]any) error {
	t := event.Target{GUID: r.GUID, Type: "route", Name: r.Host, Space: r.SpaceGUID}
	s, err := access.SpaceByGUID(ctx, tx, r.SpaceGUID)
	if err != nil && !cf.IsKind(err, cf.KindNotFound) { // the space may be on its way out
		return err
	}
	if err == nil {
		t.Org = s.OrgGUID
	}
	return event.Record(ctx, tx, kind, t, data)
}

// OfApp reads all destinations of an app with their routes.
func OfApp(ctx context.Context, db bun.IDB, app string) ([]Mapped, error) {
	var ds []*Destination
	if err := db.NewSelect().Model(&ds).Where("app_guid = ?", app).OrderExpr("id").Scan(ctx); err != nil || len(ds) == 0 {
		return nil, err
	}
	guids := make([]string, len(ds))
	for i, d := range ds {
		guids[i] = d.RouteGUID
	}
	var rs []*Route
	if err := db.NewSelect().Model(&rs).Where("guid IN (?)", bun.List(guids)).Scan(ctx); err != nil {
		return nil, err
	}
	internal := map[string]bool{}
	var names []string
	err := db.NewSelect().Model((*Domain)(nil)).Column("guid").Where("internal = ?", true).Scan(ctx, &names)
	for _, n := range names {
		internal[n] = true
	}
	var out []Mapped
	for _, d := range ds {
		if i := slices.IndexFunc(rs, func(r *Route) bool { return r.GUID == d.RouteGUID }); i >= 0 {
			out = append(out, Mapped{Route: *rs[i], To: *d, Internal: internal[rs[i].DomainGUID]})
		}
	}
	return out, err
}
