package launcher

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ingot/kit/mux"
)

// ran is what a group wrote.
type ran struct {
	mu  sync.Mutex
	all []string
}

func (r *ran) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, fmt.Sprintf(format, args...))
}

func (r *ran) lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

func (r *ran) pipe(name string) *mux.Splitter {
	return &mux.Splitter{
		Line: func(n int, text []byte) { r.say("%s %d %s", name, n, strings.TrimSpace(string(text))) },
		End:  func(n, code int) { r.say("end %d %d", n, code) },
	}
}

func group(r *ran, commands ...string) Group {
	g := Group{Out: r.pipe("out"), Err: r.pipe("err"), grace: 200 * time.Millisecond}
	for _, c := range commands {
		g.Programs = append(g.Programs, Exec{Path: "/bin/bash", Args: []string{"bash", "-c", c}, Env: os.Environ()})
	}
	return g
}

func TestGroupEndsWithItsFirst(t *testing.T) {
	for name, c := range map[string]struct {
		commands []string
		code     int
		want     []string
	}{
		"the process":      {[]string{"echo main; exit 3", "sleep 100"}, 3, []string{"out 0 main", "end 0 3"}},
		"a sidecar":        {[]string{"sleep 100", "sleep 100", "echo side >&2; exit 0"}, 0, []string{"err 2 side", "end 2 0"}},
		"by a signal":      {[]string{"sleep 100", "kill -9 $$"}, 137, []string{"end 1 137"}},
		"others may close": {[]string{"exec 2>/dev/null; trap 'echo closing; exit 1' TERM; echo up; while :; do sleep 0.01; done", "sleep 0.3; exit 5"}, 5, []string{"out 0 up", "end 1 5", "out 0 closing"}},
		"others are deaf":  {[]string{"trap '' TERM; while :; do sleep 0.01; done", "exit 6"}, 6, []string{"end 1 6"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &ran{}
			begin := time.Now()
			if code := group(r, c.commands...).Run(); code != c.code || time.Since(begin) > 5*time.Second {
				t.Errorf("ended with %d after %s", code, time.Since(begin))
			}
			if got := r.lines(); !slices.Equal(got, c.want) {
				t.Errorf("wrote %q, want %q", got, c.want)
			}
		})
	}
}

func TestGroupThatCannotStart(t *testing.T) {
	r := &ran{}
	g := group(r, "sleep 100")
	g.Programs = append(g.Programs, Exec{Path: "/no/such", Args: []string{"x"}})
	if code := g.Run(); code != 126 || !slices.Contains(r.lines(), "end 1 126") {
		t.Errorf("%d, %q", code, r.lines())
	}
}

// A signal to the launcher reaches all; their launcher waits for them.
func TestGroupPassesSignalsOn(t *testing.T) {
	r := &ran{}
	deaf := "trap 'echo got; sleep 0.05; exit 9' TERM; echo up; while :; do sleep 0.01; done"
	code := make(chan int, 1)
	go func() { code <- group(r, deaf, deaf).Run() }()
	for len(r.lines()) < 2 {
		time.Sleep(time.Millisecond)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if c := <-code; c != 9 || !slices.Contains(r.lines(), "out 0 got") || !slices.Contains(r.lines(), "out 1 got") {
		t.Errorf("%d, %q", c, r.lines())
	}
}
