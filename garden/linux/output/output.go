// Package output carries what a container's program writes from the shim's pipes to writers that are known only later, at
// its start or when it is attached to.
//
// It promises that a writer which fails, or is missing, never blocks the program. It will not keep output: what is
// written while nobody reads stays in the pipes, and once these are full the program waits.
package output

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/pkg/cio"
	"golang.org/x/sys/unix"
)

// Output is the output of one program.
type Output struct {
	out, err late

	mu     sync.Mutex
	pipes  cio.IO
	closed bool
}

// New makes an output whose writers are not known yet.
func New() *Output {
	return &Output{out: late{ready: make(chan struct{})}, err: late{ready: make(chan struct{})}}
}

// Create makes the pipes in a folder. Whoever removes the container removes the folder; Close does not, since the next
// Ingot attaches to the same pipes.
func (o *Output) Create(folder string) cio.Creator {
	return func(id string) (cio.IO, error) {
		f, err := cio.NewFIFOSetInDir(folder, id, false)
		if err != nil {
			return nil, err
		}
		return o.Attach()(f)
	}
}

// Attach opens the pipes that are there.
func (o *Output) Attach() cio.Attach {
	attach := cio.NewAttach(o.streams())
	return func(f *cio.FIFOSet) (cio.IO, error) { return o.opened(attach(cio.NewFIFOSet(f.Config, nil))) }
}

func (o *Output) streams() cio.Opt { return cio.WithStreams(nil, &o.out, &o.err) }

func (o *Output) opened(p cio.IO, err error) (cio.IO, error) {
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pipes = p
	return p, nil
}

// Taken tells whether the pipes are open here.
func (o *Output) Taken() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.pipes != nil
}

// Widen lets the pipes hold more than the usual 64 kB while nobody reads; where the kernel refuses, that stays. The shim
// must have them open: before that, our closing of a pipe would look like the end of the output.
func (o *Output) Widen() {
	c := o.pipes.Config()
	for _, path := range []string{c.Stdout, c.Stderr} {
		if f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0); err == nil {
			_, _ = unix.FcntlInt(f.Fd(), unix.F_SETPIPE_SZ, 1<<20)
			_ = f.Close() // only opened for its size
		}
	}
}

// To lets the output flow; nil discards. Only the first call counts.
func (o *Output) To(out, err io.Writer) {
	o.out.to(out)
	o.err.to(err)
}

// Drain waits until all was written, but not for ever on a writer that is stuck.
func (o *Output) Drain(limit time.Duration) {
	o.mu.Lock()
	p := o.pipes
	o.mu.Unlock()
	if p != nil {
		Drain(p, limit)
	}
}

// Drain waits until all of p was written, or for limit.
func Drain(p cio.IO, limit time.Duration) {
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

// Close ends the copying. The shim keeps the pipes open, so that the program waits rather than fails.
func (o *Output) Close() {
	o.To(nil, nil)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.pipes != nil && !o.closed {
		o.closed = true
		o.pipes.Cancel()
		_ = o.pipes.Close() // nothing can be done
	}
}

// Discard makes a writer that never fails of one that may be nil or fail.
func Discard(w io.Writer) io.Writer {
	l := &late{ready: make(chan struct{})}
	l.to(w)
	return l
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
