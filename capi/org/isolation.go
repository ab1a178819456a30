package org

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/uptrace/bun"

	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/row"
)

// segmentBody is {"data": {"guid": "..."}} or {"data": null}.
type segmentBody struct {
	GUID string
}

func (s *segmentBody) Take(b *rest.Body) {
	var data map[string]json.RawMessage
	raw := b.Raw("data")
	if raw == nil || string(raw) == "null" {
		return
	}
	if json.Unmarshal(raw, &data) != nil {
		b.Wrong("data", "must be an object")
		return
	}
	if len(data) != 1 {
		b.Wrong("data", "can only accept one key")
	}
	guid, ok := data["guid"]
	if !ok {
		b.Wrong("data", "can only accept key 'guid'")
	} else if json.Unmarshal(guid, &s.GUID) != nil {
		b.Wrong("data", "%s must be a string", guid)
	}
}

// entitled tells whether the organization may have the segment; anybody may have none.
func (s *segmentBody) entitled(ctx context.Context, db bun.IDB, org string) (bool, error) {
	if s.GUID == "" {
		return true, nil
	}
	return (&entitlement{Segment: s.GUID, Org: org}).there(ctx, db)
}

func relationship(c *rest.Call, guid, path string, args ...any) error {
	links := rest.Object{"self": c.Link(path, args...)}
	if guid != "" {
		links["related"] = c.Link("/v3/isolation_segments/%s", guid)
	}
	o := rest.ToOne(guid)
	o["links"] = links
	return c.JSON(http.StatusOK, o)
}

const (
	orgSegment   = "/v3/organizations/%s/relationships/default_isolation_segment"
	spaceSegment = "/v3/spaces/%s/relationships/isolation_segment"
)

func orgIsolation(c *rest.Call) error {
	o, err := rest.Find[access.Organization](c, "organization", c.Arg("guid"))
	if err != nil {
		return err
	}
	return relationship(c, o.Isolation, orgSegment, o.GUID)
}

// setOrgIsolation sets the default segment of an organization, or takes it away.
func (f *Family) setOrgIsolation(c *rest.Call) error {
	var in segmentBody
	if err := rest.Take(c, &in); err != nil {
		return err
	}
	o, err := rest.Find[access.Organization](c, "organization", c.Arg("guid"))
	if err != nil {
		return err
	}
	if err := access.MayWriteOrg(c.Ctx(), c.DB(), o, access.OrgWriters...); err != nil {
		return err
	}
	err = c.Change(o, func(ctx context.Context, tx bun.Tx) error {
		if ok, err := in.entitled(ctx, tx, o.GUID); err != nil {
			return err
		} else if !ok {
			return rest.Unprocessable("Unable to assign isolation segment with guid '%s'. Ensure it has been entitled to the organization.", in.GUID)
		}
		o.Isolation = in.GUID
		return nil
	})
	if err != nil {
		return err
	}
	return relationship(c, in.GUID, orgSegment, o.GUID)
}

func spaceIsolation(c *rest.Call) error {
	s, err := rest.Find[access.Space](c, "space", c.Arg("guid"))
	if err != nil {
		return err
	}
	return relationship(c, s.Isolation, spaceSegment, s.GUID)
}

// setSpaceIsolation is setOrgIsolation for a space.
func (f *Family) setSpaceIsolation(c *rest.Call) error {
	s, err := rest.Find[access.Space](c, "space", c.Arg("guid"))
	if err != nil {
		return err
	}
	if !c.Caller.Admin() {
		ok, err := access.HasInOrg(c.Ctx(), c.DB(), c.Caller, s.OrgGUID, access.OrgManager)
		if err != nil {
			return err
		} else if !ok {
			return access.Forbidden()
		}
	}
	var in segmentBody
	if err := rest.Take(c, &in); err != nil {
		return err
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		if err := access.HoldOrg(ctx, f.DB, tx, s.OrgGUID); err != nil { // so that it stays entitled
			return err
		}
		if err := c.Lock(ctx, tx, s); err != nil {
			return err
		}
		if ok, err := in.entitled(ctx, tx, s.OrgGUID); err != nil {
			return err
		} else if !ok {
			return rest.Unprocessable("Unable to assign isolation segment with guid '%s'. "+
				"Ensure it has been entitled to the organization that this space belongs to.", in.GUID)
		}
		s.Isolation = in.GUID
		if err := row.Update(ctx, tx, s); err != nil {
			return err
		}
		return c.Event(ctx, tx, "audit.space.update", spaceTarget(s))
	})
	if err != nil {
		return err
	}
	return relationship(c, in.GUID, spaceSegment, s.GUID)
}
