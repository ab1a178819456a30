package script

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func guidIn(doc string) string {
	var one struct{ GUID string }
	_ = json.Unmarshal([]byte(doc), &one)
	return one.GUID
}

// atOnce runs n at the same time.
func atOnce(n int, do func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { do(i) })
	}
	all.Wait()
}

// pushes pushes one app eight times at once: each ends well or with a reason, and one of them is what runs.
func (w *abused) pushes(t *testing.T) {
	var mu sync.Mutex
	good := 0
	atOnce(8, func(i int) {
		out, err := w.cf(t, "push", "twins", "-p", w.app, "-b", "binary_buildpack", "-c", "./app", "-m", "32M", "-k", "64M", "--var", fmt.Sprintf("x=%d", i))
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			good++
			return
		}
		t.Logf("push %d: %s", i, out[max(0, len(out)-300):])
		if strings.Contains(out, "unknown error") || strings.Contains(out, "UnknownError") || !strings.Contains(out, "FAILED") && !strings.Contains(out, "TIP") && !strings.Contains(out, "Error") {
			t.Errorf("push %d has no reason:\n%s", i, out)
		}
	})
	t.Logf("%d of 8 pushes at once were well", good)
	if good == 0 {
		t.Error("no push was well")
	}
	if n, err := count(t, w.World, "/v3/apps?names=twins"); err != nil || n != 1 {
		t.Errorf("%d apps: %v", n, err)
	}
	w.Run(t, "cf", "push", "twins", "-p", w.app, "-b", "binary_buildpack", "-c", "./app", "-m", "32M", "-k", "64M")
	if got := w.Run(t, "curl", "-sk", "https://twins.apps.ingot.test/"); !strings.Contains(got, "instance 0") {
		t.Errorf("answer %q", got)
	}
	w.Run(t, "cf", "delete", "-f", "-r", "twins")
}

// scales lets many clients at once ask for more instances than the quota has room for.
func (w *abused) scales(t *testing.T) {
	w.Run(t, "cf", "create-space-quota", "narrow", "-m", "320M", "-r", "10")
	w.Run(t, "cf", "create-space", "narrow", "-o", "o", "-q", "narrow")
	w.Run(t, "cf", "target", "-s", "narrow")
	defer w.Run(t, "cf", "target", "-s", "s")
	apps := make([]string, 4)
	atOnce(len(apps), func(i int) { // what is stopped takes nothing of a quota
		name := fmt.Sprintf("q%d", i)
		if out, err := w.cf(t, "push", name, "-p", w.app, "-b", "binary_buildpack", "-c", "./app", "-m", "64M"); err != nil {
			t.Error(out)
		}
		out, _ := w.cf(t, "app", name, "--guid")
		apps[i] = strings.TrimSpace(out)
	})
	var mu sync.Mutex
	seen := map[int]int{}
	atOnce(16, func(i int) {
		status, doc := w.curl(t, "POST", "/v3/apps/"+apps[i%4]+"/processes/web/actions/scale", fmt.Sprintf(`{"instances":%d}`, 2+i/4%2))
		mu.Lock()
		defer mu.Unlock()
		seen[status]++
		if status != 202 && (status != 422 || !strings.Contains(doc, "memory space_quota_exceeded")) {
			t.Errorf("%d %s", status, doc)
		}
	})
	sum := w.Run(t, "sqlite3", "-readonly", w.Data+"/db/cc.db", "SELECT COALESCE(SUM(p.instances * p.memory_mb), 0) FROM app_processes p JOIN app_apps a ON a.guid = p.app_guid WHERE a.name LIKE 'q_' AND a.state = 'STARTED'")
	t.Logf("answers %v, sum %s", seen, sum)
	if strings.TrimSpace(sum) != "320" || seen[202] == 0 || seen[422] == 0 {
		t.Errorf("answers %v, sum %s MB of 320", seen, sum)
	}
	w.Run(t, "cf", "delete-space", "-f", "narrow")
	w.Run(t, "cf", "delete-space-quota", "-f", "narrow")
}

