package launcher

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func home(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files["app/.keep"] = ""
	for n, text := range files {
		f := filepath.Join(dir, n)
		if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// run does what the launcher's exec would do.
func run(t *testing.T, a App) (string, error) {
	t.Helper()
	e, err := a.Exec()
	if err != nil {
		t.Fatal(err)
	}
	out, err := (&exec.Cmd{Path: e.Path, Args: e.Args, Env: e.Env}).CombinedOutput()
	return string(out), err
}

func TestLaunch(t *testing.T) {
	dir := home(t, map[string]string{
		"profile.d/0.sh":       "export ORDER=buildpack",
		"profile.d/1.sh":       "export DEP=$DEPS_DIR/0",
		"app/.profile.d/a.sh":  "export ORDER=$ORDER,app",
		"app/.profile":         "export ORDER=$ORDER,profile",
		"app/with space/.keep": "",
	})
	out, err := run(t, App{Dir: filepath.Join(dir, "app"), Command: `echo "$ORDER" $PWD $HOME $TMPDIR $DEP '$0'; echo two words`, Env: []string{"HOME=/old", "A=b"}})
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	app := filepath.Join(dir, "app")
	want := "Invoking pre-start scripts.\nInvoking start command.\nbuildpack,app,profile " + app + " " + app + " " + dir + "/tmp " + dir + "/deps/0 $0\ntwo words\n"
	if out != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
}

func TestExitCodeIsTheApps(t *testing.T) {
	dir := home(t, map[string]string{"app/.profile": "false"})
	_, err := run(t, App{Dir: filepath.Join(dir, "app"), Command: "exit 7"})
	var e *exec.ExitError
	if !errors.As(err, &e) || e.ExitCode() != 7 {
		t.Errorf("got %v", err)
	}
}

func TestCommandOfTheDroplet(t *testing.T) {
	dir := home(t, map[string]string{"staging_info.yml": `{"detected_buildpack":"x","start_command":"echo from droplet"}`})
	out, err := run(t, App{Dir: filepath.Join(dir, "app")})
	if err != nil || !strings.HasSuffix(out, "\nfrom droplet\n") {
		t.Errorf("%v: %s", err, out)
	}
	dir = home(t, map[string]string{"staging_info.yml": `{"start_command":"one two","config":{"entrypoint_prefix":"printf %s"}}`})
	out, err = run(t, App{Dir: filepath.Join(dir, "app")})
	if err != nil || !strings.HasSuffix(out, "\none two") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestNothingToRun(t *testing.T) {
	if _, err := (App{Dir: filepath.Join(home(t, map[string]string{}), "app")}).Exec(); err == nil || err.Error() != "no start command specified or detected in droplet" {
		t.Errorf("got %v", err)
	}
	if _, err := (App{Dir: filepath.Join(home(t, map[string]string{"staging_info.yml": "- ["}), "app")}).Exec(); err == nil {
		t.Error("a spoilt staging_info.yml was taken")
	}
}

func TestWithDatabase(t *testing.T) {
	const services = `VCAP_SERVICES={"z":[{"credentials":{"uri":"postgresql://z/db"}}],"a":[{"credentials":{"uri":"http://a"}},{"credentials":{"uri":"mysql://u:p@h/db?x=1"}}]}`
	cases := map[string]struct {
		env  []string
		want string
	}{
		"none":      {[]string{"A=1"}, ""},
		"rubbish":   {[]string{"VCAP_SERVICES={"}, ""},
		"empty":     {[]string{"VCAP_SERVICES={}"}, ""},
		"databases": {[]string{services}, "DATABASE_URL=mysql2://u:p@h/db?x=1"},
		"replaced":  {[]string{"DATABASE_URL=old", services}, "DATABASE_URL=mysql2://u:p@h/db?x=1"},
	}
	for name, c := range cases {
		got := WithDatabase(c.env)
		found := slices.DeleteFunc(slices.Clone(got), func(e string) bool { return !strings.HasPrefix(e, "DATABASE_URL=") })
		if strings.Join(found, " ") != c.want {
			t.Errorf("%s: got %v, want %q", name, found, c.want)
		}
	}
}
