package flow

import (
	"context"
	"fmt"
	"net/http"

	"github.com/uptrace/bun"

	"ingot/capi/app"
	"ingot/capi/flow/recipe"
	"ingot/capi/org"
	"ingot/capi/route"
	"ingot/cf"
	"ingot/rest"
	"ingot/rest/access"
)

// place reads where an app lives, and one group of environment variables.
func (f *Flow) place(ctx context.Context, a *app.App, group string) (recipe.Place, error) {
	at := recipe.Place{API: f.URL}
	var err error
	if at.Space, err = access.SpaceByGUID(ctx, f.DB.Read(), a.SpaceGUID); err != nil {
		return at, fmt.Errorf("space of app %s: %w", a.GUID, err)
	}
	if at.Org, err = access.OrgByGUID(ctx, f.DB.Read(), at.Space.OrgGUID); err != nil {
		return at, fmt.Errorf("organization of app %s: %w", a.GUID, err)
	}
	if at.Segment, err = org.SegmentOf(ctx, f.DB.Read(), at.Space, at.Org); err != nil {
		return at, fmt.Errorf("isolation segment of app %s: %w", a.GUID, err)
	}
	if at.Services, err = f.Bindings.OfApp(ctx, cf.AppID(a.GUID)); err != nil {
		return at, fmt.Errorf("service bindings of app %s: %w", a.GUID, err)
	}
	at.Group, err = f.Admin.EnvGroup(ctx, group)
	return at, err
}

// showEnv is GET /v3/apps/:guid/env: all that the containers of an app are told.
func (f *Flow) showEnv(c *rest.Call) error {
	a, err := f.App.Apps.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	if err := f.App.MayReadEnv(c, a); err != nil {
		return err
	}
	secrets, err := c.ReadsSecrets(a.SpaceGUID, access.SecretReaders...)
	if err != nil {
		return err
	}
	mapped, err := route.OfApp(c.Ctx(), c.DB(), a.GUID)
	if err != nil {
		return err
	}
	at, err := f.place(c.Ctx(), a, "running")
	if err != nil {
		return err
	}
	staging, err := f.Admin.EnvGroup(c.Ctx(), "staging")
	if err != nil {
		return err
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		return app.Record(ctx, tx, "audit.app.environment.show", a, nil)
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, recipe.EnvDocument(a, at, staging, recipe.URIs(mapped), secrets))
}
