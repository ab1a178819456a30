package org

import (
	"context"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/job"
	"ingot/rest/quota"
	"ingot/rest/row"
)

func (f *Family) organizations() *rest.Resource[access.Organization] {
	return &rest.Resource[access.Organization]{
		Kind: "organization", Path: "/v3/organizations",
		Visible: access.InOrgs("guid"),
		Filters: []rest.Filter{{Param: "names", Where: "name_key IN (?)", Fold: true}},
		Orders:  []string{"name:name_key"},
		View: func(c *rest.Call, o *access.Organization) rest.Object {
			return rest.Object{
				"name": o.Name, "suspended": o.Status == access.Suspended,
				"relationships": rest.Object{"quota": rest.ToOne(o.QuotaGUID)},
				"links": rest.Object{
					"domains":        c.Link("/v3/organizations/%s/domains", o.GUID),
					"default_domain": c.Link("/v3/organizations/%s/domains/default", o.GUID),
					"quota":          c.Link("/v3/organization_quotas/%s", o.QuotaGUID),
				},
			}
		},
		Subs: []rest.Sub{{Path: "/v3/isolation_segments/{guid}/organizations", Parent: "isolation_segment",
			Where: "guid IN (SELECT org_guid FROM capi_isolation_entitlements WHERE segment_guid = ?)"}},
		Create: f.createOrg,
		Update: f.updateOrg,
		Delete: func(c *rest.Call, _ *access.Organization) error { return c.Admins() },
		Remove: f.removeOrg,
	}
}

type orgBody struct {
	new       bool
	Name      rest.Opt[string]
	Suspended rest.Opt[bool]
	Metadata  row.Patch
}

func (o *orgBody) Take(b *rest.Body) {
	b.Metadata(&o.Metadata)
	b.String("name", &o.Name, rest.Length(1, 255), rest.Printable)
	b.Bool("suspended", &o.Suspended)
	if o.new {
		rest.Required(b, "name", &o.Name)
	}
}

// suspend answers 403 when somebody but an admin would suspend.
func (o *orgBody) suspend(c *rest.Call) error {
	if o.Suspended.Or(false) {
		return c.Admins()
	}
	return nil
}

func status(suspended bool) access.Status {
	if suspended {
		return access.Suspended
	}
	return access.Active
}

func (f *Family) createOrg(c *rest.Call) (*access.Organization, error) {
	if err := c.Admins(); err != nil {
		if access.Enabled(c.Ctx(), c.DB(), "user_org_creation") != nil {
			return nil, err
		}
	}
	in := orgBody{new: true}
	if err := rest.Take(c, &in); err != nil {
		return nil, err
	}
	if err := in.suspend(c); err != nil {
		return nil, err
	}
	o := &access.Organization{Name: in.Name.V, NameKey: access.Fold(in.Name.V), Status: status(in.Suspended.V)}
	if err := in.Metadata.Apply(o.Meta()); err != nil {
		return nil, err
	}
	err := writeRoles(c, func(ctx context.Context, tx bun.Tx) error {
		q := tx.NewSelect().Model((*quota.OfOrg)(nil)).Column("guid").Where("org_guid = '' AND name_key = ?", defaultQuota)
		err := f.DB.ForUpdate(q).Scan(ctx, &o.QuotaGUID)
		if errors.Is(err, sql.ErrNoRows) {
			return cf.Errorf(cf.KindInvalid, "OrganizationInvalid", "Quota Definition could not be found: %s", defaultQuota)
		}
		if err != nil {
			return err
		}
		if err := row.Insert(ctx, tx, o); err != nil {
			return err
		}
		if err := c.Event(ctx, tx, "audit.organization.create", orgTarget(o)); err != nil || c.Caller.Admin() {
			return err
		}
		if err := f.holdUser(ctx, tx, c.Caller.GUID); err != nil {
			return err
		}
		for _, t := range []access.Role{access.OrgUser, access.OrgManager} {
			r := &access.RoleRow{Type: t, UserGUID: c.Caller.GUID, OrgGUID: o.GUID}
			if err := addRole(ctx, tx, c, r, c.Caller.UserName); err != nil {
				return err
			}
		}
		return nil
	})
	if sql.IsUnique(err) {
		return nil, rest.Unprocessable("Organization '%s' already exists.", o.Name)
	}
	return o, err
}

