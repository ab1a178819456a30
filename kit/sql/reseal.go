package sql

import (
	"context"
	dbsql "database/sql"
	"fmt"
	"log/slog"
	"strings"

	"github.com/uptrace/bun"

	"ingot/kit/seal"
)

// resealStep is how many values one transaction encrypts anew: a few milliseconds of the writer.
const resealStep = 50

// proof is one key that has sealed something in this store, and a value that only this key opens.
type proof struct {
	bun.BaseModel `bun:"table:sealed_with"`
	Label         string   `bun:"label"`
	Proof         seal.Box `bun:"proof"`
}

func (p proof) place() seal.Place {
	return seal.Place{Table: "sealed_with", GUID: p.Label, Column: "proof"}
}

// SealedWith lists the labels of the keys that this store's secrets may be sealed with.
func (db *DB) SealedWith(ctx context.Context) ([]string, error) {
	text := word.ReplaceAllStringFunc("CREATE TABLE IF NOT EXISTS sealed_with (label $guid NOT NULL PRIMARY KEY, proof $text NOT NULL) $options",
		func(w string) string { return words[db.Engine][w] })
	if _, err := db.write.DB.ExecContext(ctx, text); err != nil {
		return nil, err
	}
	var labels []string
	err := db.read.NewSelect().Model((*proof)(nil)).Column("label").Order("label").Scan(ctx, &labels)
	return labels, err
}

// prove refuses keys that lack one of this store's, and notes those that are new to it.
func (db *DB) prove(ctx context.Context) error {
	if _, err := db.SealedWith(ctx); err != nil {
		return err
	}
	return db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		var old []proof
		if err := tx.NewSelect().Model(&old).Scan(ctx); err != nil {
			return err
		}
		has := map[string]bool{}
		for _, p := range old {
			has[p.Label] = true
			if _, err := db.Keys.Open(p.place(), p.Proof); err != nil {
				return fmt.Errorf("this database is encrypted with another key: %w", err)
			}
		}
		label := db.Keys.Newest()
		if has[label] {
			return nil
		}
		p := proof{Label: label}
		var err error
		if p.Proof, err = db.Keys.Seal(p.place(), []byte(label)); err != nil {
			return err
		}
		_, err = tx.NewInsert().Model(&p).Exec(ctx)
		return err
	})
}

// keep remembers the sealed columns of a room, and encrypts what an older ingot left in them as plaintext.
func (db *DB) keep(ctx context.Context, secrets []Secrets) error {
	if len(secrets) == 0 {
		return nil
	}
	if err := db.prove(ctx); err != nil {
		return err
	}
	db.mu.Lock()
	db.sealed = append(db.sealed, secrets...)
	db.mu.Unlock()
	for _, s := range secrets {
		for _, c := range s.Columns {
			if _, err := db.resealColumn(ctx, s.place(c), seal.Prefix); err != nil {
				return fmt.Errorf("encrypt %s.%s: %w", s.Table, c.Column, err)
			}
		}
	}
	return db.scrub(ctx)
}

func (db *DB) sealedColumns() (out []seal.Place) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	for _, s := range db.sealed {
		for _, c := range s.Columns {
			out = append(out, s.place(c))
		}
	}
	return out
}

// Reseal encrypts with the newest key what is sealed with an older one, in small steps beside all other work, and gives
// how many values it changed. It may end at any step; the next one goes on.
func (db *DB) Reseal(ctx context.Context) (n int, err error) {
	if err := db.prove(ctx); err != nil {
		return 0, err
	}
	for _, at := range db.sealedColumns() {
		m, err := db.resealColumn(ctx, at, seal.Prefix+db.Keys.Newest()+":")
		n += m
		if err != nil {
			return n, fmt.Errorf("encrypt %s.%s anew: %w", at.Table, at.Column, err)
		}
	}
	return n, nil
}

