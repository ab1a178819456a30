package linux

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"ingot/cf"
)

// What of the host is not for apps.
const (
	platformMemoryMB = 1024
	mostContainers   = 250 // CF's own advice for a cell
)

// List returns all containers that Create made.
func (e *Engine) List(context.Context) ([]cf.ContainerInfo, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []cf.ContainerInfo
	for _, c := range e.all {
		if c.made {
			out = append(out, c.info())
		}
	}
	return out, nil
}

// Stats reads a container's control groups and its file system; it asks no other process.
func (e *Engine) Stats(_ context.Context, handle string) (cf.ContainerStats, error) {
	_, task, err := e.running(handle)
	if err != nil {
		return cf.ContainerStats{}, err
	}
	var s cf.ContainerStats
	s.CPU, s.MemoryBytes, s.Pids = e.host.Cgroups.Use(handle)
	if s.Age, err = age(int(task.Pid())); err != nil {
		return s, cf.Wrap(cf.KindNotFound, "", fmt.Sprintf("container %q has ended", handle), err)
	}
	// The overlay answers for its upper file system, which is the container's own: exact, and deleted files count no more.
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Join(e.daemon.Bundles(), handle, "rootfs"), &st); err != nil {
		return s, fmt.Errorf("disk of container %s: %w", handle, err)
	}
	s.DiskBytes = (st.Blocks - st.Bfree) * uint64(st.Bsize)
	return s, nil
}

// age is the time since a process began.
func age(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]) // the name before it may hold anything
	const start = 19                                          // proc(5): the 22nd field of all
	if len(fields) <= start {
		return 0, fmt.Errorf("no start time of process %d", pid)
	}
	ticks, err := strconv.ParseInt(string(fields[start]), 10, 64)
	if err != nil {
		return 0, err
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0, err
	}
	return time.Duration(now.Nano()) - time.Duration(ticks)*10*time.Millisecond, nil
}

// Capacity is what the host has for apps, whatever of it is taken now.
func (e *Engine) Capacity(context.Context) (cf.Resources, error) {
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return cf.Resources{}, fmt.Errorf("memory of the host: %w", err)
	}
	free, err := e.disks.Free()
	if err != nil {
		return cf.Resources{}, err
	}
	bytes := free - e.DiskReserve
	e.mu.Lock()
	for h := range e.all {
		bytes += e.disks.Used(h)
	}
	e.mu.Unlock()
	return cf.Resources{
		MemoryMB:   max(0, int(si.Totalram*uint64(si.Unit)>>20)-platformMemoryMB),
		DiskMB:     max(0, int(bytes>>20)),
		Containers: min(mostContainers, e.leases.Size()),
	}, nil
}
