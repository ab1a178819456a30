package grant

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/uaa/fault"
)

// Grace is how long a refresh token stays good after it was used: parallel commands share one file (design.md §8).
const Grace = 10 * time.Minute

// Chain is all the refresh tokens that came of one login.
type Chain struct {
	bun.BaseModel `bun:"table:uaa_chains"`

	ID        string    `bun:"guid,pk"`
	User      cf.UserID `bun:"user_guid"`
	Client    string    `bun:"client_id"`
	Scopes    sql.JSON[[]string]
	AuthTime  sql.Time
	RevSig    string
	ExpiresAt sql.Time
}

// refresh is one token. The first use of a child spends its parent.
type refresh struct {
	bun.BaseModel `bun:"table:uaa_refresh_tokens"`

	Chain      string `bun:"chain,pk"`
	Hash       string `bun:"hash,pk"`
	Parent     string
	ReplacedAt sql.Time // zero: nobody used it yet
	Spent      bool
}

// Chains is the store of refresh tokens. A token is "<chain><secret>-r" in hexadecimal digits.
type Chains struct {
	DB  *sql.DB
	Now func() time.Time
}

func (cs Chains) mint(chain string) (token string, r refresh, err error) {
	var b [16]byte
	if _, err = rand.Read(b[:]); err != nil {
		return "", r, err
	}
	token = chain + hex.EncodeToString(b[:]) + "-r"
	return token, refresh{Chain: chain, Hash: hash(token)}, nil
}

func hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func bad() *cf.Error {
	return fault.New(fault.InvalidToken, "The token expired, was revoked, or the token ID is incorrect.")
}

// Begin stores a new chain, which lives for the given time, and gives its first token.
func (cs Chains) Begin(ctx context.Context, c Chain, life time.Duration) (string, error) {
	c.ID = strings.ReplaceAll(cf.NewGUID(), "-", "")
	c.ExpiresAt = sql.At(cs.Now().Add(life))
	token, r, err := cs.mint(c.ID)
	if err != nil {
		return "", err
	}
	return token, cs.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewInsert().Model(&c).Exec(ctx); err != nil {
			return err
		}
		_, err := tx.NewInsert().Model(&r).Exec(ctx)
		return err
	})
}

// Find gives the chain that a token names. It says nothing of the token itself: Rotate does.
func (cs Chains) Find(ctx context.Context, token string) (Chain, error) {
	var c Chain
	if len(token) != 32+32+len("-r") {
		return c, bad()
	}
	if _, err := hex.DecodeString(strings.TrimSuffix(token, "-r")); err != nil {
		return c, bad()
	}
	err := cs.DB.Read().NewSelect().Model(&c).Where("guid = ?", token[:32]).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) || err == nil && c.ExpiresAt.Time().Before(cs.Now()) {
		return c, bad()
	}
	return c, err
}

// Rotate uses a token of the chain and gives the next one. The used one stays good until the next one is used, or for
// Grace; used after that it ends the chain: one of the two who hold it has stolen it.
func (cs Chains) Rotate(ctx context.Context, c Chain, token string, life time.Duration) (string, error) {
	next, child, err := cs.mint(c.ID)
	if err != nil {
		return "", err
	}
	var refused error
	err = cs.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		refused = nil
		if err := cs.DB.LockRow(ctx, tx, "uaa_chains", c.ID); err != nil {
			return err
		}
		var r refresh
		err := tx.NewSelect().Model(&r).Where("chain = ? AND hash = ?", c.ID, hash(token)).Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			refused = bad()
			return nil
		}
		if err != nil {
			return err
		}
		if r.Spent || r.ReplacedAt != 0 && cs.Now().Sub(r.ReplacedAt.Time()) > Grace {
			refused = bad()
			return end(ctx, tx, c.ID)
		}
		child.Parent = r.Hash
		return cs.replace(ctx, tx, r, child, life)
	})
	if err = errors.Join(err, refused); err != nil {
		return "", err
	}
	return next, nil
}

// replace stores what the use of r changes.
func (cs Chains) replace(ctx context.Context, tx bun.Tx, r, child refresh, life time.Duration) error {
	now := cs.Now()
	if r.ReplacedAt == 0 {
		_, err := tx.NewUpdate().Model((*refresh)(nil)).Set("replaced_at = ?", sql.At(now)).
			Where("chain = ? AND hash = ?", r.Chain, r.Hash).Exec(ctx)
		if err != nil {
			return err
		}
	}
	if r.Parent != "" {
		_, err := tx.NewUpdate().Model((*refresh)(nil)).Set("spent = ?", true).
			Where("chain = ? AND hash = ?", r.Chain, r.Parent).Exec(ctx)
		if err != nil {
			return err
		}
	}
	_, err := tx.NewUpdate().Model((*Chain)(nil)).Set("expires_at = ?", sql.At(now.Add(life))).
		Where("guid = ?", r.Chain).Exec(ctx)
	if err != nil {
		return err
	}
	// A chain that never ends must not grow without end: what was replaced a whole life ago is forgotten.
	_, err = tx.NewDelete().Model((*refresh)(nil)).
		Where("chain = ? AND replaced_at <> 0 AND replaced_at < ?", r.Chain, sql.At(now.Add(-life))).Exec(ctx)
	if err != nil {
		return err
	}
	_, err = tx.NewInsert().Model(&child).Exec(ctx)
	return err
}

func end(ctx context.Context, tx bun.Tx, chain string) error {
	if _, err := tx.NewDelete().Model((*refresh)(nil)).Where("chain = ?", chain).Exec(ctx); err != nil {
		return err
	}
	_, err := tx.NewDelete().Model((*Chain)(nil)).Where("guid = ?", chain).Exec(ctx)
	return err
}

// Prune forgets chains that have expired.
func (cs Chains) Prune(ctx context.Context) error {
	return cs.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		now := sql.At(cs.Now())
		old := tx.NewSelect().Model((*Chain)(nil)).Column("guid").Where("expires_at < ?", now)
		if _, err := tx.NewDelete().Model((*refresh)(nil)).Where("chain IN (?)", old).Exec(ctx); err != nil {
			return err
		}
		_, err := tx.NewDelete().Model((*Chain)(nil)).Where("expires_at < ?", now).Exec(ctx)
		return err
	})
}
