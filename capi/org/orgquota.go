package org

import (
	"context"
	"errors"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/job"
	"ingot/rest/quota"
	"ingot/rest/row"
)

func (f *Family) orgQuotas() *rest.Resource[quota.OfOrg] {
	return &rest.Resource[quota.OfOrg]{
		Kind: "organization_quota", Path: "/v3/organization_quotas",
		Visible: func(access.Caller) access.Reasons { return access.Any(bun.SafeQuery("org_guid = ''")) },
		Filters: []rest.Filter{
			{Param: "names", Where: "name_key IN (?)", Fold: true},
			{Param: "organization_guids", By: func(c *rest.Call, q *bun.SelectQuery, guids []string) (*bun.SelectQuery, error) {
				orgs := c.DB().NewSelect().Model((*access.Organization)(nil)).Column("quota_guid").Where("guid IN (?)", bun.List(guids))
				return q.Where("guid IN (?)", access.InOrgs("guid").Narrow(c.Caller, orgs)), nil
			}},
		},
		Fill: fillOrgQuotas,
		View: func(_ *rest.Call, q *quota.OfOrg) rest.Object {
			o := quotaView(&q.Quota)
			o["domains"] = q.Limits.V.Domains
			o["relationships"] = rest.Object{"organizations": rest.ToMany(q.Holders)}
			return o
		},
		Create: f.createOrgQuota,
		Update: f.updateOrgQuota,
		Delete: func(c *rest.Call, q *quota.OfOrg) error {
			if err := c.Admins(); err != nil {
				return err
			}
			return unusedByOrgs(c.Ctx(), c.DB(), q.GUID)
		},
		Remove: f.removeOrgQuota,
	}
}

// fillOrgQuotas reads the organizations of quotas, as far as the caller sees them.
func fillOrgQuotas(c *rest.Call, quotas []*quota.OfOrg) error {
	byGUID := map[string]*quota.OfOrg{}
	var guids []string
	for _, q := range quotas {
		byGUID[q.GUID] = q
		guids = append(guids, q.GUID)
	}
	var orgs []access.Organization
	sel := c.DB().NewSelect().Model(&orgs).Column("guid", "quota_guid").Where("quota_guid IN (?)", bun.List(guids)).OrderExpr("id")
	if err := access.InOrgs("guid").Narrow(c.Caller, sel).Scan(c.Ctx()); err != nil {
		return err
	}
	for _, o := range orgs {
		q := byGUID[o.QuotaGUID]
		q.Holders = append(q.Holders, o.GUID)
	}
	return nil
}

func unusedByOrgs(ctx context.Context, db bun.IDB, guid string) error {
	used, err := db.NewSelect().Model((*access.Organization)(nil)).Where("quota_guid = ?", guid).Exists(ctx)
	if err == nil && used {
		return rest.Unprocessable("This quota is applied to one or more organizations. Apply different quotas to those organizations before deleting.")
	}
	return err
}

func orgQuotaTarget(q *quota.OfOrg) event.Target {
	return event.Target{GUID: q.GUID, Type: "organization_quota", Name: q.Name}
}

// checkPorts refuses more ports than routes.
func checkPorts(q *quota.OfOrg) error {
	if l := q.Limits.V.Routes; above(l.Ports, l.Total) {
		return rest.Unprocessable("Total reserved ports must be -1, 0, or a positive integer, and must be less than or equal to total routes.")
	}
	return nil
}

func quotaTaken(kind, name string, err error) error {
	if sql.IsUnique(err) {
		return rest.Unprocessable("%s Quota '%s' already exists.", kind, name)
	}
	return err
}

func (f *Family) createOrgQuota(c *rest.Call) (*quota.OfOrg, error) {
	if err := c.Admins(); err != nil {
		return nil, err
	}
	in := quotaBody{new: true}
	if err := rest.Take(c, &in); err != nil {
		return nil, err
	}
	q := &quota.OfOrg{}
	in.apply(&q.Quota)
	err := c.Write(func(ctx context.Context, tx bun.Tx) error {
		q.Row = row.Row{}
		if err := checkPorts(q); err != nil {
			return err
		}
		if err := row.Insert(ctx, tx, q); err != nil {
			return err
		}
		orgs, err := f.orgsFor(ctx, tx, in.holders.V, " do not exist, or you do not have access to them.")
		if err != nil {
			return err
		}
		if err := giveOrgs(ctx, tx, q, orgs); err != nil {
			return err
		}
		return c.Event(ctx, tx, "audit.organization_quota.create", orgQuotaTarget(q))
	})
	return q, quotaTaken("Organization", q.Name, err)
}

