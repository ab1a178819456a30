package route

import (
	"strconv"
	"strings"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest/access"
	"ingot/rest/many"
	"ingot/rest/row"
)

// Domain is a row of domains. Names are kept in lower case.
type Domain struct {
	bun.BaseModel `bun:"table:route_domains"`
	row.Labelled
	Name     string `bun:"name"`
	Internal bool   `bun:"internal"`
	OrgGUID  string `bun:"org_guid"` // the owner; "" = shared by all organizations

	sharedWith []string // the organizations that may use a private one, as the caller sees them; read for answers
}

// sharedDomains are the private domains that other organizations may use, sharedRoutes the routes that other spaces may have.
var (
	sharedDomains = many.Pairs{Table: "route_shared_domains", Noun: "domain_guid", Holder: "org_guid", Visible: access.InOrgs("org_guid")}
	sharedRoutes  = many.Pairs{Table: "route_shared_routes", Noun: "route_guid", Holder: "space_guid", Visible: access.Everyone}
)

// Shared tells whether all organizations may use the domain.
func (d *Domain) Shared() bool { return d.OrgGUID == "" }

// Route is a row of routes. Host and path are unique in a domain whatever their case; the row keeps them as written.
type Route struct {
	bun.BaseModel `bun:"table:route_routes"`
	row.Labelled
	Host       string                      `bun:"host"`
	HostKey    string                      `bun:"host_key"`
	Path       string                      `bun:"path"`
	Port       int                         `bun:"port"` // 0 = none
	DomainGUID string                      `bun:"domain_guid"`
	DomainName string                      `bun:"domain_name"` // never changes
	SpaceGUID  string                      `bun:"space_guid"`
	Options    sql.JSON[map[string]string] `bun:"options"`

	to []*Destination // read with the row where an answer needs them
}

// URL is the route as people write it: host.domain/path.
func (r *Route) URL() string {
	s := r.DomainName
	if r.Host != "" {
		s = r.Host + "." + s
	}
	if r.Port != 0 {
		s += ":" + strconv.Itoa(r.Port)
	}
	return s + r.Path
}

// URI is the route as the router knows it: names in lower case.
func (r *Route) URI() string {
	host := strings.ToLower(r.DomainName)
	if r.Host != "" {
		host = strings.ToLower(r.Host) + "." + host
	}
	return host + r.Path
}

// Destination is a row of destinations: a process that gets a route's requests.
type Destination struct {
	bun.BaseModel `bun:"table:route_destinations"`
	row.Row
	RouteGUID string `bun:"route_guid"`
	AppGUID   string `bun:"app_guid"`
	Process   string `bun:"process_type"`
	Port      int    `bun:"port"`
	Protocol  string `bun:"protocol"` // http1 or http2
	Weight    int    `bun:"weight"`   // 0 = none given
}

// Mapped is a destination with its route.
type Mapped struct {
	Route    Route
	To       Destination
	Internal bool // the route's domain is for service discovery only
}
