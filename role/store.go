package role

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"ingot/kit/seal"
	"ingot/kit/sql"
)

// openStores opens the databases and the keys that their secrets are sealed with.
func (r *rooms) openStores(ctx context.Context) error {
	r.stores = map[string]*sql.DB{}
	for _, name := range []string{"cc", "uaa", "bbs"} {
		db, err := sql.Open(ctx, r.c.path("db", name+".db"))
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", name, err), r.closeStores(ctx))
		}
		r.stores[name] = db
	}
	if err := r.openKeys(ctx); err != nil {
		return errors.Join(err, r.closeStores(ctx))
	}
	return nil
}

// openKeys reads the key file. It makes one only where no store has a secret: another key would open none of them.
func (r *rooms) openKeys(ctx context.Context) (err error) {
	r.keys, err = seal.Load(r.c.keyFile())
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
		r.keys, err = seal.Create(r.c.keyFile())
	}
	for _, db := range r.stores {
		db.Keys = r.keys
	}
	return err
}

func (r *rooms) closeStores(context.Context) error {
	var errs []error
	for _, db := range r.stores {
		errs = append(errs, db.Close())
	}
	return errors.Join(errs...)
}
