// Package output carries what a container's program writes from the shim's pipes to writers that are known only later, at
// its start or when it is attached to.
//
// It promises that a writer which fails, is missing or is slow never blocks the program for long. It will not keep output:
// what is not taken yet is in the pipes, of which the shim drops the oldest when they stay full (package valve).
package output

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/pkg/cio"

	"ingot/garden/linux/valve"
)

// Output is the output of one program.
type Output struct {
	out, err late

	mu     sync.Mutex
	pipes  cio.IO
	rest   bool // was handed on
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
	o.out.path, o.err.path = p.Config().Stdout, p.Config().Stderr
	return p, nil
}

// Taken tells whether somebody has the output already.
func (o *Output) Taken() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.pipes != nil || o.rest
}

// Keep takes what a program that has ended left in its pipes out of them, into files in the same folder: the pipes do not
// outlive their shim.
func Keep(folder, id string) error {
	return errors.Join(rest(folder, id+"-stdout", nil), rest(folder, id+"-stderr", nil))
}

// Rest hands on what a program that has ended left in its pipes, or Keep took out of them. The files stay: who is killed
// meanwhile hands it on again.
func (o *Output) Rest(folder, id string) error {
	o.mu.Lock()
	o.rest = true
	o.mu.Unlock()
	return errors.Join(rest(folder, id+"-stdout", &o.out), rest(folder, id+"-stderr", &o.err))
}

// soon is how long a program's last output may take through its shim.
const soon = time.Second

// rest keeps what is left in a pipe, and hands it to l, if not nil.
func rest(folder, name string, l *late) error {
	found, err := filepath.Glob(filepath.Join(folder, "*", name)) // the folder between is containerd's
	for _, path := range found {
		f, e := valve.Keep(path, soon)
		if e == nil && l != nil {
			l.path = path
			_, e = io.Copy(l, f)
		}
		if err = errors.Join(err, e); f != nil {
			_ = f.Close() // it was read
		}
	}
	return err
}

// To lets the output flow; nil discards. Lost, if not nil, is told of bytes that were dropped; then the output goes on with a
// whole line. Only the first call counts.
func (o *Output) To(out, err io.Writer, lost func(bytes uint64)) {
	o.out.to(out, lost)
	o.err.to(err, lost)
}

// last is what is still taken of output that its writers do not get done with: the newest bytes.
const last = 64 << 10

// Drain waits until all was written, but not for ever on writers that are slow or stuck.
func (o *Output) Drain(limit time.Duration) {
	o.mu.Lock()
	p := o.pipes
	o.mu.Unlock()
	if p == nil || Drain(p, limit/2) {
		return
	}
	for _, l := range []*late{&o.out, &o.err} {
		select {
		case <-l.ready:
			l.missed(valve.Trim(l.path, last))
		default: // nobody has asked for it yet
		}
	}
	Drain(p, limit/2)
}

// Drain waits until all of p was written, or for limit; then it is false.
func Drain(p cio.IO, limit time.Duration) bool {
	done := make(chan struct{})
	go func() {
		p.Wait()
		close(done)
	}()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

// Close ends the copying. The shim keeps the pipes open, so that the program waits rather than fails.
func (o *Output) Close() {
	o.To(nil, nil, nil)
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
	l.to(w, nil)
	return l
}

// late is a writer whose target comes later. It never fails: a target that does is dropped, for an error would end the
// reading of the pipe, and that would block the program.
type late struct {
	ready chan struct{}
	once  sync.Once
	w     io.Writer
	lost  func(bytes uint64)
	path  string      // of the pipe; empty: it loses nothing
	begun bool        // to be read
	cut   atomic.Bool // what comes is not the beginning of a line
}

func (l *late) to(w io.Writer, lost func(uint64)) {
	l.once.Do(func() {
		l.w, l.lost = w, lost
		close(l.ready)
	})
}

// full is what is read at least of a pipe that has lost something, for then there is much in it.
const full = 16 << 10

func (l *late) Write(p []byte) (int, error) {
	<-l.ready
	n := len(p)
	if l.path != "" && (!l.begun || n >= full) {
		l.begun = true
		_ = valve.Lost(l.path, l.missed) // else it is told with the next loss
	}
	if l.cut.Swap(false) {
		l.pass([]byte{'\n'})
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			p = p[i+1:]
		}
	}
	l.pass(p)
	return n, nil
}

func (l *late) pass(p []byte) {
	if l.w != nil {
		if _, err := l.w.Write(p); err != nil {
			l.w = nil
		}
	}
}

func (l *late) missed(bytes uint64) {
	if bytes > 0 {
		l.cut.Store(true)
		if l.lost != nil {
			l.lost(bytes)
		}
	}
}
