// Package spec turns a cf.ContainerSpec into what the OCI runtime is told.
//
// It promises what is always on: a user namespace of its own, seccomp, no new privileges, no capabilities for vcap, masked
// paths, limits. It does no I/O but to ask what limits this process may give.
package spec

import (
	"errors"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"ingot/cf"
	"ingot/garden/image"
	"ingot/garden/linux/cgroup"
	"ingot/garden/linux/network"
)

// What a spec that leaves it open gets.
const (
	defaultMemoryMB = 1024
	defaultDiskMB   = 1024
	defaultPids     = 1024
	defaultFiles    = 16384
	home            = "/home/vcap"
	pid1            = "/.ingot/init"
)

// User ids: each slot has 65536 from its own base; data folders that share a machine are kept apart as far as 32 bits go.
const (
	firstUser = 1_000_000_000
	PerSlot   = 1 << 16
	slots     = 4096
)

// Host is what specs have in common.
type Host struct {
	ID      string // 8 hex digits of the data folder
	Init    string // program that is process 1
	Cgroups cgroup.Groups
}

// UserBase is the first user id of a slot.
func (h Host) UserBase(slot int) uint32 {
	n, _ := strconv.ParseUint(h.ID, 16, 32) // it is made of 8 hex digits
	folder := uint32(n % 12)
	return firstUser + (folder*slots+uint32(slot))*PerSlot
}

var handleForm = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// CheckHandle refuses what is no handle; a handle is part of file names.
func CheckHandle(h string) error {
	if !handleForm.MatchString(h) {
		return invalid("handle %q", h)
	}
	return nil
}

// Check refuses a spec that cannot become a container, and fills in what it leaves open.
func Check(s *cf.ContainerSpec) error {
	if err := errors.Join(CheckHandle(s.Handle), CheckProgram(s.Program), CheckPorts(s.Ports)); err != nil {
		return err
	}
	l := &s.Limits
	for _, n := range []struct {
		v   *int
		def int
	}{{&l.MemoryMB, defaultMemoryMB}, {&l.DiskMB, defaultDiskMB}, {&l.Pids, defaultPids}, {&l.FileDescriptors, defaultFiles}} {
		if *n.v < 0 {
			return invalid("negative limit %d", *n.v)
		}
		if *n.v == 0 {
			*n.v = n.def
		}
	}
	for _, m := range s.Mounts {
		if !filepath.IsAbs(m.Source) || !path.IsAbs(m.Target) || path.Clean(m.Target) == "/" {
			return invalid("mount of %q at %q", m.Source, m.Target)
		}
	}
	return network.Check(s.Egress)
}

// CheckProgram refuses what cannot be run.
func CheckProgram(p cf.Program) error {
	if len(p.Args) == 0 || p.Args[0] == "" {
		return invalid("no program")
	}
	if p.User != "" && p.User != "vcap" && p.User != "root" {
		return invalid("user %q is neither vcap nor root", p.User)
	}
	for _, kv := range p.Env {
		if k, _, ok := strings.Cut(kv, "="); !ok || k == "" || strings.ContainsRune(kv, 0) {
			return invalid("environment %q", kv)
		}
	}
	return nil
}

// CheckPorts refuses ports that are none or come twice.
func CheckPorts(ports []int) error {
	for i, p := range ports {
		if p < 1 || p > 65535 || slices.Contains(ports[:i], p) {
			return invalid("port %d", p)
		}
	}
	return nil
}

func invalid(format string, args ...any) error {
	return cf.Errorf(cf.KindInvalid, "", "container: "+format, args...)
}

// Process is a program as the runtime takes it. It gets no capabilities as vcap, and as root only those that act on what
// belongs to its user namespace.
func Process(p cf.Program, files int) *specs.Process {
	oomScore := 500 // where the whole host lacks memory, apps go before the platform
	out := &specs.Process{
		Args: p.Args, Cwd: p.Dir, User: specs.User{UID: image.VCAP, GID: image.VCAP}, NoNewPrivileges: true,
		Capabilities: &specs.LinuxCapabilities{}, OOMScoreAdj: &oomScore,
	}
	if out.Cwd == "" {
		out.Cwd = home
	}
	env := map[string]string{"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": home, "USER": "vcap"}
	if p.User == "root" {
		out.User = specs.User{}
		env = map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "USER": "root"}
		caps := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_SETGID", "CAP_SETUID",
			"CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL"}
		out.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
	}
	for _, kv := range p.Env {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	for _, k := range slices.Sorted(maps.Keys(env)) {
		out.Env = append(out.Env, k+"="+env[k])
	}
	if limit, ok := fileLimit(uint64(files)); ok {
		out.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: limit, Hard: limit}}
	}
	return out
}

// fileLimit keeps below what this process may give: raising a hard limit needs a capability that it may lack.
func fileLimit(want uint64) (uint64, bool) {
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &now); err != nil {
		return 0, false
	}
	return min(want, now.Max), true
}

// Container is the whole container for the runtime.
func (h Host) Container(s cf.ContainerSpec, slot int) (*specs.Spec, error) {
	p := Process(s.Program, s.Limits.FileDescriptors)
	p.Args = append([]string{pid1}, p.Args...)
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: h.UserBase(slot), Size: PerSlot}}
	out := &specs.Spec{
		Version: specs.Version, Process: p, Hostname: s.Handle, Root: &specs.Root{Path: "rootfs"},
		Mounts: append(mounts(), bind(h.Init, pid1)),
		Linux: &specs.Linux{
			UIDMappings: ids, GIDMappings: ids, CgroupsPath: h.Cgroups.Path(s.Handle), Resources: h.resources(s),
			MaskedPaths: []string{"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
				"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
	for _, t := range []specs.LinuxNamespaceType{specs.PIDNamespace, specs.IPCNamespace, specs.UTSNamespace,
		specs.MountNamespace, specs.NetworkNamespace, specs.UserNamespace, specs.CgroupNamespace} {
		out.Linux.Namespaces = append(out.Linux.Namespaces, specs.LinuxNamespace{Type: t})
	}
	for _, m := range s.Mounts {
		out.Mounts = append(out.Mounts, bind(m.Source, m.Target))
	}
	profile, err := seccomp.GetDefaultProfile(out)
	if err != nil {
		return nil, err
	}
	out.Linux.Seccomp = profile
	return out, nil
}

func (h Host) resources(s cf.ContainerSpec) *specs.LinuxResources {
	memory, pids := int64(s.Limits.MemoryMB)<<20, int64(s.Limits.Pids)
	shares := s.CPUShares
	if shares == 0 {
		shares = uint64(s.Limits.MemoryMB) // as Garden does
	}
	shares = min(max(shares, 2), 262144)
	out := &specs.LinuxResources{
		Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}, // the runtime allows null, zero, tty and the like
		Memory:  &specs.LinuxMemory{Limit: &memory},
		CPU:     &specs.LinuxCPU{Shares: &shares},
		Pids:    &specs.LinuxPids{Limit: &pids},
	}
	if h.Cgroups.Swap() {
		out.Memory.Swap = &memory
	}
	return out
}

func mounts() []specs.Mount {
	safe := []string{"nosuid", "noexec", "nodev"}
	with := func(more ...string) []string { return append(slices.Clone(safe), more...) }
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: safe},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: with("mode=1777", "size=65536k")},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: safe},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: with("ro")},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: with("ro")}, // run times read their limits there
	}
}

func bind(from, to string) specs.Mount {
	return specs.Mount{Destination: to, Type: "bind", Source: from, Options: []string{"rbind", "ro", "nosuid", "nodev"}}
}
