// Package cgroup reads and removes the control groups of containers, on version 1, also as a hybrid, and version 2.
//
// It promises that Remove leaves no group and no process in one. It will not make groups: the runtime does.
package cgroup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// Groups are the control groups of the containers of one data folder, below one folder in each hierarchy.
type Groups struct {
	name string // of that folder
	v2   bool
}

// Open finds out which version the host has.
func Open(name string) Groups {
	var st unix.Statfs_t
	err := unix.Statfs(cgroupRoot, &st)
	return Groups{name: name, v2: err == nil && st.Type == unix.CGROUP2_SUPER_MAGIC}
}

// Path is what a container's spec says: absolute, since a relative one lands below the group of this process.
func (g Groups) Path(handle string) string { return "/" + g.name + "/" + handle }

func (g Groups) read(handle, controller, file string) string {
	dir := cgroupRoot
	if !g.v2 {
		dir = filepath.Join(cgroupRoot, controller)
	}
	b, _ := os.ReadFile(filepath.Join(dir, g.name, handle, file)) // gone = empty
	return strings.TrimSpace(string(b))
}

// OOM tells whether the kernel killed a process of the container for want of memory. The counter is read when the
// container has ended: unlike an event, it cannot be lost.
func (g Groups) OOM(handle string) bool {
	file := "memory.oom_control"
	if g.v2 {
		file = "memory.events"
	}
	return field(g.read(handle, "memory", file), "oom_kill") > 0
}

// Use reads time on processors, memory without the page cache that can be given back, and processes.
func (g Groups) Use(handle string) (cpu time.Duration, memory uint64, pids int) {
	file, cache := "memory.usage_in_bytes", "total_inactive_file"
	if g.v2 {
		cpu = time.Duration(field(g.read(handle, "", "cpu.stat"), "usage_usec")) * time.Microsecond
		file, cache = "memory.current", "inactive_file"
	} else {
		cpu = time.Duration(parse(g.read(handle, "cpuacct", "cpuacct.usage")))
	}
	memory = parse(g.read(handle, "memory", file))
	memory -= min(memory, field(g.read(handle, "memory", "memory.stat"), cache))
	return cpu, memory, int(parse(g.read(handle, "pids", "pids.current")))
}

// Swap tells whether the kernel can count swap, so that a limit of it is not refused.
func (g Groups) Swap() bool {
	if g.v2 {
		return true
	}
	_, err := os.Stat(filepath.Join(cgroupRoot, "memory", "memory.memsw.limit_in_bytes"))
	return err == nil
}

// Folders lists what there is of a container's groups (of all containers' for "").
func (g Groups) Folders(handle string) []string {
	pattern := filepath.Join(cgroupRoot, "*", g.name, handle)
	if g.v2 {
		pattern = filepath.Join(cgroupRoot, g.name, handle)
	}
	found, _ := filepath.Glob(pattern)                    // the pattern is fine
	return slices.DeleteFunc(found, func(f string) bool { // cpu and cpuacct may be links to one
		st, err := os.Lstat(filepath.Dir(filepath.Dir(f)))
		return err == nil && st.Mode()&fs.ModeSymlink != 0
	})
}

// Handles names the containers of which a group is left.
func (g Groups) Handles() []string {
	var out []string
	for _, f := range g.Folders("*") {
		if st, err := os.Stat(f); err == nil && st.IsDir() {
			out = append(out, filepath.Base(f))
		}
	}
	return out
}

// Remove ends what still runs in a container's groups and removes them.
func (g Groups) Remove(handle string) error {
	return g.removeFolders(g.Folders(handle))
}

// RemoveAll removes our folders themselves.
func (g Groups) RemoveAll() error {
	return g.removeFolders(g.Folders(""))
}

func (g Groups) removeFolders(found []string) error {
	var errs []error
	for _, top := range found {
		var dirs []string
		_ = filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error { // what is gone is gone
			if err == nil && d.IsDir() {
				dirs = append(dirs, p)
			}
			return nil
		})
		for _, d := range slices.Backward(dirs) {
			errs = append(errs, removeGroup(d))
		}
	}
	return errors.Join(errs...)
}

// removeGroup ends the processes of one group and waits until they have left it.
func removeGroup(dir string) error {
	end := time.Now().Add(5 * time.Second)
	for {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return fmt.Errorf("remove cgroup %s: %w", dir, err)
		}
		procs, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs")) // gone = empty
		for line := range strings.Lines(string(procs)) {
			if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by now
			}
		}
		time.Sleep(time.Millisecond) // there is nothing to wait on for a group to become empty on version 1
	}
}

// field reads one number of a file of lines "name number".
func field(text, name string) uint64 {
	s := bufio.NewScanner(bytes.NewReader([]byte(text)))
	for s.Scan() {
		if rest, ok := strings.CutPrefix(s.Text(), name+" "); ok {
			return parse(rest)
		}
	}
	return 0
}

func parse(s string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimSpace(s), 10, 64) // a group that is gone reads as 0
	return n
}
