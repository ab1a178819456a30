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
	Deleting  Status = "deleting"
)

// Organization is a row of organizations.
type Organization struct {
	bun.BaseModel `bun:"table:rest_organizations"`
	row.Labelled
	Name      string `bun:"name"`
	NameKey   string `bun:"name_key"` // folded, unique
	Status    Status `bun:"status"`
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
	AllowSSH  bool   `bun:"allow_ssh"`
	QuotaGUID string `bun:"quota_guid"`             // of a space quota, or ""
	Isolation string `bun:"isolation_segment_guid"` // or ""
}

// User is a user that the API knows; names are UAA's and are not kept here.
type User struct {
	bun.BaseModel `bun:"table:rest_users"`
	row.Labelled
	UAA *cf.User `bun:"-"` // read with the row where a view needs it; nil: a client, or unknown to UAA
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
	return one[Space](ctx, db, guid)
}

// OrgByGUID is the same for an organization.
func OrgByGUID(ctx context.Context, db bun.IDB, guid string) (*Organization, error) {
	return one[Organization](ctx, db, guid)
}

func one[T any](ctx context.Context, db bun.IDB, guid string) (*T, error) {
	v := new(T)
	err := db.NewSelect().Model(v).Where("guid = ?", guid).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, &cf.Error{Kind: cf.KindNotFound, Cause: err}
	}
	return v, err
}

// Ensure makes the row of a user or client that calls for the first time.
func Ensure(ctx context.Context, db *sql.DB, guid string) error {
	known := func(db bun.IDB) (bool, error) {
		return db.NewSelect().TableExpr("rest_users").ColumnExpr("1").Where("guid = ?", guid).Exists(ctx)
	}
	if ok, err := known(db.Read()); ok || err != nil {
		return err
	}
	err := db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if ok, err := known(tx); ok || err != nil {
			return err
		}
		return row.Insert(ctx, tx, &User{Labelled: row.Labelled{Row: row.Row{GUID: guid}}})
	})
	if sql.IsUnique(err) { // another request was first
		return nil
	}
	return err
}
