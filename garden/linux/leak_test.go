package linux

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// leaks says what of a data folder's containers is left on the machine, "" if nothing.
func leaks(t *testing.T, data string) string {
	t.Helper()
	var out []string
	id := folderID(data)
	run := filepath.Join("/run/ingot", id)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, run) || strings.Contains(line, data) {
			out = append(out, "mount "+strings.TrimSpace(line))
		}
	}
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, l := range loops {
		if b, err := os.ReadFile(l); err == nil && strings.Contains(string(b), data) {
			out = append(out, "loop "+strings.TrimSpace(string(b)))
		}
	}
	exes, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, x := range exes {
		if at, err := os.Readlink(x); err == nil && strings.HasPrefix(at, filepath.Join(data, "bin")) {
			out = append(out, "process "+x+" "+at)
		}
	}
	for _, g := range openCgroups("ingot-" + id).handles() {
		out = append(out, "cgroup "+g)
	}
	for _, pattern := range []string{run + "/s/*", run + "/io/*", run + "/t/*", run + "/m/*", run + "/runc/*/*", run + "/state/*/*/*",
		data + "/disks/*.ext4", data + "/exits/*", data + "/containerd/io.containerd.runtime.v2.task/*/*", "/run/containerd/*"} {
		found, _ := filepath.Glob(pattern)
		out = append(out, found...)
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "v"+id) {
			out = append(out, "link "+l.Attrs().Name)
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func serveEngine() int {
	fmt.Println(context.Background())
	return 1
}
