package app

import (
	"context"
	"fmt"
	"net/http"

	"github.com/uptrace/bun"

	"ingot/rest"
	"ingot/rest/access"
)

// Feature is a switch of an app.
type Feature struct {
	Name, Description string
	Of                func(a *App) *bool
	Roles             access.Roles // who may turn it
}

// Features are the switches that apps have, in CF's order.
var Features = []Feature{
	{"ssh", "Enable SSHing into the app.", func(a *App) *bool { return &a.SSH }, access.SpaceWriters},
	{"revisions", "Enable versioning of an application", func(a *App) *bool { return &a.Revisions }, access.AppManagers},
}

func (f *Family) featureRoutes() []rest.Route {
	return []rest.Route{
		{Pattern: "GET /v3/apps/{guid}/features", Handle: f.listFeatures},
		{Pattern: "GET /v3/apps/{guid}/features/{name}", Handle: f.showFeature},
		{Pattern: "PATCH /v3/apps/{guid}/features/{name}", Handle: f.patchFeature},
		{Pattern: "GET /v3/apps/{guid}/ssh_enabled", Handle: f.sshEnabled},
		{Pattern: "GET /v3/apps/{guid}/permissions", Handle: f.permissions},
	}
}

func (s Feature) view(a *App) rest.Object {
	return rest.Object{"name": s.Name, "description": s.Description, "enabled": *s.Of(a)}
}

func (f *Family) listFeatures(c *rest.Call) error {
	a, err := f.Apps.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	all := []rest.Object{}
	for _, sw := range Features {
		all = append(all, sw.view(a))
	}
	self := c.Link("/v3/apps/%s/features", a.GUID)
	return c.JSON(http.StatusOK, rest.Object{"resources": all, "pagination": rest.Object{
		"total_results": len(all), "total_pages": 1, "first": self, "last": self, "next": nil, "previous": nil,
	}})
}

// feature finds the app and the feature of a request.
func (f *Family) feature(c *rest.Call) (*App, Feature, error) {
	a, err := f.Apps.Find(c, c.Arg("guid"))
	if err != nil {
		return nil, Feature{}, err
	}
	for _, sw := range Features {
		if sw.Name == c.Arg("name") {
			return a, sw, nil
		}
	}
	return nil, Feature{}, rest.NotFound("feature")
}

func (f *Family) showFeature(c *rest.Call) error {
	a, sw, err := f.feature(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, sw.view(a))
}

type featureBody struct{ enabled rest.Opt[bool] }

func (t *featureBody) Take(b *rest.Body) {
	b.Bool("enabled", &t.enabled)
	if !b.Has("enabled") || t.enabled.Null {
		b.Wrong("enabled", "must be a boolean")
	}
}

func (f *Family) patchFeature(c *rest.Call) error {
	a, sw, err := f.feature(c)
	if err != nil {
		return err
	}
	if err := c.MayWriteSpace(a.SpaceGUID, sw.Roles...); err != nil {
		return err
	}
	var t featureBody
	if err := rest.Take(c, &t); err != nil {
		return err
	}
	err = c.Change(a, func(context.Context, bun.Tx) error {
		*sw.Of(a) = t.enabled.V
		return nil
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, sw.view(a))
}

func (f *Family) sshEnabled(c *rest.Call) error {
	a, err := f.Apps.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	s, err := access.SpaceByGUID(c.Ctx(), c.DB(), a.SpaceGUID)
	if err != nil {
		return err
	}
	reason := ""
	switch {
	case !s.AllowSSH:
		reason = fmt.Sprintf("ssh is disabled for space '%s'", s.Name)
	case !a.SSH:
		reason = "ssh is disabled for app"
	}
	return c.JSON(http.StatusOK, rest.Object{"enabled": reason == "", "reason": reason})
}

func (f *Family) permissions(c *rest.Call) error {
	a, err := f.Apps.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	ok, err := c.ReadsSecrets(a.SpaceGUID, access.SecretReaders...)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, rest.Object{"read_basic_data": true, "read_sensitive_data": ok})
}
