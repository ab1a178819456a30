package app

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"ingot/rest"
	"ingot/rest/access"
)

func (f *Family) envRoutes() []rest.Route {
	return []rest.Route{
		{Pattern: "GET /v3/apps/{guid}/environment_variables", Handle: f.showEnv},
		{Pattern: "PATCH /v3/apps/{guid}/environment_variables", Handle: f.patchEnv},
	}
}

var reserved = regexp.MustCompile(`(?i)^(VCAP_|VMC|PORT$)`)

// Variables reads environment variables of a body: a null value is nil, which removes the variable. Names that CF
// keeps for itself, and values that are no texts, are refused; word names the field in what is said.
func Variables(word string, in map[string]json.RawMessage) (map[string]*string, error) {
	out := make(map[string]*string, len(in))
	var faults []string
	for _, k := range sorted(in) {
		switch u := strings.ToUpper(k); {
		case k == "":
			faults = append(faults, word+" key must be a minimum length of 1")
		case !reserved.MatchString(k):
		case strings.HasPrefix(u, "VCAP_"):
			faults = append(faults, word+" cannot start with VCAP_")
		case u == "PORT":
			faults = append(faults, word+" cannot set PORT")
		default:
			faults = append(faults, word+" cannot start with VMC_")
		}
		var s *string
		if json.Unmarshal(in[k], &s) != nil {
			faults = append(faults, "Non-string value in environment variable for key '"+k+"', value '"+string(in[k])+"'")
		}
		if strings.Contains(k, "=") || strings.ContainsRune(k+deref(s), 0) {
			faults = append(faults, word+" contains a name or value that no process can be given")
		}
		out[k] = s
	}
	if faults != nil {
		return nil, rest.Unprocessable("%s", strings.Join(faults, ", "))
	}
	return out, nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func texts(in map[string]*string) map[string]string {
	out := map[string]string{}
	Merge(out, in)
	return out
}

// Merge applies variables to those that an app has; nil removes.
func Merge(into map[string]string, from map[string]*string) {
	for k, v := range from {
		if v == nil {
			delete(into, k)
		} else {
			into[k] = *v
		}
	}
}

// MayReadEnv answers nil when the caller may read the app's variables; the feature flags may stand in the way.
func (f *Family) MayReadEnv(c *rest.Call, a *App) error {
	if err := access.Enabled(c.Ctx(), c.DB(), "env_var_visibility"); err != nil {
		return err
	}
	ok, err := c.ReadsSecrets(a.SpaceGUID, access.EnvReaders...)
	if err != nil {
		return err
	}
	if !ok {
		return access.Forbidden()
	}
	return access.Enabled(c.Ctx(), c.DB(), "space_developer_env_var_visibility")
}

func (f *Family) showEnv(c *rest.Call) error {
	a, err := f.Apps.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	if err := f.MayReadEnv(c, a); err != nil {
		return err
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		return Record(ctx, tx, "audit.app.environment_variables.show", a, nil)
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, envView(c, a))
}

func envView(c *rest.Call, a *App) rest.Object {
	return rest.Object{"var": orEmpty(a.Env.V), "links": rest.Object{
		"self": c.Link("/v3/apps/%s/environment_variables", a.GUID), "app": c.Link("/v3/apps/%s", a.GUID),
	}}
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

type envBody struct {
	vars rest.Opt[map[string]json.RawMessage]
}

func (t *envBody) Take(b *rest.Body) {
	b.Object("var", &t.vars)
	if !t.vars.Given() && (!b.Has("var") || t.vars.Null) {
		b.Wrong("var", "must be an object")
	}
}

func (f *Family) patchEnv(c *rest.Call) error {
	a, err := f.Apps.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	if err := c.MayWriteSpace(a.SpaceGUID, access.AppManagers...); err != nil {
		return err
	}
	var t envBody
	if err := rest.Take(c, &t); err != nil {
		return err
	}
	vars, err := Variables("Var", t.vars.V)
	if err != nil {
		return err
	}
	err = c.Change(a, func(ctx context.Context, tx bun.Tx) error {
		env := maps.Clone(a.Env.V)
		if env == nil {
			env = map[string]string{}
		}
		Merge(env, vars)
		a.Env.V = env
		return Record(ctx, tx, "audit.app.update", a, map[string]any{"request": map[string]any{"environment_variables": Hidden}})
	})
	if err != nil {
		return err
	}
	f.Say(a.GUID, `Updated app with guid %s ({"environment_variables"=>%q})`, a.GUID, Hidden)
	return c.JSON(http.StatusOK, envView(c, a))
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
