// Package scim is UAA's users and groups: their rows, their SCIM form, filters over them, and password hashes.
//
// It promises that names compare without regard to case within an origin, that every text reaches the database as a
// value, and that passwords are kept as argon2id. It will not decide who may ask, nor know tokens.
package scim

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/uaa/fault"
)

// Origin is where UAA's own users come from.
const Origin = "uaa"

// User is a row of uaa_users.
type User struct {
	bun.BaseModel `bun:"table:uaa_users"`

	ID         cf.UserID `bun:"guid,pk"`
	Name       string    `bun:"username"`
	Key        string    `bun:"username_key"` // Fold(Name)
	Origin     string
	ExternalID string `bun:"external_id"`
	Email      string
	GivenName  string
	FamilyName string
	Password   string // hash
	Active     bool
	Verified   bool
	Version    int
	CreatedAt  sql.Time
	UpdatedAt  sql.Time
	PasswordAt sql.Time `bun:"password_changed_at"`
}

// Fold is the form in which user names are compared.
func Fold(name string) string { return strings.ToLower(name) }

// storable tells whether every engine can hold s as text of a name.
func storable(s string) bool {
	return len(s) <= 255 && utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}

// Users is the store of users and groups.
type Users struct{ DB *sql.DB }

// Create stores a new user with its explicit groups. A taken name is ScimExists.
func (us Users) Create(ctx context.Context, u *User, groups ...string) error {
	now := sql.Now()
	u.ID, u.Key = cf.UserID(cf.NewGUID()), Fold(u.Name)
	u.CreatedAt, u.UpdatedAt, u.PasswordAt = now, now, now
	err := us.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewInsert().Model(u).Exec(ctx); err != nil {
			return err
		}
		for _, g := range groups {
			if _, err := tx.NewInsert().Model(&member{User: u.ID, Group: g}).Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if sql.IsUnique(err) {
		return fault.New(fault.ScimExists, "Username already in use: %s", u.Name)
	}
	return err
}

// AllNamed finds the users of a name in every origin, or in one if origin is given.
func (us Users) AllNamed(ctx context.Context, name, origin string) ([]User, error) {
	var out []User
	if !storable(name) || !storable(origin) {
		return nil, nil
	}
	q := us.DB.Read().NewSelect().Model(&out).Where("username_key = ?", Fold(name)).Order("origin")
	if origin != "" {
		q = q.Where("origin = ?", origin)
	}
	return out, q.Scan(ctx)
}

// Containing finds the users whose name contains the part, in every origin.
func (us Users) Containing(ctx context.Context, part string) ([]User, error) {
	var out []User
	if !storable(part) {
		return nil, nil
	}
	literal := strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(Fold(part))
	return out, us.DB.Read().NewSelect().Model(&out).Where("username_key LIKE ? ESCAPE '!'", "%"+literal+"%").Order("guid").Scan(ctx)
}

// ByID finds a user; a missing one is ScimNotFound.
func (us Users) ByID(ctx context.Context, id cf.UserID) (User, error) {
	var u User
	err := sql.ErrNoRows
	if storable(string(id)) {
		err = us.DB.Read().NewSelect().Model(&u).Where("guid = ?", id).Scan(ctx)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return User{}, fault.New(fault.ScimNotFound, "User %s does not exist", id)
	}
	return u, err
}

// ByIDs finds those of the users that exist.
func (us Users) ByIDs(ctx context.Context, ids []cf.UserID) ([]User, error) {
	ids = slices.DeleteFunc(slices.Clone(ids), func(id cf.UserID) bool { return !storable(string(id)) })
	var out []User
	for part := range slices.Chunk(ids, 1000) {
		var some []User
		if err := us.DB.Read().NewSelect().Model(&some).Where("guid IN (?)", bun.List(part)).Scan(ctx); err != nil {
			return nil, err
		}
		out = append(out, some...)
	}
	return out, nil
}

// Delete forgets a user and gives back what it was.
func (us Users) Delete(ctx context.Context, id cf.UserID) (User, error) {
	u, err := us.ByID(ctx, id)
	if err != nil {
		return u, err
	}
	return u, us.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewDelete().Model((*member)(nil)).Where("user_guid = ?", id).Exec(ctx); err != nil {
			return err
		}
		_, err := tx.NewDelete().Model((*User)(nil)).Where("guid = ?", id).Exec(ctx)
		return err
	})
}

// SetPassword stores a new hash. All tokens of the user die with the old one.
func (us Users) SetPassword(ctx context.Context, id cf.UserID, hash string) error {
	return us.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		now := sql.Now()
		_, err := tx.NewUpdate().Model((*User)(nil)).Where("guid = ?", id).
			Set("password = ?", hash).Set("password_changed_at = ?", now).Set("updated_at = ?", now).
			Set("version = version + 1").Exec(ctx)
		return err
	})
}

// Query is what a SCIM list asks for.
type Query struct {
	Filter     string
	SortBy     string
	Descending bool
	Start      int64 // from 1
	Count      int64
}

// Page is the answer to a Query.
type Page[T any] struct {
	Rows  []T
	Total int64
}

// List finds users.
func (us Users) List(ctx context.Context, q Query) (Page[User], error) {
	return list[User](ctx, us.DB, q, userColumns, "username_key")
}

func list[T any](ctx context.Context, db *sql.DB, q Query, columns map[string]column, order string) (Page[T], error) {
	var p Page[T]
	where, err := parseFilter(q.Filter, columns)
	if err != nil {
		return p, err
	}
	if q.SortBy != "" {
		col, ok := columns[strings.ToLower(q.SortBy)]
		if !ok {
			return p, fault.New(fault.Scim, "Invalid sort expression: [%s]", q.SortBy)
		}
		order = col.name
	}
	dir := "ASC"
	if q.Descending {
		dir = "DESC"
	}
	p.Total, err = db.Read().NewSelect().Model(&p.Rows).Where(where.sql, where.args...).
		OrderExpr("? "+dir+", guid", bun.Ident(order)).Limit(q.Count).Offset(q.Start - 1).ScanAndCount(ctx)
	return p, err
}

// sorted orders words and drops those that stand twice.
func sorted(s []string) []string {
	slices.SortFunc(s, cmp.Compare[string])
	return slices.Compact(s)
}
