package org

import (
	"context"
	"net/http"

	"github.com/uptrace/bun"

	"ingot/rest"
	"ingot/rest/access"
)

// sshFeature is the only feature of a space.
func sshFeature(s *access.Space) rest.Object {
	return rest.Object{"name": "ssh", "description": "Enable SSHing into apps in the space.", "enabled": s.AllowSSH}
}

func spaceFeatures(c *rest.Call) error {
	s, err := rest.Find[access.Space](c, "space", c.Arg("guid"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, rest.Object{"resources": []rest.Object{sshFeature(s)}})
}

func featureOf(c *rest.Call) (*access.Space, error) {
	s, err := rest.Find[access.Space](c, "space", c.Arg("guid"))
	if err == nil && c.Arg("name") != "ssh" {
		return nil, rest.NotFound("feature")
	}
	return s, err
}

func spaceFeature(c *rest.Call) error {
	s, err := featureOf(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, sshFeature(s))
}

type featureBody struct{ Enabled rest.Opt[bool] }

func (f *featureBody) Take(b *rest.Body) {
	b.Bool("enabled", &f.Enabled)
	if b.Sound("enabled") && !f.Enabled.Given() {
		b.Wrong("enabled", "must be a boolean")
	}
}

func updateSpaceFeature(c *rest.Call) error {
	s, err := featureOf(c)
	if err != nil {
		return err
	}
	if err := access.MayWriteSpace(c.Ctx(), c.DB(), s, access.SpaceUpdaters...); err != nil {
		return err
	}
	var in featureBody
	if err := rest.Take(c, &in); err != nil {
		return err
	}
	err = c.Change(s, func(context.Context, bun.Tx) error {
		s.AllowSSH = in.Enabled.V
		return nil
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, sshFeature(s))
}
