package cell

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"ingot/cf"
)

// holds makes the board believe what it was last told.
func (w *world) holds(d cf.DesiredLRP, as ...cf.ActualLRP) {
	w.board.mu.Lock()
	defer w.board.mu.Unlock()
	w.board.lrps, w.board.desired = as, []cf.DesiredLRP{d}
}

func TestRunningInstanceIsTakenUp(t *testing.T) {
	w := newWorld(t)
	more := make(chan string)
	w.host.main = func(ctx context.Context, _ cf.Program, s cf.Streams, sig <-chan int) int {
		for {
			select {
			case text := <-more:
				_, _ = io.WriteString(s.Out, text)
			case n := <-sig:
				return 128 + n
			case <-ctx.Done():
				return 137
			}
		}
	}
	w.start()
	d, a := w.lrp()
	w.startLRP(d, a)
	w.hears("started i-1")
	w.holds(d, w.board.started[0])
	w.restart()
	if cells, _ := w.List(t.Context()); len(cells) != 1 || cells[0].Processes["p-1"] != 1 || cells[0].Free.MemoryMB != 4096-64 {
		t.Errorf("cells %+v", cells)
	}
	w.await("second start", func() bool { return w.board.count("started i-1") == 2 })
	if got := w.board.started[1]; got.Address != "127.0.0.1" || len(got.Ports) != 1 || !got.Ready || got.Index != 1 {
		t.Errorf("taken up as %+v", got)
	}
	more <- "still here\n"
	w.says("[APP/PROC/WEB] still here")
	if w.host.count() != 1 || w.board.heard("crashed i-1") {
		t.Errorf("it did not simply go on: %q", w.board.said)
	}
	if err := w.StopLRP(t.Context(), w.ID, "i-1"); err != nil {
		t.Fatal(err)
	}
	w.hears("stopped i-1")
}

// A sidecar that ends is what the crash tells of; after a restart of Ingot its lines are still its own, whatever is
// desired by then.
func TestSidecars(t *testing.T) {
	w := newWorld(t)
	more := make(chan string)
	w.host.main = func(_ context.Context, _ cf.Program, s cf.Streams, _ <-chan int) int {
		_, _ = io.WriteString(s.Out, <-more)
		return 3
	}
	w.start()
	d, a := w.lrp()
	d.Sidecars = []cf.Sidecar{{Name: "auth", Start: "./auth", MemoryMB: 16}, {Name: "b", Start: "./b"}}
	w.startLRP(d, a)
	w.hears("started i-1")
	b, err := w.host.box("i-1")
	if err != nil {
		t.Fatal(err)
	}
	if got := b.info.Spec.Program.Args[1:]; !slices.Equal(got, []string{"launch", d.Start, "16m", "./auth", "", "./b"}) {
		t.Errorf("launched %q", got)
	}
	d.Sidecars = nil
	w.holds(d, w.board.started[0])
	w.restart()
	w.await("second start", func() bool { return w.board.count("started i-1") == 2 })
	more <- "\x1e1\x1fhello\n\x1e1\x043\n"
	w.hears("crashed i-1")
	w.says("[APP/PROC/WEB/SIDECAR/AUTH] hello")
	w.says("[APP/PROC/WEB/SIDECAR/AUTH] Exit status 3")
	if text := w.board.crashes[0].Text; text != "APP/PROC/WEB/SIDECAR/AUTH: Exited with status 3" {
		t.Errorf("crash says %q", text)
	}
}

func TestInstanceThatEndedMeanwhileHasCrashed(t *testing.T) {
	w := newWorld(t).start()
	d, a := w.lrp()
	w.startLRP(d, a)
	w.hears("started i-1")
	w.holds(d, w.board.started[0])
	if err := w.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := w.host.box("i-1")
	if err != nil {
		t.Fatal(err)
	}
	b.signals <- 15
	<-b.done
	w.restart()
	w.hears("crashed i-1")
	if got := w.board.crashes[0]; got.ExitCode != 143 {
		t.Errorf("crash %+v", got)
	}
	w.await("no container", func() bool { return w.host.count() == 0 })
}

func TestCrashThatWasNotHeardIsToldAtTheNextStart(t *testing.T) {
	w := newWorld(t)
	w.host.main = func(context.Context, cf.Program, cf.Streams, <-chan int) int { return 3 }
	w.board.set("crashed", errors.New("database is away"))
	w.start()
	d, a := w.lrp()
	d.Health.Type = "process"
	w.startLRP(d, a)
	w.says("[APP/PROC/WEB] Exit status 3")
	a.State = cf.LRPClaimed
	w.holds(d, a)
	if err := w.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.host.count() != 1 {
		t.Fatal("the container is gone and with it the exit status")
	}
	w.board.set("crashed", nil)
	w.restart()
	w.hears("crashed i-1")
	if got := w.board.crashes[0].Text; got != "APP/PROC/WEB: Exited with status 3" {
		t.Errorf("crash %q", got)
	}
}

