package linux

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"

	"ingot/cf"
	"ingot/garden/linux/output"
	"ingot/garden/linux/spec"
)

// Start runs the program. A nil writer discards.
func (e *Engine) Start(ctx context.Context, handle string, s cf.Streams) error {
	c, err := e.get(handle)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.started.Load() || c.gone || c.task == nil {
		return cf.Errorf(cf.KindConflict, "", "container %q was started before", handle)
	}
	c.out.To(s.Out, s.Err, s.Lost)
	if err := c.task.Start(e.daemon.Context(ctx)); err != nil {
		return fmt.Errorf("start container %s: %w", handle, err)
	}
	c.started.Store(true)
	return nil
}

// Attach takes up the output of a container that runs since before this process, or ended since; of that it returns when
// all was written.
func (e *Engine) Attach(_ context.Context, handle string, s cf.Streams) error {
	c, err := e.get(handle)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.started.Load() {
		return cf.Errorf(cf.KindConflict, "", "container %q was not started", handle)
	}
	if c.out.Taken() {
		return cf.Errorf(cf.KindConflict, "", "the output of container %q is taken", handle)
	}
	if c.task == nil || c.ended() {
		c.out.To(s.Out, s.Err, s.Lost)
		return c.out.Rest(e.pipes(handle), handle)
	}
	ct, err := e.daemon.Client.LoadContainer(e.ctx, handle)
	if err != nil {
		return fmt.Errorf("attach to %s: %w", handle, err)
	}
	if _, err = ct.Task(e.ctx, c.out.Attach()); err != nil {
		return fmt.Errorf("attach to %s: %w", handle, err)
	}
	c.out.To(s.Out, s.Err, s.Lost)
	return nil
}

// Wait returns when the program has ended.
func (e *Engine) Wait(ctx context.Context, handle string) (cf.Exit, error) {
	c, err := e.get(handle)
	if err != nil {
		return cf.Exit{}, err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return cf.Exit{}, ctx.Err()
	case <-e.ctx.Done():
		return cf.Exit{}, cf.Wrap(cf.KindUnavailable, "", "the container engine stops", e.ctx.Err())
	}
	if e.ctx.Err() != nil { // what ended is our waiting, not the program
		return cf.Exit{}, cf.Wrap(cf.KindUnavailable, "", "the container engine stops", e.ctx.Err())
	}
	return c.exit, nil
}

// Kill sends a signal; to one that has ended it is no error.
func (e *Engine) Kill(ctx context.Context, handle string, signal int) error {
	c, err := e.get(handle)
	if err != nil || c.task == nil || c.ended() {
		return err
	}
	err = c.task.Kill(e.daemon.Context(ctx), syscall.Signal(signal))
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("signal %d to container %s: %w", signal, handle, err)
	}
	return nil
}

// Exec runs another program and returns when it and its output have ended. What it leaves in its process group is ended
// with it. A reader In that never ends is not read any more, but may keep one goroutine.
func (e *Engine) Exec(ctx context.Context, handle string, p cf.Program, s cf.Streams) (cf.Exit, error) {
	if err := spec.CheckProgram(p); err != nil {
		return cf.Exit{}, err
	}
	c, task, err := e.running(handle)
	if err != nil {
		return cf.Exit{}, err
	}
	x := &execution{engine: e, in: s.In, eof: make(chan struct{})}
	streams := cio.WithStreams(x.stdin(), output.Discard(s.Out), output.Discard(s.Err))
	nctx := e.daemon.Context(context.WithoutCancel(ctx)) // what was begun must be cleaned up
	x.Process, err = task.Exec(nctx, "x"+rand.Text(), spec.Process(p, c.Spec.Limits.FileDescriptors),
		cio.NewCreator(streams, cio.WithFIFODir(e.pipes(handle))))
	if err != nil {
		return cf.Exit{}, fmt.Errorf("exec in %s: %w", handle, err)
	}
	exit, err := x.run(ctx, nctx)
	if err != nil {
		return cf.Exit{}, fmt.Errorf("exec in %s: %w", handle, err)
	}
	return exit, nil
}

// execution is one Exec.
type execution struct {
	client.Process
	engine *Engine
	in     io.Reader
	eof    chan struct{}
	once   sync.Once
}

func (x *execution) run(ctx, nctx context.Context) (cf.Exit, error) {
	defer x.once.Do(func() { close(x.eof) })
	end, err := x.Wait(nctx)
	if err != nil {
		return cf.Exit{}, err
	}
	if err := x.Start(nctx); err != nil {
		_, e := x.Delete(nctx)
		return cf.Exit{}, errors.Join(refusal(err), e)
	}
	if x.in != nil {
		go func() {
			<-x.eof
			_ = x.CloseIO(nctx, client.WithStdinCloser) // the program may have ended
		}()
	}
	stop := context.AfterFunc(ctx, x.killGroup)
	status := <-end
	stop()
	x.killGroup() // or the shim waits 10 s for those that hold the pipes
	output.Drain(x.IO(), 5*time.Second)
	if _, err := x.Delete(nctx); err != nil && !errdefs.IsNotFound(err) {
		x.engine.Log.Warn("exec left something", "error", err)
	}
	code, at, err := status.Result()
	if err == nil {
		err = ctx.Err()
	}
	return cf.Exit{Code: int(code), At: at}, err
}

// killGroup ends the program with its children: it leads a process group. Its pid is that of the host.
func (x *execution) killGroup() {
	if pid := int(x.Pid()); pid > 0 {
		_ = syscall.Kill(-pid, syscall.SIGKILL) // usually it is gone
	}
}

// stdin passes the input on and tells when it ends: closing our end of the pipe is not enough.
func (x *execution) stdin() io.Reader {
	if x.in == nil {
		return nil
	}
	return readerFunc(func(p []byte) (int, error) {
		n, err := x.in.Read(p)
		if err != nil {
			x.once.Do(func() { close(x.eof) })
		}
		return n, err
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// refusal tells a program that cannot be run from an engine that cannot run it.
func refusal(err error) error {
	if strings.Contains(err.Error(), "unable to start container process") { // runc's words; its error has no kind
		return cf.Wrap(cf.KindUnprocessable, "", "the program cannot be run", err)
	}
	return err
}
