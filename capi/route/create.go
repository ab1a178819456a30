package route

import (
	"context"
	"errors"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/quota"
	"ingot/rest/row"
)

type routeBody struct {
	create        bool
	host, path    rest.Opt[string]
	port          rest.Opt[int]
	space, domain rest.Opt[string]
	options       Options
	meta          row.Patch
	hash          bool // the feature flag hash_based_routing is on
}

var (
	hostName  = regexp.MustCompile(`^([\w-]+|\*)?$`)
	beginning = regexp.MustCompile(`^(/.*)?$`)
	uriPath   = regexp.MustCompile("^([A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*$")
)

// words of CF for hosts.
const badHost = `must be either "*" or contain only alphanumeric characters, "_", or "-"`

func (t *routeBody) Take(b *rest.Body) {
	b.Metadata(&t.meta)
	if t.create {
		b.String("host", &t.host, rest.Length(0, 63), rest.Pattern(hostName, badHost))
		b.String("path", &t.path, rest.Length(0, 128), rest.Pattern(beginning, "must begin with /"))
		if strings.Contains(t.path.V, "?") {
			b.Wrong("path", "cannot contain ?")
		}
		if t.path.V == "/" {
			b.Wrong("path", "cannot be exactly /")
		}
		b.Int("port", &t.port, math.MinInt, 65535, "must be less than or equal to 65535")
		if t.port.V < 0 {
			b.Wrong("port", "must be greater than or equal to 0")
		}
		if raw := string(b.Raw("relationships")); raw == "" || raw == "null" || raw == "{}" {
			b.Wrong("relationships", "can't be blank")
		}
		b.Relationships(false, func(b *rest.Body) {
			b.ToOne("space", &t.space, rest.Required)
			b.ToOne("domain", &t.domain, rest.Required)
		})
	}
	t.options = takeOptions(b, t.hash)
}

func (f *Family) body(c *rest.Call, create bool) (*routeBody, error) {
	t := &routeBody{create: create, hash: access.Enabled(c.Ctx(), c.DB(), "hash_based_routing") == nil}
	return t, rest.Take(c, t)
}

func (f *Family) create(c *rest.Call) (*Route, error) {
	if !c.Caller.Admin() {
		if err := access.Enabled(c.Ctx(), c.DB(), "route_creation"); err != nil {
			return nil, err
		}
	}
	t, err := f.body(c, true)
	if err != nil {
		return nil, err
	}
	space, err := access.SpaceByGUID(c.Ctx(), c.DB(), t.space.V) // one that the caller does not see is forbidden, as in RoutesController
	if cf.IsKind(err, cf.KindNotFound) {
		return nil, access.NoSpace()
	} else if err != nil {
		return nil, err
	}
	if seen, err := c.Ref("domain", t.domain.V); err != nil {
		return nil, err
	} else if !seen {
		return nil, rest.Unprocessable("Invalid domain. Ensure that the domain exists and you have access to it.")
	}
	if err := access.MayWriteSpace(c.Ctx(), c.DB(), space, access.AppManagers...); err != nil {
		return nil, err
	}
	r := &Route{Host: t.host.V, Path: t.path.V, Port: t.port.V, DomainGUID: t.domain.V, SpaceGUID: t.space.V}
	if r.Options.V, err = t.options.Merge(nil); err != nil {
		return nil, err
	}
	if err := t.meta.Apply(r.Meta()); err != nil {
		return nil, err
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error { return f.Insert(ctx, tx, r, event.Request(c.Body)) })
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Insert makes a route and its event, or says in CF's words why it cannot be. The caller may write the space.
func (f *Family) Insert(ctx context.Context, tx bun.Tx, r *Route, data map[string]any) error {
	h, err := quota.Hold(ctx, f.DB, tx, r.SpaceGUID)
	if err != nil {
		return err
	}
	r.HostKey = access.Fold(r.Host)
	if err := f.place(ctx, tx, r); err != nil {
		return err
	}
	err = row.Insert(ctx, tx, r)
	if sql.IsUnique(err) {
		return taken(r)
	}
	if err != nil {
		return err
	}
	if err := fits(ctx, tx, h, r); err != nil {
		return err
	}
	return record(ctx, tx, "audit.route.create", r, data)
}

// place holds the route's domain and checks that the route may be in its space; it gives the space.
func (f *Family) place(ctx context.Context, tx bun.Tx, r *Route) error {
	d := new(Domain)
	err := f.DB.ForUpdate(tx.NewSelect().Model(d).Where("guid = ?", r.DomainGUID)).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) { // it was deleted since
		return rest.Unprocessable("Invalid domain. Ensure that the domain exists and you have access to it.")
	}
	if err != nil {
		return err
	}
	r.DomainName = d.Name
	s, err := access.SpaceByGUID(ctx, tx, r.SpaceGUID)
	if err != nil {
		return err
	}
	if ok, err := usable(tx.NewSelect().Model((*Domain)(nil)).Where("guid = ?", d.GUID), s.OrgGUID).Exists(ctx); err != nil {
		return err
	} else if !ok {
		o, err := access.OrgByGUID(ctx, tx, s.OrgGUID)
		if err != nil {
			return err
		}
		return rest.Unprocessable("Invalid domain. Domain '%s' is not available in organization '%s'.", d.Name, o.Name)
	}
	if d.Shared() && r.Host == "*" && r.ID == 0 && !access.From(ctx).Admin() {
		return rest.Unprocessable("You do not have sufficient permissions to create a route with a wildcard host on a domain not scoped to an organization.")
	}
	if err := f.wellNamed(ctx, tx, r, d); err != nil {
		return err
	}
	return free(ctx, tx, r, d)
}

