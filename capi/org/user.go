package org

import (
	"context"
	"errors"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/job"
	"ingot/rest/row"
)

func (f *Family) users() *rest.Resource[access.User] {
	return &rest.Resource[access.User]{
		Kind: "user", Path: "/v3/users",
		Visible: visibleUsers,
		Filters: []rest.Filter{
			{Param: "usernames", By: f.byName},
			{Param: "partial_usernames", By: f.byPart},
			{Param: "origins", By: f.byOrigin},
		},
		Unprocessable: true,
		Subs: []rest.Sub{
			{Path: "/v3/organizations/{guid}/users", Parent: "organization", Everyone: true,
				Where: "guid IN (SELECT user_guid FROM rest_roles WHERE space_guid = '' AND org_guid = ?)"},
			{Path: "/v3/spaces/{guid}/users", Parent: "space", Everyone: true,
				Where: "guid IN (SELECT user_guid FROM rest_roles WHERE space_guid = ?)"},
		},
		Fill: f.fillUsers,
		View: func(c *rest.Call, u *access.User) rest.Object {
			o := rest.Object{"username": nil, "presentation_name": u.GUID, "origin": nil}
			if u.UAA != nil {
				o["username"], o["presentation_name"], o["origin"] = u.UAA.Name, u.UAA.Name, u.UAA.Origin
			}
			return o
		},
		Create: f.createUser,
		Update: f.updateUser,
		Delete: func(c *rest.Call, _ *access.User) error { return c.Admins() },
		Remove: f.removeUser,
	}
}

// visibleUsers shows the caller and those who have roles in the caller's organizations.
func visibleUsers(c access.Caller) access.Reasons {
	if c.ReadsAll() {
		return access.Everything()
	}
	return access.Any(bun.SafeQuery("guid = ?", c.GUID), c.In("guid",
		bun.SafeQuery("SELECT user_guid FROM rest_roles WHERE space_guid = '' AND org_guid IN (?)", access.Orgs(c, access.OrgReaders...))))
}

func (f *Family) fillUsers(c *rest.Call, users []*access.User) error {
	ids := make([]cf.UserID, 0, len(users))
	for _, u := range users {
		ids = append(ids, cf.UserID(u.GUID))
	}
	known, err := f.Directory.UsersByID(c.Ctx(), ids)
	if err != nil {
		return cf.Wrap(cf.KindUnavailable, "UaaUnavailable", "", err)
	}
	for _, u := range users {
		if k, ok := known[cf.UserID(u.GUID)]; ok {
			u.UAA = &k
		}
	}
	return nil
}

// byName narrows to users of these names (and, when given, origins) in UAA.
func (f *Family) byName(c *rest.Call, q *bun.SelectQuery, names []string) (*bun.SelectQuery, error) {
	if c.Has("partial_usernames") {
		return nil, rest.Unprocessable("Usernames filter cannot be provided with both usernames and partial_usernames filter.")
	}
	return f.bySearch(c, q, names, func(ctx context.Context, name string) ([]cf.User, error) {
		return f.Directory.UsersNamed(ctx, name, "")
	})
}

// byPart narrows to users whose name in UAA contains one of the parts.
func (f *Family) byPart(c *rest.Call, q *bun.SelectQuery, parts []string) (*bun.SelectQuery, error) {
	return f.bySearch(c, q, parts, f.Directory.UsersLike)
}

// bySearch narrows to the users that a search of UAA finds for one of the words, in the origins that the query allows.
func (f *Family) bySearch(c *rest.Call, q *bun.SelectQuery, words []string,
	search func(context.Context, string) ([]cf.User, error)) (*bun.SelectQuery, error) {
	var guids []string
	for _, w := range words {
		users, err := search(c.Ctx(), w)
		if err != nil {
			return nil, cf.Wrap(cf.KindUnavailable, "UaaUnavailable", "", err)
		}
		for _, u := range users {
			if c.Allows("origins", u.Origin) {
				guids = append(guids, string(u.ID))
			}
		}
	}
	return q.Where("guid IN (?)", bun.List(guids)), nil
}

