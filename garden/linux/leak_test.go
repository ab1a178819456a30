package linux

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"ingot/cf"
	"ingot/garden/linux/cgroup"
)

// leaks says what of a data folder's containers is left on the machine, "" if nothing.
func leaks(t *testing.T, data string) string {
	t.Helper()
	var out []string
	id := folderID(data)
	run := filepath.Join("/run/ingot", id)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, run) || strings.Contains(line, data) {
			out = append(out, "mount "+strings.TrimSpace(line))
		}
	}
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, l := range loops {
		if b, err := os.ReadFile(l); err == nil && strings.Contains(string(b), data) {
			out = append(out, "loop "+strings.TrimSpace(string(b)))
		}
	}
	exes, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, x := range exes {
		if at, err := os.Readlink(x); err == nil && strings.HasPrefix(at, filepath.Join(data, "bin")) {
			out = append(out, "process "+x+" "+at)
		}
	}
	for _, g := range cgroup.Open("ingot-" + id).Handles() {
		out = append(out, "cgroup "+g)
	}
	for _, pattern := range []string{run + "/s/*", run + "/io/*", run + "/t/*", run + "/m/*", run + "/runc/*/*", run + "/state/*/*/*",
		data + "/disks/*.ext4", data + "/exits/*", data + "/containerd/io.containerd.runtime.v2.task/*/*", "/run/containerd/*"} {
		found, _ := filepath.Glob(pattern)
		out = append(out, found...)
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "v"+id) {
			out = append(out, "link "+l.Attrs().Name)
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// order is one line to an engine in a process of its own, and answer what comes back.
type order struct {
	Verb   string
	Handle string
	Spec   cf.ContainerSpec
	Signal int
}

type answer struct {
	Err    string
	Infos  []cf.ContainerInfo
	Exit   cf.Exit
	Output string
	Lost   uint64
}

const dataVar = "INGOT_GARDEN_TEST_DATA"

// serveEngine is the process that the leak tests kill.
func serveEngine() int {
	e := testEngine(os.Getenv(dataVar), netip.MustParsePrefix("10.253.0.0/16"))
	if err := e.Open(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "engine:", err)
		return 1
	}
	if err := e.ImportImage(ctx, "tiny", filepath.Join(worldFolder, "stack.tar")); err != nil {
		fmt.Fprintln(os.Stderr, "engine:", err)
		return 1
	}
	var mu sync.Mutex
	outputs, lost := map[string]*text{}, map[string]uint64{}
	streams := func(handle string) cf.Streams {
		mu.Lock()
		defer mu.Unlock()
		outputs[handle] = &text{}
		return cf.Streams{Out: outputs[handle], Err: outputs[handle], Lost: func(n uint64) {
			mu.Lock()
			defer mu.Unlock()
			lost[handle] += n
		}}
	}
	do := func(o order) (a answer, err error) {
		switch o.Verb {
		case "create":
			if _, err = e.Create(ctx, o.Spec); err == nil {
				err = e.Start(ctx, o.Spec.Handle, streams(o.Spec.Handle))
			}
		case "attach":
			err = e.Attach(ctx, o.Handle, streams(o.Handle))
		case "output":
			mu.Lock()
			a.Output, a.Lost = outputs[o.Handle].String(), lost[o.Handle]
			mu.Unlock()
		case "list":
			a.Infos, err = e.List(ctx)
		case "wait":
			a.Exit, err = e.Wait(ctx, o.Handle)
		case "kill":
			err = e.Kill(ctx, o.Handle, o.Signal)
		case "exec":
			a.Exit, err = e.Exec(ctx, o.Handle, o.Spec.Program, cf.Streams{})
		case "delete":
			err = e.Delete(ctx, o.Handle)
		case "uninstall":
			err = e.Uninstall(ctx)
		}
		return a, err
	}
	fmt.Println("{}")
	in := json.NewDecoder(os.Stdin)
	for {
		var o order
		if err := in.Decode(&o); err != nil {
			return 0
		}
		go func() {
			a, err := do(o)
			if err != nil {
				a.Err = err.Error()
			}
			b, _ := json.Marshal(map[string]any{"Key": o.Verb + o.Handle + o.Spec.Handle, "Answer": a})
			mu.Lock()
			fmt.Println(string(b))
			mu.Unlock()
		}()
	}
}

// process is an engine in a process of its own.
type worker struct {
	t       *testing.T
	cmd     *exec.Cmd
	in      *json.Encoder
	mu      sync.Mutex
	waiting map[string]chan answer
}

func startProcess(t *testing.T, data string) *worker {
	t.Helper()
	p := &worker{t: t, cmd: exec.Command("/proc/self/exe"), waiting: map[string]chan answer{}}
	p.cmd.Env = append(os.Environ(), roleVar+"=engine", dataVar+"="+data)
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	p.in = json.NewEncoder(in)
	lines := bufio.NewReader(out)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal("the engine did not start: ", err)
	}
	go p.listen(lines)
	return p
}

