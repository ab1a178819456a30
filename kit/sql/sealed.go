package sql

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"ingot/kit/seal"
)

// Sealed keeps a value encrypted in a $text or $json column. V is the plaintext; printing or marshalling the column tells
// nothing of it. The row says where it rests, once for reads and for writes:
//
//	func (a *App) secrets() sql.Secrets { return sql.Secrets{Table: "app_apps", GUID: a.GUID, Columns: []sql.Secret{{Column: "env", Value: &a.Env}}} }
//	func (a *App) BeforeAppendModel(ctx context.Context, q bun.Query) error { return a.secrets().Seal(ctx, q) }
//	func (a *App) AfterScanRow(ctx context.Context) error { return a.secrets().Open(ctx) }
//
// and its family's Migrate names new(App).secrets(), so that keys can rotate. A row with secrets that comes without these
// functions cannot be written.
type Sealed[T any] struct {
	V T

	box     seal.Box
	closed  bool // box was read, and V is not its content yet
	written bool // box is V
}

// Secrets are the sealed columns of a row.
type Secrets struct {
	Table   string
	GUID    string // of the row, in its column guid; it never changes
	Columns []Secret
}

// Secret is one of them.
type Secret struct {
	Column string
	Value  interface {
		seal(*seal.Keys, seal.Place) error
		open(*seal.Keys, seal.Place) error
	}
}

// keysKey marks the ctx of a query's scan with the *DB that it reads.
type keysKey struct{}

// Seal encrypts what an insert or update is about to write.
func (s Secrets) Seal(ctx context.Context, q bun.Query) error {
	if op := q.Operation(); op != "INSERT" && op != "UPDATE" {
		return nil
	}
	db, ok := ctx.Value(writingKey{}).(*DB)
	if !ok {
		return errors.New("a row with secrets is written outside of sql.DB.Write")
	}
	if s.GUID == "" {
		return fmt.Errorf("a row of %s has secrets and no guid", s.Table)
	}
	for _, c := range s.Columns {
		if err := c.Value.seal(db.Keys, s.place(c)); err != nil {
			return fmt.Errorf("encrypt: %w", err)
		}
	}
	return nil
}

// Open decrypts what a query has read. The guid must be among its columns.
func (s Secrets) Open(ctx context.Context) error {
	db, ok := ctx.Value(keysKey{}).(*DB)
	if !ok {
		return errors.New("a row with secrets is read past sql.DB")
	}
	for _, c := range s.Columns {
		if err := c.Value.open(db.Keys, s.place(c)); err != nil {
			return fmt.Errorf("decrypt: %w", err)
		}
	}
	return nil
}

func (s Secrets) place(c Secret) seal.Place {
	return seal.Place{Table: s.Table, GUID: s.GUID, Column: c.Column}
}

func (s *Sealed[T]) seal(k *seal.Keys, at seal.Place) error {
	if s.closed {
		return errors.New("the value was not opened before")
	}
	b, err := json.Marshal(s.V)
	if err != nil {
		return err
	}
	s.written = true
	if string(b) == "null" {
		s.box = ""
		return nil
	}
	s.box, err = k.Seal(at, b)
	return err
}

func (s *Sealed[T]) open(k *seal.Keys, at seal.Place) error {
	if !s.closed {
		return nil
	}
	b, err := k.Open(at, s.box)
	if err != nil {
		return err
	}
	var v T
	if b != nil {
		if err := json.Unmarshal(b, &v); err != nil {
			return fmt.Errorf("%s.%s of %s holds another kind of value", at.Table, at.Column, at.GUID)
		}
	}
	s.V, s.closed = v, false
	return nil
}

// Value writes the ciphertext.
func (s Sealed[T]) Value() (driver.Value, error) {
	if !s.written {
		return nil, errors.New("a sealed column is written by a row without secrets")
	}
	return string(s.box), nil
}

// Scan reads the ciphertext; Secrets.Open opens it.
func (s *Sealed[T]) Scan(src any) error {
	*s = Sealed[T]{closed: true}
	switch v := src.(type) {
	case nil:
	case string:
		s.box = seal.Box(v)
	case []byte:
		s.box = seal.Box(v)
	default:
		return fmt.Errorf("sealed column holds %T", src)
	}
	return nil
}

const hidden = "[sealed]"

// String tells nothing.
func (s Sealed[T]) String() string { return hidden }

// GoString tells nothing.
func (s Sealed[T]) GoString() string { return hidden }

// MarshalJSON tells nothing.
func (s Sealed[T]) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// keysHook gives the store to the scan of a query.
type keysHook struct{ db *DB }

func (h keysHook) BeforeQuery(ctx context.Context, _ *bun.QueryEvent) context.Context {
	return context.WithValue(ctx, keysKey{}, h.db)
}

func (keysHook) AfterQuery(context.Context, *bun.QueryEvent) {}
