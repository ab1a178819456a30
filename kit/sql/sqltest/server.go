package sqltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"ingot/kit/lock"
	"ingot/kit/sql"
)

// engine is a database server of Debian.
type engine struct {
	name string
	// initialize and serve are command lines; DIR stands for the server's folder.
	initialize, serve []string
	socket, url       string
}

// The servers listen on a socket in their folder only. What makes writes durable is off: they end with the tests.
var (
	postgres = engine{
		name:       "PostgreSQL",
		initialize: []string{"/usr/lib/postgresql/15/bin/initdb", "-D", "DIR/data", "-U", "ingot", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"},
		serve: []string{"/usr/lib/postgresql/15/bin/postgres", "-D", "DIR/data", "-k", "DIR", "-h", "", "-c", "fsync=off", "-c", "full_page_writes=off",
			"-c", "max_connections=400", "-c", "shared_buffers=32MB"},
		socket: "DIR/.s.PGSQL.5432", url: "postgres://ingot@/postgres?host=DIR",
	}
	mariadb = engine{
		name: "MariaDB",
		initialize: []string{"/usr/bin/mariadb-install-db", "--no-defaults", "--datadir=DIR/data", "--auth-root-authentication-method=normal",
			"--skip-test-db", "--skip-name-resolve", "--tmpdir=DIR", "--innodb-flush-method=nosync", "--innodb-log-file-size=8M"},
		serve: []string{"/usr/sbin/mariadbd", "--no-defaults", "--datadir=DIR/data", "--socket=DIR/mysql.sock", "--skip-networking", "--pid-file=DIR/pid",
			"--max-connections=400", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=8M", "--innodb-flush-method=nosync",
			"--innodb-flush-log-at-trx-commit=0", "--skip-innodb-doublewrite", "--tmpdir=DIR"},
		socket: "DIR/mysql.sock", url: "mysql://root@/mysql?socket=DIR/mysql.sock",
	}
)

const prefix = "ingot-sqltest-"

// nobody is who the servers run as when the tests run as root: they refuse root.
const nobody = 65534

type server struct {
	dir  string
	url  string
	held *lock.Held
	end  func()
}

// sweep removes the folders of test processes that were killed; their servers ended with them.
func sweep() {
	old, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*")) // the pattern is a good one
	for _, dir := range old {
		if info, err := os.Stat(dir); err == nil && lock.Holder(dir) == 0 && time.Since(info.ModTime()) > time.Minute {
			_ = os.RemoveAll(dir) // another test process does the same
		}
	}
}

// start gives a server that can be stopped also when it did not start.
func start(e engine) (s *server, err error) {
	s = &server{end: func() {}}
	if s.dir, err = os.MkdirTemp("", prefix); err != nil {
		return s, err
	}
	if s.held, err = lock.Folder(s.dir); err != nil {
		return s, err
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(s.dir, nobody, nobody); err != nil {
			return s, err
		}
	}
	var said bytes.Buffer
	if err := s.run(e.initialize, &said).Run(); err != nil {
		return s, fmt.Errorf("%w: %s", err, said.Bytes())
	}
	said.Reset()
	ended, err := s.serve(s.run(e.serve, &said))
	if err != nil {
		return s, err
	}
	s.url = s.in(e.url)
	for {
		if sockets, _ := filepath.Glob(s.in(e.socket)); len(sockets) > 0 { // the pattern is a good one
			if db, err := sql.Open(context.Background(), s.url); err == nil {
				return s, db.Close()
			}
		}
		select {
		case <-ended:
			return s, fmt.Errorf("it ended: %s", said.Bytes())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (s *server) in(text string) string {
	return string(bytes.ReplaceAll([]byte(text), []byte("DIR"), []byte(s.dir)))
}

func (s *server) run(args []string, out *bytes.Buffer) *exec.Cmd {
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = s.in(a)
	}
	c := exec.Command(words[0], words[1:]...)
	c.Dir, c.Env, c.Stdout, c.Stderr = s.dir, []string{"PATH=/usr/bin:/bin:/usr/sbin", "HOME=" + s.dir}, out, out
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if os.Geteuid() == 0 {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	return c
}

// serve runs the server until end. It is started by a thread that lives as long as this process: the kernel ends the server
// with the thread that started it.
func (s *server) serve(c *exec.Cmd) (ended chan struct{}, err error) {
	ended = make(chan struct{})
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := c.Start()
		started <- err
		if err == nil {
			_ = c.Wait() // it is killed
			close(ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	s.end = func() {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) // it has ended already
		<-ended
	}
	return ended, nil
}

func (s *server) stop() {
	s.end()
	var err error
	for range 100 { // children of the server end a moment after it
		if err = os.RemoveAll(s.dir); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if s.held != nil {
		err = errors.Join(err, s.held.Release())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sqltest:", err)
	}
}
