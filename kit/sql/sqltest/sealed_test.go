package sqltest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/uptrace/bun"

	"ingot/kit/seal"
	"ingot/kit/sql"
	"ingot/kit/sql/sqltest"
)

const (
	canary = "canary-3f1c"
	step   = 50 // values that one transaction encrypts anew
)

type safe struct {
	bun.BaseModel `bun:"table:safes"`
	ID            int64                         `bun:"id,pk,autoincrement"`
	GUID          string                        `bun:"guid"`
	Env           sql.Sealed[map[string]string] `bun:"env"`
	Word          sql.Sealed[string]            `bun:"word"`
}

func (s *safe) secrets() sql.Secrets {
	return sql.Secrets{Table: "safes", GUID: s.GUID, Columns: []sql.Secret{{Column: "env", Value: &s.Env}, {Column: "word", Value: &s.Word}}}
}
func (s *safe) BeforeAppendModel(ctx context.Context, q bun.Query) error {
	return s.secrets().Seal(ctx, q)
}
func (s *safe) AfterScanRow(ctx context.Context) error { return s.secrets().Open(ctx) }

// unsafe is the same without the two functions.
type unsafe struct {
	bun.BaseModel `bun:"table:safes"`
	GUID          string             `bun:"guid"`
	Word          sql.Sealed[string] `bun:"word"`
}

var safes = fstest.MapFS{"migrations/001_safes.sql": {Data: []byte(
	"-- +goose Up\nCREATE TABLE IF NOT EXISTS safes (id $serial, guid $guid NOT NULL, env $json, word $text, UNIQUE (guid)) $options;\n")}}

func migrateSafes(t testing.TB, db *sql.DB, k *seal.Keys) error {
	t.Helper()
	db.Keys = k
	return db.Migrate(t.Context(), safes, "safes_schema", new(safe).secrets())
}

func put(ctx context.Context, db *sql.DB, rows ...*safe) error {
	return db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		for _, r := range rows {
			if _, err := tx.NewInsert().Model(r).Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

func newSafe(guid, value string) *safe {
	return &safe{GUID: guid, Env: sql.Sealed[map[string]string]{V: map[string]string{"A": value}}, Word: sql.Sealed[string]{V: value}}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSealedColumn(t *testing.T) {
	db := sqltest.Open(t)
	must(t, migrateSafes(t, db, seal.New()))
	must(t, put(t.Context(), db, newSafe("a", canary), newSafe("b", "other"), &safe{GUID: "none"}))
	var all []safe
	must(t, db.Read().NewSelect().Model(&all).Order("guid").Scan(t.Context()))
	if len(all) != 3 || all[0].Env.V["A"] != canary || all[1].Word.V != "other" || all[2].Env.V != nil {
		t.Fatalf("read %d rows", len(all))
	}
	var raw string
	must(t, db.Read().NewSelect().Table("safes").ColumnExpr("concat(env, word)").Where("guid = 'a'").Scan(t.Context(), &raw))
	if strings.Contains(raw, canary) || strings.Count(raw, seal.Prefix) != 2 {
		t.Errorf("the column holds %s", raw)
	}
	j, err := json.Marshal(all)
	must(t, err)
	for _, text := range []string{string(j), fmt.Sprintf("%v %+v %#v", all, all[0], all[0])} {
		if strings.Contains(text, canary) {
			t.Errorf("printed: %s", text)
		}
	}
	part := safe{GUID: "a"}
	must(t, db.Read().NewSelect().Model(&part).Column("id", "guid").Where("guid = 'a'").Scan(t.Context()))
	err = db.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		v := new(safe)
		if err := tx.NewSelect().Model(v).Where("guid = 'a'").Scan(ctx); err != nil {
			return err
		}
		v.Env.V["B"] = v.Word.V
		_, err := tx.NewUpdate().Model(v).WherePK().Exec(ctx)
		return err
	})
	must(t, err)
	v := new(safe)
	must(t, db.Read().NewSelect().Model(v).Where("guid = 'a'").Scan(t.Context()))
	if v.Env.V["B"] != canary || v.Word.V != canary {
		t.Error("the update was lost")
	}
}

func TestSealedRefusals(t *testing.T) {
	db := sqltest.Open(t)
	if err := migrateSafes(t, db, nil); !errors.Is(err, seal.ErrNoKey) {
		t.Errorf("without keys: %v", err)
	}
	must(t, migrateSafes(t, db, seal.New()))
	must(t, put(t.Context(), db, newSafe("a", canary), newSafe("b", "other")))
	change := func(text string) {
		must(t, db.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, text)
			return err
		}))
	}
	read := func() error { return db.Read().NewSelect().Model(new(safe)).Where("guid = 'a'").Scan(t.Context()) }
	change("UPDATE safes SET word = (SELECT word FROM safes WHERE guid = 'b') WHERE guid = 'a'")
	if err := read(); !errors.Is(err, seal.ErrBroken) {
		t.Errorf("another row's secret: %v", err)
	}
	change(`UPDATE safes SET word = '"plain"' WHERE guid = 'a'`)
	if err := read(); !errors.Is(err, seal.ErrBroken) {
		t.Errorf("plaintext: %v", err)
	}
	if err := put(t.Context(), db, &safe{}); err == nil {
		t.Error("a row without guid was written")
	}
	err := db.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewInsert().Model(&unsafe{GUID: "c", Word: sql.Sealed[string]{V: canary}}).Exec(ctx)
		return err
	})
	if err == nil {
		t.Error("a row that does not seal was written")
	}
	if err := migrateSafes(t, db, seal.New()); !errors.Is(err, seal.ErrNoKey) {
		t.Errorf("with other keys: %v", err)
	}
}