// Sealed counts the values that are sealed with that key.
func (db *DB) Sealed(ctx context.Context, label string) (n int64, err error) {
	for _, at := range db.sealedColumns() {
		m, err := db.read.NewSelect().Table(at.Table).Where("? LIKE ?", bun.Ident(at.Column), seal.Prefix+label+":%").Count(ctx)
		if err != nil {
			return 0, err
		}
		n += m
	}
	return n, nil
}

// Forget drops the proof of a key with which nothing is sealed any more.
func (db *DB) Forget(ctx context.Context, label string) error {
	return db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewDelete().Model((*proof)(nil)).Where("label = ?", label).Exec(ctx)
		return err
	})
}

// value is a row's sealed column, found by resealColumn.
type value struct {
	GUID string   `bun:"guid"`
	Box  seal.Box `bun:"box"`
}

// resealColumn encrypts anew what does not begin with prefix. A value that changes meanwhile is left to its writer.
func (db *DB) resealColumn(ctx context.Context, at seal.Place, prefix string) (n int, err error) {
	column, last := bun.Ident(at.Column), ""
	for {
		var some []value
		err := db.read.NewSelect().Table(at.Table).Column("guid").ColumnExpr("? AS box", column).
			Where("? <> '' AND ? NOT LIKE ? AND guid > ?", column, column, prefix+"%", last).Order("guid").Limit(resealStep).Scan(ctx, &some)
		if err != nil || len(some) == 0 {
			return n, err
		}
		last = some[len(some)-1].GUID
		err = db.Write(ctx, func(ctx context.Context, tx bun.Tx) error { return db.resealRows(ctx, tx, at, some) })
		if err != nil {
			return n, err
		}
		n += len(some)
	}
}

func (db *DB) resealRows(ctx context.Context, tx bun.Tx, at seal.Place, rows []value) error {
	for _, v := range rows {
		at.GUID = v.GUID
		text, plain := []byte(v.Box), !strings.HasPrefix(string(v.Box), seal.Prefix)
		var err error
		if !plain {
			text, err = db.Keys.Open(at, v.Box)
		}
		var box seal.Box
		if err == nil {
			box, err = db.Keys.Seal(at, text)
		}
		if err != nil {
			return err
		}
		column := bun.Ident(at.Column)
		if _, err := tx.NewUpdate().Table(at.Table).Set("? = ?", column, box).Where("guid = ? AND ? = ?", v.GUID, column, v.Box).Exec(ctx); err != nil {
			return err
		}
		if plain && db.Engine == SQLite { // the pages keep what was there until scrub
			if _, err := tx.ExecContext(ctx, "PRAGMA user_version = 1"); err != nil {
				return err
			}
		}
	}
	return nil
}

// scrub removes from a SQLite file what was plaintext before: free pages, and the write-ahead log. On servers that is their
// own VACUUM's work.
func (db *DB) scrub(ctx context.Context) error {
	if db.Engine != SQLite {
		return nil
	}
	var dirty int
	if err := db.write.NewRaw("PRAGMA user_version").Scan(ctx, &dirty); err != nil || dirty == 0 {
		return err
	}
	slog.Info("encrypting the secrets of an older ingot")
	for _, text := range []string{"VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA user_version = 0"} {
		if err := statement(ctx, db.write.DB, text); err != nil {
			return fmt.Errorf("remove plaintext: %w", err)
		}
	}
	return nil
}

// statement runs a statement; a checkpoint that others kept from its end is an error.
func statement(ctx context.Context, pool *dbsql.DB, text string) error {
	if !strings.Contains(text, "checkpoint") {
		_, err := pool.ExecContext(ctx, text)
		return err
	}
	var busy, frames, done int
	if err := pool.QueryRowContext(ctx, text).Scan(&busy, &frames, &done); err != nil {
		return err
	}
	if busy != 0 {
		return fmt.Errorf("another process reads the database")
	}
	return nil
}