func (p *worker) listen(r io.Reader) {
	for d := json.NewDecoder(r); ; {
		var m struct {
			Key    string
			Answer answer
		}
		if d.Decode(&m) != nil {
			return
		}
		p.mu.Lock()
		p.waiting[m.Key] <- m.Answer
		p.mu.Unlock()
	}
}

// begin sends an order.
func (p *worker) begin(o order) chan answer {
	c := make(chan answer, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting[o.Verb+o.Handle+o.Spec.Handle] = c
	if err := p.in.Encode(o); err != nil {
		p.t.Error(err)
	}
	return c
}

func (p *worker) do(o order) answer {
	p.t.Helper()
	select {
	case a := <-p.begin(o):
		if a.Err != "" {
			p.t.Fatalf("%s %s%s: %s", o.Verb, o.Handle, o.Spec.Handle, a.Err)
		}
		return a
	case <-time.After(60 * time.Second):
		p.t.Fatalf("%s %s%s: no answer", o.Verb, o.Handle, o.Spec.Handle)
		return answer{}
	}
}

// each sends one order for each handle, so many at a time.
func (p *worker) each(atOnce int, handles []string, make func(handle string) order) {
	p.t.Helper()
	for some := range slices.Chunk(handles, atOnce) {
		var cs []chan answer
		for _, h := range some {
			cs = append(cs, p.begin(make(h)))
		}
		for i, c := range cs {
			select {
			case a := <-c:
				if a.Err != "" {
					p.t.Errorf("%+v: %s", make(some[i]), a.Err)
				}
			case <-time.After(60 * time.Second):
				p.t.Fatal("no answer for ", some[i])
			}
		}
	}
}

func (p *worker) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func (p *worker) handles() []string {
	p.t.Helper()
	var out []string
	for _, i := range p.do(order{Verb: "list"}).Infos {
		out = append(out, i.Spec.Handle)
	}
	return out
}

// leakSpec is the container of a number; some end while nobody looks.
func leakSpec(n int) cf.ContainerSpec {
	s := tiny("leak-"+strconv.Itoa(n), "lines", "5")
	s.Limits = cf.Limits{MemoryMB: 32, DiskMB: 32, Pids: 64}
	s.Ports = []int{8080}
	s.Egress = []cf.EgressRule{{Protocol: "tcp", Destinations: []string{"192.0.2.0/24"}, Ports: strconv.Itoa(1000 + n%3)}}
	switch n {
	case 0:
		s.Program.Args = []string{"/program", "serve", "8080"}
	case 1:
		s.Program.Args = []string{"/program", "lines", "30", "50"}
	case 2:
		s.Program.Args = []string{"/program", "eatlater", "1500", "200"}
	}
	return s
}

func TestKilledEngineLeavesNothing(t *testing.T) {
	world(t, "an engine that is killed")
	data := filepath.Join(worldFolder, "leak")
	var all []string
	specs := map[string]cf.ContainerSpec{}
	for n := range 20 {
		s := leakSpec(n)
		all, specs[s.Handle] = append(all, s.Handle), s
	}
	p := startProcess(t, data)
	for cycle := range 3 {
		begin := time.Now()
		p.each(8, all, func(h string) order { return order{Verb: "create", Spec: specs[h]} })
		made := time.Since(begin)
		p.kill()
		for _, h := range []string{"leak-1", "leak-2"} {
			await(t, h+" to end while nobody looks", func() bool {
				f, _ := filepath.Glob(filepath.Join("/run/ingot", folderID(data), "state", "*", "*", h, "exit.json"))
				return len(f) == 1
			})
		}
		begin = time.Now()
		p = startProcess(t, data)
		ready := time.Since(begin)
		reattached(t, p, all)
		begin = time.Now()
		p.each(20, all, func(h string) order { return order{Verb: "delete", Handle: h} })
		t.Logf("cycle %d: 20 made in %s, ready again in %s, 20 deleted in %s", cycle, made, ready, time.Since(begin))
		awaitNoLeak(t, data)
	}
	p.do(order{Verb: "uninstall"})
	uninstalled(t, data)
}

// reattached checks that all containers of a killed engine are still what they were.
func reattached(t *testing.T, p *worker, all []string) {
	t.Helper()
	infos := p.do(order{Verb: "list"}).Infos
	if len(infos) != len(all) {
		t.Fatalf("%d of %d containers are known", len(infos), len(all))
	}
	for _, i := range infos {
		ended := i.Spec.Handle == "leak-1" || i.Spec.Handle == "leak-2"
		if !i.Started || i.Exited != ended || len(i.Ports) != 1 {
			t.Errorf("%+v", i)
		}
		if i.Spec.Handle == "leak-0" {
			for _, at := range []string{i.Address + ":8080", fmt.Sprintf("10.253.0.1:%d", i.Ports[0].Host)} {
				if got := dialed(at); got != "hello" {
					t.Errorf("%s: %s", at, got)
				}
			}
		}
	}
	if x := p.do(order{Verb: "wait", Handle: "leak-1"}).Exit; x.Code != 33 || x.OOM {
		t.Errorf("%+v", x)
	}
	if x := p.do(order{Verb: "wait", Handle: "leak-2"}).Exit; x.Code != 137 || !x.OOM {
		t.Errorf("%+v", x)
	}
	p.each(20, all, func(h string) order { return order{Verb: "attach", Handle: h} })
	await(t, "output", func() bool { return strings.Count(p.do(order{Verb: "output", Handle: "leak-5"}).Output, "\n") > 100 })
	contiguous(t, p.do(order{Verb: "output", Handle: "leak-5"}).Output)
	if x := p.do(order{Verb: "exec", Handle: "leak-7", Spec: cf.ContainerSpec{Program: cf.Program{Args: []string{"/program", "exit", "9"}}}}).Exit; x.Code != 9 {
		t.Errorf("%+v", x)
	}
	p.do(order{Verb: "kill", Handle: "leak-0", Signal: 15})
	if x := p.do(order{Verb: "wait", Handle: "leak-0"}).Exit; x.Code != 21 {
		t.Errorf("%+v", x)
	}
	if out := p.do(order{Verb: "output", Handle: "leak-0"}).Output; out != "bye\n" {
		t.Errorf("%q", out)
	}
}

var numbered = regexp.MustCompile(`(?m)^line (\d+)$`)

// contiguous checks that no line is missing, whatever the first was.
func contiguous(t *testing.T, out string) {
	t.Helper()
	last := -1
	for _, m := range numbered.FindAllStringSubmatch(out, -1) {
		n, _ := strconv.Atoi(m[1])
		if last >= 0 && n != last+1 {
			t.Errorf("line %d follows line %d", n, last)
		}
		last = n
	}
}

func awaitNoLeak(t *testing.T, data string) {
	t.Helper()
	var left string
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if left = leaks(t, data); left == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("left behind:\n%s", left)
		}
	}
}

