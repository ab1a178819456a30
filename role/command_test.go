package role

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ingot/kit/lock"
	"ingot/kit/need"
)

// ingot calls ingot in this process with a data folder of its own.
func ingot(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Main(args, nil, Stdio{In: strings.NewReader(""), Out: &o, Err: &e})
	return code, o.String(), e.String()
}

func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "bad.yml")
	if err := os.WriteFile(file, []byte("domain: a.test\ndoman: b.test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"up", "--domain", "UPPER.test"}, "--domain"},
		{[]string{"up", "--domain", "one"}, "--domain"},
		{[]string{"up", "--network", "10.0.0.0/30"}, "--network"},
		{[]string{"up", "--listen", "everywhere"}, "--listen"},
		{[]string{"up", "--admin", "0.0.0.0:2280"}, "--admin"},
		{[]string{"up", "--dns", "magic"}, "--dns"},
		{[]string{"up", "--staging-timeout", "0s"}, "--staging-timeout"},
		{[]string{"up", "--max-app-disk", "1023"}, "--max-app-disk"},
		{[]string{"up", "--database", "nonsense"}, "--database"},
		{[]string{"up", "--database", "oracle://me:hunter2@db/x"}, "--database"},
		{[]string{"up", "--database", "postgres://me:hunter2@db:port/x"}, "--database"},
		{[]string{"up", "--database", "mysql://me:hunter2@db:3306"}, "--database"},
		{[]string{"up", "--key-file", "here"}, "--key-file"},
		{[]string{"keys", "list"}, "ingot up"},
		{[]string{"keys", "drop"}, "arg"},
		{[]string{"up", "--config", file}, `bad.yml:2: unknown key "doman"`},
		{[]string{"up", "--config", filepath.Join(dir, "missing.yml")}, "missing.yml"},
		{[]string{"up", "--nonsense"}, "--nonsense"},
		{[]string{"nonsense"}, "nonsense"},
		{[]string{"status"}, "ingot up"},
		{[]string{"ca"}, "ingot up"},
		{[]string{"credentials"}, "ingot up"},
		{[]string{"logs"}, "background"},
	} {
		code, out, errs := ingot(t, append(c.args, "--data", filepath.Join(dir, "data"))...)
		if code != 1 || out != "" || strings.Contains(errs, "hunter2") || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: exit %d, out %q, err %q; want exit 1 and one line with %q", c.args, code, out, errs, c.want)
		}
	}
}

func TestEnvironmentAndFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ingot.yml"), []byte("domain: from-file.test\nlisten: [10.1.1.1, 10.1.1.2]\nmemory: 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Default()
	c.Data = dir
	cmd := upCommand(&c)
	cmd.Flags().StringVar(&c.File, "config", "", "")
	if err := cmd.ParseFlags([]string{"--memory", "9"}); err != nil {
		t.Fatal(err)
	}
	if err := fill(cmd, &c, []string{"INGOT_DOMAIN=from-env.test", "INGOT_CACHE=/c", "OTHER=1"}); err != nil {
		t.Fatal(err)
	}
	if c.Domain != "from-env.test" || c.Memory != 9 || c.Cache != "/c" || strings.Join(c.Listen, " ") != "10.1.1.1 10.1.1.2" {
		t.Errorf("got %+v", c)
	}
}

// TestFileOfAllCommands: the file of `ingot up` disturbs no other command, and is found where the environment says.
func TestFileOfAllCommands(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ingot.yml"), []byte("domain: from-file.test\nmemory: 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code := Main([]string{"credentials"}, []string{"INGOT_DATA=" + dir}, Stdio{In: strings.NewReader(""), Out: &out, Err: &errs})
	if want := "ingot: there are no credentials in " + dir + " yet"; code != 1 || !strings.HasPrefix(errs.String(), want) {
		t.Errorf("exit %d: %s; want %s", code, errs.String(), want)
	}
	c := Default()
	cmd := upCommand(&c)
	cmd.Flags().StringVar(&c.File, "config", "", "")
	cmd.Flags().StringVar(&c.Data, "data", c.Data, "")
	if err := fill(cmd, &c, []string{"INGOT_DATA=" + dir}); err != nil || c.Domain != "from-file.test" {
		t.Errorf("%v: %+v", err, c)
	}
}

// TestCheck: a build without helpers, as this test is, or a taken port is told of with its cure.
func TestCheck(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c := Default()
	c.Data, c.Cache, c.Admin = t.TempDir(), t.TempDir(), l.Addr().String()
	t.Setenv("PATH", t.TempDir()) // nothing is installed
	cures := map[string]string{}
	for _, f := range checks(c) {
		cures[f.Name] = f.Cure
	}
	for name, want := range map[string]string{"mkfs.ext4": "e2fsprogs", "stack cflinuxfs4": "mmdebstrap", "address " + c.Admin: "--admin"} {
		if !strings.Contains(cures[name], want) {
			t.Errorf("%s: %q, want %q", name, cures[name], want)
		}
	}
}

// TestPurge: only what is ours goes.
func TestPurge(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"db/cc.db", "photos/1.jpg", "ingot.pid"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := purge(dir, ownData); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 || left[0].Name() != "photos" {
		t.Errorf("%v: %v", err, left)
	}
	if err := os.RemoveAll(filepath.Join(dir, "photos")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing any more
		if err := purge(dir, ownData); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Error("the empty folder is still there")
	}
}

func TestHelpHasExamples(t *testing.T) {
	for _, cmd := range commands(nil).Commands() {
		if cmd.Example == "" || cmd.Short == "" {
			t.Errorf("ingot %s has no help or no example", cmd.Name())
		}
	}
}

func TestVersionJSON(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "ingot.yml"), 0o700); err != nil { // nobody can read that
		t.Fatal(err)
	}
	code, out, _ := ingot(t, "version", "--json", "--data", dir)
	var v map[string]string
	if err := json.Unmarshal([]byte(out), &v); code != 0 || err != nil || v["version"] == "" {
		t.Errorf("exit %d, %v: %s", code, err, out)
	}
}

func TestLockNamesTheHolder(t *testing.T) {
	dir := t.TempDir()
	if pid := lock.Holder(dir); pid != 0 {
		t.Fatalf("nobody holds it, got %d", pid)
	}
	h, err := lock.Folder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if pid := lock.Holder(dir); pid != os.Getpid() {
		t.Errorf("holder %d, want %d", pid, os.Getpid())
	}
	if _, err := lock.Folder(dir); err == nil || !strings.Contains(err.Error(), "in use by pid") {
		t.Errorf("second lock: %v", err)
	}
	if err := h.Release(); err != nil {
		t.Fatal(err)
	}
	if pid := lock.Holder(dir); pid != 0 {
		t.Errorf("released, got %d", pid)
	}
}

// TestUnit has systemd check the unit that `ingot unit` prints.
func TestUnit(t *testing.T) {
	need.World(t, "systemd-analyze")
	code, out, errs := ingot(t, "unit", "--data", "/srv/in got/100%")
	if code != 0 {
		t.Fatal(errs)
	}
	file := filepath.Join(t.TempDir(), "ingot.service")
	if err := os.WriteFile(file, []byte(out), 0o644); err != nil {
		t.Fatal(err)
	}
	if b, err := exec.Command("systemd-analyze", "verify", "--man=no", file).CombinedOutput(); err != nil || len(b) > 0 {
		t.Errorf("systemd-analyze: %v %s\n%s", err, b, out)
	}
}
