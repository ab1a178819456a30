package org

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/row"
)

// sharedSegment is the guid that Cloud Controller gives the segment of the cells that belong to none.
const sharedSegment = "933b4c58-120b-499a-b85d-4b6fc9e2903b"

// Segment is a row of isolation segments.
type Segment struct {
	bun.BaseModel `bun:"table:capi_isolation_segments"`
	row.Labelled
	Name    string `bun:"name"` // also what the cells of the segment call it
	NameKey string `bun:"name_key"`
}

// entitlement allows an organization to use a segment.
type entitlement struct {
	bun.BaseModel `bun:"table:capi_isolation_entitlements"`
	Segment       string `bun:"segment_guid"`
	Org           string `bun:"org_guid"`
}

// ensureShared makes the segment "shared".
func (f *Family) ensureShared(ctx context.Context) error {
	err := f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		ok, err := tx.NewSelect().Model((*Segment)(nil)).Where("guid = ?", sharedSegment).Exists(ctx)
		if ok || err != nil {
			return err
		}
		return row.Insert(ctx, tx, &Segment{Labelled: row.Labelled{Row: row.Row{GUID: sharedSegment}}, Name: "shared", NameKey: "shared"})
	})
	if sql.IsUnique(err) { // another process was faster
		return nil
	}
	return err
}

// SegmentOf names the isolation segment in which the apps of a space run: its own, else its organization's default.
// "" is the shared one.
func SegmentOf(ctx context.Context, db bun.IDB, s *access.Space, o *access.Organization) (string, error) {
	guid := s.Isolation
	if guid == "" {
		guid = o.Isolation
	}
	if guid == "" || guid == sharedSegment {
		return "", nil
	}
	g := new(Segment)
	err := db.NewSelect().Model(g).Where("guid = ?", guid).Scan(ctx)
	return g.Name, err
}

const entitled = "guid IN (SELECT segment_guid FROM capi_isolation_entitlements WHERE org_guid IN (?))"

func (f *Family) segments() *rest.Resource[Segment] {
	return &rest.Resource[Segment]{
		Kind: "isolation_segment", Path: "/v3/isolation_segments",
		Visible: func(c access.Caller) access.Reasons {
			if c.ReadsAll() {
				return access.Everything()
			}
			return access.Any(bun.SafeQuery(entitled, access.Orgs(c, access.OrgReaders...)))
		},
		Filters: []rest.Filter{
			{Param: "names", Where: "name_key IN (?)", Fold: true},
			{Param: "organization_guids", Where: entitled},
		},
		Orders: []string{"name:name_key"},
		View: func(c *rest.Call, s *Segment) rest.Object {
			return rest.Object{"name": s.Name, "links": rest.Object{"organizations": c.Link("/v3/isolation_segments/%s/organizations", s.GUID)}}
		},
		Create: f.createSegment,
		Update: f.updateSegment,
		Delete: f.deleteSegment,
	}
}

type segmentNameBody struct {
	new  bool
	name rest.Opt[string]
	meta row.Patch
}

func (t *segmentNameBody) Take(b *rest.Body) {
	b.Metadata(&t.meta)
	b.String("name", &t.name)
	if t.new {
		rest.Required(b, "name", &t.name)
	}
}

var segmentName = regexp.MustCompile(`^[\p{L}\p{M}\p{N}\p{P}\p{S} ]+$`)

// put writes the name and metadata of the body into the row.
func (t *segmentNameBody) put(s *Segment) error {
	s.Name = t.name.Or(s.Name)
	s.NameKey = access.Fold(s.Name)
	if !segmentName.MatchString(s.Name) || strings.TrimSpace(s.Name) == "" {
		return rest.Unprocessable("Isolation Segment names can only contain non-blank unicode characters")
	}
	if len([]rune(s.Name)) > 255 { // the column's length; Cloud Controller's database fails here
		return rest.Unprocessable("Name is too long (maximum is 255 characters)")
	}
	return t.meta.Apply(s.Meta())
}

func segmentTaken(err error) error {
	if sql.IsUnique(err) {
		return rest.Unprocessable("Isolation Segment names are case insensitive and must be unique")
	}
	return err
}

func (f *Family) createSegment(c *rest.Call) (*Segment, error) {
	if err := c.Admins(); err != nil {
		return nil, err
	}
	in := segmentNameBody{new: true}
	if err := rest.Take(c, &in); err != nil {
		return nil, err
	}
	s := new(Segment)
	if err := in.put(s); err != nil {
		return nil, err
	}
	return s, segmentTaken(c.Write(func(ctx context.Context, tx bun.Tx) error { return row.Insert(ctx, tx, s) }))
}

func (f *Family) updateSegment(c *rest.Call, s *Segment) error {
	if err := c.Admins(); err != nil {
		return err
	}
	var in segmentNameBody
	if err := rest.Take(c, &in); err != nil {
		return err
	}
	return segmentTaken(c.Change(s, func(ctx context.Context, tx bun.Tx) error {
		if s.GUID == sharedSegment {
			return rest.Unprocessable("Cannot update the shared Isolation Segment")
		}
		for _, table := range []string{"rest_organizations", "rest_spaces"} {
			used, err := tx.NewSelect().TableExpr(table).Where("isolation_segment_guid = ?", s.GUID).Exists(ctx)
			if err != nil {
				return err
			}
			if used {
				return rest.Unprocessable("Cannot update Isolation Segments that are assigned as the default for an Organization or Space.")
			}
		}
		return in.put(s)
	}))
}

