package sqltest_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"ingot/kit/sql"
	"ingot/kit/sql/sqltest"
)

func TestMain(m *testing.M) { os.Exit(sqltest.Main(m)) }

// rooms finds the migrations of all rooms, as files: no room is imported.
func rooms(t *testing.T) map[string]fs.FS {
	t.Helper()
	out := map[string]fs.FS{}
	err := filepath.WalkDir("../../..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "migrations" {
			name := strings.NewReplacer("../", "", "/", "_").Replace(filepath.Dir(path))
			out[name] = os.DirFS(filepath.Dir(path))
		}
		return err
	})
	if err != nil || len(out) < 5 {
		t.Fatalf("migrations of %d rooms, %v", len(out), err)
	}
	return out
}

// cuts are the migrations as a kill would leave them: for each statement, and for the moment after the last one of a file, what
// comes before it and then a statement that fails.
func cuts(t *testing.T, all fs.FS) (out []fs.FS) {
	t.Helper()
	names, err := fs.Glob(all, "migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	before := fstest.MapFS{}
	for _, n := range names {
		b, err := fs.ReadFile(all, n)
		if err != nil {
			t.Fatal(err)
		}
		statements := strings.SplitAfter(string(b), ";\n")
		for i := range statements {
			cut := fstest.MapFS{n: {Data: []byte(strings.Join(statements[:i], "") + upTo(i) + "KILLED HERE;\n")}}
			for k, v := range before {
				cut[k] = v
			}
			out = append(out, cut)
		}
		before[n] = &fstest.MapFile{Data: b}
	}
	return out
}

// upTo is the mark that stands with the first statement.
func upTo(i int) string {
	if i == 0 {
		return "-- +goose Up\n"
	}
	return ""
}

// TestMigrationsKilled ends every room's migrations at each statement, in one database, and runs them again: the tables
// become the same as without a kill.
func TestMigrationsKilled(t *testing.T) {
	want, got := sqltest.Open(t), sqltest.Open(t)
	n := 0
	found := rooms(t)
	names := slices.Sorted(maps.Keys(found))
	engine := func(n string) bool { return strings.HasPrefix(n, "rest") }
	others := slices.DeleteFunc(slices.Clone(names), engine)
	names = slices.DeleteFunc(names, func(n string) bool { return !engine(n) })
	for _, name := range append(names, others...) { // the families may need the engine's tables
		all := found[name]
		for i, cut := range cuts(t, all) {
			err := got.Migrate(t.Context(), cut, name)
			if err == nil || !strings.Contains(err.Error(), "KILLED") && !strings.Contains(err.Error(), "syntax") {
				t.Fatalf("%s, cut %d: %v", name, i, err)
			}
			n++
		}
		for _, db := range []*sql.DB{want, got, got} {
			if err := db.Migrate(t.Context(), all, name); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	a, b := schema(t, want), schema(t, got)
	if !slices.Equal(a, b) || len(a) < 100 || n < 50 {
		t.Errorf("%d kills; %d columns and indexes, without a kill %d", n, len(b), len(a))
		for _, l := range a {
			if !slices.Contains(b, l) {
				t.Error("lost: ", l)
			}
		}
		for _, l := range b {
			if !slices.Contains(a, l) {
				t.Error("too much: ", l)
			}
		}
	}
}

// schema lists columns and indexes.
func schema(t *testing.T, db *sql.DB) (out []string) {
	t.Helper()
	for _, q := range map[sql.Engine][]string{
		sql.SQLite: {"SELECT type || ' ' || tbl_name || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_master"},
		sql.Postgres: {"SELECT table_name || ' ' || column_name || ' ' || data_type || ' ' || is_nullable FROM information_schema.columns WHERE table_schema = 'public'",
			"SELECT tablename || ' ' || indexdef FROM pg_indexes WHERE schemaname = 'public'"},
		sql.MySQL: {"SELECT concat(table_name, ' ', column_name, ' ', column_type, ' ', is_nullable, ' ', coalesce(collation_name, '')) FROM information_schema.columns WHERE table_schema = database()",
			"SELECT concat(table_name, ' ', index_name, ' ', column_name, ' ', seq_in_index, ' ', non_unique) FROM information_schema.statistics WHERE table_schema = database()"},
	}[db.Engine] {
		var lines []string
		if err := db.Read().NewRaw(q).Scan(context.Background(), &lines); err != nil {
			t.Fatal(err)
		}
		out = append(out, lines...)
	}
	slices.Sort(out)
	return out
}

// TestNewerSchema: an older ingot refuses a newer one's tables in one line, and changes nothing.
func TestNewerSchema(t *testing.T) {
	db := sqltest.Open(t)
	one := fstest.MapFS{"migrations/001_a.sql": {Data: []byte("-- +goose Up\nCREATE TABLE IF NOT EXISTS a (id $serial) $options;\n")}}
	two := fstest.MapFS{"migrations/001_a.sql": one["migrations/001_a.sql"],
		"migrations/002_b.sql": {Data: []byte("-- +goose Up\nCREATE TABLE IF NOT EXISTS b (id $serial) $options;\n")}}
	if err := db.Migrate(t.Context(), two, "v"); err != nil {
		t.Fatal(err)
	}
	before := fmt.Sprint(schema(t, db))
	if err := db.Migrate(t.Context(), one, "v"); !errors.Is(err, sql.ErrNewerSchema) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
	if after := fmt.Sprint(schema(t, db)); after != before {
		t.Errorf("changed: %s", after)
	}
}
