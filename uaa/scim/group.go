package scim

import (
	"context"
	"errors"
	"slices"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/uaa/fault"
)

// Group is a row of uaa_groups. The name of a group is the scope which its members may get.
type Group struct {
	bun.BaseModel `bun:"table:uaa_groups"`

	ID        string `bun:"guid,pk"`
	Name      string
	CreatedAt sql.Time
}

// member says that a user is in a group; the groups that everybody is in have no rows.
type member struct {
	bun.BaseModel `bun:"table:uaa_members"`

	User  cf.UserID `bun:"user_guid,pk"`
	Group string    `bun:"group_name,pk"`
}

// everybody is the groups of every user (UAA's oauth.user.authorities).
var everybody = []string{
	"openid", "scim.me", "cloud_controller.read", "cloud_controller.write", "cloud_controller_service_permissions.read",
	"password.write", "uaa.user", "approvals.me", "oauth.approvals", "profile", "roles", "user_attributes",
	"uaa.offline_token",
}

// Groups is the store of groups.
type Groups struct{ DB *sql.DB }

// Ensure makes the groups that are not there yet, and those of everybody.
func (gs Groups) Ensure(ctx context.Context, names ...string) error {
	err := gs.ensure(ctx, names)
	if sql.IsUnique(err) { // another process made one meanwhile
		err = gs.ensure(ctx, names)
	}
	return err
}

func (gs Groups) ensure(ctx context.Context, names []string) error {
	return gs.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		var have []string
		if err := tx.NewSelect().Model((*Group)(nil)).Column("name").Scan(ctx, &have); err != nil {
			return err
		}
		known := map[string]bool{}
		for _, n := range have {
			known[n] = true
		}
		for _, n := range slices.Concat(names, everybody) {
			if known[n] {
				continue
			}
			known[n] = true
			if _, err := tx.NewInsert().Model(&Group{ID: cf.NewGUID(), Name: n, CreatedAt: sql.Now()}).Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// Of is the names of the user's groups, everybody's included, sorted.
func (gs Groups) Of(ctx context.Context, id cf.UserID) ([]string, error) {
	var names []string
	err := gs.DB.Read().NewSelect().Model((*member)(nil)).Column("group_name").Where("user_guid = ?", id).Scan(ctx, &names)
	return sorted(append(names, everybody...)), err
}

// ForUsers is the groups of each user, everybody's included, sorted by name.
func (gs Groups) ForUsers(ctx context.Context, users []User) (map[cf.UserID][]Group, error) {
	out := map[cf.UserID][]Group{}
	if len(users) == 0 {
		return out, nil
	}
	var all []Group
	if err := gs.DB.Read().NewSelect().Model(&all).Order("name").Scan(ctx); err != nil {
		return nil, err
	}
	ids := make([]cf.UserID, 0, len(users))
	for _, u := range users {
		ids = append(ids, u.ID)
	}
	var rows []member
	if err := gs.DB.Read().NewSelect().Model(&rows).Where("user_guid IN (?)", bun.List(ids)).Scan(ctx); err != nil {
		return nil, err
	}
	has := map[member]bool{}
	for _, m := range rows {
		has[m] = true
	}
	for _, id := range ids {
		for _, g := range all {
			if slices.Contains(everybody, g.Name) || has[member{User: id, Group: g.Name}] {
				out[id] = append(out[id], g)
			}
		}
	}
	return out, nil
}

// ByID finds a group; a missing one is ScimNotFound.
func (gs Groups) ByID(ctx context.Context, id string) (Group, error) {
	var g Group
	err := sql.ErrNoRows
	if storable(id) {
		err = gs.DB.Read().NewSelect().Model(&g).Where("guid = ?", id).Scan(ctx)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return g, fault.New(fault.ScimNotFound, "Group %s does not exist", id)
	}
	return g, err
}

// List finds groups.
func (gs Groups) List(ctx context.Context, q Query) (Page[Group], error) {
	return list[Group](ctx, gs.DB, q, groupColumns, "name")
}

// Members is the users with a row of their own in the groups, by group name.
func (gs Groups) Members(ctx context.Context, names []string) (map[string][]cf.UserID, error) {
	out := map[string][]cf.UserID{}
	if len(names) == 0 {
		return out, nil
	}
	var rows []member
	err := gs.DB.Read().NewSelect().Model(&rows).Where("group_name IN (?)", bun.List(names)).Order("user_guid").Scan(ctx)
	for _, m := range rows {
		out[m.Group] = append(out[m.Group], m.User)
	}
	return out, err
}
