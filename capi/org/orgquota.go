package org

import (
	"context"

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
		Fill: func(c *rest.Call, qs []*quota.OfOrg) error { return fill(c, ofOrgs, qs) },
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
			return ofOrgs.unused(c.Ctx(), c.DB(), q.GUID)
		},
		Remove: f.removeOrgQuota,
	}
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
		return c.Event(ctx, tx, "audit.organization_quota.create", ofOrgs.target(q))
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
	err := c.Change(q, func(ctx context.Context, tx bun.Tx) error {
		if in.limitsLogs() {
			if err := ofOrgs.mayLimit(ctx, f, tx, q.GUID); err != nil {
				return err
			}
		}
		in.apply(&q.Quota)
		if err := checkPorts(q); err != nil {
			return err
		}
		return c.Event(ctx, tx, "audit.organization_quota.update", ofOrgs.target(q))
	})
	return quotaTaken("Organization", in.name.V, err)
}

// removeOrgQuota is the job organization_quota.delete.
func (f *Family) removeOrgQuota(ctx context.Context, j *job.Job) error {
	return ofOrgs.remove(ctx, f, j, &quota.OfOrg{})
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
		if err := c.Lock(ctx, tx, q); err != nil {
			return err
		}
		orgs, err := f.orgsFor(ctx, tx, in.guids, " do not exist")
		if err != nil {
			return err
		}
		if err := ofOrgs.mayGive(ctx, f, tx, q, in.guids); err != nil {
			return err
		}
		for _, o := range orgs {
			t := ofOrgs.target(q)
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
	if err := fill(c, ofOrgs, []*quota.OfOrg{q}); err != nil {
		return err
	}
	return many(c, q.Holders, c.Link("/v3/organization_quotas/%s/relationships/organizations", q.GUID), nil)
}
