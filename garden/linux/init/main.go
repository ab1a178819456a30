// Init is process 1 of every container: `init PROGRAM ARGS...`.
//
// It promises to run the program in a session and process group of its own, to pass signals on to that group, to reap
// every orphan, and to end as the program ended: with its exit code, or 128 and the number of the signal that killed it.
// A program that cannot be found ends with 127, one that cannot be run with 126. When init ends, the kernel ends the rest
// of the container. It will not restart anything, and it says nothing but why a program could not be run.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "init: no program")
		os.Exit(126)
	}
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1,
		syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGCONT, syscall.SIGWINCH)
	path, err := exec.LookPath(args[0])
	if err != nil {
		return refused(args[0], err)
	}
	pid, err := syscall.ForkExec(path, args, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return refused(args[0], err)
	}
	go func() {
		for s := range signals {
			_ = syscall.Kill(-pid, s.(syscall.Signal)) // the group is gone: then so are we in a moment
		}
	}()
	return reap(pid)
}

// reap waits for all children until the program itself has ended.
func reap(program int) int {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			fmt.Fprintln(os.Stderr, "init: wait:", err)
			return 126
		case pid != program:
		case ws.Signaled():
			return 128 + int(ws.Signal())
		case ws.Exited():
			return ws.ExitStatus()
		}
	}
}

func refused(program string, err error) int {
	fmt.Fprintf(os.Stderr, "init: %s: %v\n", program, err)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		return 127
	}
	return 126
}
