package grant

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/uaa/fault"
)

// Client is a row of uaa_clients: a program that may ask for tokens.
type Client struct {
	bun.BaseModel `bun:"table:uaa_clients"`

	ID             string `bun:"id,pk"`
	Secret         string // hash; empty: the client has none and proves nothing
	Grants         sql.JSON[[]string]
	Scopes         sql.JSON[[]string] // of users' tokens
	Authorities    sql.JSON[[]string] // of its own tokens
	AccessSeconds  int64
	RefreshSeconds int64
	UpdatedAt      sql.Time
}

func (c Client) access() time.Duration { return time.Duration(c.AccessSeconds) * time.Second }

// Lives is how long its refresh tokens do.
func (c Client) Lives() time.Duration { return time.Duration(c.RefreshSeconds) * time.Second }

// May tells whether the client may use the grant.
func (c Client) May(grant string) bool { return slices.Contains(c.Grants.V, grant) }

// Clients is the store of clients.
type Clients struct{ DB *sql.DB }

// ByID finds a client; ok is false if there is none.
func (cs Clients) ByID(ctx context.Context, id string) (c Client, ok bool, err error) {
	err = cs.DB.Read().NewSelect().Model(&c).Where("id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return c, false, nil
	}
	return c, err == nil, err
}

// Get finds a client for the public; a missing one is NotFound.
func (cs Clients) Get(ctx context.Context, id string) (Client, error) {
	c, ok, err := cs.ByID(ctx, id)
	if err == nil && !ok {
		err = fault.New(fault.NotFound, "No client with requested id: %s", id)
	}
	return c, err
}

// Put stores the client as it is given.
func (cs Clients) Put(ctx context.Context, c Client) error {
	c.UpdatedAt = sql.Now()
	err := cs.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewDelete().Model((*Client)(nil)).Where("id = ?", c.ID).Exec(ctx); err != nil {
			return err
		}
		_, err := tx.NewInsert().Model(&c).Exec(ctx)
		return err
	})
	if sql.IsUnique(err) { // another process stored it meanwhile
		return nil
	}
	return err
}

// Add stores a new client and gives it as it is stored; a second one of the same id is a conflict.
func (cs Clients) Add(ctx context.Context, c Client) (Client, error) {
	c.UpdatedAt = sql.Now()
	err := cs.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewInsert().Model(&c).Exec(ctx)
		return err
	})
	if sql.IsUnique(err) {
		err = cf.Errorf(cf.KindConflict, fault.InvalidClient, "Client already exists: %s", c.ID)
	}
	return c, err
}

// Delete takes the client away; it is no error when there is none.
func (cs Clients) Delete(ctx context.Context, id string) error {
	return cs.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewDelete().Model((*Client)(nil)).Where("id = ?", id).Exec(ctx)
		return err
	})
}
