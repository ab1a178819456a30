// Package recipe says what the scheduler shall run: LRPs of processes, stagings of packages, and the environment that
// both are told, as values made of rows.
//
// It promises to be pure: the same rows give the same recipe. It will not talk to anybody.
package recipe

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"ingot/capi/app"
	"ingot/capi/build"
	"ingot/capi/route"
	"ingot/cf"
	"ingot/rest/access"
)

// Place is where an app lives and what its containers are told besides its own rows.
type Place struct {
	Space    *access.Space
	Org      *access.Organization
	Segment  string            // isolation segment, see cf.DesiredLRP
	Group    map[string]string // the environment variable group: running or staging
	API      string            // the API's address
	Services []cf.Binding      // what the app is bound to
}

// DefaultPort is where a process listens unless a destination names another.
const DefaultPort = 8080

// egress is what CF's two default security groups, public_networks and dns, allow.
var egress = []cf.EgressRule{
	{Protocol: "all", Destinations: []string{"0.0.0.0-9.255.255.255", "11.0.0.0-169.253.255.255", "169.255.0.0-172.15.255.255",
		"172.32.0.0-192.167.255.255", "192.169.0.0-255.255.255.255"}},
	{Protocol: "tcp", Destinations: []string{"0.0.0.0/0"}, Ports: "53"},
	{Protocol: "udp", Destinations: []string{"0.0.0.0/0"}, Ports: "53"},
}

// LRP says what should run for a process of a started app. mapped are all destinations of the app.
func LRP(a *app.App, p *app.Process, d *build.Droplet, mapped []route.Mapped, at Place) cf.DesiredLRP {
	mine := slices.DeleteFunc(slices.Clone(mapped), func(m route.Mapped) bool { return m.To.Process != p.Type })
	vcap := vcapApplication(a, at, URIs(mine))
	vcap["process_id"], vcap["process_type"] = p.GUID, p.Type
	vcap["version"], vcap["application_version"] = p.Version, p.Version
	vcap["limits"] = map[string]any{"fds": app.FileDescriptors, "mem": p.MemoryMB, "disk": p.DiskMB}
	return cf.DesiredLRP{
		ID: p.LRP(), AppID: cf.AppID(a.GUID), Process: p.GUID, Type: p.Type, Instances: p.Instances,
		Segment: at.Segment, Stack: d.Stack, Droplet: d.Blob, Start: cmp.Or(p.Command, d.ProcessTypes.V[p.Type]), Sidecars: p.Sidecars, Env: environment(at.Services, at.Group, a.Env.V),
		Limits:    cf.Limits{MemoryMB: p.MemoryMB, DiskMB: p.DiskMB, LogBytesPerSec: p.LogRate, FileDescriptors: app.FileDescriptors},
		Ports:     ports(mine),
		Routes:    lrpRoutes(mine),
		Health:    check(p.HealthType, p.HealthEndpoint, p.HealthTimeout, p.HealthInvocation, p.HealthInterval),
		Readiness: check(p.ReadinessType, p.ReadinessEndpoint, 0, p.ReadinessInvocation, p.ReadinessInterval),
		Egress:    egress, MetricTags: processTags(a, p, at), VCAPApp: vcap,
	}
}

func check(kind, endpoint string, timeout, invocation, interval int) cf.HealthCheck {
	if kind == "http" {
		endpoint = cmp.Or(endpoint, "/")
	}
	s := func(n int) time.Duration { return time.Duration(n) * time.Second }
	return cf.HealthCheck{Type: kind, Endpoint: endpoint, Timeout: s(timeout), InvocationTimeout: s(invocation), Interval: s(interval)}
}

// ports are those that the destinations name; the default one is first, for PORT, unless all name others.
func ports(mapped []route.Mapped) []int {
	var out []int
	for _, m := range mapped {
		if !slices.Contains(out, m.To.Port) {
			out = append(out, m.To.Port)
		}
	}
	if len(out) == 0 {
		return []int{DefaultPort}
	}
	slices.SortStableFunc(out, func(a, b int) int { return cmp.Compare(btoi(a != DefaultPort), btoi(b != DefaultPort)) })
	return out
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func lrpRoutes(mapped []route.Mapped) []cf.LRPRoute {
	var out []cf.LRPRoute
	for _, m := range mapped {
		if m.Internal {
			continue // for service discovery, not for the router
		}
		out = append(out, cf.LRPRoute{URI: m.Route.URI(), Port: m.To.Port, Protocol: m.To.Protocol,
			Weight: m.To.Weight, Options: m.Route.Options.V})
	}
	slices.SortFunc(out, func(a, b cf.LRPRoute) int { return cmp.Or(cmp.Compare(a.URI, b.URI), cmp.Compare(a.Port, b.Port)) })
	return out
}

func URIs(mapped []route.Mapped) []string {
	out := []string{}
	for _, m := range mapped {
		out = append(out, m.Route.URI())
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// vcapApplication holds the keys of VCAP_APPLICATION that an app has as such.
func vcapApplication(a *app.App, at Place, uris []string) map[string]any {
	return map[string]any{
		"cf_api": at.API, "application_id": a.GUID, "application_name": a.Name, "name": a.Name,
		"application_uris": uris, "uris": uris, "space_id": at.Space.GUID, "space_name": at.Space.Name,
		"organization_id": at.Org.GUID, "organization_name": at.Org.Name, "users": nil,
		"limits": map[string]any{"fds": app.FileDescriptors},
	}
}

// environment merges variables, later ones first, into KEY=VALUE in the order of keys, with VCAP_SERVICES.
func environment(services []cf.Binding, layers ...map[string]string) []string {
	all := map[string]string{}
	for _, l := range layers {
		maps.Copy(all, l)
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)          // passwords stay readable
	_ = e.Encode(byLabel(services)) // texts and JSON that the store has checked
	all["VCAP_SERVICES"] = strings.TrimSpace(b.String())
	out := make([]string, 0, len(all))
	for _, k := range slices.Sorted(maps.Keys(all)) {
		out = append(out, k+"="+all[k])
	}
	return out
}

// byLabel is VCAP_SERVICES.
func byLabel(services []cf.Binding) map[string][]cf.Binding {
	out := map[string][]cf.Binding{}
	for _, s := range services {
		out[s.Label] = append(out[s.Label], s)
	}
	return out
}

// processTags are CF's tags of all logs and metrics of a process; the cell adds instance_id and process_instance_id.
func processTags(a *app.App, p *app.Process, at Place) map[string]string {
	t := appTags(a, at)
	t["process_id"], t["process_type"] = p.GUID, p.Type
	return t
}

func appTags(a *app.App, at Place) map[string]string {
	return map[string]string{
		"source_id": a.GUID, "app_id": a.GUID, "app_name": a.Name, "space_id": at.Space.GUID, "space_name": at.Space.Name,
		"organization_id": at.Org.GUID, "organization_name": at.Org.Name,
	}
}
