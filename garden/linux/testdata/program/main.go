// Program is what the tests run in containers: `program VERB ARGS...`.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	verbs := map[string]func([]string) int{"serve": serve, "dial": dial, "eat": eat, "eatlater": eatLater, "fork": fork, "fill": fill, "about": about,
		"exit": exit, "cat": cat, "lines": lines, "flood": flood, "sleep": sleep, "crash": crash, "orphans": orphans, "forbidden": forbidden, "touch": touch, "read": read}
	os.Exit(verbs[os.Args[1]](os.Args[2:]))
}

// serve answers each connection on a port with "hello", and ends with 21 on SIGTERM.
func serve(a []string) int {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	l, err := net.Listen("tcp", ":"+a[0])
	if err != nil {
		return fail(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			_ = c.Close()
		}
	}()
	fmt.Println("ready")
	<-term
	fmt.Println("bye")
	return 21
}

// dial says "open" or why not: dial tcp|udp ADDRESS.
func dial(a []string) int {
	c, err := net.DialTimeout(a[0], a[1], 3*time.Second)
	if err != nil {
		return fail(err)
	}
	_ = c.SetDeadline(time.Now().Add(3 * time.Second))
	if a[0] == "udp" {
		_, _ = c.Write([]byte("?"))
	}
	b := make([]byte, 64)
	n, err := c.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		return fail(err)
	}
	fmt.Println("open", string(b[:n]))
	return 0
}

func eat(a []string) int {
	var all [][]byte
	for range number(a[0]) {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
	}
	fmt.Println("ate", len(all))
	return 0
}

func eatLater(a []string) int {
	time.Sleep(time.Duration(number(a[0])) * time.Millisecond)
	return eat(a[1:])
}

// fork starts children until it may not, and says how many it got.
func fork(a []string) int {
	n := 0
	for range number(a[0]) {
		if exec.Command("/program", "sleep").Start() != nil {
			break
		}
		n++
	}
	fmt.Println("forked", n)
	return 0
}

// fill writes so many MiB to a file and says how many went.
func fill(a []string) int {
	f, err := os.Create(a[0])
	if err != nil {
		return fail(err)
	}
	b, n := make([]byte, 1<<20), 0
	for range number(a[1]) {
		if _, err := f.Write(b); err != nil {
			break
		}
		n++
	}
	fmt.Println("filled", n)
	return 0
}

func about([]string) int {
	host, _ := os.Hostname()
	dir, _ := os.Getwd()
	fmt.Println("uid", os.Getuid(), "gid", os.Getgid(), "host", host, "dir", dir, "pid", os.Getpid())
	fmt.Println("env", strings.Join(os.Environ(), " "))
	for _, f := range []string{"/proc/self/status", "/proc/self/uid_map", "/proc/self/limits", "/etc/resolv.conf", "/etc/hosts", "/proc/self/oom_score_adj", "/proc/keys"} {
		b, err := os.ReadFile(f)
		fmt.Println("file", f, err)
		fmt.Println(string(b))
	}
	return 0
}

func exit(a []string) int { return number(a[0]) }

func cat([]string) int {
	n, err := io.Copy(os.Stdout, os.Stdin)
	if err != nil {
		return fail(err)
	}
	fmt.Fprintln(os.Stderr, "copied", n)
	return 0
}

// lines writes numbered lines, one every so many milliseconds: lines FILE MILLISECONDS [COUNT]; it ends with 33.
func lines(a []string) int {
	count := -1
	if len(a) > 1 {
		count = number(a[1])
	}
	for i := 0; i != count; i++ {
		fmt.Println("line", i)
		time.Sleep(time.Duration(number(a[0])) * time.Millisecond)
	}
	return 33
}

// flood writes numbered lines for each connection to a port, then answers "hello": flood PORT COUNT.
func flood(a []string) int {
	l, err := net.Listen("tcp", ":"+a[0])
	if err != nil {
		return fail(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return fail(err)
		}
		lines([]string{"0", a[1]})
		_, _ = io.WriteString(c, "hello")
		_ = c.Close()
	}
}

// crash says so and panics: crash MILLISECONDS.
func crash(a []string) int {
	time.Sleep(time.Duration(number(a[0])) * time.Millisecond)
	fmt.Println("to crash")
	panic("crashed")
}

func sleep([]string) int {
	time.Sleep(time.Hour)
	return 0
}

// orphans leaves children behind that others must reap, then lives on.
func orphans(a []string) int {
	for range number(a[0]) {
		_ = exec.Command("/program", "fork", "0").Start() // ends at once; we never wait
	}
	fmt.Println("left")
	return sleep(nil)
}

// forbidden tries what a container must not do and prints what worked.
func forbidden([]string) int {
	runtime.LockOSThread()
	if err := syscall.Unshare(syscall.CLONE_NEWUSER); err == nil {
		fmt.Println("worked: unshare")
	}
	if _, _, e := syscall.Syscall(250, 0, 0, 0); e == 0 { // keyctl
		fmt.Println("worked: keyctl")
	}
	if err := syscall.Mount("none", "/home", "tmpfs", 0, ""); err == nil {
		fmt.Println("worked: mount")
	}
	if err := syscall.Mknod("/home/vcap/null", syscall.S_IFBLK|0o666, 0); err == nil {
		fmt.Println("worked: mknod")
	}
	if err := os.WriteFile("/.ingot/init", []byte("x"), 0o755); err == nil {
		fmt.Println("worked: overwrite init")
	}
	if err := os.WriteFile("/proc/sys/kernel/core_pattern", []byte("x"), 0o644); err == nil {
		fmt.Println("worked: core_pattern")
	}
	fmt.Println("tried")
	return 0
}

func touch(a []string) int {
	if err := os.WriteFile(a[0], []byte(a[1]), 0o644); err != nil {
		return fail(err)
	}
	return 0
}

func read(a []string) int {
	st, err := os.Stat(a[0])
	if err != nil {
		return fail(err)
	}
	b, err := os.ReadFile(a[0])
	if err != nil {
		return fail(err)
	}
	s := st.Sys().(*syscall.Stat_t)
	fmt.Println("uid", s.Uid, "gid", s.Gid, "mode", st.Mode(), "text", string(b))
	return 0
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func fail(err error) int {
	fmt.Println("error", err)
	return 1
}
