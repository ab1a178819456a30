package script

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ingot/kit/need"
	"ingot/test/world"
)

// dbPassword is of the databases; it has a character that an address must escape.
const dbPassword, dbEscaped = "db-s3cret/41c7", "db-s3cret%2F41c7"

// database is a server inside a world: how it is made and started, and the address for --database.
type database struct {
	name   string
	files  map[string]string
	lines  []string // each ends; DIR is the server's folder, which nobody owns
	serve  string
	after  string // until it succeeds
	url    string
	engine string
}

var databases = []database{
	{
		name: "PostgreSQL", engine: "postgres", files: map[string]string{"password": dbPassword},
		lines: []string{"/usr/lib/postgresql/15/bin/initdb -D DIR/data -U ingot -A scram-sha-256 --pwfile=DIR/password -E UTF8 --locale=C.UTF-8 --no-sync"},
		serve: "/usr/lib/postgresql/15/bin/postgres -D DIR/data -k DIR -h 127.0.0.1 -p 5432",
		after: "psql postgres://ingot:" + dbEscaped + "@127.0.0.1:5432/postgres -c 'CREATE DATABASE ingot'",
		url:   "postgres://ingot:" + dbEscaped + "@127.0.0.1:5432/ingot",
	},
	{
		name: "MariaDB", engine: "mysql", files: map[string]string{
			"init.sql": "CREATE DATABASE ingot;\nCREATE USER ingot@'127.0.0.1' IDENTIFIED BY '" + dbPassword + "';\nGRANT ALL ON ingot.* TO ingot@'127.0.0.1';\n"},
		lines: []string{"/usr/bin/mariadb-install-db --no-defaults --datadir=DIR/data --auth-root-authentication-method=normal --skip-test-db --skip-name-resolve --tmpdir=DIR"},
		serve: "/usr/sbin/mariadbd --no-defaults --datadir=DIR/data --socket=DIR/s --bind-address=127.0.0.1 --port=3306 --skip-name-resolve --init-file=DIR/init.sql --tmpdir=DIR",
		after: "mariadb -h 127.0.0.1 -u ingot -p" + dbPassword + " ingot -e 'SELECT 1'",
		url:   "mysql://ingot:" + dbEscaped + "@127.0.0.1:3306/ingot",
	},
}

// TestDatabases runs the platform on a server's database, and kills it under a running app.
func TestDatabases(t *testing.T) {
	need.World(t, "runs ingot, containers, cf and database servers")
	t.Parallel()
	for _, d := range databases {
		t.Run(d.name, func(t *testing.T) { onDatabase(t, d) })
	}
}

func onDatabase(t *testing.T, d database) {
	w := world.New(t)
	d.start(t, w)
	app := start(t, w, "--database", d.url)
	if out, err := push(t.Context(), w, "stay", app, "--no-start").CombinedOutput(); err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
	w.Run(t, "cf", "set-env", "stay", "SECRET", "canary-of-set-env")
	w.Run(t, "cf", "start", "stay")
	const url = "https://stay.apps.ingot.test/"
	before := w.Run(t, "curl", "-skf", url+"instance")
	if env := w.Run(t, "curl", "-skf", url+"env"); !strings.Contains(env, "SECRET=canary-of-set-env") || strings.Contains(env, "INGOT_") {
		t.Errorf("the app's environment: %s", env)
	}
	w.Kill(t)
	if out, err := w.Command(t.Context(), w.Ingot(), "--data", w.Data, "up").CombinedOutput(); err == nil ||
		!strings.Contains(string(out), "in a "+d.engine+" database") {
		t.Errorf("started without its database: %v %s", err, out)
	}
	w.Up(t, "--database="+d.url)
	w.Await(t, time.Minute, "the same instance", func() error {
		out, err := w.Command(t.Context(), "curl", "-skf", url+"instance").Output()
		if err == nil && string(out) != before {
			err = fmt.Errorf("another: %s, before %s", out, before)
		}
		return err
	})
	w.Run(t, w.Ingot(), "--data", w.Data, "keys", "rotate")
	if out, err := push(t.Context(), w, "stay", app).CombinedOutput(); err != nil {
		t.Fatalf("push again: %v\n%s", err, out)
	}
	noPassword(t, w)
	kept := w.Run(t, "sh", "-c", "cd "+w.Dir+"/server/data && grep -rl binary_buildpack . ; echo -- ; grep -rl canary-of- . || true")
	if plain, secret, _ := strings.Cut(kept, "--\n"); plain == "" || secret != "" {
		t.Errorf("the server's files hold an app's variable, or no app: %s", kept)
	}
	if left, err := filepath.Glob(w.Data + "/db/*.db*"); err != nil || len(left) > 0 {
		t.Errorf("SQLite files beside the database: %v %v", left, err)
	}
}

// noPassword looks for the database's password where others could read it.
func noPassword(t *testing.T, w *world.World) {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(w.Dir, "ingot.log"))
	if err != nil {
		t.Fatal(err)
	}
	for place, text := range map[string]string{
		"the log": string(log), "command lines": w.Run(t, "ps", "-eo", "args="),
		"the status":      w.Run(t, w.Ingot(), "--data", w.Data, "status", "--json"),
		"metrics":         w.Run(t, "curl", "-sf", "http://127.0.0.1:2280/metrics"),
		"the data folder": w.Run(t, "sh", "-c", "grep -rlE 'db-s3cret' "+w.Data+" || true"),
	} {
		if strings.Contains(text, dbPassword) || strings.Contains(text, dbEscaped) || place == "the data folder" && text != "" {
			t.Errorf("the password is in %s: %s", place, text)
		}
	}
}

// start runs the server inside w, as an unprivileged user; it ends with w.
func (d database) start(t *testing.T, w *world.World) {
	t.Helper()
	dir := filepath.Join(w.Dir, "server")
	if err := os.Mkdir(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(w.Dir, 0o711); err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	for name, text := range d.files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	unprivileged := func(line string) []string {
		return []string{"--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", "cd " + dir + " && HOME=" + dir + " exec " + strings.ReplaceAll(line, "DIR", dir)}
	}
	for _, line := range d.lines {
		w.Run(t, "setpriv", unprivileged(line)...)
	}
	c := w.Command(context.Background(), "setpriv", unprivileged(d.serve+" >server.log 2>&1")...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = c.Wait() }() // it ends with the world
	w.Await(t, time.Minute, d.name, func() error {
		out, err := w.Command(t.Context(), "sh", "-c", d.after).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}
