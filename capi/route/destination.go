package route

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/row"
)

const (
	maxDestinations = 100
	maxPorts        = 10
	defaultPort     = 8080
)

func (f *Family) destinationRoutes() []rest.Route {
	const all, one = "/v3/routes/{guid}/destinations", "/v3/routes/{guid}/destinations/{destination}"
	return []rest.Route{
		{Pattern: "GET " + all, Handle: f.listDestinations},
		{Pattern: "POST " + all, Handle: func(c *rest.Call) error { return f.setDestinations(c, false) }},
		{Pattern: "PATCH " + all, Handle: func(c *rest.Call) error { return f.setDestinations(c, true) }},
		{Pattern: "PATCH " + one, Handle: f.patchDestination},
		{Pattern: "DELETE " + one, Handle: f.deleteDestination},
	}
}

func destinationView(d *Destination) rest.Object {
	return rest.Object{
		"guid": d.GUID, "created_at": rest.Stamp(d.CreatedAt), "updated_at": rest.Stamp(d.UpdatedAt), "port": d.Port, "protocol": d.Protocol,
		"weight": orNil(d.Weight), "app": rest.Object{"guid": d.AppGUID, "process": rest.Object{"type": d.Process}},
	}
}

func orNil(n int) any {
	if n == 0 {
		return nil
	}
	return n
}

func destinationViews(ds []*Destination) []rest.Object {
	out := []rest.Object{}
	for _, d := range ds {
		out = append(out, destinationView(d))
	}
	return out
}

func (f *Family) listDestinations(c *rest.Call) error {
	r, err := f.Resource.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	return showDestinations(c, r)
}

func showDestinations(c *rest.Call, r *Route) error {
	var ds []*Destination
	q := c.DB().NewSelect().Model(&ds).Where("route_guid = ?", r.GUID).OrderExpr("id")
	columns := map[string]string{"guids": "guid", "app_guids": "app_guid"}
	for param, v := range c.R.URL.Query() {
		if columns[param] == "" {
			return rest.Unprocessable("Unknown query parameter(s): '%s'. Valid parameters are: 'guids', 'app_guids'", param)
		}
		q = q.Where("? IN (?)", bun.Ident(columns[param]), bun.List(strings.Split(v[0], ",")))
	}
	if err := q.Scan(c.Ctx()); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, rest.Object{"destinations": destinationViews(ds), "links": rest.Object{
		"self": c.Link("/v3/routes/%s/destinations", r.GUID), "route": c.Link("/v3/routes/%s", r.GUID),
	}})
}

func (f *Family) setDestinations(c *rest.Call, replace bool) error {
	t := destinationsBody{replace: replace}
	if err := rest.Take(c, &t); err != nil {
		return err
	}
	r, err := f.Resource.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	if err := c.MayWriteSpace(r.SpaceGUID, access.AppManagers...); err != nil {
		return err
	}
	if err := checkApps(c, t.to); err != nil {
		return err
	}
	var apps []string
	err = c.Write(func(ctx context.Context, tx bun.Tx) (err error) {
		apps, err = f.Map(ctx, tx, r, t.to, replace)
		return err
	})
	if err != nil {
		return err
	}
	f.tell(c.Ctx(), apps)
	return showDestinations(c, r)
}

// checkApps refuses apps that are not there or that the caller does not see.
func checkApps(c *rest.Call, ds []*Destination) error {
	var missing []string
	for _, d := range ds {
		seen, err := c.Ref("app", d.AppGUID)
		if err != nil {
			return err
		}
		if !seen && !slices.Contains(missing, d.AppGUID) {
			missing = append(missing, d.AppGUID)
		}
	}
	if missing != nil {
		return rest.Unprocessable(noApps, strings.Join(missing, `", "`))
	}
	return nil
}

const noApps = `App(s) with guid(s) "%s" do not exist.`

// Map adds destinations to the route, or makes them all it has, with the apps' events. It gives the apps whose routes
// changed.
func (f *Family) Map(ctx context.Context, tx bun.Tx, r *Route, ds []*Destination, replace bool) ([]string, error) {
	if err := lock(ctx, f.DB, tx, r, "route"); err != nil {
		return nil, err
	}
	var has []*Destination
	if err := tx.NewSelect().Model(&has).Where("route_guid = ?", r.GUID).OrderExpr("id").Scan(ctx); err != nil {
		return nil, err
	}
	if err := checkMap(r, has, ds, replace); err != nil {
		return nil, err
	}
	var apps []string
	for _, h := range has {
		if replace && !slices.ContainsFunc(ds, func(d *Destination) bool { return equal(d, h) }) {
			if err := f.unmap(ctx, tx, h); err != nil {
				return nil, err
			}
			apps = append(apps, h.AppGUID)
		}
	}
	for _, d := range ds {
		if slices.ContainsFunc(has, func(h *Destination) bool { return same(d, h) && (!replace || equal(d, h)) }) {
			continue
		}
		if err := f.mapOne(ctx, tx, r, d); err != nil {
			return nil, err
		}
		apps = append(apps, d.AppGUID)
	}
	return apps, nil
}

// mapOne holds the app, so that it is not deleted meanwhile, and adds the destination.
func (f *Family) mapOne(ctx context.Context, tx bun.Tx, r *Route, d *Destination) error {
	if err := f.DB.LockRow(ctx, tx, "app_apps", d.AppGUID); err != nil {
		return err
	}
	t, err := f.App(ctx, tx, d.AppGUID)
	if cf.IsKind(err, cf.KindNotFound) {
		return rest.Unprocessable(noApps, d.AppGUID)
	}
	if err != nil {
		return err
	}
	if ok, err := r.Available(ctx, tx, t.Space); err != nil {
		return err
	} else if !ok {
		return rest.Unprocessable("Routes destinations must be in either the route's space or the route's shared spaces")
	}
	d.RouteGUID = r.GUID
	if err := row.Insert(ctx, tx, d); err != nil {
		return err
	}
	return event.Record(ctx, tx, "audit.app.map-route", t, mapping(d))
}