// orgsFor reads and holds organizations; missing is what is said of those that do not exist.
func (f *Family) orgsFor(ctx context.Context, tx bun.Tx, guids []string, missing string) (orgs []*access.Organization, err error) {
	err = f.DB.ForUpdate(tx.NewSelect().Model(&orgs).Where("guid IN (?)", bun.List(guids)).OrderExpr("id")).Scan(ctx)
	if lost := without(guids, orgs); err == nil && len(lost) > 0 {
		err = rest.Unprocessable("Organizations with guids %s%s", inspect(lost), missing)
	}
	return orgs, err
}

func giveOrgs(ctx context.Context, tx bun.Tx, q *quota.OfOrg, orgs []*access.Organization) error {
	for _, o := range orgs {
		o.QuotaGUID = q.GUID
		if err := row.Update(ctx, tx, o); err != nil {
			return err
		}
	}
	return nil
}

func (f *Family) updateOrgQuota(c *rest.Call, q *quota.OfOrg) error {
	if err := c.Admins(); err != nil {
		return err
	}
	var in quotaBody
	if err := rest.Take(c, &in); err != nil {
		return err
	}
	if in.limitsLogs() {
		var orgs []*access.Organization
		if err := c.DB().NewSelect().Model(&orgs).Where("quota_guid = ?", q.GUID).OrderExpr("name").Scan(c.Ctx()); err != nil {
			return err
		}
		if err := f.mayLimit(c.Ctx(), c.DB(), "org", holdingOrgs(orgs)); err != nil {
			return err
		}
	}
	err := c.Change(q, func(ctx context.Context, tx bun.Tx) error {
		in.apply(&q.Quota)
		if err := checkPorts(q); err != nil {
			return err
		}
		return c.Event(ctx, tx, "audit.organization_quota.update", orgQuotaTarget(q))
	})
	return quotaTaken("Organization", in.name.V, err)
}

// removeOrgQuota is the job organization_quota.delete.
func (f *Family) removeOrgQuota(ctx context.Context, j *job.Job) error {
	q := &quota.OfOrg{}
	q.GUID = j.ResourceGUID
	return f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := row.Lock(ctx, f.DB, tx, q); err != nil {
			return gone(err)
		}
		if err := unusedByOrgs(ctx, tx, q.GUID); err != nil {
			return err
		}
		if err := row.Delete(ctx, tx, q); err != nil {
			return err
		}
		return event.Record(ctx, tx, "audit.organization_quota.delete", orgQuotaTarget(q), nil)
	})
}

// applyOrgQuota is POST /v3/organization_quotas/:guid/relationships/organizations.
func (f *Family) applyOrgQuota(c *rest.Call) error {
	if err := c.Admins(); err != nil {
		return err
	}
	q, err := rest.Find[quota.OfOrg](c, "organization_quota", c.Arg("guid"))
	if err != nil {
		return err
	}
	var in manyBody
	if err := rest.Take(c, &in); err != nil {
		return err
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		if err := row.Lock(ctx, f.DB, tx, q); errors.Is(err, sql.ErrNoRows) {
			return rest.NotFound("organization_quota")
		} else if err != nil {
			return err
		}
		orgs, err := f.orgsFor(ctx, tx, in.guids, " do not exist")
		if err != nil {
			return err
		}
		if err := f.mayGive(ctx, tx, "org", &q.Quota, holdingOrgs(orgs)); err != nil {
			return err
		}
		for _, o := range orgs {
			t := orgQuotaTarget(q)
			t.Org = o.GUID
			if err := event.Record(ctx, tx, "audit.organization_quota.apply", t, map[string]any{"organization_guid": o.GUID}); err != nil {
				return err
			}
		}
		return giveOrgs(ctx, tx, q, orgs)
	})
	if err != nil {
		return err
	}
	if err := fillOrgQuotas(c, []*quota.OfOrg{q}); err != nil {
		return err
	}
	return many(c, q.Holders, c.Link("/v3/organization_quotas/%s/relationships/organizations", q.GUID), nil)
}
