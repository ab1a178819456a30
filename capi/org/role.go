package org

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/job"
	"ingot/rest/row"
)

func (f *Family) roles() *rest.Resource[access.RoleRow] {
	return &rest.Resource[access.RoleRow]{
		Kind: "role", Path: "/v3/roles",
		Visible: visibleRoles,
		Filters: []rest.Filter{
			{Param: "organization_guids", Where: "space_guid = '' AND org_guid IN (?)"},
			{Param: "space_guids", Where: "space_guid IN (?)"},
			{Param: "user_guids", Where: "user_guid IN (?)"},
			{Param: "types", Where: "type IN (?)"},
		},
		Order: "created_at", Unprocessable: true,
		View: func(c *rest.Call, r *access.RoleRow) rest.Object {
			links := rest.Object{"user": c.Link("/v3/users/%s", r.UserGUID)}
			org, space := r.OrgGUID, r.SpaceGUID
			if space != "" {
				org = ""
				links["space"] = c.Link("/v3/spaces/%s", space)
			} else {
				links["organization"] = c.Link("/v3/organizations/%s", org)
			}
			return rest.Object{
				"type": r.Type, "links": links,
				"relationships": rest.Object{"user": rest.ToOne(r.UserGUID), "space": rest.ToOne(space), "organization": rest.ToOne(org)},
			}
		},
		Create: f.createRole,
		Delete: f.mayDeleteRole,
		Remove: f.removeRole,
	}
}

// visibleRoles shows the roles in the spaces and organizations that the caller sees.
func visibleRoles(c access.Caller) access.Reasons {
	if c.ReadsAll() {
		return access.Everything()
	}
	return access.Any(c.In("space_guid", access.Spaces(c, access.SpaceReaders...)),
		bun.SafeQuery("space_guid = '' AND ?", c.In("org_guid", access.Orgs(c, access.OrgReaders...))))
}

type roleBody struct {
	Type       access.Role
	User       userRef
	Org, Space rest.Opt[string]
}

// userRef names a user by guid, or by name and perhaps origin.
type userRef struct{ GUID, Name, Origin rest.Opt[string] }

func roleTypes() []string {
	var out []string
	for _, r := range access.AllRoles {
		out = append(out, string(r))
	}
	return out
}

func (in *roleBody) Take(b *rest.Body) {
	all := roleTypes()
	if json.Unmarshal(b.Raw("type"), &in.Type) != nil {
		in.Type = ""
	}
	b.Relationships(false, in.relationships)
	if !slices.Contains(all, string(in.Type)) {
		b.Wrong("type", `must be one of the allowed types ["%s"]`, strings.Join(all, `", "`))
	}
}

// relationships allows an organization with an organization's role, a space with a space's, and a user.
func (in *roleBody) relationships(b *rest.Body) {
	in.User.take(b)
	hasOrg, hasSpace := b.HasData("organization"), b.HasData("space")
	t := in.Type
	switch {
	case !hasOrg && !hasSpace:
		b.Fault("must specify either a space or an organization.")
		b.Raw("organization")
		b.Raw("space")
		return
	case hasOrg && hasSpace:
		b.Fault("cannot specify both an organization and a space.")
	case hasSpace && t.OfOrg():
		b.Wrong("space", "cannot be provided with the organization role type: '%s'.", t)
	case hasOrg && t.Known() && !t.OfOrg():
		b.Wrong("organization", "cannot be provided with the space role type: '%s'.", t)
	}
	if hasOrg {
		b.ToOne("organization", &in.Org)
	}
	if hasSpace {
		b.ToOne("space", &in.Space)
	}
	b.Raw("organization")
	b.Raw("space")
}

func (u *userRef) take(b *rest.Body) {
	var data struct {
		Data map[string]json.RawMessage `json:"data"`
	}
	raw := b.Raw("user")
	if raw == nil || string(raw) == "null" {
		b.Wrong("user", "can't be blank")
	}
	if json.Unmarshal(raw, &data) != nil {
		data.Data = nil
	}
	_, byGUID := data.Data["guid"]
	_, byName := data.Data["username"]
	_, origin := data.Data["origin"]
	switch {
	case byGUID && byName:
		b.Wrong("username", "cannot be specified when identifying user by guid")
	case byGUID && origin:
		b.Wrong("user_origin", "cannot be specified when identifying user by guid")
	case !byGUID && !byName && origin:
		b.Wrong("user_origin", "cannot be specified without specifying the username")
	}
	switch {
	case !byGUID && !byName:
		b.Wrong("user", "must have a username or guid specified")
	case byGUID:
		b.ToOne("user", &u.GUID)
	default:
		text(b, "username", data.Data["username"], &u.Name)
		text(b, "user_origin", data.Data["origin"], &u.Origin)
	}
}

