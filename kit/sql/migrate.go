package sql

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing/fstest"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

// ErrNewerSchema says that the store was written by a newer ingot.
var ErrNewerSchema = errors.New("the database schema is newer than this ingot")

// words are the types that migrations may name, by engine.
var words = map[Engine]map[string]string{
	SQLite: {"$serial": "INTEGER PRIMARY KEY AUTOINCREMENT", "$guid": "TEXT", "$name": "TEXT", "$word": "TEXT", "$text": "TEXT", "$json": "TEXT",
		"$blob": "BLOB", "$int": "INTEGER", "$bool": "BOOLEAN", "$time": "INTEGER", "$float": "REAL", "$options": "", "$again": "", "$once": ""},
	Postgres: {"$serial": "BIGSERIAL PRIMARY KEY", "$guid": `VARCHAR(200) COLLATE "C"`, "$name": `VARCHAR(255) COLLATE "C"`,
		"$word": `VARCHAR(64) COLLATE "C"`, "$text": "TEXT", "$json": "TEXT", "$blob": "BYTEA", "$int": "BIGINT", "$bool": "BOOLEAN", "$time": "BIGINT", "$float": "DOUBLE PRECISION", "$options": "", "$again": "", "$once": ""},
	MySQL: {"$serial": "BIGINT PRIMARY KEY AUTO_INCREMENT", "$guid": "VARCHAR(200)", "$name": "VARCHAR(255)", "$word": "VARCHAR(64)", "$text": "LONGTEXT", "$json": "LONGTEXT",
		"$blob": "LONGBLOB", "$int": "BIGINT", "$bool": "BOOLEAN", "$time": "BIGINT", "$float": "DOUBLE",
		"$options": "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "$again": "IF EXISTS", "$once": "IF NOT EXISTS"},
}

var word = regexp.MustCompile(`\$[a-z]+\b`)

// Migrate brings the store to the newest of the goose migrations/*.sql in fsys. In them the types are written $serial,
// $guid (200 characters), $name (255), $word (64), $text, $json, $blob, $int, $bool, $float and $time (microseconds since 1970), and a
// table ends with $options. version names the table of applied versions, one for each room that shares a store.
// It may be killed at any statement and run again: SQLite and PostgreSQL undo a migration that did not end, and on MariaDB,
// which cannot, every statement says IF NOT EXISTS, $once (the same) in additions of
// columns, or $again (IF EXISTS there) in changes and removals. secrets are the sealed columns of these tables; what an older ingot left in them as plaintext is encrypted before Migrate returns.
func (db *DB) Migrate(ctx context.Context, fsys fs.FS, version string, secrets ...Secrets) error {
	files, err := db.render(fsys)
	if err != nil {
		return err
	}
	dialect := map[Engine]database.Dialect{SQLite: goose.DialectSQLite3, Postgres: goose.DialectPostgres, MySQL: goose.DialectMySQL}[db.Engine]
	store, err := database.NewStore(dialect, version)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider("", db.write.DB, files, goose.WithStore(store))
	if err != nil {
		return fmt.Errorf("migrations %s: %w", version, err)
	}
	has, err := p.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("migrations %s: %w", version, err)
	}
	sources := p.ListSources()
	if newest := sources[len(sources)-1].Version; has > newest {
		return fmt.Errorf("%w: %s is at version %d, this ingot knows %d; start the newer ingot again", ErrNewerSchema, version, has, newest)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrations %s: %w", version, err)
	}
	return db.keep(ctx, secrets)
}

func (db *DB) render(fsys fs.FS) (fs.FS, error) {
	names, err := fs.Glob(fsys, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	out := fstest.MapFS{}
	for _, n := range names {
		text, err := fs.ReadFile(fsys, n)
		if err != nil {
			return nil, err
		}
		var bad []string
		done := word.ReplaceAllStringFunc(string(text), func(w string) string {
			t, ok := words[db.Engine][w]
			if !ok {
				bad = append(bad, w)
			}
			return t
		})
		if bad != nil {
			return nil, fmt.Errorf("migration %s: unknown words %s", n, strings.Join(bad, " "))
		}
		out[path.Base(n)] = &fstest.MapFile{Data: []byte(done), Mode: 0o444}
	}
	return out, nil
}
