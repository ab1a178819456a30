package sql

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/uptrace/bun"
)

type thing struct {
	bun.BaseModel `bun:"table:things"`
	ID            int64          `bun:"id,pk,autoincrement"`
	Name          string         `bun:"name"`
	At            Time           `bun:"at"`
	Tags          JSON[[]string] `bun:"tags"`
}

var schema1 = fstest.MapFS{"migrations/001_things.sql": {Data: []byte(
	"-- +goose Up\nCREATE TABLE IF NOT EXISTS things (id $serial, name $name NOT NULL, at $time NOT NULL, tags $json, UNIQUE (name)) $options;\n" +
		"CREATE INDEX IF NOT EXISTS things_at ON things (at);\n")}}

func open(t testing.TB) *DB {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "odd name?#%41.db"))
}

func openAt(t testing.TB, path string) *DB {
	t.Helper()
	db, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Migrate(t.Context(), schema1, "test_schema"); err != nil {
		t.Fatal(err)
	}
	return db
}

func add(name string) func(context.Context, bun.Tx) error {
	return func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewInsert().Model(&thing{Name: name, At: Now(), Tags: JSON[[]string]{[]string{"a"}}}).Exec(ctx)
		return err
	}
}

func names(t testing.TB, db *DB) string {
	t.Helper()
	var out []string
	if err := db.Read().NewSelect().Model((*thing)(nil)).Column("name").OrderExpr("name").Scan(context.Background(), &out); err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, " ")
}

func TestWriteAndRead(t *testing.T) {
	db := open(t)
	if err := db.Write(t.Context(), add("a")); err != nil {
		t.Fatal(err)
	}
	var v thing
	if err := db.Read().NewSelect().Model(&v).Where("name = ?", "a").Scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(v.Tags.V) != 1 || time.Since(v.At.Time()) > time.Minute || v.ID == 0 {
		t.Errorf("read back %+v", v)
	}
	err := db.Read().NewSelect().Model(&v).Where("name = ?", "b").Scan(t.Context())
	if !errors.Is(err, ErrNoRows) {
		t.Errorf("no rows: %v", err)
	}
	if _, err := db.Read().NewInsert().Model(&thing{Name: "x"}).Exec(t.Context()); err == nil {
		t.Error("the pool for reads wrote")
	}
	if err := db.Write(t.Context(), add("a")); !IsUnique(err) {
		t.Errorf("second a: %v", err)
	}
}

// batch holds the writer at a first write until the writes that follow wait in the queue, so that they share a commit.
func batch(t *testing.T, db *DB, fns ...func(context.Context, bun.Tx) error) []error {
	t.Helper()
	running, release := make(chan struct{}), make(chan struct{})
	go func() {
		_ = db.Write(context.Background(), func(context.Context, bun.Tx) error {
			close(running)
			<-release
			return nil
		})
	}()
	<-running
	errs := make([]error, len(fns))
	var wg sync.WaitGroup
	for i, fn := range fns {
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() {
				if r := recover(); r != nil {
					errs[i] = fmt.Errorf("panicked: %v", r)
				}
			}()
			errs[i] = db.Write(context.Background(), fn)
		}()
		for len(db.queue) <= i { // one after the other, so that the order is known
			time.Sleep(time.Microsecond)
		}
	}
	close(release)
	wg.Wait()
	return errs
}

func TestOneCommitForMany(t *testing.T) {
	db := open(t)
	var commits atomic.Int64
	seen := func(name string) func(context.Context, bun.Tx) error {
		return func(ctx context.Context, tx bun.Tx) error {
			var n int
			// a write of the same commit is visible here, and not yet to readers
			if err := tx.NewSelect().Model((*thing)(nil)).ColumnExpr("count(*)").Scan(ctx, &n); err != nil {
				return err
			}
			out, err := db.Read().NewSelect().Model((*thing)(nil)).Count(ctx)
			if err == nil && n > 0 && out == 0 {
				commits.Add(1)
			}
			return errors.Join(err, add(name)(ctx, tx))
		}
	}
	for _, err := range batch(t, db, seen("a"), seen("b"), seen("c")) {
		if err != nil {
			t.Error(err)
		}
	}
	if commits.Load() != 2 || names(t, db) != "a b c" {
		t.Errorf("%d writes shared the first one's commit; things: %s", commits.Load(), names(t, db))
	}
}

