package org

import (
	"context"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/job"
	"ingot/rest/quota"
	"ingot/rest/row"
)

func (f *Family) spaceQuotas() *rest.Resource[quota.OfSpace] {
	return &rest.Resource[quota.OfSpace]{
		Kind: "space_quota", Path: "/v3/space_quotas",
		Visible: visibleSpaceQuotas, Unprocessable: true,
		Filters: []rest.Filter{
			{Param: "names", Where: "name IN (?)"},
			{Param: "organization_guids", Where: "org_guid IN (?)"},
			{Param: "space_guids", Where: "guid IN (SELECT quota_guid FROM rest_spaces WHERE guid IN (?))"},
		},
		Fill: func(c *rest.Call, qs []*quota.OfSpace) error { return fill(c, ofSpaces, qs) },
		View: func(c *rest.Call, q *quota.OfSpace) rest.Object {
			o := quotaView(&q.Quota)
			o["relationships"] = rest.Object{"organization": rest.ToOne(q.OrgGUID), "spaces": rest.ToMany(q.Holders)}
			o["links"] = rest.Object{"organization": c.Link("/v3/organizations/%s", q.OrgGUID)}
			return o
		},
		Create: f.createSpaceQuota,
		Update: f.updateSpaceQuota,
		Delete: func(c *rest.Call, q *quota.OfSpace) error {
			if err := mayWriteSpaceQuota(c, q); err != nil {
				return err
			}
			return ofSpaces.unused(c.Ctx(), c.DB(), q.GUID)
		},
		Remove: f.removeSpaceQuota,
	}
}

// visibleSpaceQuotas shows those of the organizations that the caller manages, and of spaces where the caller has a role.
func visibleSpaceQuotas(c access.Caller) access.Reasons {
	if c.ReadsAll() {
		return access.Any(bun.SafeQuery("org_guid <> ''"))
	}
	return access.Any(c.In("org_guid", access.Orgs(c, access.OrgManager)),
		c.In("guid", bun.SafeQuery("SELECT quota_guid FROM rest_spaces WHERE quota_guid <> '' AND guid IN (?)", access.Spaces(c, access.SpaceRoles...))))
}

func mayWriteSpaceQuota(c *rest.Call, q *quota.OfSpace) error {
	o, err := access.OrgByGUID(c.Ctx(), c.DB(), q.OrgGUID)
	if cf.IsKind(err, cf.KindNotFound) { // deleted meanwhile, and its quotas with it
		return rest.NotFound("space_quota")
	}
	if err != nil {
		return err
	}
	return access.MayWriteOrg(c.Ctx(), c.DB(), o, access.OrgWriters...)
}

// checkSpacePorts refuses more ports than routes, or than the organization has.
func checkSpacePorts(q *quota.OfSpace, org quota.Limits) error {
	if l := q.Limits.V.Routes; above(l.Ports, l.Total) || above(l.Ports, org.Routes.Ports) {
		return rest.Unprocessable("Total reserved ports must be -1, 0, or a positive integer, must be less than or equal to total routes, " +
			"and must be less than or equal to total reserved ports for the organization quota.")
	}
	return nil
}

func (f *Family) createSpaceQuota(c *rest.Call) (*quota.OfSpace, error) {
	in := quotaBody{new: true, ofSpace: true}
	if err := rest.Take(c, &in); err != nil {
		return nil, err
	}
	o, err := access.OrgByGUID(c.Ctx(), c.DB(), in.org.V) // one that the caller does not see is forbidden, as in SpaceQuotasController
	if cf.IsKind(err, cf.KindNotFound) {
		return nil, rest.Unprocessable("Organization with guid '%s' does not exist, or you do not have access to it.", in.org.V)
	} else if err != nil {
		return nil, err
	}
	if err := access.MayWriteOrg(c.Ctx(), c.DB(), o, access.OrgWriters...); err != nil {
		return nil, err
	}
	q := &quota.OfSpace{Quota: quota.Quota{OrgGUID: o.GUID}}
	in.apply(&q.Quota)
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		q.Row = row.Row{}
		h, err := quota.HoldOrg(ctx, f.DB, tx, o.GUID)
		if err != nil {
			return err
		}
		if err := checkSpacePorts(q, h.Org.Limits); err != nil {
			return err
		}
		if err := row.Insert(ctx, tx, q); err != nil {
			return err
		}
		spaces, err := f.spacesFor(ctx, tx, in.holders.V)
		if err != nil {
			return err
		}
		mine := spaces[:0:0]
		for _, s := range spaces {
			if s.OrgGUID == o.GUID {
				mine = append(mine, s)
			}
		}
		if lost := without(in.holders.V, mine); len(lost) > 0 {
			return rest.Unprocessable("Spaces with guids %s do not exist within the organization specified, or you do not have access to them.", inspect(lost))
		}
		if err := giveSpaces(ctx, tx, q, mine); err != nil {
			return err
		}
		return c.Event(ctx, tx, "audit.space_quota.create", ofSpaces.target(q))
	})
	return q, quotaTaken("Space", q.Name, err)
}