func TestWhatIsGoneIsReported(t *testing.T) {
	w := newWorld(t)
	d, a := w.lrp()
	a.State = cf.LRPRunning
	w.holds(d, a)
	w.board.tasks = []cf.Task{{ID: "t-1", AppID: "app", Start: "x"}, {ID: "b-1", AppID: "app", Staging: &cf.Staging{}, Limits: cf.Limits{LogBytesPerSec: -1}}}
	if _, err := w.host.Create(t.Context(), cf.ContainerSpec{Handle: "b-1", Properties: map[string]string{propertyKind: kindStaging}}); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.hears("stopped i-1")
	w.hears("task done t-1")
	w.hears("task done b-1")
	for _, d := range w.board.done {
		want := map[cf.TaskID]string{"t-1": "task container does not exist", "b-1": "cell restarted during staging"}[d.ID]
		if !d.Failed || d.Reason != want || d.Cell != "cell-1" {
			t.Errorf("done %+v, want %q", d, want)
		}
	}
	w.says("[STG]! cell restarted during staging")
	w.await("no container", func() bool { return w.host.count() == 0 })
}

func TestUnknownAndHalfMadeContainersGo(t *testing.T) {
	w := newWorld(t)
	d, a := w.lrp()
	w.holds(d, a)
	for _, h := range []string{"i-1", "stranger"} { // created, never started
		if _, err := w.host.Create(t.Context(), cf.ContainerSpec{Handle: h, Properties: map[string]string{propertyKind: kindLRP}}); err != nil {
			t.Fatal(err)
		}
	}
	w.start()
	w.hears("stopped i-1")
	w.await("no container", func() bool { return w.host.count() == 0 })
	if w.board.heard("stopped stranger") {
		t.Error("the board was told of a container it does not know")
	}
}

func TestStartFails(t *testing.T) {
	w := newWorld(t)
	w.board.set("holds", errors.New("database is away"))
	if err := w.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "database is away") {
		t.Errorf("got %v", err)
	}
	if err := w.StartLRP(t.Context(), w.ID, cf.DesiredLRP{}, cf.ActualLRP{Instance: "i"}); !cf.IsKind(err, cf.KindUnavailable) {
		t.Errorf("a closed cell took work: %v", err)
	}
	if cells, err := w.List(t.Context()); err != nil || len(cells) != 0 {
		t.Errorf("a closed cell is listed: %v, %v", cells, err)
	}
}

func TestMissingHelperIsOneClearError(t *testing.T) {
	w := newWorld(t)
	w.helpers = fstest.MapFS{}
	if err := w.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "lifecycle was not built into ingot") {
		t.Errorf("got %v", err)
	}
}

func TestTaskIsTakenUp(t *testing.T) {
	w := newWorld(t)
	end := make(chan int)
	w.host.main = func(context.Context, cf.Program, cf.Streams, <-chan int) int { return <-end }
	w.start()
	k := w.program1("t-1")
	w.startTask(k)
	w.says("[CELL] Cell cell-1 successfully created container for instance t-1")
	w.await("start", func() bool { b, err := w.host.box("t-1"); return err == nil && b.running(w.host) })
	w.board.tasks = []cf.Task{k}
	w.restart()
	end <- 0
	w.hears("task done t-1")
	if got := w.board.done[0]; got.Failed {
		t.Errorf("done %+v", got)
	}
}

func (b *box) running(h *host) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return b.info.Started
}

func TestStopIsQuick(t *testing.T) {
	w := newWorld(t).start()
	w.startLRP(w.lrp())
	w.hears("started i-1")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := w.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if b, err := w.host.box("i-1"); err != nil || b.info.Exited {
		t.Error("the app did not survive")
	}
	if w.board.heard("stopped i-1") || w.board.heard("crashed i-1") {
		t.Errorf("heard %q", w.board.said)
	}
}

func TestStopAtAnyMomentLosesNothing(t *testing.T) {
	for i := range 50 {
		w := newWorld(t).start()
		d, a := w.lrp()
		d.Health = cf.HealthCheck{Type: "port"}
		d.Ports = []int{1} // nothing listens there
		w.startLRP(d, a)
		time.Sleep(time.Duration(i) * 50 * time.Microsecond) // each time at another step
		if err := w.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if w.board.heard("crashed i-1") || w.board.heard("stopped i-1") {
			t.Fatalf("a cell that stops told %q", w.board.said)
		}
	}
}
