// Package row is what every noun's table has in common: guid, times and metadata, and the three statements that change
// a row together with its labels.
//
// It promises that labels in the row and labels that selectors search never differ. It will not ask who may: rest and
// access do, before.
package row

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
)

// Row is embedded by the row of every noun. Its table has the columns id $serial, guid $guid, created_at $time,
// updated_at $time.
type Row struct {
	ID        int64    `bun:"id,pk,autoincrement"`
	GUID      string   `bun:"guid"`
	CreatedAt sql.Time `bun:"created_at"`
	UpdatedAt sql.Time `bun:"updated_at"`
}

// Base gives the common part.
func (r *Row) Base() *Row { return r }

// Labelled is embedded instead by nouns with labels and annotations; the table has metadata $json besides.
type Labelled struct {
	Row
	Metadata sql.JSON[Metadata] `bun:"metadata"`
}

// Meta gives the metadata.
func (l *Labelled) Meta() *Metadata { return &l.Metadata.V }

// Metadata of a noun.
type Metadata struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// Noun is a pointer to a row.
type Noun interface{ Base() *Row }

// WithLabels is a Noun that is Labelled.
type WithLabels interface {
	Noun
	Meta() *Metadata
}

// Insert writes a new row: guid (unless it has one), times, labels.
func Insert(ctx context.Context, tx bun.Tx, n Noun) error {
	r := n.Base()
	if r.GUID == "" {
		r.GUID = cf.NewGUID()
	}
	if r.CreatedAt == 0 {
		r.CreatedAt = sql.Now()
	}
	if r.UpdatedAt == 0 {
		r.UpdatedAt = r.CreatedAt
	}
	if _, err := tx.NewInsert().Model(n).Exec(ctx); err != nil {
		return fmt.Errorf("insert: %w", err)
	}
	if l, ok := n.(WithLabels); ok {
		return addLabels(ctx, tx, r.GUID, l.Meta().Labels)
	}
	return nil
}

// Update writes all columns of a row that was read in the same transaction, and its labels.
func Update(ctx context.Context, tx bun.Tx, n Noun) error {
	r := n.Base()
	r.UpdatedAt = sql.Now()
	if _, err := tx.NewUpdate().Model(n).WherePK().Exec(ctx); err != nil {
		return fmt.Errorf("update: %w", err)
	}
	l, ok := n.(WithLabels)
	if !ok {
		return nil
	}
	if _, err := tx.NewDelete().TableExpr("rest_labels").Where("resource_guid = ?", r.GUID).Exec(ctx); err != nil {
		return fmt.Errorf("update labels: %w", err)
	}
	return addLabels(ctx, tx, r.GUID, l.Meta().Labels)
}

// Delete removes a row and its labels. A row that is gone already is no error.
func Delete(ctx context.Context, tx bun.Tx, n Noun) error {
	if _, err := tx.NewDelete().Model(n).Where("guid = ?", n.Base().GUID).Exec(ctx); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	_, err := tx.NewDelete().TableExpr("rest_labels").Where("resource_guid = ?", n.Base().GUID).Exec(ctx)
	return err
}

// DeleteWhere removes the rows of a table that meet the condition, with their labels.
func DeleteWhere(ctx context.Context, tx bun.Tx, table, where string, args ...any) error {
	guids := tx.NewSelect().TableExpr(table).Column("guid").Where(where, args...)
	if _, err := tx.NewDelete().TableExpr("rest_labels").Where("resource_guid IN (?)", guids).Exec(ctx); err != nil {
		return fmt.Errorf("delete labels of %s: %w", table, err)
	}
	if _, err := tx.NewDelete().TableExpr(table).Where(where, args...).Exec(ctx); err != nil {
		return fmt.Errorf("delete %s: %w", table, err)
	}
	return nil
}

// Lock reads the row again, by its guid, and holds it until tx ends, so that a change starts from what is there. A row
// that is gone answers sql.ErrNoRows.
func Lock(ctx context.Context, db *sql.DB, tx bun.Tx, n Noun) error {
	return db.ForUpdate(tx.NewSelect().Model(n).Where("guid = ?", n.Base().GUID)).Scan(ctx)
}
