package route

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/job"
	"ingot/rest/quota"
	"ingot/rest/row"
)

// SystemHosts are the names under the platform's domain that no route may have.
var SystemHosts = []string{"api", "uaa", "login", "log-cache", "doppler", "log-stream", "ssh", "tcp"}

// visibleDomains are the shared ones and those of the caller's organizations.
func visibleDomains(c access.Caller, q *bun.SelectQuery) *bun.SelectQuery {
	if c.ReadsAll() {
		return q
	}
	return q.WhereGroup(" AND ", func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("org_guid = ''").WhereOr("org_guid IN (?)", access.Orgs(c, access.DomainReaders...))
	})
}

func (f *Family) domains() *rest.Resource[Domain] {
	return &rest.Resource[Domain]{
		Kind: "domain", Path: "/v3/domains", Visible: visibleDomains,
		Filters: []rest.Filter{
			{Param: "names", Where: "name IN (?)", Fold: true},
			{Param: "organization_guids", Where: "org_guid IN (?)"},
		},
		View: domainView, Create: f.createDomain,
		Update: func(c *rest.Call, d *Domain) error {
			if err := mayWriteDomain(c, d.OrgGUID); err != nil {
				return err
			}
			var t metadataBody
			if err := rest.Take(c, &t); err != nil {
				return err
			}
			return c.Change(d, func(context.Context, bun.Tx) error { return t.meta.Apply(d.Meta()) })
		},
		Delete: func(c *rest.Call, d *Domain) error { return mayWriteDomain(c, d.OrgGUID) },
		Remove: f.removeDomain,
	}
}

type metadataBody struct{ meta row.Patch }

func (t *metadataBody) Take(b *rest.Body) { b.Metadata(&t.meta) }

func (f *Family) domainRoutes() []rest.Route {
	return []rest.Route{
		{Pattern: "GET /v3/organizations/{guid}/domains", Handle: f.ofOrg},
		{Pattern: "GET /v3/organizations/{guid}/domains/default", Handle: f.showDefault},
		{Pattern: "GET /v3/domains/{guid}/route_reservations", Handle: f.reserved},
	}
}

func domainView(c *rest.Call, d *Domain) rest.Object {
	links := rest.Object{"route_reservations": c.Link("/v3/domains/%s/route_reservations", d.GUID)}
	if !d.Shared() {
		links["organization"] = c.Link("/v3/organizations/%s", d.OrgGUID)
		links["shared_organizations"] = c.Link("/v3/domains/%s/relationships/shared_organizations", d.GUID)
	}
	return rest.Object{
		"name": d.Name, "internal": d.Internal, "router_group": nil, "supported_protocols": []string{"http"},
		"relationships": rest.Object{"organization": rest.ToOne(d.OrgGUID), "shared_organizations": rest.ToMany(nil)},
		"links":         links,
	}
}

// mayWriteDomain: a shared domain is the admins', a private one its organization's managers'.
func mayWriteDomain(c *rest.Call, org string) error {
	if org == "" {
		return c.Admins()
	}
	o, err := access.OrgByGUID(c.Ctx(), c.DB(), org)
	if err != nil {
		return err
	}
	return access.MayWriteOrg(c.Ctx(), c.DB(), o, access.OrgWriters...)
}

type domainBody struct {
	name, org rest.Opt[string]
	internal  rest.Opt[bool]
	meta      row.Patch
}

var (
	domainName = regexp.MustCompile(`(?i)^(([a-z0-9]|[a-z0-9][a-z0-9-]{0,61}[a-z0-9])\.)+([a-z0-9]|[a-z0-9][a-z0-9-]{0,61}[a-z0-9])$`)
	strange    = regexp.MustCompile(`(?i)[^a-z0-9\-.]`)
)

func (t *domainBody) Take(b *rest.Body) {
	b.Metadata(&t.meta)
	b.Relationships(true, func(b *rest.Body) { b.ToOne("organization", &t.org) })
	b.String("name", &t.name, rest.Required, rest.Length(3, 253), rest.Pattern(domainName, "does not comply with RFC 1035 standards"))
	if !strings.Contains(t.name.V, ".") {
		b.Wrong("name", `must contain at least one "."`)
	}
	if slices.ContainsFunc(strings.Split(t.name.V, "."), func(s string) bool { return len(s) > 63 }) {
		b.Wrong("name", "subdomains must each be at most 63 characters")
	}
	if strange.MatchString(t.name.V) {
		b.Wrong("name", "must consist of alphanumeric characters and hyphens")
	}
	if raw := b.Raw("router_group"); raw != nil && string(raw) != "null" {
		b.Fault("Router groups are not available on this platform yet.")
	}
	b.Bool("internal", &t.internal)
	if t.internal.V && t.org.Given() {
		b.Fault("Cannot associate an internal domain with an organization")
	}
}

func (f *Family) createDomain(c *rest.Call) (*Domain, error) {
	var t domainBody
	if err := rest.Take(c, &t); err != nil {
		return nil, err
	}
	d := &Domain{Name: access.Fold(t.name.V), Internal: t.internal.V, OrgGUID: t.org.V}
	if err := f.mayCreateDomain(c, d); err != nil {
		return nil, err
	}
	if err := t.meta.Apply(d.Meta()); err != nil {
		return nil, err
	}
	err := c.Write(func(ctx context.Context, tx bun.Tx) error {
		var h *quota.Held
		if !d.Shared() {
			var err error
			if h, err = quota.HoldOrg(ctx, f.DB, tx, d.OrgGUID); err != nil {
				return err
			}
		}
		if name, other, err := overlap(ctx, tx, d); err != nil {
			return err
		} else if other != "" {
			return rest.Unprocessable(`The domain name "%s" cannot be created because "%s" is already reserved by %s`, d.Name, name, other)
		}
		if err := row.Insert(ctx, tx, d); err != nil || h == nil {
			return err
		}
		return domainFits(ctx, tx, h)
	})
	if sql.IsUnique(err) {
		return nil, rest.Unprocessable("The domain name \"%s\" is already in use", t.name.V)
	}
	return d, err
}