// byOrigin only allows origins beside names: byName and byPart look at them.
func (f *Family) byOrigin(c *rest.Call, q *bun.SelectQuery, _ []string) (*bun.SelectQuery, error) {
	if !c.Has("usernames") && !c.Has("partial_usernames") {
		return nil, rest.Unprocessable("Origins filter cannot be provided without usernames or partial_usernames filter.")
	}
	return q, nil
}

type userBody struct {
	new                bool
	GUID, Name, Origin rest.Opt[string]
	Metadata           row.Patch
}

func (u *userBody) Take(b *rest.Body) {
	b.Metadata(&u.Metadata)
	if !u.new {
		return
	}
	b.GUID("guid", &u.GUID)
	b.String("origin", &u.Origin)
	b.String("username", &u.Name)
	switch {
	case u.GUID.Given():
		if u.Name.Given() {
			b.Fault("Username cannot be provided with 'guid'")
		}
		if u.Origin.Given() {
			b.Fault("Origin cannot be provided with 'guid'")
		}
	case u.Name.Given() && !u.Origin.Given():
		b.Fault("Username can only be provided together with 'origin'")
	case u.Origin.Given() && !u.Name.Given():
		b.Fault("Origin can only be provided together with 'username'")
	case !u.Name.Given() && !b.Has("guid"):
		b.Fault("Guid or 'username' and 'origin' must be provided")
	}
	if u.Origin.Given() && u.Origin.V == "uaa" && !u.GUID.Given() {
		b.Fault("Origin cannot be 'uaa' when creating a user by username")
	}
}

func (f *Family) createUser(c *rest.Call) (*access.User, error) {
	if err := c.Admins(); err != nil {
		return nil, err
	}
	in := userBody{new: true}
	if err := rest.Take(c, &in); err != nil {
		return nil, err
	}
	u := &access.User{}
	u.GUID = in.GUID.V
	taken := "User with guid '" + in.GUID.V + "' already exists."
	if in.Name.Given() {
		user, err := f.Directory.Shadow(c.Ctx(), in.Name.V, in.Origin.V)
		var e *cf.Error
		if cf.IsKind(err, cf.KindInvalid) && errors.As(err, &e) { // a name that no user of UAA may have
			return nil, rest.Unprocessable("%s", e.Public)
		}
		if err != nil {
			return nil, cf.Wrap(cf.KindUnavailable, "UaaUnavailable", "", err)
		}
		u.GUID = string(user.ID)
		taken = "User with username '" + in.Name.V + "' and origin '" + in.Origin.V + "' already exists."
	}
	if err := in.Metadata.Apply(u.Meta()); err != nil {
		return nil, err
	}
	err := c.Write(func(ctx context.Context, tx bun.Tx) error { return row.Insert(ctx, tx, u) })
	if sql.IsUnique(err) {
		return nil, rest.Unprocessable("%s", taken)
	}
	return u, err
}

func (f *Family) updateUser(c *rest.Call, u *access.User) error {
	if err := c.Admins(); err != nil {
		return err
	}
	var in userBody
	if err := rest.Take(c, &in); err != nil {
		return err
	}
	return c.Change(u, func(context.Context, bun.Tx) error { return in.Metadata.Apply(u.Meta()) })
}

// removeUser is the job user.delete: the user's roles and row. The user in UAA is another matter.
func (f *Family) removeUser(ctx context.Context, j *job.Job) error {
	return f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := f.DB.LockRow(ctx, tx, "rest_users", j.ResourceGUID); err != nil { // who gives a role holds it
			return err
		}
		if err := row.DeleteWhere(ctx, tx, "rest_roles", "user_guid = ?", j.ResourceGUID); err != nil {
			return err
		}
		return row.DeleteWhere(ctx, tx, "rest_users", "guid = ?", j.ResourceGUID)
	})
}
