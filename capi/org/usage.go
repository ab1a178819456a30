package org

import (
	"net/http"

	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/quota"
)

func (f *Family) summary(c *rest.Call, where quota.Within, links rest.Object) error {
	var u quota.Usage
	for _, count := range f.Usages {
		if err := count(c.Ctx(), c.DB(), where, &u); err != nil {
			return err
		}
	}
	return c.JSON(http.StatusOK, rest.Object{"usage_summary": u, "links": links})
}

func (f *Family) orgUsage(c *rest.Call) error {
	o, err := rest.Find[access.Organization](c, "organization", c.Arg("guid"))
	if err != nil {
		return err
	}
	return f.summary(c, quota.Within{Org: o.GUID}, rest.Object{
		"self":         c.Link("/v3/organizations/%s/usage_summary", o.GUID),
		"organization": c.Link("/v3/organizations/%s", o.GUID),
	})
}

func (f *Family) spaceUsage(c *rest.Call) error {
	s, err := rest.Find[access.Space](c, "space", c.Arg("guid"))
	if err != nil {
		return err
	}
	return f.summary(c, quota.Within{Org: s.OrgGUID, Space: s.GUID}, rest.Object{
		"self": c.Link("/v3/spaces/%s/usage_summary", s.GUID), "space": c.Link("/v3/spaces/%s", s.GUID),
	})
}

// usage is the whole platform's, for those who see all of it; to others it does not exist.
func (f *Family) usage(c *rest.Call) error {
	if !c.Caller.ReadsAll() {
		return rest.UnknownRequest()
	}
	return f.summary(c, quota.Within{}, rest.Object{"self": c.Link("/v3/info/usage_summary")})
}
