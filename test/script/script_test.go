// Package script runs the txtar scripts of testdata: the official cf against `ingot up`, in a world of their own.
package script

import (
	"archive/zip"
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"ingot/kit/need"
	"ingot/test/world"
)

func TestMain(m *testing.M) {
	world.Holder()
	os.Exit(m.Run())
}

// TestScripts runs all scripts against one Ingot, each in an org of its own ($ORG) with a space s, as the admin.
func TestScripts(t *testing.T) {
	need.World(t, "runs ingot, containers and cf")
	t.Parallel()
	w := world.New(t)
	w.Up(t)
	wrap := w.Wrap(t, "cf", "ingot", "curl")
	cred := w.Credentials(t)
	binary := buildExample(t, w)
	t.Run("all", func(t *testing.T) { // ends when all of them have
		testscript.Run(t, testscript.Params{
			Dir:                 "testdata",
			RequireExplicitExec: true,
			Setup: func(e *testscript.Env) error {
				e.Setenv("PATH", wrap+":"+os.Getenv("PATH"))
				e.Setenv("HOME", e.WorkDir)
				e.Setenv("CF_HOME", e.WorkDir)
				e.Setenv("CF_COLOR", "false")
				e.Setenv("INGOT_DATA", w.Data)
				e.Setenv("ROOT", w.Root)
				e.Setenv("PROXY", w.Proxy)
				e.Setenv("BINARY", binary)
				e.Setenv("API", cred.API)
				e.Setenv("ADMIN", cred.Username)
				e.Setenv("PASSWORD", cred.Password)
				e.Setenv("ORG", "org-"+filepath.Base(e.WorkDir))
				return login(e.WorkDir, wrap, cred.API, cred.Username, cred.Password)
			},
			Cmds: map[string]func(*testscript.TestScript, bool, []string){"await": await, "follow": follow, "evilzip": evilZip, "steady": new(steadies).run},
		})
	})
	noSecrets(t, w, cred.Password)
}

// noSecrets looks for what the scripts used: the admin's password and tokens in the log and on command lines, values of
// environment variables in audit events.
func noSecrets(t *testing.T, w *world.World, password string) {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(w.Dir, "ingot.log"))
	if err != nil {
		t.Fatal(err)
	}
	lines := w.Run(t, "ps", "-eo", "args=")
	for _, secret := range []string{password, "eyJ", "PRIVATE KEY"} {
		if strings.Contains(string(log), secret) || strings.Contains(lines, secret) {
			t.Errorf("%s is in the log or on a command line", secret)
		}
	}
	if n := w.Run(t, "sqlite3", "-readonly", w.Data+"/db/cc.db", "SELECT count(*) FROM rest_events WHERE data LIKE '%hello%'"); n != "0\n" {
		t.Errorf("%s audit events show an environment variable", n)
	}
}

// buildExample builds examples/go-binary, as its user would before the push.
func buildExample(t *testing.T, w *world.World) string {
	t.Helper()
	out := filepath.Join(w.Dir, "example")
	c := exec.Command("go", "build", "-o", out, ".")
	c.Dir = filepath.Join(w.Root, "examples", "go-binary")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build the example: %v\n%s", err, text)
	}
	return out
}

// login targets the API and logs the admin in, in the script's own CF_HOME, and makes its org and space.
func login(home, wrap, api, user, password string) error {
	org := "org-" + filepath.Base(home)
	for _, args := range [][]string{
		{"api", api, "--skip-ssl-validation"}, {"auth", user, password}, {"create-org", org}, {"create-space", "s", "-o", org}, {"target", "-o", org, "-s", "s"},
	} {
		c := exec.Command(filepath.Join(wrap, "cf"), args...)
		c.Dir = home
		c.Env = append(os.Environ(), "CF_HOME="+home, "PWD="+home)
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("cf %s: %w\n%s", args[0], err, out)
		}
	}
	return nil
}

// await LIMIT PATTERN PROGRAM ARGS... repeats the program until its output matches; with ! until it does not.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: await LIMIT PATTERN PROGRAM ARGS...")
	}
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var last string // the one that the limit ends says nothing
	for {
		out, err := program(ctx, ts, args[2:]).CombinedOutput()
		if pattern.Match(out) != neg && ctx.Err() == nil {
			return
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("%v: not within %s: %q: %s", args[2:], limit, args[1], last)
		case <-time.After(50 * time.Millisecond):
			last = fmt.Sprintf("%v\n%s", err, out)
		}
	}
}

// follow LIMIT PATTERN PROGRAM ARGS... -- PROGRAM ARGS... repeats the second program until a line of the first, which
// goes on, matches; then it interrupts the first, which must end.
func follow(ts *testscript.TestScript, neg bool, args []string) {
	second := slices.Index(args, "--")
	if neg || second < 3 {
		ts.Fatalf("usage: follow LIMIT PATTERN PROGRAM ARGS... -- PROGRAM ARGS...")
	}
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c := program(ctx, ts, args[2:second])
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGINT) }
	out, err := c.StdoutPipe()
	ts.Check(err)
	ts.Check(c.Start())
	seen := make(chan bool, 1)
	go func() {
		found := false
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if pattern.MatchString(lines.Text()) && !found {
				found = true
				seen <- true
			}
		}
		if !found {
			seen <- false
		}
	}()
	for {
		_ = program(ctx, ts, args[second+1:]).Run()
		select {
		case found := <-seen:
			cancel()
			_ = c.Wait() // interrupted
			if !found {
				ts.Fatalf("%v ended without a line %q", args[2:second], args[1])
			}
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// program is a command of the script: one that was wrapped to run inside the world, or else the host's.
func program(ctx context.Context, ts *testscript.TestScript, args []string) *exec.Cmd {
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	if wrapped := filepath.Join(filepath.SplitList(ts.Getenv("PATH"))[0], args[0]); fileExists(wrapped) {
		c.Path, c.Err = wrapped, nil
	}
	c.Dir = ts.MkAbs(".")
	c.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"), "CF_HOME="+ts.Getenv("CF_HOME"), "CF_COLOR=false", "PWD="+c.Dir)
	return c
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// evilZip KIND FILE writes an archive that wants out of its folder.
func evilZip(ts *testscript.TestScript, _ bool, args []string) {
	h := &zip.FileHeader{Name: map[string]string{"dotdot": "../../etc/evil", "absolute": "/etc/evil", "link": "l", "device": "sda"}[args[0]]}
	switch args[0] {
	case "link":
		h.SetMode(os.ModeSymlink | 0o777)
	case "device":
		h.SetMode(os.ModeDevice | 0o600)
	}
	f, err := os.Create(ts.MkAbs(args[1]))
	ts.Check(err)
	z := zip.NewWriter(f)
	w, err := z.CreateHeader(h)
	ts.Check(err)
	_, err = io.WriteString(w, "/etc/passwd")
	ts.Check(err)
	ts.Check(z.Close())
	ts.Check(f.Close())
}
