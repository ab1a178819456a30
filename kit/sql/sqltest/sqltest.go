// Package sqltest runs the tests of a package on SQLite, PostgreSQL and MariaDB.
//
// It promises a database of its own to each Open, servers that end with the test process however it ends, and that
// nothing outside a temporary folder is touched. It promises nothing to anybody but tests.
package sqltest

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/kit/seal"
	"ingot/kit/sql"
)

// Variable names the server of the tests: postgres://user:password@host:port/name or mysql://... of somebody who may make
// databases. Without it the tests run on SQLite. "all" runs them, and benchmarks, on the three engines in turn.
const Variable = "INGOT_TEST_DATABASE"

// Main runs the tests of a package on SQLite, and where INGOT_WORLD=1 (as `make test` sets) on PostgreSQL and MariaDB,
// too. If Variable is set they run on that server only. It is called by TestMain, and gives the exit code.
func Main(m *testing.M) int {
	flag.Parse()
	all := os.Getenv(Variable) == "all"
	if all {
		_ = os.Unsetenv(Variable) // the name is a good one
	}
	code := m.Run()
	if !all && (os.Getenv(Variable) != "" || os.Getenv("INGOT_WORLD") != "1" || flag.Lookup("test.bench").Value.String() != "") {
		return code
	}
	sweep()
	for _, e := range []engine{postgres, mariadb} {
		if c := runOn(m, e); c != 0 {
			code = c
		}
	}
	return code
}

func runOn(m *testing.M, e engine) (code int) {
	s, err := start(e)
	defer s.stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v (tools/packages.sh test installs it)\n", e.name, err)
		return 1
	}
	if err := os.Setenv(Variable, s.url); err != nil {
		panic(err)
	}
	defer func() { _ = os.Unsetenv(Variable) }() // the name is a good one
	fmt.Println("the same on", e.name)
	return m.Run()
}

// Address makes an empty database for this test, which goes with it, and gives its address.
func Address(t testing.TB) string {
	t.Helper()
	server := os.Getenv(Variable)
	if server == "" {
		return filepath.Join(t.TempDir(), "test.db")
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := sql.Open(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	name := "ingot_" + strings.ToLower(rand.Text())
	if _, err := admin.Read().ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := admin.Read().ExecContext(context.Background(), "DROP DATABASE "+name); err != nil {
			t.Errorf("is a store left open? %v", err)
		}
		_ = admin.Close()
	})
	u.Path = "/" + name
	return u.String()
}

// Open makes an empty store with keys for this test, which goes with it.
func Open(t testing.TB) *sql.DB {
	t.Helper()
	return OpenAt(t, Address(t))
}

// OpenAt opens the store at an Address, with keys of its own, until the test ends.
func OpenAt(t testing.TB, address string) *sql.DB {
	t.Helper()
	db, err := sql.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	db.Keys = seal.New()
	return db
}
