package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/row"
)

// envGroups are the groups of environment variables that CF gives to every app. The guid of a row is its name.
var envGroups = []string{"running", "staging"}

type envGroup struct {
	bun.BaseModel `bun:"table:capi_env_groups"`
	row.Row
	Vars sql.Sealed[map[string]string] `bun:"vars"`
}

func (g *envGroup) secrets() sql.Secrets {
	return sql.Secrets{Table: "capi_env_groups", GUID: g.GUID, Columns: []sql.Secret{{Column: "vars", Value: &g.Vars}}}
}

// BeforeAppendModel encrypts the variables.
func (g *envGroup) BeforeAppendModel(ctx context.Context, q bun.Query) error {
	return g.secrets().Seal(ctx, q)
}

// AfterScanRow decrypts them.
func (g *envGroup) AfterScanRow(ctx context.Context) error { return g.secrets().Open(ctx) }

// EnvGroup is the group "running" or "staging".
func (f *Family) EnvGroup(ctx context.Context, name string) (map[string]string, error) {
	g := new(envGroup)
	if err := f.DB.Read().NewSelect().Model(g).Where("guid = ?", name).Scan(ctx); err != nil {
		return nil, fmt.Errorf("environment variable group %s: %w", name, err)
	}
	return g.Vars.V, nil
}

func findEnvGroup(c *rest.Call) (*envGroup, error) {
	if !slices.Contains(envGroups, c.Arg("name")) {
		return nil, rest.NotFound("environment_variable_group")
	}
	g := new(envGroup)
	return g, c.DB().NewSelect().Model(g).Where("guid = ?", c.Arg("name")).Scan(c.Ctx())
}

func answerEnvGroup(c *rest.Call, g *envGroup) error {
	vars := g.Vars.V
	if vars == nil {
		vars = map[string]string{}
	}
	return c.JSON(http.StatusOK, rest.Object{
		"name": g.GUID, "updated_at": changed(&g.Row), "var": vars,
		"links": rest.Object{"self": c.Link("/v3/environment_variable_groups/%s", g.GUID)},
	})
}

func showEnvGroup(c *rest.Call) error {
	g, err := findEnvGroup(c)
	if err != nil {
		return err
	}
	return answerEnvGroup(c, g)
}

// varBody is {"var": {"NAME": "value", "GONE": null}}.
type varBody struct{ Var map[string]*string }

func (v *varBody) Take(b *rest.Body) {
	if !b.Empty() {
		v.Var = b.Env("var")
	}
}

func updateEnvGroup(c *rest.Call) error {
	var in varBody
	if err := rest.Take(c, &in); err != nil {
		return err
	}
	if err := c.Admins(); err != nil {
		return err
	}
	g, err := findEnvGroup(c)
	if err != nil {
		return err
	}
	err = c.Change(g, func(context.Context, bun.Tx) error {
		if g.Vars.V == nil {
			g.Vars.V = map[string]string{}
		}
		for k, v := range in.Var {
			if v == nil {
				delete(g.Vars.V, k)
			} else {
				g.Vars.V[k] = *v
			}
		}
		if b, err := json.Marshal(g.Vars.V); err != nil || len(b) > 1<<20 {
			return rest.Unprocessable("Environment variable group is too large. Specify fewer variables or reduce key/value lengths.")
		}
		return nil
	})
	if err != nil {
		return err
	}
	return answerEnvGroup(c, g)
}
