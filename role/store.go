package role

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"ingot/kit/file"
	"ingot/kit/seal"
	"ingot/kit/sql"
)

// stores are the names of the databases: a SQLite file each, or prefixed tables in the one that --database names.
var stores = []string{"cc", "uaa", "bbs"}

// openStores opens the databases and the keys that their secrets are sealed with.
func (r *rooms) openStores(ctx context.Context) (err error) {
	r.stores = map[string]*sql.DB{}
	if err = r.c.sameDatabase(); err == nil {
		err = r.connectStores(ctx)
	}
	if err == nil {
		err = r.openKeys(ctx)
	}
	if err == nil {
		err = file.Replace(r.c.path("db", "engine"), []byte(r.stores["cc"].Engine+"\n"), 0o600)
	}
	if err != nil {
		return errors.Join(err, r.closeStores(ctx))
	}
	return nil
}

func (r *rooms) connectStores(ctx context.Context) error {
	if r.c.Database != "" {
		db, err := sql.Open(ctx, r.c.Database)
		for _, name := range stores {
			r.stores[name] = db
		}
		return err
	}
	for _, name := range stores {
		db, err := sql.Open(ctx, r.c.path("db", name+".db"))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r.stores[name] = db
	}
	return nil
}

// sameDatabase refuses a start that would take the platform for an empty one, and so stop its apps: without the --database of
// the last start, or with one where the state has been in SQLite files.
func (c Config) sameDatabase() error {
	now, err := sql.EngineOf(c.Database)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(c.path("db", "engine"))
	used := sql.Engine(strings.TrimSpace(string(b)))
	if errors.Is(err, fs.ErrNotExist) { // a first start, or an older ingot's folder
		if _, err = os.Stat(c.path("db", "cc.db")); err == nil {
			used = sql.SQLite
		} else if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	if err != nil || used == now {
		return err
	}
	if used == sql.SQLite {
		return fmt.Errorf("this data folder's state is in its own SQLite files: start without --database, or with an empty data folder")
	}
	return fmt.Errorf("this data folder's state is in a %s database: say where with --database or INGOT_DATABASE", used)
}

// openKeys reads the key file. It makes one only where no store has a secret: another key would open none of them.
func (r *rooms) openKeys(ctx context.Context) error {
	keys, err := seal.Load(r.c.keyFile())
	if errors.Is(err, fs.ErrNotExist) {
		for name, db := range r.stores {
			labels, err := db.SealedWith(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if len(labels) > 0 {
				return fmt.Errorf("the key file %s is missing, and the database %s is encrypted with the keys %s; put the file back, or say where it is with --key-file",
					r.c.keyFile(), name, strings.Join(labels, ", "))
			}
		}
		keys, err = seal.Create(r.c.keyFile())
	}
	if err != nil {
		return err
	}
	r.keys.Keys = keys
	for _, name := range stores {
		db := r.stores[name]
		if db.Keys = keys; !slices.Contains(r.keys.Stores, db) {
			r.keys.Stores = append(r.keys.Stores, db)
		}
	}
	return nil
}

func (r *rooms) closeStores(context.Context) error {
	var errs []error
	for _, db := range r.stores {
		errs = append(errs, db.Close())
	}
	return errors.Join(errs...)
}
