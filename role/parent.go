package role

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"ingot/kit/lock"
)

// parent is the small process above the worker. It holds the data folder's lock and the listening sockets, so that new
// connections wait while the worker is away; it starts the worker again when that ends; on SIGUSR2 it becomes the binary
// that then lies at its path, with the same pid and sockets.
type parent struct {
	c    Config
	held held
	exe  string
	ran  bool // a worker was ready once: whatever ends one from now on, another is started
}

// errSaid ends the parent of a worker that has told its error already.
var errSaid = errors.New("the worker ended")

func upParent(ctx context.Context, c Config) (err error) {
	p := &parent{c: c}
	if p.exe, err = os.Executable(); err != nil {
		return err
	}
	if p.held, err = adopt(); err != nil {
		return err
	}
	p.ran = len(p.held) > 0
	if err := p.hold(); err != nil {
		return err
	}
	// At every orderly end, and not before: a machine without Ingot resolves names as it did, and an upgrade takes none away.
	return errors.Join(p.run(ctx), newHost(c).Restore(context.WithoutCancel(ctx)))
}

func (p *parent) hold() error {
	if err := makeDataFolder(p.c); err != nil {
		return err
	}
	if p.held["lock"] == nil {
		l, err := lock.Folder(p.c.Data)
		var busy *lock.Busy
		if errors.As(err, &busy) {
			return fmt.Errorf("%w; `ingot status` tells of it, --data chooses another folder", err)
		}
		if err != nil {
			return err
		}
		p.held["lock"] = l.File()
	}
	if p.c.TraceFD >= 0 && p.held["trace"] == nil {
		f := os.NewFile(uintptr(p.c.TraceFD), "trace")
		if _, err := f.Stat(); err != nil {
			return fmt.Errorf("--trace-fd %d is not open: %w", p.c.TraceFD, err)
		}
		p.held["trace"] = f
	}
	return p.held.listen(p.c)
}

// run starts workers until one ends well, or ctx ends and the worker with it.
func (p *parent) run(ctx context.Context) error {
	upgrade := make(chan os.Signal, 1)
	signal.Notify(upgrade, syscall.SIGUSR2)
	defer signal.Stop(upgrade)
	for delay := time.Duration(0); ; {
		w, err := p.start()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return w.end()
		case <-upgrade:
			_ = w.end() // however it ends: the next one repairs what it left
			slog.Error("upgrade: the old one goes on", "binary", p.exe, "error", p.become())
			continue
		case <-w.ended:
		}
		switch ready := w.wasReady(); {
		case w.err == nil:
			return nil
		case ready:
			p.ran, delay = true, 0
		case !p.ran:
			return errSaid
		default:
			delay = min(max(2*delay, time.Second), 30*time.Second)
		}
		slog.Error("the worker ended; another one is started", "error", w.err, "in", delay.String())
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay):
		}
	}
}

// become turns this process into the binary at its path. It returns only if that fails.
func (p *parent) become() error {
	env, err := p.held.keep()
	if err != nil {
		return err
	}
	return syscall.Exec(p.exe, os.Args, append(p.c.environ(), env))
}

// worker is the process that does everything.
type worker struct {
	cmd   *exec.Cmd
	life  *os.File // the other end is the worker's: it writes a byte when it is ready, and stops when this end is gone
	ended chan struct{}
	err   error // once ended
}

// start starts the parent's own binary, even where its path names another one by now, in a process group of its own: a
// terminal's ^C reaches it through the parent only.
func (p *parent) start() (*worker, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	w := &worker{life: os.NewFile(uintptr(fds[0]), "life"), ended: make(chan struct{})}
	theirs := os.NewFile(uintptr(fds[1]), "life")
	p.held["life"] = theirs
	defer func() {
		delete(p.held, "life")
		_ = theirs.Close()
	}()
	w.cmd = exec.Command("/proc/self/exe", append(p.c.flags(), "--worker")...)
	w.cmd.Args[0] = "ingot"
	files, env := p.held.pass()
	w.cmd.ExtraFiles, w.cmd.Env = files, append(p.c.environ(), env)
	w.cmd.Stdout, w.cmd.Stderr = os.Stdout, os.Stderr
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := w.cmd.Start(); err != nil {
		_ = w.life.Close()
		return nil, err
	}
	go func() {
		w.err = w.cmd.Wait()
		close(w.ended)
	}()
	return w, nil
}

// wasReady tells of an ended worker whether it was ready.
func (w *worker) wasReady() bool {
	defer func() { _ = w.life.Close() }()
	n, _ := w.life.Read(make([]byte, 1)) // the byte, or the end
	return n == 1
}

// end stops the worker in order, and hard when that takes too long.
func (w *worker) end() error {
	_ = w.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-w.ended:
	case <-time.After(stopTime + 5*time.Second):
		_ = w.cmd.Process.Kill()
		<-w.ended
	}
	_ = w.life.Close()
	return w.err
}