// wellNamed refuses names that no route of the domain may have.
func (f *Family) wellNamed(ctx context.Context, tx bun.Tx, r *Route, d *Domain) error {
	full := strings.TrimPrefix(r.HostKey+"."+d.Name, ".")
	switch {
	case d.Name == f.Domain && slices.Contains(SystemHosts, r.HostKey):
		return rest.Unprocessable("Route conflicts with a reserved system route.")
	case d.Internal && r.Host == "*":
		return rest.Unprocessable("Wildcard hosts are not supported for internal domains.")
	case r.Host == "" && d.Shared():
		return rest.Unprocessable("Missing host. Routes in shared domains must have a host defined.")
	case len(full) > 253:
		return rest.Unprocessable("Host combined with domain name must be no more than 253 characters.")
	case d.Internal && r.Path != "":
		return rest.Unprocessable("Paths are not supported for internal domains.")
	case !uriPath.MatchString(r.Path):
		return rest.Unprocessable("Path is invalid.")
	case r.Port != 0:
		return rest.Unprocessable("Routes with protocol 'http' do not support ports.")
	case r.Host == "":
		return nil
	}
	same, err := tx.NewSelect().Model((*Domain)(nil)).Where("name = ?", full).Exists(ctx)
	if err == nil && same {
		return rest.Unprocessable("Route conflicts with domain '%s'.", r.Host+"."+d.Name)
	}
	return err
}

// free refuses a name that another route has. In shared domains a host belongs to one space: otherwise a path would take
// requests from another's app.
func free(ctx context.Context, tx bun.Tx, r *Route, d *Domain) error {
	others := tx.NewSelect().Model((*Route)(nil)).Where("domain_guid = ? AND host_key = ? AND guid <> ?", d.GUID, r.HostKey, r.GUID).
		WhereGroup(" AND ", func(q *bun.SelectQuery) *bun.SelectQuery {
			q = q.Where("LOWER(path) = ?", access.Fold(r.Path))
			if d.Shared() {
				q = q.WhereOr("space_guid <> ?", r.SpaceGUID)
			}
			return q
		})
	other, err := others.Exists(ctx)
	if err == nil && other {
		return taken(r)
	}
	return err
}

func taken(r *Route) error {
	switch {
	case r.Host == "" && r.Path == "":
		return rest.Unprocessable("Route already exists for domain '%s'.", r.DomainName)
	case r.Host == "":
		return rest.Unprocessable("Route already exists with path '%s' for domain '%s'.", r.Path, r.DomainName)
	case r.Path == "":
		return rest.Unprocessable("Route already exists with host '%s' for domain '%s'.", r.Host, r.DomainName)
	}
	return rest.Unprocessable("Route already exists with host '%s' and path '%s' for domain '%s'.", r.Host, r.Path, r.DomainName)
}

func (f *Family) update(c *rest.Call, r *Route) error {
	t, err := f.body(c, false)
	if err != nil {
		return err
	}
	if err := c.MayWriteSpace(r.SpaceGUID, access.AppManagers...); err != nil {
		return err
	}
	err = c.Change(r, func(ctx context.Context, tx bun.Tx) error {
		if t.options != nil {
			merged, err := t.options.Merge(r.Options.V)
			if err != nil {
				return err
			}
			r.Options.V = merged
		}
		if err := t.meta.Apply(r.Meta()); err != nil {
			return err
		}
		return record(ctx, tx, "audit.route.update", r, event.Request(c.Body))
	})
	if err != nil || t.options == nil {
		return err
	}
	apps, err := appsOf(c.Ctx(), c.DB(), r.GUID)
	f.tell(c.Ctx(), apps)
	return err
}

func appsOf(ctx context.Context, db bun.IDB, route string) (apps []string, err error) {
	err = db.NewSelect().Model((*Destination)(nil)).Column("app_guid").Where("route_guid = ?", route).Scan(ctx, &apps)
	return apps, err
}

// SetOptions changes the route's options. It gives the apps that must hear of it.
func (f *Family) SetOptions(ctx context.Context, tx bun.Tx, r *Route, o Options) (apps []string, err error) {
	if err := lock(ctx, f.DB, tx, r, "route"); err != nil {
		return nil, err
	}
	if r.Options.V, err = o.Merge(r.Options.V); err != nil {
		return nil, err
	}
	if err := row.Update(ctx, tx, r); err != nil {
		return nil, err
	}
	return appsOf(ctx, tx, r.GUID)
}
