package script

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"ingot/kit/need"
	"ingot/test/world"
)

// TestDeploymentDurability kills Ingot with SIGKILL at each step of deployments, and starts it again: they go on to
// their end, or wait where they are to wait, without anybody's help.
func TestDeploymentDurability(t *testing.T) {
	need.World(t, "runs ingot, containers and cf")
	t.Parallel()
	w := world.New(t)
	app := start(t, w)
	w.Run(t, "cf", "push", "roll", "-p", app, "-b", "binary_buildpack", "-c", "./app", "-m", "32M", "-k", "64M", "-i", "2")
	guid := strings.TrimSpace(w.Run(t, "cf", "app", "roll", "--guid"))
	w.Kill(t)
	for _, c := range []struct{ step, args, verb, end string }{
		{"deployment begun", "restart --strategy rolling", "", "FINALIZED DEPLOYED"},
		{"deployment DEPLOYING", "restart --strategy rolling", "", "FINALIZED DEPLOYED"},
		{"deployment DEPLOYED", "restart --strategy rolling", "", "FINALIZED DEPLOYED"},
		{"deployment PAUSED", "restart --strategy canary", "", "ACTIVE PAUSED"},
		{"deployment CANCELED", "restart --strategy rolling", "cancel-deployment", "FINALIZED CANCELED"},
	} {
		t.Run(c.step, func(t *testing.T) {
			gate := startGated(t, w)
			begun := make(chan string, 1)
			go func() {
				args := append(strings.Fields(c.args), "roll", "--no-wait")
				out, _ := w.Command(t.Context(), "cf", args...).CombinedOutput() // killed under it, most times
				if c.verb != "" {
					out, _ = w.Command(t.Context(), "cf", c.verb, "roll").CombinedOutput()
				}
				begun <- string(out)
			}()
			gate.passUntil(t, c.step)
			w.Kill(t)
			gate.close()
			t.Logf("cf was told: %s", <-begun)
			w.Up(t)
			w.Await(t, time.Minute, c.end, func() error { return ended(w, t, guid, c.end) })
			if c.end == "ACTIVE PAUSED" {
				w.Run(t, "cf", "continue-deployment", "roll")
				w.Await(t, time.Minute, "the end", func() error { return ended(w, t, guid, "FINALIZED DEPLOYED") })
			}
			w.Await(t, time.Minute, "two instances and no others", func() error { return unfinished(t, w) })
			if n := w.Run(t, "sqlite3", "-readonly", w.Data+"/db/bbs.db", "SELECT count(*) FROM bbs_actual"); n != "2\n" {
				t.Errorf("%s instances", n)
			}
			for range 5 {
				w.Run(t, "curl", "-skf", "https://roll.apps.ingot.test/")
			}
			w.Kill(t)
		})
	}
}

// ended tells whether the newest deployment of the app has that status, and if it is over, whether one web process is left.
func ended(w *world.World, t *testing.T, app, want string) error {
	out, err := w.Command(t.Context(), "cf", "curl", "-f", "/v3/deployments?order_by=-created_at&app_guids="+app).Output()
	if err != nil {
		return err
	}
	var list struct {
		Resources []struct {
			Status struct{ Value, Reason string }
		}
	}
	if err := json.Unmarshal(out, &list); err != nil || len(list.Resources) == 0 {
		return fmt.Errorf("%s: %w", out, err)
	}
	if s := list.Resources[0].Status; s.Value+" "+s.Reason != want {
		return fmt.Errorf("status %s %s", s.Value, s.Reason)
	}
	n, err := count(t, w, "/v3/processes?types=web&app_guids="+app)
	if err == nil && strings.HasPrefix(want, "FINALIZED") && n != 1 {
		err = fmt.Errorf("%d web processes", n)
	}
	return err
}
