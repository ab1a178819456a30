package grant

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
)

// revoked is an access token that was called back before its time.
type revoked struct {
	bun.BaseModel `bun:"table:uaa_revoked"`

	ID        string   `bun:"jti,pk"`
	ExpiresAt sql.Time // of the token: then the row is of no more use
}

// Revoked is the store of revoked access tokens.
type Revoked struct {
	DB  *sql.DB
	Now func() time.Time
}

// Add revokes a token until it expires by itself.
func (rs Revoked) Add(ctx context.Context, jti string, expires time.Time) error {
	err := rs.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewInsert().Model(&revoked{ID: jti, ExpiresAt: sql.At(expires)}).Exec(ctx)
		return err
	})
	if sql.IsUnique(err) {
		return nil
	}
	return err
}

// Has tells whether the token is revoked.
func (rs Revoked) Has(ctx context.Context, jti string) (bool, error) {
	return rs.DB.Read().NewSelect().Model((*revoked)(nil)).Where("jti = ?", jti).Exists(ctx)
}

// Prune forgets tokens that have expired.
func (rs Revoked) Prune(ctx context.Context) error {
	return rs.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewDelete().Model((*revoked)(nil)).Where("expires_at < ?", sql.At(rs.Now())).Exec(ctx)
		return err
	})
}
