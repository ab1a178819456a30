package cell

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ingot/buildpacks/stack"
	"ingot/cf"
	"ingot/garden/linux"
	"ingot/kit/need"
)

// The world test runs a cell on the real containers of garden/linux, in namespaces of its own. The test enters itself
// again: as the holder, process 1 of the namespaces, and as the phases, each a process that may die as Ingot may. The
// data folder is always the same one, so that a run removes what a killed one left.

const (
	phaseVar  = "INGOT_CELL_TEST_PHASE"
	delayVar  = "INGOT_CELL_TEST_DELAY"
	worldData = "/var/tmp/ingot-cell-test"
	// server is an app of the stack's own programs.
	server = `while true; do printf 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello' | nc -l -q 0 -p $PORT >/dev/null; done`
)

func TestWorld(t *testing.T) {
	switch phase := os.Getenv(phaseVar); phase {
	case "":
		need.World(t, "containers, the stack, built helpers")
		if _, _, err := stack.Build(t.Context(), need.Cache(), os.Stderr); err != nil { // here there is a network
			t.Fatal(err)
		}
		again(t, "holder", "", &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL})
	case "holder":
		hold(t)
	case "clean":
		openPhase(t).clean()
	case "stage":
		openPhase(t).stage()
	case "die":
		openPhase(t).die()
	case "after":
		openPhase(t).after()
	}
}

// again runs this test in another process.
func again(t *testing.T, phase, delay string, attr *syscall.SysProcAttr) {
	t.Helper()
	runtime.LockOSThread() // the death signal is that of this thread
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestWorld$", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), phaseVar+"="+phase, delayVar+"="+delay, "TMPDIR="+t.TempDir()) // whoever dies leaves no folder
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &out, &out, attr
	err := cmd.Run()
	var dead *exec.ExitError
	if phase == "die" && errors.As(err, &dead) && dead.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return
	}
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", phase, delay, err, &out)
	}
}

func hold(t *testing.T) {
	for _, m := range []struct{ kind, at string }{{"proc", "/proc"}, {"tmpfs", "/run"}} {
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			t.Fatal(m.at, err)
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatal(err)
	}
	again(t, "clean", "", nil) // what a killed run left
	again(t, "stage", "", nil)
	for _, delay := range []string{"0ms", "10ms", "40ms", "80ms", "150ms", "300ms", "1s"} {
		again(t, "die", delay, nil)
		again(t, "after", delay, nil)
	}
	again(t, "clean", "", nil)
	if err := os.RemoveAll(worldData); err != nil {
		t.Error(err)
	}
	if mounts, err := os.ReadFile("/proc/mounts"); err != nil || strings.Contains(string(mounts), worldData) {
		t.Errorf("mounts are left: %s, %v", mounts, err)
	}
}

// phase is a cell with real containers.
type phase struct {
	*world
	garden *linux.Engine
}

// kept is what the board keeps from phase to phase.
type kept struct {
	Desired cf.DesiredLRP
	Actual  cf.ActualLRP
	Task    cf.Task
	Blobs   map[string][]byte
}

