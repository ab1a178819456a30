package manifest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	routes "ingot/capi/route"
)

func (c *checker) routes(a *App) {
	if c.has("routes") {
		a.HasRoutes = true
		a.Routes = c.routeList()
	}
	a.NoRoute = c.boolean("no_route", "No-route")
	a.DefaultRoute = c.boolean("default_route", "Default-route")
	a.RandomRoute = c.boolean("random_route", "Random-route")
	if a.RandomRoute && a.DefaultRoute {
		c.fail("Random-route and default-route may not be used together")
	}
}

func (c *checker) boolean(key, label string) bool {
	b, ok := c.in[key].(bool)
	if !ok && c.in[key] != nil {
		c.fail("%s must be a boolean", label)
	}
	return b
}

func (c *checker) routeList() []Route {
	list, ok := c.in["routes"].([]any)
	var maps []map[string]any
	for _, v := range list {
		m, isMap := v.(map[string]any)
		ok = ok && isMap && !blank(m["route"])
		maps = append(maps, m)
	}
	if !ok {
		c.fail("Routes must be a list of route objects")
		return nil
	}
	var out []Route
	for _, m := range maps {
		r, good := parseRoute(fmt.Sprint(m["route"]))
		if !good {
			c.fail("The route '%s' is not a properly formed URL", m["route"])
		}
		out = append(out, r)
	}
	for i, m := range maps {
		if p := m["protocol"]; p != nil {
			if p != "http1" && p != "http2" && p != "tcp" {
				c.fail("Route protocol must be 'http1', 'http2' or 'tcp'.")
			}
			out[i].Protocol = fmt.Sprint(p)
		}
	}
	for i, m := range maps {
		if o, ok := m["options"]; ok {
			out[i].Options = c.options(fmt.Sprint(m["route"]), o)
		}
	}
	return out
}

func (c *checker) options(route string, v any) map[string]*string {
	m, ok := v.(map[string]any)
	if !ok {
		c.fail("Route '%s': options must be an object", route)
		return nil
	}
	hash := c.flag("hash_based_routing") == nil
	keys, algorithms := routes.KnownOptions(hash)
	for _, k := range sorted(m) {
		switch m[k].(type) {
		case map[string]any, []any:
			if k != "loadbalancing" {
				c.fail("Route '%s': option '%s' must be a string", route, k)
			}
		}
		if !slices.Contains(keys, k) {
			c.fail("Route '%s' contains invalid route option '%s'. Valid keys: '%s'", route, k, strings.Join(keys, ", "))
		}
	}
	if v, ok := m["loadbalancing"]; ok {
		s, isText := v.(string)
		switch {
		case !isText:
			c.fail("Invalid value for 'loadbalancing' for Route '%s'; Valid values are: '%s'", route, strings.Join(algorithms, ", "))
		case !slices.Contains(algorithms, s):
			c.fail("Cannot use loadbalancing value '%s' for Route '%s'; Valid values are: '%s'", s, route, strings.Join(algorithms, ", "))
		}
	}
	o, _ := routes.ReadOptions(m, hash) // the faults are told in the manifest's words
	if hash {
		for _, fault := range o.HashFaults() {
			c.fail("Route '%s': %s", route, fault)
		}
	}
	return o
}

// parseRoute cuts [scheme://]host[:port][/path].
func parseRoute(text string) (r Route, ok bool) {
	r.Text = text
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		scheme, rest = "", text
	}
	host, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	if path != "/" {
		r.Path = path
	}
	host, port, hasPort := strings.Cut(host, ":")
	r.Host = strings.ToLower(host)
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return r, false
		}
		r.Port = int(n)
	}
	if r.Host == "" || strings.ContainsAny(text, " \t\r\n?#@[]\\") {
		return r, false
	}
	switch strings.ToLower(scheme) {
	case "":
		return r, true
	case "http", "https":
		return r, !hasPort
	case "tcp":
		return r, hasPort
	}
	return r, false
}

// Candidates are the (host, domain) pairs that a route may mean, in the order in which domains are looked for.
func (r Route) Candidates() [][2]string {
	var out [][2]string
	if !strings.HasPrefix(r.Host, "*") {
		out = append(out, [2]string{"", r.Host})
	}
	if host, domain, ok := strings.Cut(r.Host, "."); ok {
		out = append(out, [2]string{host, domain})
	}
	return out
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
