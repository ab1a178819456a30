package script

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"ingot/kit/need"
	"ingot/test/world"
)

// looks are commands that print what Ingot may change on a machine (a link-local address comes by itself). Loop devices and cgroups are the whole host's, so
// of these only what is named after the world counts: $DIR, and $ID as Ingot names its cgroups.
var looks = map[string]string{
	"mounts":     "cut -d' ' -f4- /proc/self/mountinfo | sort",
	"links":      "ip -o link | sed 's/^[0-9]*: \\([^:]*\\):.*/\\1/' | sort; ip -o addr | grep -v fe80: | awk '{print $2, $4}' | sort; ip route; ip rule",
	"nft":        "nft list ruleset",
	"namespaces": "lsns -n -o TYPE | sort | uniq -c; find /run/netns /var/run/netns 2>/dev/null | sort",
	"cgroups":    "find /sys/fs/cgroup -type d -name '*'$ID'*' | sort",
	"loops":      "losetup -n -O BACK-FILE | grep -F $DIR/ | sort",
	"sysctls":    "sysctl -a 2>/dev/null | grep '^net' | grep -v -e conntrack_count -e neigh -e random | sort",
	"resolv":     "cat /etc/resolv.conf; stat -c '%a %u:%g %F' /etc/resolv.conf",
	"processes":  "ps -eo args= | grep -v -e '^ps ' -e '^sh -c' -e '^grep' -e '^sort' | sort",
	"units":      "find /etc/systemd/system | sort",
	"run":        "find /run | sort",
}

func look(t *testing.T, w *world.World) map[string]string {
	t.Helper()
	sum := sha256.Sum256([]byte(w.Data + "/garden"))
	got := map[string]string{}
	for name, line := range looks {
		c := w.Command(t.Context(), "sh", "-c", line)
		c.Env = append(c.Env, "DIR="+w.Dir, "ID="+hex.EncodeToString(sum[:4]))
		out, err := c.Output()
		if err != nil && len(out) > 0 {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		got[name] = string(out)
	}
	return got
}

func compare(t *testing.T, before, after map[string]string) {
	t.Helper()
	for name := range looks {
		if before[name] != after[name] {
			t.Errorf("%s before:\n%s\nafter:\n%s", name, before[name], after[name])
		}
	}
}

// TestLeavesTheMachineAsItWas uninstalls with Ingot running, after it was killed and on half-made data folders. On the
// way it stops and starts Ingot in every way that an operator can.
func TestLeavesTheMachineAsItWas(t *testing.T) {
	need.World(t, "runs ingot, containers and cf")
	w := world.New(t)
	before := look(t, w)
	uninstall := func(t *testing.T) {
		t.Helper()
		w.Run(t, w.Ingot(), "--data", w.Data, "uninstall", "--purge", "--cache", w.Dir+"/no-cache")
		compare(t, before, look(t, w))
		if _, err := os.Stat(w.Data); !os.IsNotExist(err) {
			t.Errorf("the data folder is still there: %v", err)
		}
	}
	t.Run("running", func(t *testing.T) {
		runApp(t, w)
		now := look(t, w)
		for name := range looks { // or else the comparison proves nothing
			if now[name] == before[name] && name != "units" {
				t.Errorf("%s: a running app changes nothing", name)
			}
		}
		refuse(t, w, w.Data, "in use by pid [0-9]+")
		refuse(t, w, w.Dir+"/other", ":443 is in use.*stop it", "--admin", "127.0.0.1:2281")
		uninstall(t)
	})
	t.Run("killed", func(t *testing.T) {
		runApp(t, w)
		w.Run(t, w.Ingot(), "--data", w.Data, "down")
		if after := look(t, w)["resolv"]; after != before["resolv"] {
			t.Errorf("resolv.conf after down: %s; want %s", after, before["resolv"])
		}
		w.Run(t, "sqlite3", w.Data+"/db/cc.db", "INSERT INTO rest_schema(version_id, is_applied) VALUES (9999, 1)")
		refuse(t, w, w.Data, "newer than this ingot.*start the newer ingot")
		w.Run(t, "sqlite3", w.Data+"/db/cc.db", "DELETE FROM rest_schema WHERE version_id = 9999")
		w.Up(t)
		w.Await(t, time.Minute, "the app again", func() error {
			return w.Command(t.Context(), "curl", "-skf", "https://here.apps.ingot.test/").Run()
		})
		w.Kill(t)
		uninstall(t)
	})
	for what, sign := range map[string]string{"locked": "ingot.pid", "stack being unpacked": "garden/containerd/*/snapshots/*/fs/usr"} {
		t.Run(what, func(t *testing.T) {
			w.Start(t, nil)
			w.Await(t, time.Minute, sign, func() error {
				if m, _ := filepath.Glob(filepath.Join(w.Data, sign)); m == nil {
					return os.ErrNotExist
				}
				return nil
			})
			w.Kill(t)
			uninstall(t)
		})
	}
	t.Run("read-only", func(t *testing.T) {
		w.Run(t, "sh", "-c", "mkdir -p "+w.Dir+"/ro && mount -t tmpfs -o ro none "+w.Dir+"/ro")
		refuse(t, w, w.Dir+"/ro/data", "read-only file system.*--data")
	})
}

// refuse starts Ingot where it cannot run: it ends at once with one line that names the cure.
func refuse(t *testing.T, w *world.World, data, want string, args ...string) {
	t.Helper()
	out, err := w.Command(t.Context(), "timeout", append([]string{"30", w.Ingot(), "--data", data, "up"}, args...)...).CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	last := lines[len(lines)-1]
	if err == nil || !regexp.MustCompile(want).MatchString(last) || !strings.HasPrefix(last, "ingot: ") {
		t.Errorf("%v, last line %q, want %q", err, last, want)
	}
}

// runApp starts Ingot and pushes an app named here.
func runApp(t *testing.T, w *world.World) {
	t.Helper()
	dir := start(t, w)
	if out, err := push(t.Context(), w, "here", dir).CombinedOutput(); err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
}
