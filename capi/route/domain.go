package route

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/uptrace/bun"
	"golang.org/x/net/publicsuffix"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/job"
	"ingot/rest/row"
)

// SystemHosts are the names under the platform's domain that no route may have.
var SystemHosts = []string{"api", "uaa", "login", "log-cache", "doppler", "log-stream", "ssh", "tcp"}

// visibleDomains are the shared ones and those that the caller's organizations own or may use.
func visibleDomains(c access.Caller) access.Reasons {
	if c.ReadsAll() {
		return access.Everything()
	}
	mine := access.Orgs(c, access.DomainReaders...)
	return access.Any(bun.SafeQuery("org_guid = ''"), c.In("org_guid", mine), bun.SafeQuery(sharedTo, mine))
}

// sharedTo is the condition of domains that are shared with an organization.
const sharedTo = "guid IN (SELECT domain_guid FROM route_shared_domains WHERE org_guid IN (?))"

func (f *Family) domains() *rest.Resource[Domain] {
	return &rest.Resource[Domain]{
		Kind: "domain", Path: "/v3/domains", Visible: visibleDomains,
		Filters: []rest.Filter{
			{Param: "names", Where: "name IN (?)", Fold: true},
			{Param: "organization_guids", Where: "org_guid IN (?)"},
		},
		Fill: fillDomains, View: domainView, Create: f.createDomain,
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
		Delete: deleteDomain,
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
		{Pattern: "POST /v3/domains/{guid}/relationships/shared_organizations", Handle: f.shareDomain},
		{Pattern: "DELETE /v3/domains/{guid}/relationships/shared_organizations/{org}", Handle: f.unshareDomain},
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
		"relationships": rest.Object{"organization": rest.ToOne(d.OrgGUID), "shared_organizations": rest.ToMany(d.sharedWith)},
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
	name, org, group rest.Opt[string]
	internal         rest.Opt[bool]
	private          bool
	sharedWith       rest.Opt[[]string]
	meta             row.Patch
}

var (
	domainName = regexp.MustCompile(`(?i)^(([a-z0-9]|[a-z0-9][a-z0-9-]{0,61}[a-z0-9])\.)+([a-z0-9]|[a-z0-9][a-z0-9-]{0,61}[a-z0-9])$`)
	strange    = regexp.MustCompile(`(?i)[^a-z0-9\-.]`)
)

func (t *domainBody) Take(b *rest.Body) {
	b.Metadata(&t.meta)
	t.private = b.Has("relationships")
	b.Relationships(true, t.takeOrgs)
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
	t.takeGroup(b)
	b.Bool("internal", &t.internal)
	if t.internal.V && t.private {
		b.Fault("Cannot associate an internal domain with an organization")
	}
	if t.internal.V && b.Has("router_group") {
		b.Fault("Internal domains cannot be associated to a router group.")
	}
	if t.private && b.Has("router_group") {
		b.Fault("Domains scoped to an organization cannot be associated to a router group.")
	}
	t.takePolicies(b)
}

func (t *domainBody) takeOrgs(b *rest.Body) {
	if raw := b.Raw("organization"); string(raw) != "null" {
		b.ToOne("organization", &t.org)
	}
	if raw := b.Raw("shared_organizations"); string(raw) != "null" {
		b.ToMany("shared_organizations", &t.sharedWith)
	}
	if b.Has("shared_organizations") && !b.Has("organization") {
		b.Fault("cannot contain shared_organizations without an owning organization.")
	}
}

func (t *domainBody) takeGroup(b *rest.Body) {
	raw := b.Raw("router_group")
	if !given(raw) {
		return
	}
	var in map[string]json.RawMessage
	if json.Unmarshal(raw, &in) != nil {
		b.Wrong("router_group", "must be an object")
		return
	}
	guid, has := in["guid"]
	delete(in, "guid")
	if len(in) > 0 {
		b.Wrong("router_group", "Unknown field(s): '%s'", strings.Join(slices.Sorted(maps.Keys(in)), "', '"))
	}
	if t.group.Set = true; !has || !given(guid) || json.Unmarshal(guid, &t.group.V) != nil {
		b.Wrong("router_group", "guid must be a string")
	}
}

// takePolicies refuses what route policies would have to enforce. Without enforcement their scope says nothing.
func (t *domainBody) takePolicies(b *rest.Body) {
	var enforce rest.Opt[bool]
	b.Bool("enforce_route_policies", &enforce)
	raw := string(b.Raw("route_policies_scope"))
	if !slices.Contains([]string{"", "null", `"any"`, `"org"`, `"space"`}, raw) {
		b.Wrong("route_policies_scope", "must be one of 'any', 'org', 'space'")
	}
	if enforce.V {
		b.Fault(noPolicies)
	}
}

func (f *Family) createDomain(c *rest.Call) (*Domain, error) {
	var t domainBody
	if err := rest.Take(c, &t); err != nil {
		return nil, err
	}
	d := &Domain{Name: access.Fold(t.name.V), Internal: t.internal.V, OrgGUID: t.org.V}
	if err := f.mayCreateDomain(c, d, t.private); err != nil {
		return nil, err
	}
	if err := mayShareWith(c, d.OrgGUID, t.sharedWith.V); err != nil {
		return nil, err
	}
	if t.group.Set {
		return nil, rest.Unprocessable("Router group with guid '%s' not found.", t.group.V)
	}
	if err := t.meta.Apply(d.Meta()); err != nil {
		return nil, err
	}
	err := c.Write(func(ctx context.Context, tx bun.Tx) error { return f.insertDomain(ctx, tx, d, &t) })
	if sql.IsUnique(err) {
		return nil, rest.Unprocessable("The domain name \"%s\" is already in use", t.name.V)
	}
	return d, err
}

func (f *Family) mayCreateDomain(c *rest.Call, d *Domain, private bool) error {
	if !private {
		return c.Admins()
	}
	o, err := access.OrgByGUID(c.Ctx(), c.DB(), d.OrgGUID)
	if cf.IsKind(err, cf.KindNotFound) {
		return unknownOrg(d.OrgGUID)
	}
	if err != nil {
		return err
	}
	if err := access.MayWriteOrg(c.Ctx(), c.DB(), o, access.OrgWriters...); err != nil {
		return err
	}
	if !c.Caller.Admin() {
		if err := access.Enabled(c.Ctx(), c.DB(), "private_domain_creation"); err != nil {
			return err
		}
	}
	if suffix, _ := publicsuffix.PublicSuffix(d.Name); suffix == d.Name || d.Name == f.Domain {
		return rest.Unprocessable("The \"%s\" domain is reserved and cannot be used for org-scoped domains.", d.Name)
	}
	return nil
}

func unknownOrg(guid string) error {
	return rest.Unprocessable("Organization with guid '%s' does not exist or you do not have access to it.", guid)
}

func deleteDomain(c *rest.Call, d *Domain) error {
	if err := mayWriteDomain(c, d.OrgGUID); err != nil {
		return err
	}
	shared, err := c.DB().NewSelect().Model((*sharedDomain)(nil)).Where("domain_guid = ?", d.GUID).Exists(c.Ctx())
	if err == nil && shared {
		return rest.Unprocessable("This domain is shared with other organizations. Unshare before deleting.")
	}
	return err
}

// removeDomain is the job domain.delete.
func (f *Family) removeDomain(ctx context.Context, j *job.Job) error {
	return f.removeDomains(ctx, "guid = ?", j.ResourceGUID, nil)
}

// EmptyOrg takes away what an organization that is being deleted has: its domains, unless others share them, and its share of others'.
func (f *Family) EmptyOrg(ctx context.Context, org string) error {
	if err := f.removeDomains(ctx, "org_guid = ?", org, unshared); err != nil {
		return err
	}
	return f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewDelete().Model((*sharedDomain)(nil)).Where("org_guid = ?", org).Exec(ctx)
		return err
	})
}

