package fault

import (
	"context"
	dbsql "database/sql"
	"errors"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
)

// TestUnavailable: whoever writes while another process holds the database learns that it is not his fault, and of no cause.
func TestUnavailable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.db")
	db, err := sql.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	create := func(table string) error {
		return db.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, "CREATE TABLE "+table+" (x)")
			return err
		})
	}
	if err := create("one"); err != nil {
		t.Fatal(err)
	}
	// another process, as far as SQLite is concerned
	other, err := dbsql.Open("sqlite", "file:"+file+"?_txlock=exclusive")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	tx, err := other.Begin()
	if err != nil {
		t.Fatal(err)
	}
	err = create("two") // after the 10 s that a write waits
	if status, faults := Describe(err); status != http.StatusServiceUnavailable || len(faults) != 1 ||
		faults[0] != (Fault{10015, "CF-ServiceUnavailable", "The database is busy or its disk is full. Try again later."}) {
		t.Errorf("%v: %d %+v", err, status, faults)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := create("two"); err != nil {
		t.Errorf("once it is free: %v", err)
	}
	if status, faults := Describe(create("two")); status != http.StatusInternalServerError || faults[0] != unknown {
		t.Errorf("a fault of ours: %d %+v", status, faults)
	}
	if status, _ := Describe(cf.Wrap(cf.KindNotFound, "", "no", errors.New("x"))); status != http.StatusNotFound {
		t.Errorf("an error with a word of its own: %d", status)
	}
}