func text(b *rest.Body, key string, raw json.RawMessage, o *rest.Opt[string]) {
	if raw == nil || string(raw) == "null" && key == "user_origin" {
		return
	}
	if o.Set = true; raw[0] != '"' || json.Unmarshal(raw, &o.V) != nil || strings.ContainsRune(o.V, 0) {
		b.Wrong(key, "must be a string")
	}
}

func (f *Family) createRole(c *rest.Call) (*access.RoleRow, error) {
	in := roleBody{}
	if err := rest.Take(c, &in); err != nil {
		return nil, err
	}
	r := &access.RoleRow{Type: in.Type, OrgGUID: in.Org.V, SpaceGUID: in.Space.V}
	place, err := f.mayGiveRole(c, r)
	if err != nil {
		return nil, err
	}
	user, err := f.resolve(c, in.User, r)
	if err != nil {
		return nil, err
	}
	r.UserGUID = string(user.ID)
	err = writeRoles(c, func(ctx context.Context, tx bun.Tx) error {
		if err := f.holdForRole(ctx, tx, r); err != nil {
			return err
		}
		return addRole(ctx, tx, c, r, user.Name)
	})
	if sql.IsUnique(err) {
		name := user.Name
		if name == "" {
			name = r.UserGUID
		}
		return nil, rest.Unprocessable("User '%s' already has '%s' role in %s.", name, r.Type, place)
	}
	return r, err
}

// mayGiveRole asks whether the caller may give or take the role, completes its organization, and names the place. A place that the
// caller does not see is forbidden, as in Cloud Controller's RolesController.
func (f *Family) mayGiveRole(c *rest.Call, r *access.RoleRow) (place string, err error) {
	if r.SpaceGUID != "" {
		s, err := access.SpaceByGUID(c.Ctx(), c.DB(), r.SpaceGUID)
		if cf.IsKind(err, cf.KindNotFound) {
			return "", access.NoSpace()
		} else if err != nil {
			return "", err
		}
		r.OrgGUID = s.OrgGUID
		return fmt.Sprintf("space '%s'", s.Name), access.MayWriteSpace(c.Ctx(), c.DB(), s, access.SpaceUpdaters...)
	}
	o, err := access.OrgByGUID(c.Ctx(), c.DB(), r.OrgGUID)
	if cf.IsKind(err, cf.KindNotFound) {
		return "", rest.Unprocessable("Invalid organization. Ensure that the organization exists and you have access to it.")
	} else if err != nil {
		return "", err
	}
	return fmt.Sprintf("organization '%s'", o.Name), access.MayWriteOrg(c.Ctx(), c.DB(), o, access.OrgWriters...)
}

const notInOrg = "Users cannot be assigned roles in a space if they do not have a role in that space's organization."

// holdForRole holds the place of the role and its user, in the order organization, space, user. Roles in spaces are for who is in
// the organization, which nobody leaves meanwhile: removeRole and removeUser hold the same.
func (f *Family) holdForRole(ctx context.Context, tx bun.Tx, r *access.RoleRow) error {
	if err := access.HoldOrg(ctx, f.DB, tx, r.OrgGUID); err != nil {
		return err
	}
	if r.SpaceGUID == "" {
		return f.holdUser(ctx, tx, r.UserGUID)
	}
	if err := access.HoldSpace(ctx, f.DB, tx, r.SpaceGUID); err != nil {
		return err
	}
	if err := f.holdUser(ctx, tx, r.UserGUID); err != nil {
		return err
	}
	ok, err := tx.NewSelect().Model((*access.RoleRow)(nil)).
		Where("user_guid = ? AND org_guid = ? AND type = ?", r.UserGUID, r.OrgGUID, access.OrgUser).Exists(ctx)
	if err == nil && !ok {
		return rest.Unprocessable(notInOrg)
	}
	return err
}

// errNewUser: another transaction made the row of the user at the same time.
var errNewUser = errors.New("the user was made meanwhile")

// holdUser holds the row of a user, who gets one by the first role, so that no role is left of a user who is deleted.
func (f *Family) holdUser(ctx context.Context, tx bun.Tx, guid string) error {
	u := &access.User{Labelled: row.Labelled{Row: row.Row{GUID: guid}}}
	err := row.Lock(ctx, f.DB, tx, u)
	if errors.Is(err, sql.ErrNoRows) {
		if err = row.Insert(ctx, tx, u); sql.IsUnique(err) {
			return errNewUser
		}
	}
	return err
}

// writeRoles is c.Write for what adds roles.
func writeRoles(c *rest.Call, fn func(ctx context.Context, tx bun.Tx) error) error {
	for {
		if err := c.Write(fn); !errors.Is(err, errNewUser) {
			return err
		}
	}
}

