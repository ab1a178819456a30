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

// TestWithin: what is said of a part of a request has the error's words once, and its code where that has no words of its own.
func TestWithin(t *testing.T) {
	for _, c := range []struct {
		err         error
		title, want string
	}{
		{cf.Errorf(cf.KindUnprocessable, "ResourceBeingDeleted", "space"), "CF-UnprocessableEntity", "For app 'a': The space is being deleted"},
		{cf.Errorf(cf.KindUnprocessable, "UniquenessError", "it is there"), "CF-UniquenessError", "For app 'a': it is there"},
		{cf.Errorf(cf.KindNotFound, "", "App not found"), "CF-ResourceNotFound", "For app 'a': App not found"},
	} {
		if _, f := Describe(Within("For app 'a': ", c.err)); f[0].Title != c.title || f[0].Detail != c.want {
			t.Errorf("%v: %s %q", c.err, f[0].Title, f[0].Detail)
		}
	}
	if cause := errors.New("x"); !errors.Is(Within("For app 'a': ", cause), cause) {
		t.Error("a fault of ours tells something")
	}
}