func openPhase(t *testing.T) *phase {
	t.Helper()
	w := newWorld(t)
	p := &phase{world: w, garden: &linux.Engine{Data: filepath.Join(worldData, "garden")}}
	if err := p.garden.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if images, _ := p.garden.Images(t.Context()); len(images) == 0 && os.Getenv(phaseVar) != "clean" {
		tar, _, err := stack.Build(t.Context(), need.Cache(), os.Stderr)
		if err == nil {
			err = p.garden.ImportImage(t.Context(), stack.Name, tar)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	p.Cell = &Cell{ID: "cell-1", Data: filepath.Join(worldData, "cell"), Containers: p.garden, Board: w.board, Blobs: w.store, Logs: w.logs}
	return p
}

func (p *phase) keep(k kept) {
	p.t.Helper()
	text, err := json.Marshal(k)
	if err == nil {
		err = os.WriteFile(filepath.Join(worldData, "kept"), text, 0o600)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *phase) kept() (k kept) {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(worldData, "kept"))
	if err == nil {
		err = json.Unmarshal(text, &k)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.store.blobs = k.Blobs
	return k
}

func (p *phase) clean() {
	if err := p.garden.Uninstall(context.Background()); err != nil {
		p.t.Error(err)
	}
}

// stage builds a droplet with a buildpack of three scripts, twice: the second time there is a cache.
func (p *phase) stage() {
	p.start()
	k := p.staging()
	pack := zipOf(p.t, map[string]string{"bin/detect": "#!/bin/sh\nexit 1\n",
		"bin/compile": "#!/bin/bash\necho \"-----> as $(id -un) on $(. /etc/lsb-release; echo $DISTRIB_CODENAME)\"; cat $2/seen; echo again > $2/seen; [ -z \"$FAIL\" ]\n",
		"bin/release": "#!/bin/bash\necho '{default_process_types: {web: serve}}'\n"})
	k.Staging.Package = p.blob(cf.BlobPackage, zipOf(p.t, map[string]string{"readme": "x"}))
	k.Staging.Buildpacks = []cf.BuildpackRef{{Name: "custom_buildpack", Blob: p.blob(cf.BlobBuildpack, pack), SkipDetect: true}}
	p.startTask(k)
	p.hears("task done b-1")
	got := p.board.done[0]
	if got.Failed || got.Result.ProcessTypes["web"] != "serve" {
		p.t.Fatalf("done %+v\n%s", got, strings.Join(p.logs.lines(), "\n"))
	}
	p.says("[STG] -----> as vcap on jammy")
	k.ID, k.Env = "b-2", []string{"FAIL=1"}
	p.startTask(k)
	p.hears("task done b-2")
	if f := p.board.done[1]; !f.Failed || f.Reason != "STG: Exited with status 223" {
		p.t.Errorf("done %+v", f)
	}
	p.says("[STG] again")
	p.says("[STG] Cell cell-1 successfully destroyed container for instance b-2")
	d, _ := p.lrp(8080)
	d.Droplet, d.Start, d.Health.Type = got.Result.Droplet, server, "port"
	p.crashes(d)
	p.keep(kept{Desired: d, Task: k, Blobs: p.store.blobs})
	p.close()
}

// crashes runs an app that ends and one that takes too much memory.
func (p *phase) crashes(d cf.DesiredLRP) {
	p.t.Helper()
	d.Health.Type = "process"
	for start, want := range map[string]string{
		"echo out; echo err >&2; exit 3":           "APP/PROC/WEB: Exited with status 3",
		"exec python3 -c 'x=bytearray(500000000)'": "APP/PROC/WEB: Exited with status 137 (out of memory)",
	} {
		d.Start = start
		a := cf.ActualLRP{LRP: d.ID, AppID: d.AppID, Instance: cf.NewInstanceID()}
		p.startLRP(d, a)
		p.hears("crashed " + string(a.Instance))
		if got := p.board.crashes[len(p.board.crashes)-1].Text; got != want {
			p.t.Errorf("crash %q, want %q", got, want)
		}
	}
	p.says("[APP/PROC/WEB] out")
	p.says("[APP/PROC/WEB]! err")
}

// die starts an instance and a staging, and ends this process a moment later.
func (p *phase) die() {
	k := p.kept()
	k.Task.ID, k.Task.Env, k.Task.State = "b-3", nil, cf.TaskRunning
	k.Actual = cf.ActualLRP{LRP: k.Desired.ID, AppID: k.Desired.AppID, Instance: cf.NewInstanceID(), State: cf.LRPClaimed}
	p.keep(k)
	p.start()
	p.startTask(k.Task)
	p.startLRP(k.Desired, k.Actual)
	delay, err := time.ParseDuration(os.Getenv(delayVar))
	if err != nil {
		p.t.Fatal(err)
	}
	time.Sleep(delay)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// after takes up what die left: the instance runs on under its guid, or its start is given up; the staging has failed, unless
// it had ended; and nothing stays.
func (p *phase) after() {
	k := p.kept()
	p.holds(k.Desired, k.Actual)
	p.board.tasks = []cf.Task{k.Task}
	p.start()
	p.hears("task done b-3")
	if got := p.board.done[0]; !got.Failed || got.Reason != "cell restarted during staging" {
		p.t.Errorf("done %+v", got)
	}
	i := string(k.Actual.Instance)
	p.await("the instance's fate", func() bool { return p.board.heard("started "+i) || p.board.heard("stopped "+i) })
	if p.board.heard("started " + i) {
		p.await("an answer", func() bool { return hello(p.board.started[0].Address) })
		if err := p.StopLRP(p.t.Context(), p.ID, k.Actual.Instance); err != nil {
			p.t.Fatal(err)
		}
		p.hears("stopped " + i)
	}
	if os.Getenv(delayVar) == "1s" && !p.board.heard("started "+i) {
		p.t.Error("an instance that ran for a second was not taken up")
	}
	p.await("no container", func() bool { all, err := p.garden.List(p.t.Context()); return err == nil && len(all) == 0 })
	p.close()
}

// close ends the engine after the cell.
func (p *phase) close() {
	if err := errors.Join(p.Stop(p.t.Context()), p.garden.Close(p.t.Context())); err != nil {
		p.t.Error(err)
	}
}

func hello(address string) bool {
	r, err := (&http.Client{Timeout: time.Second}).Get("http://" + address + ":8080/")
	if err != nil {
		return false
	}
	defer func() { _ = r.Body.Close() }()
	text, err := io.ReadAll(r.Body)
	return err == nil && string(text) == "hello"
}
