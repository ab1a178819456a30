// Package access knows who calls and what they may see and do: scopes of the token, the eight CF roles, suspended
// organizations and spaces, and feature flags.
//
// It promises that visibility is a sub-select inside the query of whoever asks, never a list of guids, and that what
// a caller may not see does not exist for them. It owns the rows that decide: organizations, spaces, users, roles and
// feature flags (capi/org and capi/admin are their API). It will not check tokens itself: that is cf.Tokens.
package access

import (
	"context"
	"slices"

	"ingot/cf"
)

// The scopes that Cloud Controller knows.
const (
	ScopeAdmin         = "cloud_controller.admin"
	ScopeAdminReadOnly = "cloud_controller.admin_read_only"
	ScopeGlobalAuditor = "cloud_controller.global_auditor"
	ScopeRead          = "cloud_controller.read"
	ScopeWrite         = "cloud_controller.write"
)

// Caller is who makes a request.
type Caller struct {
	cf.Identity
	GUID string // of the user row: the UAA user's guid, or the client's id
	List bool   // many rows are asked for, see Spaces
	Walk bool   // on SQLite: who sees much reads lists in their order, see In
}

// NewCaller makes a caller of a verified token.
func NewCaller(id cf.Identity) Caller {
	guid := string(id.UserID)
	if guid == "" {
		guid = id.Client
	}
	return Caller{Identity: id, GUID: guid}
}

// System is the platform itself: it may do everything, and its audit events name it.
func System() Caller {
	return Caller{Identity: cf.Identity{Client: "system", Scopes: []string{ScopeAdmin, ScopeRead, ScopeWrite}}, GUID: "system"}
}

// Admin may read and write everything.
func (c Caller) Admin() bool { return c.Has(ScopeAdmin) }

// ReadsAll tells whether the caller sees every object.
func (c Caller) ReadsAll() bool {
	return c.Has(ScopeAdmin) || c.Has(ScopeAdminReadOnly) || c.Has(ScopeGlobalAuditor)
}

// ReadsSecrets tells whether the caller sees every object's secrets.
func (c Caller) ReadsSecrets() bool { return c.Has(ScopeAdmin) || c.Has(ScopeAdminReadOnly) }

// Reader and Writer tell whether the token may be used for reading and for writing at all.
func (c Caller) Reader() bool { return c.ReadsAll() || c.Has(ScopeRead) }

// Writer: see Reader.
func (c Caller) Writer() bool { return c.Admin() || c.Has(ScopeWrite) }

type callerKey struct{}

// With puts the caller into ctx.
func With(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// From is the caller in ctx; the zero Caller may nothing.
func From(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// Role is the type of a role.
type Role string

// The roles of CF.
const (
	OrgUser           Role = "organization_user"
	OrgManager        Role = "organization_manager"
	OrgBillingManager Role = "organization_billing_manager"
	OrgAuditor        Role = "organization_auditor"
	SpaceDeveloper    Role = "space_developer"
	SpaceManager      Role = "space_manager"
	SpaceAuditor      Role = "space_auditor"
	SpaceSupporter    Role = "space_supporter"
)

// Roles is a set of roles that a rule names.
type Roles []Role

// The sets that CF's rules name (Cloud Controller's permissions).
var (
	AllRoles       = Roles{OrgAuditor, OrgManager, OrgBillingManager, OrgUser, SpaceAuditor, SpaceManager, SpaceDeveloper, SpaceSupporter}
	OrgRoles       = Roles{OrgUser, OrgAuditor, OrgBillingManager, OrgManager}
	SpaceRoles     = Roles{SpaceAuditor, SpaceDeveloper, SpaceManager, SpaceSupporter}
	OrgReaders     = OrgRoles
	OrgWriters     = Roles{OrgManager}
	DomainReaders  = Roles{OrgManager, OrgAuditor, SpaceDeveloper, SpaceManager, SpaceAuditor, SpaceSupporter}
	SpaceReaders   = Roles{SpaceDeveloper, SpaceManager, SpaceAuditor, SpaceSupporter, OrgManager}
	SpaceWriters   = Roles{SpaceDeveloper}
	SpaceUpdaters  = Roles{SpaceManager, OrgManager}
	AppManagers    = Roles{SpaceDeveloper, SpaceSupporter}
	SecretReaders  = Roles{SpaceDeveloper}
	EnvReaders     = Roles{SpaceDeveloper, SpaceSupporter}
	DropletReaders = Roles{SpaceDeveloper, SpaceManager, SpaceAuditor, OrgManager}
	RouteReaders   = Roles{SpaceDeveloper, SpaceManager, SpaceAuditor, SpaceSupporter, OrgManager, OrgAuditor}
	EventReaders   = Roles{SpaceAuditor, SpaceDeveloper, SpaceSupporter}
)

// OfOrg tells whether the role is held in an organization, not in a space.
func (r Role) OfOrg() bool { return slices.Contains(OrgRoles, r) }

// Known tells whether CF has the role.
func (r Role) Known() bool { return r.OfOrg() || slices.Contains(SpaceRoles, r) }

// split gives the roles that are held in organizations, and those held in spaces.
func (rs Roles) split() (org, space Roles) {
	for _, r := range rs {
		if r.OfOrg() {
			org = append(org, r)
		} else {
			space = append(space, r)
		}
	}
	return org, space
}
