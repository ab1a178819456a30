package script

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// steadies are the loads of all scripts, by script.
type steadies struct {
	mu  sync.Mutex
	all map[string]*steady
}

// steady is a load that asks for one URL, again and again.
type steady struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	mu     sync.Mutex
	asked  int
	bad    []string
}

// run is the command: steady URL begins to ask for it, four at a time; steady end N ends that, and fails unless at least
// N answers came and all of them were 200.
func (s *steadies) run(ts *testscript.TestScript, neg bool, args []string) {
	key := ts.Getenv("WORK")
	switch {
	case !neg && len(args) == 1:
		l := s.begin(ts, args[0])
		s.mu.Lock()
		if s.all == nil {
			s.all = map[string]*steady{}
		}
		s.all[key] = l
		s.mu.Unlock()
		ts.Defer(l.end)
	case !neg && len(args) == 2 && args[0] == "end":
		s.mu.Lock()
		l := s.all[key]
		s.mu.Unlock()
		l.end()
		var least int
		_, err := fmt.Sscan(args[1], &least)
		ts.Check(err)
		ts.Logf("%d answers", l.asked)
		if l.asked < least || len(l.bad) > 0 {
			ts.Fatalf("%d answers, %d of them bad: %v", l.asked, len(l.bad), l.bad)
		}
	default:
		ts.Fatalf("usage: steady URL | steady end N")
	}
}

func (s *steadies) begin(ts *testscript.TestScript, url string) *steady {
	ctx, cancel := context.WithCancel(context.Background())
	l := &steady{cancel: cancel}
	for range 4 {
		l.done.Go(func() {
			for ctx.Err() == nil {
				// one that has begun may end: what is cut off by the end is no fault of the app
				one, stop := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
				out, err := program(one, ts, []string{"curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", url}).CombinedOutput()
				stop()
				l.mu.Lock()
				if l.asked++; err != nil || string(out) != "200" {
					l.bad = append(l.bad, fmt.Sprintf("%s %s (%v)", time.Now().Format("05.000"), out, err))
				}
				l.mu.Unlock()
			}
		})
	}
	return l
}

func (l *steady) end() {
	l.cancel()
	l.done.Wait()
}