// spacesFor reads and holds those of the spaces that exist.
func (f *Family) spacesFor(ctx context.Context, tx bun.Tx, guids []string) (spaces []*access.Space, err error) {
	return spaces, f.DB.ForUpdate(tx.NewSelect().Model(&spaces).Where("guid IN (?)", bun.List(guids)).OrderExpr("id")).Scan(ctx)
}

func giveSpaces(ctx context.Context, tx bun.Tx, q *quota.OfSpace, spaces []*access.Space) error {
	for _, s := range spaces {
		s.QuotaGUID = q.GUID
		if err := row.Update(ctx, tx, s); err != nil {
			return err
		}
	}
	return nil
}

func (f *Family) updateSpaceQuota(c *rest.Call, q *quota.OfSpace) error {
	if err := mayWriteSpaceQuota(c, q); err != nil {
		return err
	}
	in := quotaBody{ofSpace: true}
	if err := rest.Take(c, &in); err != nil {
		return err
	}
	err := c.Change(q, func(ctx context.Context, tx bun.Tx) error {
		h, err := quota.HoldOrg(ctx, f.DB, tx, q.OrgGUID)
		if err != nil {
			return err
		}
		if in.limitsLogs() {
			if err := ofSpaces.mayLimit(ctx, f, tx, q.GUID); err != nil {
				return err
			}
		}
		in.apply(&q.Quota)
		if err := checkSpacePorts(q, h.Org.Limits); err != nil {
			return err
		}
		return c.Event(ctx, tx, "audit.space_quota.update", ofSpaces.target(q))
	})
	return quotaTaken("Space", in.name.V, err)
}

// removeSpaceQuota is the job space_quota.delete.
func (f *Family) removeSpaceQuota(ctx context.Context, j *job.Job) error {
	return ofSpaces.remove(ctx, f, j, &quota.OfSpace{})
}

// findSpaceQuota is the quota of a request that its caller may change.
func findSpaceQuota(c *rest.Call) (*quota.OfSpace, error) {
	q, err := rest.Find[quota.OfSpace](c, "space_quota", c.Arg("guid"))
	if err != nil {
		return nil, err
	}
	return q, mayWriteSpaceQuota(c, q)
}

// applySpaceQuota is POST /v3/space_quotas/:guid/relationships/spaces.
func (f *Family) applySpaceQuota(c *rest.Call) error {
	q, err := findSpaceQuota(c)
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
		spaces, err := f.spacesFor(ctx, tx, in.guids)
		if err != nil {
			return err
		}
		var seen []*access.Space
		sel := tx.NewSelect().Model(&seen).Column("guid").Where("guid IN (?)", bun.List(in.guids))
		if err := access.InSpaces("guid").Narrow(c.Caller, sel).Scan(ctx); err != nil {
			return err
		}
		if lost := without(in.guids, seen); len(lost) > 0 {
			return rest.Unprocessable("Spaces with guids %s do not exist, or you do not have access to them.", inspect(lost))
		}
		for _, s := range spaces {
			if s.OrgGUID != q.OrgGUID {
				return rest.Unprocessable("Space quotas cannot be applied outside of their owning organization.")
			}
		}
		if err := ofSpaces.mayGive(ctx, f, tx, q, in.guids); err != nil {
			return err
		}
		if err := giveSpaces(ctx, tx, q, spaces); err != nil {
			return err
		}
		for _, s := range spaces {
			t := ofSpaces.target(q)
			t.Space = s.GUID
			if err := event.Record(ctx, tx, "audit.space_quota.apply", t, map[string]any{"space_guid": s.GUID}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := fill(c, ofSpaces, []*quota.OfSpace{q}); err != nil {
		return err
	}
	return many(c, q.Holders, c.Link("/v3/space_quotas/%s/relationships/spaces", q.GUID), nil)
}

// unapplySpaceQuota is DELETE /v3/space_quotas/:guid/relationships/spaces/:space_guid.
func (f *Family) unapplySpaceQuota(c *rest.Call) error {
	q, err := findSpaceQuota(c)
	if err != nil {
		return err
	}
	guid := c.Arg("space_guid")
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		spaces, err := f.spacesFor(ctx, tx, []string{guid})
		if err != nil {
			return err
		}
		if len(spaces) == 0 || spaces[0].QuotaGUID != q.GUID {
			return rest.Unprocessable("Unable to remove quota from space with guid '%s'. Ensure the space quota is applied to this space.", guid)
		}
		s := spaces[0]
		s.QuotaGUID = ""
		if err := row.Update(ctx, tx, s); err != nil {
			return err
		}
		t := ofSpaces.target(q)
		t.Space = s.GUID
		return event.Record(ctx, tx, "audit.space_quota.remove", t, map[string]any{"space_guid": s.GUID})
	})
	if err != nil {
		return err
	}
	return c.NoContent()
}
