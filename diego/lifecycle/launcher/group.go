package launcher

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"ingot/kit/mux"
)

// grace is what the others get between SIGTERM and SIGKILL once one program has ended.
const grace = 10 * time.Second

// Group runs a process (0) and its sidecars (1, 2, ...) beside each other. The launcher stays with them: it passes
// signals on, marks which of them wrote which line (kit/mux), and ends the others when one of them ends.
type Group struct {
	Programs []Exec
	Out, Err io.Writer

	grace time.Duration // tests are less patient
}

// member is one program that was started. It leads a process group.
type member struct {
	*exec.Cmd
	out, err *mux.Writer
	number   int
}

// Run returns the exit code of the program that ended first, when all have ended.
func (g Group) Run() (code int) {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGCONT)
	defer signal.Stop(signals)
	out, errs := mux.NewPipe(g.Out), mux.NewPipe(g.Err)
	ended := make(chan *member, len(g.Programs))
	var all []*member
	var kill <-chan time.Time
	first := func(number, status int) {
		if kill != nil {
			return
		}
		code = status
		_ = out.End(number, status) // who cannot hear it, cannot
		signalAll(all, syscall.SIGTERM)
		kill = time.After(cmp.Or(g.grace, grace))
	}
	for i, e := range g.Programs {
		m := &member{number: i, out: out.Writer(i), err: errs.Writer(i)}
		m.Cmd = &exec.Cmd{Path: e.Path, Args: e.Args, Env: e.Env, Stdout: m.out, Stderr: m.err, WaitDelay: time.Second,
			SysProcAttr: &syscall.SysProcAttr{Setpgid: true}}
		if err := m.Start(); err != nil {
			_, _ = fmt.Fprintf(m.err, "%s: %v\n", e.Path, err)
			first(i, 126)
			break
		}
		all = append(all, m)
		go func() {
			_ = m.Wait() // ProcessState says it
			ended <- m
		}()
	}
	for left := len(all); left > 0; {
		select {
		case s := <-signals:
			signalAll(all, s.(syscall.Signal))
		case <-kill:
			signalAll(all, syscall.SIGKILL)
		case m := <-ended:
			_, _ = m.out.Close(), m.err.Close()
			left--
			first(m.number, m.code())
		}
	}
	return code
}

func signalAll(all []*member, s syscall.Signal) {
	for _, m := range all {
		if err := syscall.Kill(-m.Process.Pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
			fmt.Fprintln(os.Stderr, "launcher: signal:", err)
		}
	}
}

// code is the exit code as a shell tells it.
func (m *member) code() int {
	if ws, ok := m.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return m.ProcessState.ExitCode()
}