// deletions deletes an app while it is being staged, and one in the middle of a deployment.
func (w *abused) deletions(t *testing.T) {
	pack(t, w, "slow_pack", "99", map[string]string{"compile": "echo compile hangs; sleep 1000"})
	ended := make(chan string)
	go func() {
		out, _ := w.cf(t, "push", "staged", "-p", w.app, "-b", "slow_pack", "-m", "32M", "-k", "64M")
		ended <- out
	}()
	w.Await(t, time.Minute, "staging", func() error {
		out, err := w.cf(t, "logs", "staged", "--recent")
		if err == nil && !strings.Contains(out, "compile hangs") {
			err = fmt.Errorf("%s", out)
		}
		return err
	})
	w.Run(t, "cf", "delete", "-f", "-r", "staged")
	if out := <-ended; strings.Contains(out, "unknown error") {
		t.Error(out)
	}
	w.Run(t, "cf", "push", "rolled", "-p", w.app, "-b", "binary_buildpack", "-c", "./app", "-m", "32M", "-k", "64M", "-i", "2")
	w.Run(t, "cf", "restart", "rolled", "--strategy", "rolling", "--no-wait")
	w.Run(t, "cf", "delete", "-f", "-r", "rolled")
	w.Await(t, time.Minute, "nothing of the deployment", func() error {
		out := w.Run(t, "sqlite3", "-readonly", w.Data+"/db/bbs.db", "SELECT lrp FROM bbs_actual WHERE app NOT IN (SELECT app FROM bbs_desired)")
		if n, err := count(t, w.World, "/v3/deployments?status_values=ACTIVE"); err != nil || n > 0 || out != "" {
			return fmt.Errorf("%d deployments, instances %q: %w", n, out, err)
		}
		return nil
	})
	w.Run(t, "cf", "delete-buildpack", "-f", "slow_pack")
}

// crashes lets an app crash for ever beside one with twenty steady instances.
func (w *abused) crashes(t *testing.T) {
	w.Run(t, "cf", "push", "steady", "-p", w.app, "-b", "binary_buildpack", "-c", "./app", "-m", "16M", "-k", "64M", "-i", "20")
	w.Await(t, time.Minute, "twenty instances", func() error {
		if out, err := w.cf(t, "app", "steady"); err != nil || !strings.Contains(out, "20/20") {
			return fmt.Errorf("%w %s", err, out)
		}
		return nil
	})
	guid := strings.TrimSpace(w.Run(t, "cf", "app", "steady", "--guid"))
	ask := func() time.Duration {
		began := time.Now()
		for range 20 {
			w.Run(t, "cf", "curl", "-f", "/v3/apps/"+guid+"/processes/web/stats")
		}
		return time.Since(began) / 20
	}
	calm := ask()
	w.refused(t, []string{"Start unsuccessful"}, "push", "crasher", "-p", w.app, "-b", "binary_buildpack", "-c", "exit 1", "-m", "16M", "-i", "10")
	now := ask()
	t.Logf("API: %s, when calm %s: %.2f", now, calm, float64(now)/float64(calm))
	if now > 2*calm+20*time.Millisecond {
		t.Errorf("API answers in %s, when calm in %s", now, calm)
	}
	if out := w.Run(t, "cf", "app", "steady"); !strings.Contains(out, "20/20") {
		t.Error(out)
	}
	if n, err := count(t, w.World, "/v3/audit_events?types=audit.app.process.crash&target_guids="+guid); err != nil || n != 0 {
		t.Errorf("%d crashes: %v", n, err)
	}
	w.Run(t, "cf", "delete", "-f", "-r", "steady")
	w.Run(t, "cf", "delete", "-f", "-r", "crasher")
}

