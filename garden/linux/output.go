package linux

import (
	"io"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/pkg/cio"
)

// output carries what a container's program writes from the shim's pipes to writers that are known only later, at Start
// or Attach.
type output struct {
	out, err late

	mu     sync.Mutex
	pipes  cio.IO
	closed bool
}

func newOutput() *output {
	return &output{out: late{ready: make(chan struct{})}, err: late{ready: make(chan struct{})}}
}

// streams are for making or attaching the pipes.
func (o *output) streams() cio.Opt { return cio.WithStreams(nil, &o.out, &o.err) }

// opened remembers the pipes.
func (o *output) opened(p cio.IO) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pipes = p
}

// to lets the output flow.
func (o *output) to(out, err io.Writer) {
	o.out.to(out)
	o.err.to(err)
}

// drain waits until all was written, but not for ever on a writer that is stuck.
func (o *output) drain(limit time.Duration) {
	o.mu.Lock()
	p := o.pipes
	o.mu.Unlock()
	if p == nil {
		return
	}
	done := make(chan struct{})
	go func() {
		p.Wait()
		close(done)
	}()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}

// close ends the copying. The shim keeps the pipes open, so that the program waits rather than fails.
func (o *output) close() {
	o.to(nil, nil)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.pipes != nil && !o.closed {
		o.closed = true
		o.pipes.Cancel()
		_ = o.pipes.Close() // the pipes' folder may be gone
	}
}

// late is a writer whose target comes later. It never fails: a target that does is dropped, for an error would end the
// reading of the pipe, and that would block the program.
type late struct {
	ready chan struct{}
	once  sync.Once
	w     io.Writer
}

func (l *late) to(w io.Writer) {
	l.once.Do(func() {
		l.w = w
		close(l.ready)
	})
}

func (l *late) Write(p []byte) (int, error) {
	<-l.ready
	if l.w != nil {
		if _, err := l.w.Write(p); err != nil {
			l.w = nil
		}
	}
	return len(p), nil
}
