package route

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
)

// fillDomains reads with whom the domains of an answer are shared, as far as the caller sees those organizations.
func fillDomains(c *rest.Call, ds []*Domain) error {
	byGUID := map[string]*Domain{}
	var guids []string
	for _, d := range ds {
		d.sharedWith, byGUID[d.GUID] = nil, d
		guids = append(guids, d.GUID)
	}
	var rows []*sharedDomain
	q := c.DB().NewSelect().Model(&rows).Where("domain_guid IN (?)", bun.List(guids)).OrderExpr("id")
	err := access.InOrgs("org_guid").Narrow(c.Caller, q).Scan(c.Ctx())
	for _, r := range rows {
		d := byGUID[r.DomainGUID]
		d.sharedWith = append(d.sharedWith, r.OrgGUID)
	}
	return err
}

// orgsBody reads {"data": [{"guid"}]}.
type orgsBody struct{ guids []string }

func (t *orgsBody) Take(b *rest.Body) {
	var data []map[string]json.RawMessage
	raw := b.Raw("data")
	ok := given(raw) && json.Unmarshal(raw, &data) == nil
	for _, d := range data {
		var guid string
		ok = ok && json.Unmarshal(d["guid"], &guid) == nil && guid != "" && len(guid) <= 200
		t.guids = append(t.guids, guid)
	}
	if !ok {
		b.Fault(`Data must have the structure "data": [{"guid": shared_org_guid_1}, {"guid": shared_org_guid_2}]`)
	}
}

func (f *Family) shareDomain(c *rest.Call) error {
	var t orgsBody
	if err := rest.Take(c, &t); err != nil { // before all else, as in DomainsController
		return err
	}
	d, err := f.Domains.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	if err := mayWriteDomain(c, d.OrgGUID); err != nil {
		return err
	}
	if err := mayShareWith(c, d.OrgGUID, t.guids); err != nil {
		return err
	}
	if d.Shared() {
		return rest.Unprocessable("Domains cannot be shared with other organizations unless they are scoped to an organization.")
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		if err := f.holdOrgs(ctx, tx, t.guids); err != nil {
			return err
		}
		if err := lock(ctx, f.DB, tx, d, "domain"); err != nil {
			return err
		}
		return addOrgs(ctx, tx, d, t.guids)
	})
	if err != nil {
		return err
	}
	if err := fillDomains(c, []*Domain{d}); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, rest.ToMany(d.sharedWith))
}

// mayShareWith answers nil when the caller may give a domain of owner to all those organizations.
func mayShareWith(c *rest.Call, owner string, orgs []string) error {
	for _, guid := range orgs {
		o, err := access.OrgByGUID(c.Ctx(), c.DB(), guid)
		if cf.IsKind(err, cf.KindNotFound) {
			return rest.Unprocessable("Organization with guid '%s' does not exist, or you do not have access to it.", guid)
		}
		if err != nil {
			return err
		}
		if seen, err := c.Ref("organization", guid); err != nil {
			return err
		} else if !seen { // Cloud Controller's words differ here, and tell that it exists
			return rest.Unprocessable("Organization with guid '%s' does not exist, or you do not have access to it.", guid)
		}
		err = access.MayWriteOrg(c.Ctx(), c.DB(), o, access.OrgWriters...)
		switch {
		case err == nil:
		case !cf.IsKind(err, cf.KindForbidden):
			return err
		case o.Status == access.Suspended && hasRole(c, o):
			return rest.Unprocessable("Organization '%s' is suspended.", o.Name)
		default:
			return rest.Unprocessable("You do not have sufficient permissions for organization '%s' to share domain.", o.Name)
		}
	}
	if slices.Contains(orgs, owner) {
		return rest.Unprocessable("Domain cannot be shared with owning organization.")
	}
	return nil
}

func hasRole(c *rest.Call, o *access.Organization) bool {
	ok, err := access.HasInOrg(c.Ctx(), c.DB(), c.Caller, o.GUID, access.OrgWriters...)
	return err == nil && ok
}

// holdOrgs holds organizations; "" is none. It comes before the domain, as where routes are made.
func (f *Family) holdOrgs(ctx context.Context, tx bun.Tx, orgs []string) error {
	for _, org := range slices.Compact(slices.Sorted(slices.Values(orgs))) {
		if org == "" {
			continue
		}
		if err := access.HoldOrg(ctx, f.DB, tx, org); err != nil {
			return err
		}
	}
	return nil
}

// addOrgs shares the domain with organizations that do not have it yet; all of them are held.
func addOrgs(ctx context.Context, tx bun.Tx, d *Domain, orgs []string) error {
	for _, org := range slices.Compact(slices.Sorted(slices.Values(orgs))) {
		s := &sharedDomain{DomainGUID: d.GUID, OrgGUID: org}
		has, err := tx.NewSelect().Model(s).Where("domain_guid = ? AND org_guid = ?", d.GUID, org).Exists(ctx)
		if err == nil && !has {
			_, err = tx.NewInsert().Model(s).Exec(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unshareDomain takes a domain from an organization; the managers of either may.
func (f *Family) unshareDomain(c *rest.Call) error {
	d, err := f.Domains.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	o, err := access.OrgByGUID(c.Ctx(), c.DB(), c.Arg("org"))
	if cf.IsKind(err, cf.KindNotFound) {
		return unknownOrg(c.Arg("org"))
	}
	if err != nil {
		return err
	}
	if err := mayWriteDomain(c, d.OrgGUID); err != nil {
		if access.MayWriteOrg(c.Ctx(), c.DB(), o, access.OrgWriters...) != nil {
			return err
		}
	}
	if seen, err := c.Ref("organization", o.GUID); err != nil {
		return err
	} else if !seen {
		return unknownOrg(o.GUID)
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		if err := lock(ctx, f.DB, tx, d, "domain"); err != nil {
			return err
		}
		return takeFrom(ctx, tx, d, o)
	})
	if err != nil {
		return err
	}
	return c.NoContent()
}

func takeFrom(ctx context.Context, tx bun.Tx, d *Domain, o *access.Organization) error {
	const share = "domain_guid = ? AND org_guid = ?"
	has, err := tx.NewSelect().Model((*sharedDomain)(nil)).Where(share, d.GUID, o.GUID).Exists(ctx)
	if err != nil {
		return err
	}
	if !has {
		return rest.Unprocessable("Unable to unshare domain from organization with name '%s'. Ensure the domain is shared to this organization.", o.Name)
	}
	used, err := tx.NewSelect().Model((*Route)(nil)).
		Where("domain_guid = ? AND space_guid IN (SELECT guid FROM rest_spaces WHERE org_guid = ?)", d.GUID, o.GUID).Exists(ctx)
	if err != nil {
		return err
	}
	if used {
		return rest.Unprocessable("This domain has associated routes in this organization. Delete the routes before unsharing.")
	}
	_, err = tx.NewDelete().Model((*sharedDomain)(nil)).Where(share, d.GUID, o.GUID).Exec(ctx)
	return err
}

// usable are the domains that an organization may use.
func usable(q *bun.SelectQuery, org string) *bun.SelectQuery {
	return q.WhereGroup(" AND ", func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("org_guid = ''").WhereOr("org_guid = ?", org).WhereOr(sharedTo, org)
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
