package admin

import (
	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/row"
)

// SecurityGroup is a row of application security groups. So far they are the two that CF has from the start, and apply
// to every container; nobody can make others.
type SecurityGroup struct {
	bun.BaseModel `bun:"table:capi_security_groups"`
	row.Row
	Name    string           `bun:"name"`
	Rules   sql.JSON[[]Rule] `bun:"rules"`
	Running bool             `bun:"running"` // for the running apps of all spaces
	Staging bool             `bun:"staging"` // for all stagings
}

// Rule allows traffic out of containers.
type Rule struct {
	Protocol    string `json:"protocol"`
	Destination string `json:"destination"`
	Ports       string `json:"ports,omitempty"`
}

// defaultGroups are cf-deployment's; capi/flow/recipe gives containers the same rules.
func defaultGroups() []SecurityGroup {
	networks := SecurityGroup{Name: "public_networks", Running: true, Staging: true}
	for _, to := range []string{"0.0.0.0-9.255.255.255", "11.0.0.0-169.253.255.255", "169.255.0.0-172.15.255.255",
		"172.32.0.0-192.167.255.255", "192.169.0.0-255.255.255.255"} {
		networks.Rules.V = append(networks.Rules.V, Rule{Protocol: "all", Destination: to})
	}
	dns := SecurityGroup{Name: "dns", Running: true, Staging: true}
	for _, protocol := range []string{"tcp", "udp"} {
		dns.Rules.V = append(dns.Rules.V, Rule{Protocol: protocol, Destination: "0.0.0.0/0", Ports: "53"})
	}
	return []SecurityGroup{networks, dns}
}

func securityGroups() *rest.Resource[SecurityGroup] {
	const unbound = "guid = '' AND guid IN (?)" // no group is bound to a space
	return &rest.Resource[SecurityGroup]{
		Kind: "security_group", Path: "/v3/security_groups", Unprocessable: true,
		Visible: access.Everyone, // all are globally enabled
		Filters: []rest.Filter{
			{Param: "names", Where: "name IN (?)"},
			{Param: "running_space_guids", Where: unbound},
			{Param: "staging_space_guids", Where: unbound},
			{Param: "globally_enabled_running", Where: "running = ?", Bool: true},
			{Param: "globally_enabled_staging", Where: "staging = ?", Bool: true},
		},
		View: func(_ *rest.Call, g *SecurityGroup) rest.Object {
			return rest.Object{
				"name": g.Name, "rules": g.Rules.V, "globally_enabled": rest.Object{"running": g.Running, "staging": g.Staging},
				"relationships": rest.Object{"running_spaces": rest.ToMany(nil), "staging_spaces": rest.ToMany(nil)},
			}
		},
	}
}

// groupsOf lists the groups that apply to what runs, or is staged, in a space.
func (f *Family) groupsOf(phase string) rest.Handler {
	return func(c *rest.Call) error {
		if seen, err := c.Ref("space", c.Arg("guid")); err != nil {
			return err
		} else if !seen {
			return rest.NotFound("space")
		}
		return f.groups.List(c, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("? = ?", bun.Ident(phase), true) })
	}
}
