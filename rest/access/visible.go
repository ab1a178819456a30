package access

import (
	"context"
	"strings"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/schema"

	"ingot/cf"
	"ingot/kit/sql"
)

// Scope says for which reasons a caller sees rows.
type Scope func(c Caller) Reasons

// Reasons are conditions. Who meets one of them is seen; where there is none, nothing is.
type Reasons struct {
	everything bool
	any        []schema.QueryAppender
}

// Everything is seen.
func Everything() Reasons { return Reasons{everything: true} }

// Any shows the rows that meet one of the conditions.
func Any(conditions ...schema.QueryAppender) Reasons { return Reasons{any: conditions} }

// Everyone sees every row.
func Everyone(Caller) Reasons { return Everything() }

// Narrow narrows a query to what the caller sees.
func (s Scope) Narrow(c Caller, q *bun.SelectQuery) *bun.SelectQuery {
	why := s(c)
	if why.everything {
		return q
	}
	return q.WhereGroup(" AND ", func(q *bun.SelectQuery) *bun.SelectQuery {
		for _, reason := range why.any {
			q = q.WhereOr("?", reason)
		}
		if why.any == nil {
			q = q.Where("1 = 0")
		}
		return q
	})
}

// Count tells how many rows of a query the caller sees. Each reason is counted by itself, less what was counted before: no
// engine counts what meets one condition or another by their indexes alone.
func (s Scope) Count(ctx context.Context, c Caller, db bun.IDB, q *bun.SelectQuery) (n int, err error) {
	why := s(c)
	if why.everything || len(why.any) < 2 {
		all, err := s.Narrow(c, q.Clone()).Count(ctx)
		return int(all), err
	}
	var text []string
	var counts []any
	for i, reason := range why.any {
		one := q.Clone().ColumnExpr("count(*)").Where("?", reason)
		for _, before := range why.any[:i] {
			one = one.Where("NOT (?)", before)
		}
		text, counts = append(text, "(?)"), append(counts, one)
	}
	return n, db.NewSelect().ColumnExpr(strings.Join(text, " + "), counts...).Scan(ctx, &n)
}

// Unite finds the columns of what the caller sees of q for several reasons, each by its own index; nil when there are not several.
func (s Scope) Unite(c Caller, q *bun.SelectQuery, columns []string) schema.QueryAppender {
	why := s(c)
	if len(why.any) < 2 {
		return nil
	}
	var found []any
	for _, reason := range why.any {
		found = append(found, q.Clone().Column(columns...).Where("?", reason))
	}
	return bun.SafeQuery(strings.Repeat("? UNION ", len(found)-1)+"?", found...)
}

// InOrgs shows the rows whose column holds an organization in which the caller has one of the roles (OrgReaders when
// none is named), directly or in one of its spaces.
func InOrgs(column string, roles ...Role) Scope {
	if len(roles) == 0 {
		roles = OrgReaders
	}
	return func(c Caller) Reasons {
		if c.ReadsAll() {
			return Everything()
		}
		return Any(c.In(column, Orgs(c, roles...)))
	}
}

// InSpaces shows the rows whose column holds a space in which the caller has one of the roles (SpaceReaders when none
// is named), directly or by a role in its organization.
func InSpaces(column string, roles ...Role) Scope {
	if len(roles) == 0 {
		roles = SpaceReaders
	}
	return func(c Caller) Reasons {
		if c.ReadsAll() {
			return Everything()
		}
		return Any(c.In(column, Spaces(c, roles...)))
	}
}

// In is the condition that a column holds what a sub-select gives. Where the caller walks, no index is sought for it: a page
// of what somebody sees much of is found sooner row by row in the order of the list than by gathering and sorting all of it.
func (c Caller) In(column string, set schema.QueryAppender) schema.QueryAppender {
	if c.Walk {
		return bun.SafeQuery("+? IN (?)", bun.Ident(column), set)
	}
	return bun.SafeQuery("? IN (?)", bun.Ident(column), set)
}

// Orgs is the sub-select of organizations in which the caller has one of the roles. Space roles count for the space's
// organization: role rows of spaces carry it.
func Orgs(c Caller, roles ...Role) schema.QueryAppender {
	return bun.SafeQuery("SELECT r.org_guid FROM rest_roles AS r WHERE r.user_guid = ? AND r.type IN (?)", c.GUID, bun.List(roles))
}

