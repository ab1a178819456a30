package capi_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"ingot/rest"
	"ingot/rest/access"
)

// TestLeaks: a user of one organization asks every list and every object for what lies in another one, by guid, name, label,
// time and order, below parents and through includes. Nothing of it is told, and no total counts it.
func TestLeaks(t *testing.T) {
	w := newWorld(t)
	a := w.API
	w.api.Limits.User = -1
	for _, world := range []string{"own", "other"} {
		a.World(world)
		mark := map[string]string{"own": "mine", "other": "zsecret"}[world]
		deploying(a, world, mark)
		freshEvent(a, world, mark+"-event")
		givenSpaceQuota(a, world, mark+"-quota")
		bound(a, world, mark+"-bound")
		a.Role(mark+"-user", access.OrgManager, world)
		for _, path := range []string{"/v3/apps/", "/v3/routes/", "/v3/domains/"} {
			a.Must(200, "admin", "PATCH "+path+mark, `{"metadata":{"labels":{"`+mark+`":"`+mark+`"}}}`)
		}
	}
	a.Role("spy", access.OrgManager, "own")
	a.Role("spy", access.SpaceDeveloper, "own")
	n := 0
	all := w.api.Endpoints()
	for _, e := range all {
		if e.Method != "GET" || e.Open {
			continue
		}
		for _, path := range foreignPaths(e) {
			queries := []string{""}
			if e.Act == rest.Lists {
				queries = foreignQueries(e)
			}
			for _, q := range queries {
				n++
				with := a.Do("spy", "GET "+path+"?"+q, nil)
				if with.Status >= 500 {
					t.Errorf("%s?%s: %d", path, q, with.Status)
				}
				if with.Status != 200 {
					continue
				}
				if strings.Contains(path, "{") || path != e.Path && !strings.Contains(path, "feature") {
					t.Errorf("%s: a foreign object answers %d: %s", path, with.Status, with.Text)
				}
				for _, o := range resources(with.JSON) {
					if text := fmt.Sprint(o); strings.Contains(text, "zsecret") || strings.Contains(text, "other") {
						t.Errorf("%s?%s tells %s", path, q, text)
					}
				}
				total, _ := with.Get("pagination", "total_results").(float64)
				if got := len(with.Names("guid")); e.Act == rest.Lists && int(total) != got {
					t.Errorf("%s?%s: a total of %v, and %d are shown", path, q, total, got)
				}
			}
		}
	}
	t.Logf("%d attempts", n)
	if n < 500 {
		t.Errorf("only %d attempts", n)
	}
}

// resources are the objects of an answer, with those that it includes, but not the links of its pages: they repeat the question.
func resources(answer map[string]any) (out []any) {
	for key, v := range answer {
		if key != "pagination" {
			out = append(out, v)
		}
	}
	return out
}

// foreignPaths are the endpoint's path with guids and names of the other organization.
func foreignPaths(e rest.Endpoint) (out []string) {
	if !strings.Contains(e.Path, "{") {
		return []string{e.Path}
	}
	if strings.Contains(e.Path, "feature_flags") || strings.Contains(e.Path, "variable_groups") || strings.Contains(e.Path, "/jobs/") {
		return nil
	}
	for _, guid := range []string{"zsecret", "other", "other-space", "zsecret-quota", "zsecret-event", "zsecret-user-guid", "zsecret-droplet"} {
		out = append(out, argument.ReplaceAllString(e.Path, guid))
	}
	return out
}

// foreignQueries name what lies in the other organization in every parameter of a list.
func foreignQueries(e rest.Endpoint) []string {
	const all = "zsecret,other,other-space,zsecret-bound,zsecret-quota,zsecret-event,zsecret-user,zsecret-user-guid,zsecret.example.com,ZSECRET,audit.app.create"
	out := []string{"per_page=5000"}
	for _, p := range e.Query {
		switch p.Type {
		case "order":
			for _, v := range p.Values {
				out = append(out, "per_page=5000&order_by="+v, "per_page=5000&order_by=-"+v)
			}
		case "times":
			out = append(out, "per_page=5000&"+p.Name+"[gt]=2000-01-01T00:00:00Z", "per_page=5000&"+p.Name+"[lt]=2100-01-01T00:00:00Z")
		case "selector":
			for _, v := range []string{"zsecret", "zsecret=zsecret", "zsecret in (zsecret,x)", "!mine", "mine notin (mine)"} {
				out = append(out, "per_page=5000&label_selector="+url.QueryEscape(v))
			}
		case "include":
			out = append(out, "per_page=5000&include="+strings.Join(slices.Compact(p.Values), ","))
			for _, v := range p.Values {
				out = append(out, "per_page=5000&include="+v)
			}
		case "fields":
			out = append(out, "per_page=5000&"+p.Name+"="+strings.Join(p.Values, ","))
		case "list", "text":
			out = append(out, "per_page=5000&"+p.Name+"="+all, "per_page=5000&"+p.Name+"=zsecret")
			if p.Not {
				out = append(out, "per_page=5000&"+p.Name+"[not]=mine")
			}
		}
	}
	return out
}
