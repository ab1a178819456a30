package grant

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/uaa/fault"
)

// UAA's lockout policy (uaa-release: jobs/uaa/spec).
const (
	lockAfter  = 5
	lockWithin = 1200 * time.Second
	lockFor    = 300 * time.Second
)

// attempt counts the failed tries of one name, whether there is such a user or not: an answer must not tell.
type attempt struct {
	bun.BaseModel `bun:"table:uaa_attempts"`

	ID          string `bun:"guid,pk"` // hash of what is tried
	Failures    int
	FailedAt    sql.Time
	LockedUntil sql.Time
}

// Attempts guards what can be guessed. Tries of one name follow each other, so that many at once do not get more.
type Attempts struct {
	DB      *sql.DB
	Now     func() time.Time
	stripes [64]sync.Mutex
}

// Try runs check, which says whether the credentials of what are right, unless what is locked.
func (as *Attempts) Try(ctx context.Context, what string, check func() (bool, error)) error {
	sum := sha256.Sum256([]byte(what))
	id := hex.EncodeToString(sum[:])
	stripe := &as.stripes[int(sum[0])%len(as.stripes)]
	stripe.Lock()
	defer stripe.Unlock()
	if err := ctx.Err(); err != nil { // the client left while it waited
		return err
	}

	a := attempt{ID: id}
	err := as.DB.Read().NewSelect().Model(&a).Where("guid = ?", id).Scan(ctx)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	known := err == nil
	now := as.Now()
	if now.Before(a.LockedUntil.Time()) {
		return fault.Locked()
	}
	ok, err := check()
	switch {
	case err != nil:
		return err
	case ok && !known:
		return nil
	case ok:
		return as.store(ctx, id, nil)
	}
	if now.Sub(a.FailedAt.Time()) > lockWithin || a.LockedUntil != 0 {
		a.Failures, a.LockedUntil = 0, 0
	}
	a.Failures++
	a.FailedAt = sql.At(now)
	if a.Failures >= lockAfter {
		a.LockedUntil = sql.At(now.Add(lockFor))
	}
	if err := as.store(ctx, id, &a); err != nil {
		return err
	}
	return fault.BadCredentials()
}

// store replaces the row of id, or removes it.
func (as *Attempts) store(ctx context.Context, id string, a *attempt) error {
	err := as.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewDelete().Model((*attempt)(nil)).Where("guid = ?", id).Exec(ctx)
		if err != nil || a == nil {
			return err
		}
		_, err = tx.NewInsert().Model(a).Exec(ctx)
		return err
	})
	if sql.IsUnique(err) { // another process counted the same name
		return nil
	}
	return err
}

// Prune forgets tries that no longer matter.
func (as *Attempts) Prune(ctx context.Context) error {
	return as.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewDelete().Model((*attempt)(nil)).Where("failed_at < ?", sql.At(as.Now().Add(-lockWithin))).Exec(ctx)
		return err
	})
}