// files are the bytes of a SQLite store: its file, write-ahead log and index.
func files(t *testing.T, path string) (out []byte) {
	t.Helper()
	all, err := filepath.Glob(path + "*")
	must(t, err)
	for _, f := range all {
		b, err := os.ReadFile(f)
		must(t, err)
		out = append(out, b...)
	}
	return out
}

// TestPlaintextIsEncrypted: what an older ingot left is encrypted at the start, and no page keeps it.
func TestPlaintextIsEncrypted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db") // servers remove what is deleted by themselves
	db := sqltest.OpenAt(t, path)
	must(t, db.Migrate(t.Context(), safes, "safes_schema"))
	must(t, db.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		for i := range 3 * step {
			env := fmt.Sprintf(`{"A":"%s %d %s"}`, canary, i, strings.Repeat("x", 300))
			if _, err := tx.ExecContext(ctx, "INSERT INTO safes (guid, env, word) VALUES (?, ?, '')", fmt.Sprintf("g%03d", i), env); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM safes WHERE guid = 'g007'")
		return err
	}))
	if !bytes.Contains(files(t, path), []byte(canary)) {
		t.Fatal("this test cannot fail: the files do not hold plaintext before")
	}
	must(t, db.Close())
	db = sqltest.OpenAt(t, path)
	must(t, migrateSafes(t, db, seal.New()))
	if bytes.Contains(files(t, path), []byte(canary)) {
		t.Error("the files hold plaintext")
	}
	var all []safe
	must(t, db.Read().NewSelect().Model(&all).Order("guid").Scan(t.Context()))
	if len(all) != 3*step-1 || !strings.HasPrefix(all[5].Env.V["A"], canary+" 5") {
		t.Errorf("%d rows", len(all))
	}
}

// TestResealWhileWriting: keys rotate while others write; nothing is lost, and the older key is not needed any more.
func TestResealWhileWriting(t *testing.T) {
	db := sqltest.Open(t)
	keys := seal.New()
	must(t, migrateSafes(t, db, keys))
	const rows = 4 * step
	for i := range rows {
		must(t, put(t.Context(), db, newSafe(fmt.Sprintf("g%03d", i), "0")))
	}
	old := keys.Newest()
	stop := make(chan struct{})
	last := make([]int, rows)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for n := 1; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				i := (n*7 + w) % (rows / 4) * 4 // rows of this writer only
				v := newSafe(fmt.Sprintf("g%03d", i+w), fmt.Sprint(n))
				err := db.Write(context.Background(), func(ctx context.Context, tx bun.Tx) error {
					_, err := tx.NewUpdate().Model(v).Column("env", "word").Where("guid = ?", v.GUID).Exec(ctx)
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
				last[i+w] = n
			}
		})
	}
	if _, err := keys.Rotate(); err != nil {
		t.Fatal(err)
	}
	n, err := db.Reseal(t.Context())
	must(t, err)
	close(stop)
	wg.Wait()
	if _, err := db.Reseal(t.Context()); err != nil { // a writer may have sealed just before the rotation
		t.Fatal(err)
	}
	if left, err := db.Sealed(t.Context(), old); err != nil || left != 0 || n == 0 {
		t.Fatalf("%d values changed, %d are left with the older key, %v", n, left, err)
	}
	must(t, keys.Drop(old))
	must(t, db.Forget(t.Context(), old))
	var all []safe
	must(t, db.Read().NewSelect().Model(&all).Order("guid").Scan(t.Context()))
	for i, v := range all {
		if v.Word.V != fmt.Sprint(last[i]) || v.Env.V["A"] != fmt.Sprint(last[i]) {
			t.Errorf("%s is %s, written was %d", v.GUID, v.Word.V, last[i])
		}
	}
	must(t, migrateSafes(t, db, keys)) // the store does not ask for the dropped key
}
