package script

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ingot/kit/need"
	"ingot/test/world"
)

// TestExamples pushes every example as a person does, by `make examples`: its own manifest, without -b where a buildpack is
// detected. The packages that they name come from their registries through the world's way out.
func TestExamples(t *testing.T) {
	need.World(t, "runs ingot, containers and cf")
	t.Parallel()
	w := world.New(t)
	w.Up(t)
	wrap, cred, home := w.Wrap(t, "cf", "ingot", "curl"), w.Credentials(t), t.TempDir()
	if err := login(home, wrap, cred.API, cred.Username, cred.Password); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "CF_HOME="+home, "CF_COLOR=false", "PATH="+wrap+":"+os.Getenv("PATH"))
	proxy := exec.Command(filepath.Join(wrap, "cf"), "set-staging-environment-variable-group", `{"https_proxy":"`+w.Proxy+`","http_proxy":"`+w.Proxy+`"}`)
	proxy.Env = env
	if out, err := proxy.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c := exec.CommandContext(t.Context(), filepath.Join(w.Root, "tools", "examples.sh"))
	c.Env = env
	out, err := c.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	folders, err := os.ReadDir(filepath.Join(w.Root, "examples"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		if !strings.Contains(string(out), "\n"+f.Name()+" ") && !strings.HasPrefix(string(out), f.Name()+" ") {
			t.Errorf("the example %s was not pushed", f.Name())
		}
	}
}