func TestEngineKilledWhileCreatingLeavesNothing(t *testing.T) {
	world(t, "an engine that is killed while it makes containers")
	data := filepath.Join(worldFolder, "mid")
	var all []string
	specs := map[string]cf.ContainerSpec{}
	for n := 3; n < 11; n++ {
		s := leakSpec(n)
		all, specs[s.Handle] = append(all, s.Handle), s
	}
	p := startProcess(t, data)
	begin := time.Now()
	p.each(8, all, func(h string) order { return order{Verb: "create", Spec: specs[h]} })
	whole := time.Since(begin)
	p.each(8, all, func(h string) order { return order{Verb: "delete", Handle: h} })
	const tries = 12
	for try := range tries {
		for _, h := range all {
			p.begin(order{Verb: "create", Spec: specs[h]})
		}
		time.Sleep(whole * time.Duration(try+1) / tries) // each try shall be killed at another moment
		p.kill()
		p = startProcess(t, data)
		kept := p.handles()
		t.Logf("killed after %d of %d parts of %s: %d containers outlived", try+1, tries, whole, len(kept))
		p.each(8, kept, func(h string) order { return order{Verb: "delete", Handle: h} })
		awaitNoLeak(t, data)
	}
	p.do(order{Verb: "uninstall"})
	uninstalled(t, data)
}

// Not even a broken database keeps what is outside the data folder from being removed.
func TestUninstallOfABrokenFolder(t *testing.T) {
	world(t, "an engine that is killed")
	data := filepath.Join(worldFolder, "broken")
	p := startProcess(t, data)
	p.each(4, []string{"leak-0", "leak-3", "leak-4", "leak-5"}, func(h string) order {
		n, _ := strconv.Atoi(strings.TrimPrefix(h, "leak-"))
		return order{Verb: "create", Spec: leakSpec(n)}
	})
	p.kill()
	if err := os.WriteFile(filepath.Join(data, "containerd/io.containerd.metadata.v1.bolt/meta.db"), []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := testEngine(data, netip.MustParsePrefix("10.253.0.0/16"))
	for range 2 {
		if err := e.Uninstall(ctx); err != nil {
			t.Fatal(err)
		}
	}
	awaitNoLeak(t, data)
	uninstalled(t, data)
	if err := testEngine(filepath.Join(worldFolder, "never-opened"), netip.Prefix{}).Uninstall(ctx); err != nil {
		t.Error("of what was never there:", err)
	}
}

// uninstalled checks that nothing of a data folder is left outside it.
func uninstalled(t *testing.T, data string) {
	t.Helper()
	id := folderID(data)
	if _, err := os.Stat("/run/ingot/" + id); err == nil {
		t.Error("/run is left")
	}
	if found := cgroup.Open("ingot-" + id).Folders(""); len(found) != 0 {
		t.Error(found)
	}
	if _, err := netlink.LinkByName("ingot" + id); err == nil {
		t.Error("gateway is left")
	}
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ListTableOfFamily("ingot_"+id, nftables.TableFamilyINet); err == nil {
		t.Error("table is left")
	}
	if _, err := os.Stat(filepath.Join(data, "sysctl.json")); err == nil {
		t.Error("sysctl is not set back")
	}
}