func equal(a, b *Destination) bool {
	return same(a, b) && a.Protocol == b.Protocol && a.Weight == b.Weight
}

func same(a, b *Destination) bool {
	return a.AppGUID == b.AppGUID && a.Process == b.Process && a.Port == b.Port
}

func checkMap(r *Route, has, ds []*Destination, replace bool) error {
	for i, d := range ds {
		if slices.ContainsFunc(ds[:i], func(o *Destination) bool { return same(o, d) }) {
			return rest.Unprocessable("Destinations cannot contain duplicate entries")
		}
		if d.Protocol == "tcp" {
			return rest.Unprocessable("Cannot use 'tcp' protocol for http routes; valid options are: [http1, http2].")
		}
	}
	if replace {
		return nil
	}
	if len(has)+len(ds) > maxDestinations {
		return rest.Unprocessable("Routes can be mapped to at most 100 destinations.")
	}
	for _, h := range has {
		if h.Weight > 0 {
			return rest.Unprocessable("Destinations cannot be inserted when there are weighted destinations already configured.")
		}
		for _, d := range ds {
			if same(d, h) && d.Protocol != h.Protocol {
				return rest.Unprocessable("Cannot add destination with protocol: %s. Destination already exists for route: %s, app: %s, process: %s, and protocol: %s.",
					d.Protocol, r.URL(), d.AppGUID, d.Process, h.Protocol)
			}
		}
	}
	return nil
}

func (f *Family) unmap(ctx context.Context, tx bun.Tx, d *Destination) error {
	t, err := f.App(ctx, tx, d.AppGUID)
	if err == nil {
		err = event.Record(ctx, tx, "audit.app.unmap-route", t, mapping(d))
	}
	if err != nil && !cf.IsKind(err, cf.KindNotFound) {
		return err
	}
	_, err = tx.NewDelete().Model(d).WherePK().Exec(ctx)
	return err
}

// mapping is what events say of a destination.
func mapping(d *Destination) map[string]any {
	return map[string]any{
		"route_guid": d.RouteGUID, "app_port": d.Port, "route_mapping_guid": d.GUID, "destination_guid": d.GUID,
		"process_type": d.Process, "weight": orNil(d.Weight), "protocol": d.Protocol,
	}
}

// destination finds the route and the destination of a request that changes it.
func (f *Family) destination(c *rest.Call) (*Destination, error) {
	r, err := f.Resource.Find(c, c.Arg("guid"))
	if err != nil {
		return nil, err
	}
	if err := c.MayWriteSpace(r.SpaceGUID, access.AppManagers...); err != nil {
		return nil, err
	}
	d := new(Destination)
	err = c.DB().NewSelect().Model(d).Where("guid = ? AND route_guid = ?", c.Arg("destination"), r.GUID).Scan(c.Ctx())
	return d, gone(err)
}

// gone says in CF's words that a destination is not there (any more).
func gone(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return rest.Unprocessable("Unable to unmap route from destination. Ensure the route has a destination with this guid.")
	}
	return err
}

type protocolBody struct{ protocol string }

func (t *protocolBody) Take(b *rest.Body) {
	raw := b.Raw("protocol")
	if raw != nil && (json.Unmarshal(raw, &t.protocol) != nil || !slices.Contains(protocols, t.protocol)) {
		b.Fault("Destination %s", badProtocol)
	}
}

func (f *Family) patchDestination(c *rest.Call) error {
	var t protocolBody
	if err := rest.Take(c, &t); err != nil { // before all else, here and where destinations are set, as in RoutesController
		return err
	}
	d, err := f.destination(c)
	if err != nil {
		return err
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		return f.SetProtocol(ctx, tx, d, cmp.Or(t.protocol, d.Protocol))
	})
	if err != nil {
		return err
	}
	f.Changed(c.Ctx(), d.AppGUID)
	return c.JSON(http.StatusOK, destinationView(d))
}

// SetProtocol changes a destination's protocol.
func (f *Family) SetProtocol(ctx context.Context, tx bun.Tx, d *Destination, protocol string) error {
	if protocol == "tcp" {
		return rest.Unprocessable("Destination protocol must be 'http1' or 'http2' if the parent route's protocol is 'http'")
	}
	if err := row.Lock(ctx, f.DB, tx, d); err != nil {
		return gone(err)
	}
	d.Protocol = protocol
	return row.Update(ctx, tx, d)
}

func (f *Family) deleteDestination(c *rest.Call) error {
	d, err := f.destination(c)
	if err != nil {
		return err
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		if err := row.Lock(ctx, f.DB, tx, d); err != nil { // another may have been first
			return gone(err)
		}
		if d.Weight > 0 {
			return rest.Unprocessable("Weighted destinations cannot be deleted individually.")
		}
		return f.unmap(ctx, tx, d)
	})
	if err != nil {
		return err
	}
	f.Changed(c.Ctx(), d.AppGUID)
	return c.NoContent()
}

// Unmap takes an app off all routes, with its events. It is a part of deleting the app and of no-route.
func (f *Family) Unmap(ctx context.Context, tx bun.Tx, app string) error {
	var ds []*Destination
	if err := tx.NewSelect().Model(&ds).Where("app_guid = ?", app).Scan(ctx); err != nil {
		return err
	}
	for _, d := range ds {
		if err := f.unmap(ctx, tx, d); err != nil {
			return fmt.Errorf("unmap %s: %w", d.RouteGUID, err)
		}
	}
	return nil
}
