package role

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/uptrace/bun"

	"ingot/kit/file"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/job"
	"ingot/rest/row"
)

func storeConfig(t *testing.T) Config {
	t.Helper()
	c := Default()
	c.Data = t.TempDir()
	for _, d := range []string{"db", "keys"} {
		if err := os.Mkdir(c.path(d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// use opens the stores, puts a secret into cc, and closes them.
func use(t *testing.T, c Config) error {
	t.Helper()
	r := &rooms{c: c}
	if err := r.openStores(t.Context()); err != nil {
		return err
	}
	defer func() {
		if err := r.closeStores(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	db := r.stores["cc"]
	if err := rest.Migrate(t.Context(), db); err != nil {
		return err
	}
	return db.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		j := &job.Job{State: job.Complete}
		j.Payload.V = []byte(`"canary"`)
		return row.Insert(ctx, tx, j)
	})
}

// TestKeyFile: the first start makes it; without it, or with another one, nothing starts, and nothing is made in its place.
func TestKeyFile(t *testing.T) {
	c := storeConfig(t)
	for range 2 {
		if err := use(t, c); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(c.keyFile()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	elsewhere := filepath.Join(t.TempDir(), "seal.json")
	if err := os.Rename(c.keyFile(), elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := use(t, c); err == nil || !strings.Contains(err.Error(), c.keyFile()) || !strings.Contains(err.Error(), "--key-file") || strings.Contains(err.Error(), "\n") {
		t.Errorf("without its key file: %v", err)
	}
	if _, err := os.Stat(c.keyFile()); err == nil {
		t.Error("another key file was made")
	}
	moved := c
	moved.KeyFile = elsewhere
	if err := use(t, moved); err != nil {
		t.Errorf("with --key-file: %v", err)
	}
	other := storeConfig(t)
	if err := use(t, other); err != nil {
		t.Fatal(err)
	}
	moved.KeyFile = other.keyFile()
	if err := use(t, moved); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("with another key: %v", err)
	}
}

func TestSameDatabase(t *testing.T) {
	c := storeConfig(t)
	if err := c.sameDatabase(); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
	server := c
	server.Database = "postgres://me@127.0.0.1:1/x"
	if err := server.sameDatabase(); err != nil {
		t.Errorf("an empty folder on a server: %v", err)
	}
	if err := os.WriteFile(c.path("db", "cc.db"), nil, 0o600); err != nil { // an older ingot's
		t.Fatal(err)
	}
	if c.sameDatabase() != nil || server.sameDatabase() == nil {
		t.Error("a folder with SQLite files would start on a server")
	}
	if err := file.Replace(c.path("db", "engine"), []byte("postgres\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.sameDatabase(); err == nil || !strings.Contains(err.Error(), "INGOT_DATABASE") || server.sameDatabase() != nil {
		t.Errorf("a server's folder without it: %v", err)
	}
}

func TestPasswordIsHidden(t *testing.T) {
	for _, c := range [][]string{
		{"ingot", "up", "--database", "postgres://a:b@c/d", "--detach"}, {"ingot", "up", "--database=postgres://a:b@c/d", "--detach"},
	} {
		if got := withoutDatabase(c); !slices.Equal(got, []string{"ingot", "up", "--detach"}) {
			t.Errorf("%q", got)
		}
	}
	c := Default()
	c.Database = "mysql://a:b@c/d"
	if strings.Contains(strings.Join(c.flags(), " "), c.Database) || !slices.Contains(c.environ(), "INGOT_DATABASE="+c.Database) {
		t.Error("a child's command line holds the address, or its environment does not")
	}
	if _, err := sql.Open(t.Context(), "mysql://a:hunter2@127.0.0.1:1/d"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}

// TestKeysWithoutIngot: keys can be listed and rotated while nothing runs; what needs the databases is refused.
func TestKeysWithoutIngot(t *testing.T) {
	c := storeConfig(t)
	if code, _, errs := ingot(t, "keys", "list", "--data", c.Data); code != 1 || !strings.Contains(errs, "ingot up") {
		t.Errorf("before the first start: %s", errs)
	}
	if err := use(t, c); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := ingot(t, "keys", "rotate", "--data", c.Data); code != 0 || strings.Count(out, "\n") != 3 || !strings.Contains(out, "all that is new") {
		t.Errorf("rotate: %s%s", out, errs)
	}
	if code, out, errs := ingot(t, "keys", "list", "--json", "--data", c.Data); code != 0 || strings.Count(out, `"label"`) != 2 || strings.Contains(out, "secret") {
		t.Errorf("list: %s%s", out, errs)
	}
	if code, _, errs := ingot(t, "keys", "drop", "x", "--data", c.Data); code != 1 || !strings.Contains(errs, "running") {
		t.Errorf("drop: %s", errs)
	}
	if err := use(t, c); err != nil {
		t.Errorf("after the rotation: %v", err)
	}
}

// TestKeyring: old values follow a rotation; a key goes once nothing needs it, and nobody can write with it any more.
func TestKeyring(t *testing.T) {
	c := storeConfig(t)
	r := &rooms{c: c}
	if err := r.openStores(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.closeStores(t.Context()) }()
	db := r.stores["cc"]
	if err := rest.Migrate(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	j := &job.Job{State: job.Complete}
	j.Payload.V = []byte(`"canary"`)
	if err := db.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error { return row.Insert(ctx, tx, j) }); err != nil {
		t.Fatal(err)
	}
	old := r.keys.Keys.Newest()
	if _, err := r.keys.Keys.Rotate(); err != nil {
		t.Fatal(err)
	}
	if err := r.keys.drop(t.Context(), old); err == nil || !strings.Contains(err.Error(), "try again in") {
		t.Errorf("dropped in the moment of its rotation: %v", err)
	}
	r.keys.settled = -1
	if err := r.keys.drop(t.Context(), old); err == nil || !strings.Contains(err.Error(), "1 values are still") {
		t.Errorf("dropped while it is needed: %v", err)
	}
	r.keys.reseal(t.Context())
	if err := r.keys.drop(t.Context(), old); err != nil {
		t.Error(err)
	}
	if all, err := r.keys.list(t.Context()); err != nil || len(all) != 1 || all[0].Sealed != 1 {
		t.Errorf("%v %v", all, err)
	}
	if err := use(t, c); err != nil {
		t.Errorf("started again: %v", err)
	}
}