// unshared refuses, in the words of Cloud Controller's OrganizationDelete, domains that others share.
func unshared(ctx context.Context, tx bun.Tx, guids []string) error {
	var names, faults []string
	err := tx.NewSelect().Model((*Domain)(nil)).Column("name").OrderExpr("id").
		Where("guid IN (?) AND guid IN (SELECT domain_guid FROM route_shared_domains)", bun.List(guids)).Scan(ctx, &names)
	for _, n := range names {
		faults = append(faults, "Domain '"+n+"' is shared with other organizations. Unshare before deleting.")
	}
	if err == nil && faults != nil {
		err = rest.Unprocessable("%s", strings.Join(faults, "\n\n"))
	}
	return err
}

// removeDomains deletes the domains that meet the condition with their routes, and tells the apps. may is asked once they are held.
func (f *Family) removeDomains(ctx context.Context, where, arg string, may func(context.Context, bun.Tx, []string) error) error {
	var apps []string
	err := f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		var guids []string
		err = f.DB.ForUpdate(tx.NewSelect().Model((*Domain)(nil)).Column("guid").Where(where, arg)).Scan(ctx, &guids)
		if err != nil || len(guids) == 0 {
			return err
		}
		if may != nil {
			if err := may(ctx, tx, guids); err != nil {
				return err
			}
		}
		if apps, err = f.remove(ctx, tx, "domain_guid IN (?)", bun.List(guids)); err != nil {
			return err
		}
		if _, err := tx.NewDelete().Model((*sharedDomain)(nil)).Where("domain_guid IN (?)", bun.List(guids)).Exec(ctx); err != nil {
			return err
		}
		return row.DeleteWhere(ctx, tx, "route_domains", "guid IN (?)", bun.List(guids))
	})
	if err != nil {
		return err
	}
	f.tell(ctx, apps)
	return nil
}

// Ensure makes a shared domain that the platform itself needs.
func (f *Family) Ensure(ctx context.Context, name string, internal bool) error {
	err := f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if ok, err := tx.NewSelect().Model((*Domain)(nil)).Where("name = ?", name).Exists(ctx); err != nil || ok {
			return err
		}
		return row.Insert(ctx, tx, &Domain{Name: name, Internal: internal})
	})
	if sql.IsUnique(err) { // another process was faster
		return nil
	}
	return err
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
	found, err := c.DB().NewSelect().Model((*Route)(nil)).Where("domain_guid = ? AND host_key = ? AND LOWER(path) = ? AND port = ?",
		d.GUID, access.Fold(q.Get("host")), access.Fold(q.Get("path")), port).Exists(c.Ctx())
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, rest.Object{"matching_route": found})
}