func TestFailureUndoesItsOwnOnly(t *testing.T) {
	db := open(t)
	mine := errors.New("mine")
	errs := batch(t, db,
		add("a"),
		func(ctx context.Context, tx bun.Tx) error { return errors.Join(add("b")(ctx, tx), mine) },
		func(ctx context.Context, tx bun.Tx) error { _ = add("c")(ctx, tx); panic("oops") },
		add("a"), // unique
		func(ctx context.Context, tx bun.Tx) error { _, err := tx.ExecContext(ctx, "nonsense"); return err },
		add("d"))
	if errs[0] != nil || !errors.Is(errs[1], mine) || errs[2] == nil || errs[2].Error() != "panicked: oops" ||
		!IsUnique(errs[3]) || errs[4] == nil || errs[5] != nil {
		t.Errorf("answers: %v", errs)
	}
	if got := names(t, db); got != "a d" {
		t.Errorf("things: %s", got)
	}
}

func TestRefusals(t *testing.T) {
	db := open(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.Write(gone, add("a")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	err := db.Write(t.Context(), func(ctx context.Context, _ bun.Tx) error { return db.Write(ctx, add("b")) })
	if err == nil || names(t, db) != "" {
		t.Errorf("a write inside a write: %v", err)
	}
	running, release := make(chan struct{}), make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
			close(running)
			<-release
			return add("c")(ctx, tx)
		})
	}()
	<-running
	stop()
	close(release)
	if err := <-done; err != nil || names(t, db) != "c" {
		t.Errorf("a write that had begun was cancelled: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if err := db.Write(t.Context(), add("d")); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestCloseWaitsForWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	db := openAt(t, path)
	var ok atomic.Int64
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := db.Write(context.Background(), add(fmt.Sprint(i))); err == nil {
				ok.Add(1)
			} else if !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		}()
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if got := len(strings.Fields(names(t, openAt(t, path)))); int64(got) != ok.Load() {
		t.Errorf("%d writes were acknowledged, %d are there", ok.Load(), got)
	}
}

func TestLockedByAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	db, other := openAt(t, path), openAt(t, path)
	held, release := make(chan struct{}), make(chan struct{})
	go func() {
		_ = other.Write(context.Background(), func(context.Context, bun.Tx) error {
			close(held)
			<-release
			return nil
		})
	}()
	<-held
	done := make(chan error)
	go func() { done <- db.Write(context.Background(), add("a")) }()
	if got := names(t, db); got != "" { // reads go on
		t.Errorf("things: %s", got)
	}
	select {
	case err := <-done:
		t.Fatalf("wrote while another held the database: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestMigrations(t *testing.T) {
	db := open(t)
	if err := db.Migrate(t.Context(), schema1, "test_schema"); err != nil {
		t.Errorf("again: %v", err)
	}
	newer := fstest.MapFS{"migrations/001_things.sql": schema1["migrations/001_things.sql"],
		"migrations/002_more.sql": {Data: []byte("-- +goose Up\nCREATE TABLE IF NOT EXISTS more (id $serial) $options;\n")}}
	if err := db.Migrate(t.Context(), newer, "test_schema"); err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(t.Context(), schema1, "test_schema"); !errors.Is(err, ErrNewerSchema) {
		t.Errorf("newer schema: %v", err)
	}
	if err := db.Migrate(t.Context(), newer, "another_schema"); err != nil {
		t.Errorf("another room's versions: %v", err)
	}
	bad := fstest.MapFS{"migrations/001_x.sql": {Data: []byte("-- +goose Up\nCREATE TABLE x (a $nonsense);\n")}}
	if err := db.Migrate(t.Context(), bad, "bad_schema"); err == nil || !strings.Contains(err.Error(), "$nonsense") {
		t.Errorf("unknown word: %v", err)
	}
}

func TestMySQLAddress(t *testing.T) {
	got, err := mysqlDSN("mysql://me:p%40ss@db.example/cc?tls=true")
	if err != nil || !strings.HasPrefix(got, "me:p@ss@tcp(db.example:3306)/cc?") || !strings.Contains(got, "tls=true") {
		t.Errorf("%s %v", got, err)
	}
}

// BenchmarkWrite64 is the writes a second of 64 writers, each acknowledged after it is durable.
func BenchmarkWrite64(b *testing.B) {
	db := open(b)
	var n atomic.Int64
	b.ResetTimer()
	var wg sync.WaitGroup
	for range 64 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				i := n.Add(1)
				if i > int64(b.N) {
					return
				}
				err := db.Write(context.Background(), func(ctx context.Context, tx bun.Tx) error {
					_, err := tx.ExecContext(ctx, "INSERT INTO things (name, at, tags) VALUES (?, ?, '[]')", fmt.Sprint(i), int64(i))
					return err
				})
				if err != nil {
					b.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}

// BenchmarkWriteRow64 is the same with a row through bun, as the nouns write.
func BenchmarkWriteRow64(b *testing.B) {
	db := open(b)
	var n atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
				if err := db.Write(context.Background(), add(fmt.Sprint(i))); err != nil {
					b.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}
