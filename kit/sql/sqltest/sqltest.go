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
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"ingot/kit/seal"
	"ingot/kit/sql"
)

// Variable names the server of the tests: postgres://user:password@host:port/name or mysql://... of somebody who may make
// databases. Without it the tests run on SQLite. "all" runs them on the three engines, and benchmarks in turn.
const Variable = "INGOT_TEST_DATABASE"

// Main runs the tests of a package on SQLite, and where INGOT_WORLD=1 (as `make test` sets) on PostgreSQL and MariaDB,
// too. If Variable is set they run on that server only. It is called by TestMain, and gives the exit code.
func Main(m *testing.M) int {
	flag.Parse()
	all := os.Getenv(Variable) == "all"
	if all {
		_ = os.Unsetenv(Variable) // the name is a good one
	}
	bench := flag.Lookup("test.bench").Value.String() != ""
	if os.Getenv(Variable) != "" || !all && (bench || os.Getenv("INGOT_WORLD") != "1") {
		return m.Run()
	}
	sweep()
	var others []func() outcome
	for _, e := range []engine{postgres, mariadb} {
		f := sync.OnceValue(func() outcome { return runOn(e) })
		if !bench { // which would disturb each other
			go f()
		}
		others = append(others, f)
	}
	code := m.Run()
	for _, f := range others {
		o := f()
		_, _ = os.Stdout.Write(o.out) // nobody could be told
		code = max(code, o.code)
	}
	return code
}

// outcome is what a test process printed, and its exit code.
type outcome struct {
	out  []byte
	code int
}

// runOn runs the tests of this process once more, on a server that is there for them.
func runOn(e engine) outcome {
	s, err := start(e)
	defer s.stop()
	if err != nil {
		return outcome{fmt.Appendf(nil, "%s: %v (tools/packages.sh test installs it)\n", e.name, err), 1}
	}
	runtime.LockOSThread() // the process ends with this one, which means with its thread
	defer runtime.UnlockOSThread()
	c := exec.Command("/proc/self/exe", slices.DeleteFunc(slices.Clone(os.Args[1:]), func(arg string) bool {
		return strings.HasPrefix(arg, "-test.testlogfile=")
	})...)
	c.Args[0], c.Env = os.Args[0], append(os.Environ(), Variable+"="+s.url)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := c.CombinedOutput()
	o := outcome{fmt.Appendf(nil, "the same on %s\n%s", e.name, out), 0}
	if err != nil {
		o.code = max(c.ProcessState.ExitCode(), 1)
		o.out = fmt.Appendf(o.out, "%s: %v\n", e.name, err)
	}
	return o
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
		for range 6 { // PostgreSQL waits 5 s for who still has it; a query that was broken off is left to end by itself
			if _, err = admin.Read().ExecContext(context.Background(), "DROP DATABASE "+name); err == nil {
				break
			}
		}
		if err != nil {
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