// locked holds the locks of both stores from outside for longer than writes wait.
func (w *abused) locked(t *testing.T) {
	const held = 14 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var locks sync.WaitGroup
	for _, db := range []string{"cc", "bbs"} {
		c := w.Command(ctx, "sqlite3", w.Data+"/db/"+db+".db")
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintln(in, "PRAGMA busy_timeout=5000; BEGIN EXCLUSIVE;")
		locks.Go(func() {
			time.Sleep(held) // it is the abuse
			_, _ = fmt.Fprintln(in, "COMMIT;")
			_ = in.Close()
			_ = c.Wait()
		})
	}
	time.Sleep(500 * time.Millisecond)
	began := time.Now()
	if status, doc := w.curl(t, "GET", "/v3/apps", ""); status != 200 || time.Since(began) > 5*time.Second {
		t.Errorf("a read: %d after %s: %s", status, time.Since(began), doc)
	}
	var mu sync.Mutex
	seen := map[int]int{}
	made := map[string]bool{}
	atOnce(4, func(i int) {
		time.Sleep(time.Duration(i) * 2500 * time.Millisecond)
		name := fmt.Sprintf("locked%d", i)
		status, doc := w.curl(t, "POST", "/v3/organizations", `{"name":"`+name+`"}`)
		mu.Lock()
		defer mu.Unlock()
		seen[status]++
		made[name] = status == 201
		if status != 201 && (status != 503 || !strings.Contains(doc, "CF-ServiceUnavailable")) {
			t.Errorf("%s: %d %s", name, status, doc)
		}
	})
	t.Logf("answers %v", seen)
	if seen[201] == 0 || seen[503] == 0 {
		t.Errorf("answers %v: want both", seen)
	}
	locks.Wait()
	for name, is := range made {
		if n, err := count(t, w.World, "/v3/organizations?names="+name); err != nil || (n == 1) != is {
			t.Errorf("%s: answered %t, there are %d: %v", name, is, n, err)
		}
		if is {
			w.Run(t, "cf", "delete-org", "-f", name)
		}
	}
	w.works(t)
}

// full fills the disk of the stores.
func (w *abused) full(t *testing.T) {
	fill := w.Data + "/db/fill"
	w.Run(t, "sh", "-c", "dd if=/dev/zero of="+fill+" bs=64k 2>/dev/null; dd if=/dev/zero of="+fill+" bs=4k oflag=append conv=notrunc 2>/dev/null; test -s "+fill)
	big := strings.Repeat("x", 60000)
	w.Await(t, time.Minute, "a full disk", func() error { // the log of the store has some room of its own
		status, doc := w.curl(t, "PATCH", "/v3/environment_variable_groups/running", `{"var":{"FULL":"`+big+time.Now().String()+`"}}`)
		if status == 503 && strings.Contains(doc, "CF-ServiceUnavailable") {
			return nil
		}
		return fmt.Errorf("%d %s", status, doc)
	})
	if status, doc := w.curl(t, "GET", "/v3/apps", ""); status != 200 {
		t.Errorf("a read: %d: %s", status, doc)
	}
	if err := os.Remove("/proc/" + fmt.Sprint(holderOf(t, w)) + "/root" + fill); err != nil {
		t.Fatal(err)
	}
	if status, doc := w.curl(t, "PATCH", "/v3/environment_variable_groups/running", `{"var":{"FULL":null}}`); status != 200 {
		t.Errorf("with room again: %d %s", status, doc)
	}
	w.works(t)
}

func holderOf(t *testing.T, w *abused) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(w.Dir, "holder"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// works pushes an app and deletes it.
func (w *abused) works(t *testing.T) {
	t.Helper()
	w.Run(t, "cf", "push", "works", "-p", w.app, "-b", "binary_buildpack", "-c", "./app", "-m", "32M", "-k", "64M")
	w.Run(t, "cf", "delete", "-f", "-r", "works")
}
