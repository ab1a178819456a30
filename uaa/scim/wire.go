package scim

import (
	"regexp"
	"strings"
	"time"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/uaa/fault"
)

var schemas = []string{"urn:scim:schemas:core:1.0"}

// Resource is a user in SCIM's form (UAA's API documentation, "Users").
type Resource struct {
	ID         cf.UserID  `json:"id,omitempty"`
	ExternalID string     `json:"externalId,omitempty"`
	Meta       *Meta      `json:"meta,omitempty"`
	UserName   string     `json:"userName"`
	Password   string     `json:"password,omitempty"` // asked only
	Name       Name       `json:"name"`
	Emails     []Email    `json:"emails"`
	Groups     []GroupRef `json:"groups"`
	Approvals  []struct{} `json:"approvals"`
	Phones     []struct{} `json:"phoneNumbers"`
	Active     *bool      `json:"active"`
	Verified   *bool      `json:"verified"`
	Origin     string     `json:"origin"`
	Zone       string     `json:"zoneId,omitempty"`
	PasswordAt string     `json:"passwordLastModified,omitempty"`
	Schemas    []string   `json:"schemas"`
}

// Meta is when, and how often, a resource was changed.
type Meta struct {
	Version      int    `json:"version"`
	Created      string `json:"created"`
	LastModified string `json:"lastModified"`
}

// Name is a person's name.
type Name struct {
	Family string `json:"familyName,omitempty"`
	Given  string `json:"givenName,omitempty"`
}

// Email is an address.
type Email struct {
	Value   string `json:"value"`
	Primary bool   `json:"primary"`
}

// GroupRef is a user's group.
type GroupRef struct {
	ID      string `json:"value"`
	Display string `json:"display"`
	Type    string `json:"type"`
}

// GroupResource is a group in SCIM's form.
type GroupResource struct {
	ID      string   `json:"id"`
	Meta    Meta     `json:"meta"`
	Display string   `json:"displayName"`
	Zone    string   `json:"zoneId"`
	Members []Member `json:"members"`
	Schemas []string `json:"schemas"`
}

// Member of a group.
type Member struct {
	Origin string    `json:"origin"`
	Type   string    `json:"type"`
	ID     cf.UserID `json:"value"`
}

// ListResponse is SCIM's list.
type ListResponse struct {
	Resources any      `json:"resources"`
	Start     int64    `json:"startIndex"`
	Count     int64    `json:"itemsPerPage"`
	Total     int64    `json:"totalResults"`
	Schemas   []string `json:"schemas"`
}

// List makes the answer to a query.
func List(resources any, q Query, total int64) ListResponse {
	return ListResponse{resources, q.Start, q.Count, total, schemas}
}

func stamp(t sql.Time) string { return t.Time().Format("2006-01-02T15:04:05.000Z") }

// Resource shows the user with its groups.
func (u User) Resource(groups []Group) Resource {
	r := Resource{
		ID: u.ID, ExternalID: u.ExternalID, UserName: u.Name, Name: Name{u.FamilyName, u.GivenName},
		Meta:   &Meta{u.Version, stamp(u.CreatedAt), stamp(u.UpdatedAt)},
		Emails: []Email{{u.Email, false}}, Groups: []GroupRef{}, Approvals: []struct{}{}, Phones: []struct{}{},
		Active: &u.Active, Verified: &u.Verified, Origin: u.Origin, Zone: Origin,
		PasswordAt: u.PasswordAt.Time().Truncate(time.Second).Format("2006-01-02T15:04:05.000Z"), Schemas: schemas,
	}
	for _, g := range groups {
		r.Groups = append(r.Groups, GroupRef{g.ID, g.Name, "DIRECT"})
	}
	return r
}

// Resource shows the group with its members.
func (g Group) Resource(members []cf.UserID) GroupResource {
	r := GroupResource{ID: g.ID, Meta: Meta{0, stamp(g.CreatedAt), stamp(g.CreatedAt)}, Display: g.Name, Zone: Origin,
		Members: []Member{}, Schemas: schemas}
	for _, id := range members {
		r.Members = append(r.Members, Member{Origin, "USER", id})
	}
	return r
}

// UAA's own (ScimUtils).
var usernamePattern = regexp.MustCompile(`^[\p{L}+0-9+\-_.@'!]+$`)

// User checks a resource that shall become a user and makes it, without a password hash.
func (r Resource) User() (*User, error) {
	if r.Origin == "" {
		r.Origin = Origin
	}
	switch {
	case strings.TrimSpace(r.UserName) == "":
		return nil, fault.New(fault.InvalidScim, "A username must be provided.")
	case r.Origin == Origin && !usernamePattern.MatchString(r.UserName):
		return nil, fault.New(fault.InvalidScim, `Username must match pattern: [\p{L}+0-9+\-_.@'!]+`)
	case len(r.Emails) != 1:
		return nil, fault.New(fault.InvalidScim, "Exactly one email must be provided.")
	case r.Emails[0].Value == "":
		return nil, fault.New(fault.InvalidScim, "An email must be provided.")
	}
	for _, s := range []string{r.UserName, Fold(r.UserName), r.Origin, r.ExternalID, r.Emails[0].Value, r.Name.Given, r.Name.Family} {
		if !storable(s) {
			return nil, fault.New(fault.InvalidScim, "A name is longer than 255 bytes or holds a NUL.")
		}
	}
	return &User{
		Name: r.UserName, Origin: r.Origin, ExternalID: r.ExternalID, Email: r.Emails[0].Value,
		GivenName: r.Name.Given, FamilyName: r.Name.Family,
		Active: r.Active == nil || *r.Active, Verified: r.Verified == nil || *r.Verified,
	}, nil
}

// CheckPassword refuses a password that breaks the policy.
func CheckPassword(p string) error {
	if p == "" {
		return fault.New(fault.InvalidPassword, "Password must be at least 1 characters in length.")
	}
	if len(p) > MaxPassword {
		return fault.New(fault.InvalidPassword, "Password must be no more than %d characters in length.", MaxPassword)
	}
	return nil
}