// resolve finds the user whom a role names, in UAA.
func (f *Family) resolve(c *rest.Call, u userRef, r *access.RoleRow) (cf.User, error) {
	if u.GUID.Given() {
		if r.SpaceGUID != "" {
			if ok, err := c.Ref("user", u.GUID.V); err != nil {
				return cf.User{}, err
			} else if !ok {
				return cf.User{}, rest.Unprocessable(notInOrg)
			}
		}
		known, err := f.Directory.UsersByID(c.Ctx(), []cf.UserID{cf.UserID(u.GUID.V)})
		if err != nil {
			return cf.User{}, cf.Wrap(cf.KindUnavailable, "UaaUnavailable", "", err)
		}
		if k, ok := known[cf.UserID(u.GUID.V)]; ok {
			return k, nil
		}
		return cf.User{ID: cf.UserID(u.GUID.V)}, nil
	}
	if err := access.Enabled(c.Ctx(), c.DB(), "set_roles_by_username"); err != nil {
		return cf.User{}, err
	}
	named, err := f.Directory.UsersNamed(c.Ctx(), u.Name.V, u.Origin.V)
	switch {
	case err != nil:
		return cf.User{}, cf.Wrap(cf.KindUnavailable, "UaaUnavailable", "", err)
	case len(named) > 1:
		var origins []string
		for _, n := range named {
			origins = append(origins, n.Origin)
		}
		slices.Sort(origins)
		return cf.User{}, rest.Unprocessable("Ambiguous user. User with username '%s' exists in the following origins: %s. "+
			"Specify an origin to disambiguate.", u.Name.V, strings.Join(origins, ", "))
	case len(named) == 1:
		return named[0], nil
	case r.SpaceGUID != "":
		return cf.User{}, rest.Unprocessable(notInOrg)
	case u.Origin.Given():
		return cf.User{}, rest.Unprocessable("No user exists with the username '%s' and origin '%s'.", u.Name.V, u.Origin.V)
	}
	return cf.User{}, rest.Unprocessable("No user exists with the username '%s'.", u.Name.V)
}

// addRole writes the role and its event.
func addRole(ctx context.Context, tx bun.Tx, c *rest.Call, r *access.RoleRow, user string) error {
	if err := row.Insert(ctx, tx, r); err != nil {
		return err
	}
	return c.Event(ctx, tx, "audit.user."+string(r.Type)+"_add", roleTarget(r, user))
}

func roleTarget(r *access.RoleRow, user string) event.Target {
	return event.Target{GUID: r.UserGUID, Type: "user", Name: user, Org: r.OrgGUID, Space: r.SpaceGUID}
}

func (f *Family) mayDeleteRole(c *rest.Call, r *access.RoleRow) error {
	if _, err := f.mayGiveRole(c, r); err != nil {
		return err
	}
	if r.Type != access.OrgUser {
		return nil
	}
	return keepsOrgUser(c.Ctx(), c.DB(), r)
}

// keepsOrgUser refuses to take organization_user from who has roles in spaces of the organization.
func keepsOrgUser(ctx context.Context, db bun.IDB, r *access.RoleRow) error {
	ok, err := db.NewSelect().Model((*access.RoleRow)(nil)).
		Where("user_guid = ? AND org_guid = ? AND space_guid <> ''", r.UserGUID, r.OrgGUID).Exists(ctx)
	if err == nil && ok {
		return rest.Unprocessable("Cannot delete organization_user role while user has roles in spaces in that organization.")
	}
	return err
}

// removeRole is the job role.delete.
func (f *Family) removeRole(ctx context.Context, j *job.Job) error {
	var r access.RoleRow
	err := f.DB.Read().NewSelect().Model(&r).Where("guid = ?", j.ResourceGUID).Scan(ctx)
	if err != nil {
		return gone(err)
	}
	known, err := f.Directory.UsersByID(ctx, []cf.UserID{cf.UserID(r.UserGUID)})
	if err != nil {
		return cf.Wrap(cf.KindUnavailable, "UaaUnavailable", "", err)
	}
	return f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := f.DB.LockRow(ctx, tx, "rest_organizations", r.OrgGUID); err != nil { // as whoever gives a role in its spaces
			return err
		}
		if err := row.Lock(ctx, f.DB, tx, &r); err != nil {
			return gone(err)
		}
		if r.Type == access.OrgUser {
			if err := keepsOrgUser(ctx, tx, &r); err != nil {
				return err
			}
		}
		if err := row.Delete(ctx, tx, &r); err != nil {
			return err
		}
		data := map[string]any{"request": map[string]any{}}
		name := known[cf.UserID(r.UserGUID)].Name
		return event.Record(ctx, tx, "audit.user."+string(r.Type)+"_remove", roleTarget(&r, name), data)
	})
}
