package access

import (
	"context"
	"errors"
	"strings"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest/row"
)

// Status of an organization or a space.
type Status string

// The states.
const (
	Active    Status = "active"
	Suspended Status = "suspended"
)

// Organization is a row of organizations.
type Organization struct {
	bun.BaseModel `bun:"table:rest_organizations"`
	row.Labelled
	Name      string `bun:"name"`
	NameKey   string `bun:"name_key"` // folded, unique
	Status    Status `bun:"status"`
	Deleting  bool   `bun:"deleting"` // a job is at it: nothing new comes in
	QuotaGUID string `bun:"quota_guid"`
	Isolation string `bun:"isolation_segment_guid"` // default of its spaces, or ""
}

// Space is a row of spaces.
type Space struct {
	bun.BaseModel `bun:"table:rest_spaces"`
	row.Labelled
	Name      string `bun:"name"`
	NameKey   string `bun:"name_key"` // folded, unique in the organization
	OrgGUID   string `bun:"org_guid"`
	Status    Status `bun:"status"`
	Deleting  bool   `bun:"deleting"`
	AllowSSH  bool   `bun:"allow_ssh"`
	QuotaGUID string `bun:"quota_guid"`             // of a space quota, or ""
	Isolation string `bun:"isolation_segment_guid"` // or ""
}

// User is a user that the API knows; names are UAA's and are not kept here.
type User struct {
	bun.BaseModel `bun:"table:rest_users"`
	row.Labelled
	Type string   `bun:"type"` // user, client, or "" until the first request tells
	UAA  *cf.User `bun:"-"`    // read with the row where a view needs it; nil: a client, or unknown to UAA
}

// RoleRow is one role of one user.
type RoleRow struct {
	bun.BaseModel `bun:"table:rest_roles"`
	row.Row
	Type      Role   `bun:"type"`
	UserGUID  string `bun:"user_guid"`
	OrgGUID   string `bun:"org_guid"`   // also for roles in spaces
	SpaceGUID string `bun:"space_guid"` // "" for roles in organizations
}

// Fold is the form in which names are compared.
func Fold(name string) string { return strings.ToLower(name) }

// SpaceByGUID reads a space without asking who may see it; KindNotFound when there is none.
func SpaceByGUID(ctx context.Context, db bun.IDB, guid string) (*Space, error) {
	return one[Space](ctx, db, guid, "Space not found")
}

// OrgByGUID is the same for an organization.
func OrgByGUID(ctx context.Context, db bun.IDB, guid string) (*Organization, error) {
	return one[Organization](ctx, db, guid, "Organization not found")
}

func one[T any](ctx context.Context, db bun.IDB, guid, none string) (*T, error) {
	v := new(T)
	err := db.NewSelect().Model(v).Where("guid = ?", guid).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, &cf.Error{Kind: cf.KindNotFound, Public: none, Cause: err}
	}
	return v, err
}

// Ensure makes the row of a user or client that calls for the first time. A client that has the guid of a user, or the
// other way round, is refused: it would have that one's roles.
func Ensure(ctx context.Context, db *sql.DB, c Caller) error {
	_, want, _ := c.Actor()
	var has string
	err := db.Read().NewSelect().TableExpr("rest_users").Column("type").Where("guid = ?", c.GUID).Scan(ctx, &has)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		err = db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
			return row.Insert(ctx, tx, &User{Labelled: row.Labelled{Row: row.Row{GUID: c.GUID}}, Type: want})
		})
		if sql.IsUnique(err) { // another request was first
			return Ensure(ctx, db, c)
		}
		return err
	case err != nil || has == want:
		return err
	case has != "":
		return &cf.Error{Kind: cf.KindUnauthenticated, Code: "InvalidAuthToken"}
	}
	return db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().TableExpr("rest_users").Set("type = ?", want).Where("guid = ? AND type = ''", c.GUID).Exec(ctx)
		return err
	})
}

// NoSpace is the answer to a request that names a space which is not there.
func NoSpace() error {
	return cf.Errorf(cf.KindUnprocessable, "", "Invalid space. Ensure that the space exists and you have access to it.")
}

// HoldSpace holds the space's row until tx ends, and refuses when the space is gone or being deleted: whatever creates
// something in a space calls it first, so that nothing is left behind by a deletion.
func HoldSpace(ctx context.Context, db *sql.DB, tx bun.Tx, guid string) error {
	s := new(Space)
	err := db.ForUpdate(tx.NewSelect().Model(s).Where("guid = ?", guid)).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return NoSpace()
	}
	if err == nil && s.Deleting {
		return cf.Errorf(cf.KindUnprocessable, "ResourceBeingDeleted", "space")
	}
	return err
}

// HoldOrg is the same for an organization.
func HoldOrg(ctx context.Context, db *sql.DB, tx bun.Tx, guid string) error {
	o := new(Organization)
	err := db.ForUpdate(tx.NewSelect().Model(o).Where("guid = ?", guid)).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return cf.Errorf(cf.KindUnprocessable, "", "Invalid organization. Ensure the organization exists and you have access to it.")
	}
	if err == nil && o.Deleting {
		return cf.Errorf(cf.KindUnprocessable, "ResourceBeingDeleted", "organization")
	}
	return err
}