func orgTarget(o *access.Organization) event.Target {
	return event.Target{GUID: o.GUID, Type: "organization", Name: o.Name, Org: o.GUID}
}

func (f *Family) updateOrg(c *rest.Call, o *access.Organization) error {
	if err := access.MayWriteOrg(c.Ctx(), c.DB(), o, access.OrgWriters...); err != nil {
		return err
	}
	var in orgBody
	if err := rest.Take(c, &in); err != nil {
		return err
	}
	if err := in.suspend(c); err != nil {
		return err
	}
	err := c.Change(o, func(ctx context.Context, tx bun.Tx) error {
		if in.Suspended.Given() {
			if o.Deleting {
				return rest.Unprocessable("Organization '%s' is being deleted and cannot be updated.", o.Name)
			}
			o.Status = status(in.Suspended.V)
		}
		o.Name = in.Name.Or(o.Name)
		o.NameKey = access.Fold(o.Name)
		if err := in.Metadata.Apply(o.Meta()); err != nil {
			return err
		}
		return c.Event(ctx, tx, "audit.organization.update", orgTarget(o))
	})
	if sql.IsUnique(err) {
		return rest.Unprocessable("Organization name '%s' is already taken.", in.Name.V)
	}
	return err
}

// removeOrg is the job organization.delete: the spaces with all that is in them, what is in the organization itself,
// its roles, and last the organization. Each step may run again.
func (f *Family) removeOrg(ctx context.Context, j *job.Job) error {
	o, err := access.OrgByGUID(ctx, f.DB.Read(), j.ResourceGUID)
	if err != nil {
		return gone(err)
	}
	return f.emptied(ctx, "rest_organizations", o.GUID, func() error { return f.removeOrgParts(ctx, j, o) })
}

func (f *Family) removeOrgParts(ctx context.Context, j *job.Job, o *access.Organization) error {
	var spaces []access.Space
	if err := f.DB.Read().NewSelect().Model(&spaces).Where("org_guid = ?", o.GUID).OrderExpr("id").Scan(ctx); err != nil {
		return err
	}
	for _, s := range spaces {
		if err := f.removeSpaceOf(ctx, j, &s); err != nil {
			return orgDeletion(o.Name, err)
		}
	}
	for _, contents := range f.OrgContents {
		if err := contents(ctx, j, o.GUID); err != nil {
			return orgDeletion(o.Name, err)
		}
	}
	return f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := f.DB.LockRow(ctx, tx, "rest_organizations", o.GUID); err != nil {
			return err
		}
		for _, table := range []string{"rest_roles", "rest_quotas"} {
			if err := row.DeleteWhere(ctx, tx, table, "org_guid = ?", o.GUID); err != nil {
				return err
			}
		}
		if _, err := tx.NewDelete().Model((*entitlement)(nil)).Where("org_guid = ?", o.GUID).Exec(ctx); err != nil {
			return err
		}
		if err := row.Delete(ctx, tx, o); err != nil {
			return err
		}
		data := map[string]any{"request": map[string]any{"recursive": true}}
		return event.Record(ctx, tx, "audit.organization.delete-request", orgTarget(o), data)
	})
}

// orgDeletion wraps what kept an organization from being deleted, in CF's words.
func orgDeletion(name string, err error) error {
	var e *cf.Error
	if !errors.As(err, &e) || e.Public == "" {
		return err
	}
	return &cf.Error{Kind: cf.KindInternal, Code: "OrganizationDeletionFailed", Cause: err, Public: fmt.Sprintf(
		"Deletion of organization %s failed because one or more resources within could not be deleted.\n\n%s", name, e.Public)}
}

// emptied marks an organization or space as being deleted while work empties and deletes it, and takes the mark back
// when that failed for good. A crash leaves the mark; the job goes on after the next start.
func (f *Family) emptied(ctx context.Context, table, guid string, work func() error) error {
	mark := func(ctx context.Context, on bool) error {
		return f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.NewUpdate().TableExpr(table).Set("deleting = ?", on).Where("guid = ?", guid).Exec(ctx)
			return err
		})
	}
	if err := mark(ctx, true); err != nil {
		return err
	}
	err := work()
	if err != nil && ctx.Err() == nil {
		return errors.Join(err, mark(ctx, false))
	}
	return err
}

// gone takes an object that is not there any more for one that was deleted before.
func gone(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}
