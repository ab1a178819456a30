package script

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"ingot/kit/need"
	"ingot/test/world"
)

// looks are commands that print what Ingot may change on a machine.
var looks = map[string]string{
	"mounts":     "cut -d' ' -f4- /proc/self/mountinfo | sort",
	"links":      "ip -o link | sed 's/^[0-9]*: \\([^:]*\\):.*/\\1/' | sort; ip -o addr | awk '{print $2, $4}' | sort; ip route",
	"nft":        "nft list ruleset",
	"namespaces": "lsns -n -o TYPE,NPROCS | awk '{print $1}' | sort | uniq -c; ls /run/netns 2>/dev/null",
	"cgroups":    "find /sys/fs/cgroup -type d -name '*ingot*' | sort",
	"loops":      "losetup -a | grep ingot",
	"sysctls":    "sysctl -a 2>/dev/null | grep '^net' | grep -v conntrack | sort",
	"resolv":     "cat /etc/resolv.conf; stat -c '%a %F' /etc/resolv.conf",
	"processes":  "ps -eo args= | grep -v -e '^ps ' -e '^sh -c' -e '^grep' -e '^sort' | sort",
	"units":      "ls /etc/systemd/system | sort",
	"run":        "ls -A /run | sort",
}

func look(t *testing.T, w *world.World) map[string]string {
	t.Helper()
	got := map[string]string{}
	for name, line := range looks {
		out, err := w.Command(t.Context(), "sh", "-c", line).CombinedOutput()
		if err != nil && len(out) > 0 && !strings.Contains(line, "grep") {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		got[name] = string(out)
	}
	return got
}

func compare(t *testing.T, what string, before, after map[string]string) {
	t.Helper()
	for name := range looks {
		if before[name] != after[name] {
			t.Errorf("%s: %s before:\n%s\nafter:\n%s", what, name, before[name], after[name])
		}
	}
}

// TestLeavesTheMachineAsItWas runs an app, then uninstalls: with Ingot running, after it was killed, and on a half-made
// data folder.
func TestLeavesTheMachineAsItWas(t *testing.T) {
	need.World(t, "runs ingot, containers and cf")
	w := world.New(t)
	before := look(t, w)
	uninstall := func(t *testing.T, what string) {
		w.Run(t, w.Ingot(), "--data", w.Data, "uninstall", "--purge", "--cache", w.Dir+"/no-cache")
		compare(t, what, before, look(t, w))
		if _, err := os.Stat(w.Data); !os.IsNotExist(err) {
			t.Errorf("%s: the data folder is still there: %v", what, err)
		}
	}
	t.Run("running", func(t *testing.T) { runApp(t, w); uninstall(t, "running") })
	t.Run("killed", func(t *testing.T) { runApp(t, w); w.Kill(t); uninstall(t, "killed") })
	t.Run("half made", func(t *testing.T) {
		w.Start(t, nil)
		w.Await(t, 30*time.Second, "the lock", func() error { _, err := w.PID(); return err })
		w.Kill(t)
		uninstall(t, "half made")
	})
}

// TestDownRestoresResolution stops Ingot: /etc/resolv.conf is as before, byte for byte; up again brings the app back.
func TestDownRestoresResolution(t *testing.T) {
	need.World(t, "runs ingot, containers and cf")
	w := world.New(t)
	before := look(t, w)["resolv"]
	runApp(t, w)
	if now := look(t, w)["resolv"]; now == before {
		t.Error("resolv.conf does not name ingot while it runs")
	}
	w.Run(t, w.Ingot(), "--data", w.Data, "down")
	if after := look(t, w)["resolv"]; after != before {
		t.Errorf("before %q, after %q", before, after)
	}
	w.Up(t)
	w.Await(t, 30*time.Second, "the app again", func() error {
		return w.Command(t.Context(), "curl", "-skf", "https://here.apps.ingot.test/").Run()
	})
}

// TestSecondStart refuses in one line what cannot be: a held folder, a used port, a read-only folder, a newer schema.
func TestSecondStart(t *testing.T) {
	need.World(t, "runs ingot")
	w := world.New(t)
	refuse := func(what, data, want string) {
		t.Helper()
		out, err := w.Command(t.Context(), "timeout", "20", w.Ingot(), "--data", data, "up").CombinedOutput()
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		last := lines[len(lines)-1]
		if err == nil || !regexp.MustCompile(want).MatchString(last) || !strings.HasPrefix(last, "ingot: ") {
			t.Errorf("%s: %v, last line %q, want %q", what, err, last, want)
		}
	}
	w.Up(t)
	refuse("started twice", w.Data, "in use by pid [0-9]+")
	refuse("port in use", w.Dir+"/other", ":443 is in use.*--listen|:443 is in use")
	w.Run(t, w.Ingot(), "--data", w.Data, "down")
	w.Run(t, "sh", "-c", "mkdir -p "+w.Dir+"/ro && mount -t tmpfs -o ro none "+w.Dir+"/ro")
	refuse("read-only data folder", w.Dir+"/ro/data", "read-only file system.*--data")
	if out, err := exec.Command("sqlite3", w.Data+"/db/cc.db", "INSERT INTO rest_version(version_id, is_applied) VALUES (9999, 1)").CombinedOutput(); err != nil {
		t.Fatalf("sqlite3: %v %s", err, out)
	}
	refuse("newer schema", w.Data, "newer than this ingot")
}

// runApp starts Ingot and pushes an app named here.
func runApp(t *testing.T, w *world.World) {
	t.Helper()
	dir := start(t, w)
	if out, err := push(t.Context(), w, "here", dir).CombinedOutput(); err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
}