func (f *Family) deleteSegment(c *rest.Call, s *Segment) error {
	if err := c.Admins(); err != nil {
		return err
	}
	if s.GUID == sharedSegment {
		return rest.Unprocessable("Cannot delete the %s Isolation Segment", s.Name)
	}
	return c.Write(func(ctx context.Context, tx bun.Tx) error {
		if err := f.DB.LockRow(ctx, tx, "capi_isolation_segments", s.GUID); err != nil {
			return err
		}
		// a space has only what its organization is entitled to
		used, err := tx.NewSelect().Model((*entitlement)(nil)).Where("segment_guid = ?", s.GUID).Exists(ctx)
		if err != nil {
			return err
		}
		if used {
			return rest.Unprocessable("Revoke the Organization entitlements for your Isolation Segment.")
		}
		return row.Delete(ctx, tx, s)
	})
}

func (f *Family) segmentOrgs(c *rest.Call) error {
	s, err := rest.Find[Segment](c, "isolation_segment", c.Arg("guid"))
	if err != nil {
		return err
	}
	return answerSegmentOrgs(c, s)
}

func answerSegmentOrgs(c *rest.Call, s *Segment) error {
	guids := []string{}
	q := c.DB().NewSelect().Model((*access.Organization)(nil)).Column("guid").
		Where("guid IN (SELECT org_guid FROM capi_isolation_entitlements WHERE segment_guid = ?)", s.GUID).OrderExpr("id")
	if err := access.InOrgs("guid").Narrow(c.Caller, q).Scan(c.Ctx(), &guids); err != nil {
		return err
	}
	return many(c, guids, c.Link("/v3/isolation_segments/%s/relationships/organizations", s.GUID), c.Link("/v3/isolation_segments/%s/organizations", s.GUID))
}

func (f *Family) segmentSpaces(c *rest.Call) error {
	s, err := rest.Find[Segment](c, "isolation_segment", c.Arg("guid"))
	if err != nil {
		return err
	}
	guids := []string{}
	q := c.DB().NewSelect().Model((*access.Space)(nil)).Column("guid").Where("isolation_segment_guid = ?", s.GUID).OrderExpr("id")
	if err := access.InSpaces("guid").Narrow(c.Caller, q).Scan(c.Ctx(), &guids); err != nil {
		return err
	}
	return many(c, guids, c.Link("/v3/isolation_segments/%s/relationships/spaces", s.GUID), nil)
}

// entitle is POST /v3/isolation_segments/:guid/relationships/organizations.
func (f *Family) entitle(c *rest.Call) error {
	if err := c.Admins(); err != nil {
		return err
	}
	s, err := rest.Find[Segment](c, "isolation_segment", c.Arg("guid"))
	if err != nil {
		return err
	}
	in := manyBody{segment: true}
	if err := rest.Take(c, &in); err != nil {
		return err
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		if err := c.Lock(ctx, tx, s); err != nil {
			return err
		}
		var orgs []*access.Organization
		if err := f.DB.ForUpdate(tx.NewSelect().Model(&orgs).Where("guid IN (?)", bun.List(in.guids)).OrderExpr("id")).Scan(ctx); err != nil {
			return err
		}
		if lost := without(in.guids, orgs); len(lost) > 0 {
			return rest.Unprocessable("Unable to entitle organizations ['%s'] for the isolation segment. Ensure the organizations exist.", strings.Join(lost, "', '"))
		}
		for _, o := range orgs {
			e := &entitlement{Segment: s.GUID, Org: o.GUID}
			if has, err := e.there(ctx, tx); err != nil {
				return err
			} else if has {
				continue
			}
			if _, err := tx.NewInsert().Model(e).Exec(ctx); err != nil {
				return err
			}
			if s.GUID != sharedSegment || o.Isolation != "" {
				continue
			}
			o.Isolation = s.GUID
			if err := row.Update(ctx, tx, o); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return answerSegmentOrgs(c, s)
}

// there tells whether the organization is entitled to the segment.
func (e *entitlement) there(ctx context.Context, db bun.IDB) (bool, error) {
	return db.NewSelect().Model((*entitlement)(nil)).Where("segment_guid = ? AND org_guid = ?", e.Segment, e.Org).Exists(ctx)
}

// revoke is DELETE /v3/isolation_segments/:guid/relationships/organizations/:org_guid.
func (f *Family) revoke(c *rest.Call) error {
	if err := c.Admins(); err != nil {
		return err
	}
	s, err := rest.Find[Segment](c, "isolation_segment", c.Arg("guid"))
	if err != nil {
		return err
	}
	o, err := rest.Find[access.Organization](c, "organization", c.Arg("org_guid"))
	if err != nil {
		return rest.NotFound("org")
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		if err := row.Lock(ctx, f.DB, tx, o); errors.Is(err, sql.ErrNoRows) {
			return rest.NotFound("org")
		} else if err != nil {
			return err
		}
		if o.Isolation == s.GUID {
			return rest.Unprocessable("Cannot remove the entitlement while this Isolation Segment is assigned as the Default Isolation Segment for the Organization.")
		}
		var names []string
		err := tx.NewSelect().Model((*access.Space)(nil)).Column("name").
			Where("org_guid = ? AND isolation_segment_guid = ?", o.GUID, s.GUID).OrderExpr("id").Scan(ctx, &names)
		if err != nil {
			return err
		}
		if len(names) > 0 {
			return rest.Unprocessable("Cannot remove the entitlement while this Isolation Segment is assigned to any Spaces. "+
				"Currently assigned to: '%s'", strings.Join(names, "', '"))
		}
		_, err = tx.NewDelete().Model((*entitlement)(nil)).Where("segment_guid = ? AND org_guid = ?", s.GUID, o.GUID).Exec(ctx)
		return err
	})
	if err != nil {
		return err
	}
	return c.NoContent()
}
