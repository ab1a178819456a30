package org

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/job"
	"ingot/rest/row"
)

func (f *Family) spaces() *rest.Resource[access.Space] {
	return &rest.Resource[access.Space]{
		Kind: "space", Path: "/v3/spaces",
		Visible: access.InSpaces("guid"),
		Filters: []rest.Filter{
			{Param: "names", Where: "name_key IN (?)", Fold: true},
			{Param: "organization_guids", Where: "org_guid IN (?)"},
		},
		Orders: []string{"name:name_key"},
		View: func(c *rest.Call, s *access.Space) rest.Object {
			links := rest.Object{
				"organization":   c.Link("/v3/organizations/%s", s.OrgGUID),
				"features":       c.Link("/v3/spaces/%s/features", s.GUID),
				"apply_manifest": c.Action("/v3/spaces/%s/actions/apply_manifest", s.GUID),
			}
			if s.QuotaGUID != "" {
				links["quota"] = c.Link("/v3/space_quotas/%s", s.QuotaGUID)
			}
			return rest.Object{
				"name": s.Name, "suspended": s.Status == access.Suspended, "links": links,
				"relationships": rest.Object{"organization": rest.ToOne(s.OrgGUID), "quota": rest.ToOne(s.QuotaGUID)},
			}
		},
		Create: f.createSpace,
		Update: f.updateSpace,
		Delete: func(c *rest.Call, s *access.Space) error {
			o, err := access.OrgByGUID(c.Ctx(), c.DB(), s.OrgGUID)
			if err != nil {
				return err
			}
			return access.MayWriteOrg(c.Ctx(), c.DB(), o, access.OrgWriters...)
		},
		Remove: f.removeSpace,
	}
}

type spaceBody struct {
	new       bool
	Name      rest.Opt[string]
	Suspended rest.Opt[bool]
	Org       rest.Opt[string]
	Metadata  row.Patch
}

func (s *spaceBody) Take(b *rest.Body) {
	b.Metadata(&s.Metadata)
	if s.new {
		b.Relationships(false, func(b *rest.Body) { b.ToOne("organization", &s.Org, rest.Required) })
		b.String("name", &s.Name, rest.Required, rest.Length(0, 255), rest.Printable)
	} else {
		b.String("name", &s.Name, rest.Length(1, 255), rest.Printable)
	}
	b.Bool("suspended", &s.Suspended)
}

// suspend answers 403 when neither an admin nor a manager of the organization says anything about suspension.
func (s *spaceBody) suspend(c *rest.Call, org string) error {
	if !s.Suspended.Set || c.Caller.Admin() {
		return nil
	}
	ok, err := access.HasInOrg(c.Ctx(), c.DB(), c.Caller, org, access.OrgManager)
	if err == nil && !ok {
		return access.Forbidden()
	}
	return err
}

func (f *Family) createSpace(c *rest.Call) (*access.Space, error) {
	in := spaceBody{new: true}
	if err := rest.Take(c, &in); err != nil {
		return nil, err
	}
	o, err := rest.Find[access.Organization](c, "organization", in.Org.V)
	if cf.IsKind(err, cf.KindNotFound) {
		return nil, rest.Unprocessable("Invalid organization. Ensure the organization exists and you have access to it.")
	} else if err != nil {
		return nil, err
	}
	if err := access.MayWriteOrg(c.Ctx(), c.DB(), o, access.OrgWriters...); err != nil {
		return nil, err
	}
	if err := in.suspend(c, o.GUID); err != nil {
		return nil, err
	}
	s := &access.Space{
		Name: in.Name.V, NameKey: access.Fold(in.Name.V), OrgGUID: o.GUID, Status: status(in.Suspended.V), AllowSSH: true,
	}
	if err := in.Metadata.Apply(s.Meta()); err != nil {
		return nil, err
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		if err := access.HoldOrg(ctx, f.DB, tx, o.GUID); err != nil {
			return err
		}
		if err := row.Insert(ctx, tx, s); err != nil {
			return err
		}
		return c.Event(ctx, tx, "audit.space.create", spaceTarget(s))
	})
	if sql.IsUnique(err) {
		return nil, rest.Unprocessable("Name must be unique per organization")
	}
	return s, err
}

func spaceTarget(s *access.Space) event.Target {
	return event.Target{GUID: s.GUID, Type: "space", Name: s.Name, Org: s.OrgGUID, Space: s.GUID}
}

func (f *Family) updateSpace(c *rest.Call, s *access.Space) error {
	if err := access.MayWriteSpace(c.Ctx(), c.DB(), s, access.SpaceUpdaters...); err != nil {
		return err
	}
	var in spaceBody
	if err := rest.Take(c, &in); err != nil {
		return err
	}
	if err := in.suspend(c, s.OrgGUID); err != nil {
		return err
	}
	err := c.Change(s, func(ctx context.Context, tx bun.Tx) error {
		if in.Suspended.Given() {
			if s.Deleting {
				return rest.Unprocessable("Space '%s' is being deleted and cannot be updated.", s.Name)
			}
			s.Status = status(in.Suspended.V)
		}
		s.Name = in.Name.Or(s.Name)
		s.NameKey = access.Fold(s.Name)
		if err := in.Metadata.Apply(s.Meta()); err != nil {
			return err
		}
		return c.Event(ctx, tx, "audit.space.update", spaceTarget(s))
	})
	if sql.IsUnique(err) {
		o, err := access.OrgByGUID(c.Ctx(), c.DB(), s.OrgGUID)
		if err != nil {
			return err
		}
		return rest.Unprocessable("Organization '%s' already contains a space with name '%s'.", o.Name, in.Name.V)
	}
	return err
}

// removeSpace is the job space.delete: everything in the space, its roles, and last the space. Each step may run again.
func (f *Family) removeSpace(ctx context.Context, j *job.Job) error {
	s, err := access.SpaceByGUID(ctx, f.DB.Read(), j.ResourceGUID)
	if err != nil {
		return gone(err)
	}
	return f.removeSpaceOf(ctx, j, s)
}

func (f *Family) removeSpaceOf(ctx context.Context, j *job.Job, s *access.Space) error {
	return f.emptied(ctx, "rest_spaces", s.GUID, func() error {
		for _, contents := range f.SpaceContents {
			if err := contents(ctx, j, s.GUID); err != nil {
				return fmt.Errorf("empty the space %s: %w", s.GUID, err)
			}
		}
		return f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
			if err := f.DB.LockRow(ctx, tx, "rest_spaces", s.GUID); err != nil {
				return err
			}
			if err := row.DeleteWhere(ctx, tx, "rest_roles", "space_guid = ?", s.GUID); err != nil {
				return err
			}
			if err := row.Delete(ctx, tx, s); err != nil {
				return err
			}
			data := map[string]any{"request": map[string]any{"recursive": true}}
			return event.Record(ctx, tx, "audit.space.delete-request", spaceTarget(s), data)
		})
	})
}
