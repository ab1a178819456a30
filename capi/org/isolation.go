package org

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/uptrace/bun"

	"ingot/rest"
	"ingot/rest/access"
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

// setOrgIsolation takes a segment away. None can be set: no organization is entitled to one as long as there are none.
func setOrgIsolation(c *rest.Call) error {
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
	if in.GUID != "" {
		return rest.Unprocessable("Unable to assign isolation segment with guid '%s'. Ensure it has been entitled to the organization.", in.GUID)
	}
	err = c.Change(o, func(context.Context, bun.Tx) error {
		o.Isolation = ""
		return nil
	})
	if err != nil {
		return err
	}
	return relationship(c, "", orgSegment, o.GUID)
}

func spaceIsolation(c *rest.Call) error {
	s, err := rest.Find[access.Space](c, "space", c.Arg("guid"))
	if err != nil {
		return err
	}
	return relationship(c, s.Isolation, spaceSegment, s.GUID)
}

// setSpaceIsolation is setOrgIsolation for a space.
func setSpaceIsolation(c *rest.Call) error {
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
	if in.GUID != "" {
		return rest.Unprocessable("Unable to assign isolation segment with guid '%s'. "+
			"Ensure it has been entitled to the organization that this space belongs to.", in.GUID)
	}
	err = c.Change(s, func(ctx context.Context, tx bun.Tx) error {
		s.Isolation = ""
		return c.Event(ctx, tx, "audit.space.update", spaceTarget(s))
	})
	if err != nil {
		return err
	}
	return relationship(c, "", spaceSegment, s.GUID)
}
