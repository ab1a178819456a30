package services

import (
	"net/http"
	"slices"
	"strings"

	"ingot/cf"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/many"
)

// No instance is ever shared: Cloud Foundry shares only what service brokers make. These endpoints say so.

// sharedFields are the ?fields[]= of the list of shared spaces.
var sharedFields = map[string]struct {
	key    string
	fields []string
}{
	"fields[space]":              {"spaces", []string{"guid", "name", "relationships.organization"}},
	"fields[space.organization]": {"organizations", []string{"name", "guid"}},
}

func (s *Services) listShared(c *rest.Call) error {
	i, err := s.instances.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	out := rest.ToMany(nil)
	out["links"] = rest.Object{"self": c.Link("/v3/service_instances/%s/relationships/shared_spaces", i.GUID)}
	included := rest.Object{}
	for name, values := range c.R.URL.Query() {
		f, ok := sharedFields[name]
		if !ok {
			return rest.BadParameter("Unknown query parameter(s): '" + name + "'. Valid parameters are: 'fields'")
		}
		for _, v := range strings.Split(values[len(values)-1], ",") {
			if !slices.Contains(f.fields, v) {
				resource := strings.TrimSuffix(strings.TrimPrefix(name, "fields["), "]")
				return rest.BadParameter("Fields valid keys for '" + resource + "' are: '" + strings.Join(f.fields, "', '") + "'")
			}
		}
		included[f.key] = []rest.Object{}
	}
	if len(included) > 0 {
		out["included"] = included
	}
	return c.JSON(http.StatusOK, out)
}

func (s *Services) sharedUsage(c *rest.Call) error {
	i, err := s.instances.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, rest.Object{"usage_summary": []any{}, "links": rest.Object{
		"self":             c.Link("/v3/service_instances/%s/relationships/shared_spaces/usage_summary", i.GUID),
		"shared_spaces":    c.Link("/v3/service_instances/%s/relationships/shared_spaces", i.GUID),
		"service_instance": c.Link("/v3/service_instances/%s", i.GUID),
	}})
}

// sharing finds the instance of a request that its caller may share.
func (s *Services) sharing(c *rest.Call) (*Instance, error) {
	i, err := s.instances.Find(c, c.Arg("guid"))
	if err != nil {
		return nil, err
	}
	return i, c.MayWriteSpace(i.SpaceGUID, access.SpaceWriters...)
}

func (s *Services) share(c *rest.Call) error {
	i, err := s.sharing(c)
	if err != nil {
		return err
	}
	if err := access.Enabled(c.Ctx(), c.DB(), "service_instance_sharing"); err != nil {
		return err
	}
	var in many.Body
	if err := rest.Take(c, &in); err != nil {
		return err
	}
	var missing []string
	for _, guid := range in.GUIDs {
		if seen, err := c.Ref("space", guid); err != nil {
			return err
		} else if !seen {
			missing = append(missing, "'"+guid+"'")
		}
	}
	switch {
	case missing != nil:
		return rest.Unprocessable("Unable to share service instance %s with spaces [%s]. Ensure the spaces exist and that you have access to them.",
			i.Name, strings.Join(missing, ", "))
	case i.RouteURL.V != nil && *i.RouteURL.V != "":
		return rest.Unprocessable("Route services cannot be shared.")
	}
	return rest.Unprocessable("User-provided services cannot be shared.")
}

func (s *Services) unshare(c *rest.Call) error {
	if _, err := s.sharing(c); err != nil {
		return err
	}
	guid := c.Arg("space_guid")
	_, err := access.SpaceByGUID(c.Ctx(), c.DB(), guid)
	if cf.IsKind(err, cf.KindNotFound) {
		return rest.Unprocessable("Unable to unshare service instance from space %s. Ensure the space exists.", guid)
	}
	if err != nil {
		return err
	}
	return c.NoContent() // that it is not shared is what was asked for
}
