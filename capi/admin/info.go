package admin

import (
	"net/http"

	"ingot/rest"
)

// Versions that the API claims.
const (
	APIVersion     = "3.228.0"
	osbapiVersion  = "2.15"
	sshOAuthClient = "ssh-proxy"
)

// Info is what the platform tells about itself. Addresses are URLs without a trailing slash; empty ones are not offered.
type Info struct {
	UAA, Login, LogCache, LogStream, Doppler, Routing, Credhub string

	SSH            string // host:port of the SSH proxy
	SSHFingerprint string // of its host key: SHA-256, base64 without padding

	Name, Description, Build, Support string
	Version                           int
	Hourly                            int // the most requests an hour of one user; not positive = no limit

	Stack string // what the default stack really is
}

// optional is a link, or null when there is no such part.
func optional(url string) any {
	if url == "" {
		return nil
	}
	return rest.Object{"href": url}
}

// root is GET /: where everything is. The CLI reads it first.
func (i Info) root(c *rest.Call) error {
	return c.JSON(http.StatusOK, rest.Object{"links": rest.Object{
		"self":                c.Link(""),
		"cloud_controller_v3": rest.Object{"href": c.URL("/v3"), "meta": rest.Object{"version": APIVersion}},
		"network_policy_v0":   c.Link("/networking/v0/external"),
		"network_policy_v1":   c.Link("/networking/v1/external"),
		"login":               rest.Object{"href": i.Login},
		"uaa":                 rest.Object{"href": i.UAA},
		"credhub":             optional(i.Credhub),
		"routing":             optional(i.Routing),
		"logging":             optional(i.Doppler),
		"log_cache":           optional(i.LogCache),
		"log_stream":          optional(i.LogStream),
		"app_ssh": rest.Object{"href": i.SSH, "meta": rest.Object{
			"host_key_fingerprint": i.SSHFingerprint, "oauth_client": sshOAuthClient}},
	}})
}

// collections are what GET /v3 names.
var collections = []string{
	"app_usage_events", "apps", "audit_events", "buildpacks", "builds", "deployments", "domains", "droplets",
	"environment_variable_groups", "feature_flags", "info", "isolation_segments", "organizations", "organization_quotas",
	"packages", "processes", "resource_matches", "roles", "routes", "security_groups", "service_brokers",
	"service_instances", "service_credential_bindings", "service_offerings", "service_plans", "service_route_bindings",
	"service_usage_events", "spaces", "space_quotas", "stacks", "tasks", "users",
}

func (i Info) v3(c *rest.Call) error {
	links := rest.Object{"self": c.Link("/v3")}
	for _, name := range collections {
		links[name] = c.Link("/v3/%s", name)
	}
	return c.JSON(http.StatusOK, rest.Object{"links": links})
}

func (i Info) v3Info(c *rest.Call) error {
	limits := rest.Object{"enabled": false, "general_limit": "", "reset_interval_in_minutes": ""}
	if i.Hourly > 0 {
		limits = rest.Object{"enabled": true, "general_limit": i.Hourly, "reset_interval_in_minutes": 60}
	}
	return c.JSON(http.StatusOK, rest.Object{
		"build": i.Build, "cli_version": rest.Object{"minimum": "", "recommended": ""}, "custom": rest.Object{},
		"description": i.Description, "name": i.Name, "version": i.Version, "osbapi_version": osbapiVersion,
		"rate_limits": limits,
		"links":       rest.Object{"self": c.Link("/v3/info"), "support": rest.Object{"href": i.Support}},
	})
}

// v2Info is what is left of the API's version 2: old clients and plugins read it to learn that.
func (i Info) v2Info(c *rest.Call) error {
	o := rest.Object{
		"name": i.Name, "build": i.Build, "support": "CF API v2 is disabled", "version": i.Version, "description": i.Description,
		"authorization_endpoint": i.Login, "token_endpoint": i.UAA,
		"min_cli_version": nil, "min_recommended_cli_version": nil,
		"app_ssh_endpoint": i.SSH, "app_ssh_host_key_fingerprint": i.SSHFingerprint, "app_ssh_oauth_client": sshOAuthClient,
		"doppler_logging_endpoint": i.Doppler, "api_version": "", "osbapi_version": osbapiVersion,
	}
	if i.Routing != "" {
		o["routing_endpoint"] = i.Routing
	}
	if c.Caller.GUID != "" {
		o["user"] = c.Caller.GUID
	}
	return c.JSON(http.StatusOK, o)
}