func (f *Family) mayCreateDomain(c *rest.Call, d *Domain) error {
	err := mayWriteDomain(c, d.OrgGUID)
	if cf.IsKind(err, cf.KindNotFound) {
		return rest.Unprocessable("Organization with guid '%s' does not exist or you do not have access to it.", d.OrgGUID)
	}
	if err != nil {
		return err
	}
	if !d.Shared() && !c.Caller.Admin() {
		if err := access.Enabled(c.Ctx(), c.DB(), "private_domain_creation"); err != nil {
			return err
		}
	}
	host, parent, _ := strings.Cut(d.Name, ".")
	if parent == f.Domain && slices.Contains(SystemHosts, host) || !d.Shared() && d.Name == f.Domain {
		return rest.Unprocessable("The \"%s\" domain is reserved and cannot be used for org-scoped domains.", d.Name)
	}
	return nil
}

// overlap finds what has the domain's name, or a name above it, already: a route, or another organization's domain.
func overlap(ctx context.Context, tx bun.Tx, d *Domain) (name, what string, err error) {
	for name = d.Name; strings.Contains(name, "."); _, name, _ = strings.Cut(name, ".") {
		host, parent, _ := strings.Cut(name, ".")
		if ok, err := tx.NewSelect().Model((*Route)(nil)).Where("host_key = ? AND domain_name = ?", host, parent).Exists(ctx); err != nil || ok {
			return name, "a route", err
		}
		if name == d.Name {
			continue // the unique index tells
		}
		other := tx.NewSelect().Model((*Domain)(nil)).Where("name = ? AND org_guid <> '' AND org_guid <> ?", name, d.OrgGUID)
		if ok, err := other.Exists(ctx); err != nil || ok {
			return name, "another domain", err
		}
	}
	return "", "", nil
}

// removeDomain is the job domain.delete: its routes, then the domain.
func (f *Family) removeDomain(ctx context.Context, j *job.Job) error {
	if err := f.RemoveWhere(ctx, "domain_guid = ?", j.ResourceGUID); err != nil {
		return err
	}
	return f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		return row.DeleteWhere(ctx, tx, "route_domains", "guid = ?", j.ResourceGUID)
	})
}

// Ensure makes the shared domain that apps get by default.
func (f *Family) Ensure(ctx context.Context, name string) error {
	err := f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if ok, err := tx.NewSelect().Model((*Domain)(nil)).Where("name = ?", name).Exists(ctx); err != nil || ok {
			return err
		}
		return row.Insert(ctx, tx, &Domain{Name: name})
	})
	if sql.IsUnique(err) { // another process was faster
		return nil
	}
	return err
}

// usable are the domains that an organization may use.
func usable(q *bun.SelectQuery, org string) *bun.SelectQuery {
	return q.WhereGroup(" AND ", func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("org_guid = ''").WhereOr("org_guid = ?", org)
	})
}

func (f *Family) ofOrg(c *rest.Call) error {
	if seen, err := c.Ref("organization", c.Arg("guid")); err != nil {
		return err
	} else if !seen {
		return rest.NotFound("organization")
	}
	return f.Domains.List(c, func(q *bun.SelectQuery) *bun.SelectQuery { return usable(q, c.Arg("guid")) })
}

// Default is the domain that an organization's apps get: the oldest shared one that is not internal, else the first
// of its own; nil when there is none.
func Default(ctx context.Context, db bun.IDB, org string) (*Domain, error) {
	d := new(Domain)
	err := usable(db.NewSelect().Model(d), org).Where("internal = ?", false).
		OrderExpr("CASE WHEN org_guid = '' THEN 0 ELSE 1 END, id").Limit(1).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return d, err
}

func (f *Family) showDefault(c *rest.Call) error {
	if seen, err := c.Ref("organization", c.Arg("guid")); err != nil {
		return err
	} else if !seen {
		return rest.NotFound("organization")
	}
	d, err := Default(c.Ctx(), c.DB(), c.Arg("guid"))
	if err != nil {
		return err
	}
	if d == nil {
		return rest.NotFound("domain")
	}
	if d, err = f.Domains.Find(c, d.GUID); err != nil { // a billing manager may see shared ones only
		return err
	}
	return f.Domains.Show(c, http.StatusOK, d)
}

// reserved tells whether a route has that name already, whoever sees it.
func (f *Family) reserved(c *rest.Call) error {
	d, err := f.Domains.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	q := c.R.URL.Query()
	port := 0
	if s := q.Get("port"); s != "" {
		if port, err = strconv.Atoi(s); err != nil {
			return cf.Errorf(cf.KindUnprocessable, "", "Ports must be numbers")
		}
	}
	found, err := c.DB().NewSelect().Model((*Route)(nil)).Where("domain_guid = ? AND host_key = ? AND path = ? AND port = ?",
		d.GUID, access.Fold(q.Get("host")), q.Get("path"), port).Exists(c.Ctx())
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, rest.Object{"matching_route": found})
}