// Spaces is the sub-select of spaces in which the caller has one of the roles; organization roles count for all
// spaces of the organization. A list has it made once; for one row few of its rows are looked at.
func Spaces(c Caller, roles ...Role) schema.QueryAppender {
	org, space := Roles(roles).split()
	const direct = "SELECT r.space_guid FROM rest_roles AS r WHERE r.user_guid = ? AND r.type IN (?)"
	const through = "SELECT s.guid FROM rest_spaces AS s JOIN rest_roles AS r ON r.org_guid = s.org_guid WHERE r.user_guid = ? AND r.type IN (?)"
	switch {
	case len(org) == 0:
		return bun.SafeQuery(direct, c.GUID, bun.List(space))
	case len(space) == 0:
		return bun.SafeQuery(through, c.GUID, bun.List(org))
	}
	both := bun.SafeQuery(direct+" UNION "+through, c.GUID, bun.List(space), c.GUID, bun.List(org))
	if c.List {
		return sql.Once(both)
	}
	return both
}

// HasInSpace tells whether the caller has one of the roles in the space or (organization roles) in its organization.
func HasInSpace(ctx context.Context, db bun.IDB, c Caller, space *Space, roles ...Role) (bool, error) {
	org, inSpace := Roles(roles).split()
	q := db.NewSelect().TableExpr("rest_roles").ColumnExpr("1").Where("user_guid = ?", c.GUID).
		WhereGroup(" AND ", func(q *bun.SelectQuery) *bun.SelectQuery {
			if len(org) > 0 {
				q = q.WhereOr("org_guid = ? AND type IN (?)", space.OrgGUID, bun.List(org))
			}
			if len(inSpace) > 0 {
				q = q.WhereOr("space_guid = ? AND type IN (?)", space.GUID, bun.List(inSpace))
			}
			return q
		})
	return q.Exists(ctx)
}

// HasInOrg tells whether the caller has one of the organization roles in the organization.
func HasInOrg(ctx context.Context, db bun.IDB, c Caller, org string, roles ...Role) (bool, error) {
	return db.NewSelect().TableExpr("rest_roles").ColumnExpr("1").
		Where("user_guid = ? AND org_guid = ? AND type IN (?)", c.GUID, org, bun.List(roles)).Exists(ctx)
}

// Forbidden is the answer to who sees an object but may not do that.
func Forbidden() error { return &cf.Error{Kind: cf.KindForbidden, Code: "NotAuthorized"} }

// MayWriteSpace answers nil when the caller is an admin, or has one of the roles and neither the space nor its
// organization is suspended or being deleted. Managers of the organization are not held up by the space's own state.
func MayWriteSpace(ctx context.Context, db bun.IDB, space *Space, roles ...Role) error {
	c := From(ctx)
	if c.Admin() {
		return nil
	}
	ok, err := HasInSpace(ctx, db, c, space, roles...)
	if err != nil {
		return err
	}
	if !ok {
		return Forbidden()
	}
	org, err := OrgByGUID(ctx, db, space.OrgGUID)
	if err != nil {
		return err
	}
	if err := org.writable(); err != nil || space.Status == Active && !space.Deleting {
		return err
	}
	if manager, err := HasInOrg(ctx, db, c, space.OrgGUID, OrgManager); err != nil || manager {
		return err
	}
	if space.Deleting {
		return cf.Errorf(cf.KindUnprocessable, "ResourceBeingDeleted", "space")
	}
	return &cf.Error{Kind: cf.KindForbidden, Code: "SpaceSuspended"}
}

// MayWriteOrg is the same for an organization.
func MayWriteOrg(ctx context.Context, db bun.IDB, org *Organization, roles ...Role) error {
	c := From(ctx)
	if c.Admin() {
		return nil
	}
	ok, err := HasInOrg(ctx, db, c, org.GUID, roles...)
	if err != nil {
		return err
	}
	if !ok {
		return Forbidden()
	}
	return org.writable()
}

func (o *Organization) writable() error {
	switch {
	case o.Deleting:
		return cf.Errorf(cf.KindUnprocessable, "ResourceBeingDeleted", "organization")
	case o.Status == Suspended:
		return &cf.Error{Kind: cf.KindForbidden, Code: "OrgSuspended"}
	}
	return nil
}
