package spec

import (
	"slices"
	"strings"
	"testing"

	"ingot/cf"
)

func TestCheckFillsInLimits(t *testing.T) {
	s := cf.ContainerSpec{Handle: "a", Program: cf.Program{Args: []string{"x"}}}
	if err := Check(&s); err != nil {
		t.Fatal(err)
	}
	if s.Limits != (cf.Limits{MemoryMB: 1024, DiskMB: 1024, Pids: 1024, FileDescriptors: 16384}) {
		t.Error(s.Limits)
	}
	s.Handle = strings.Repeat("a", 65)
	if err := Check(&s); !cf.IsKind(err, cf.KindInvalid) {
		t.Error(err)
	}
}

func TestProcess(t *testing.T) {
	p := Process(cf.Program{Args: []string{"x"}, Env: []string{"HOME=/a", "B=1=2", "HOME=/b"}}, 100)
	if p.User.UID != 2000 || p.Cwd != "/home/vcap" || !p.NoNewPrivileges || len(p.Capabilities.Bounding) != 0 {
		t.Errorf("%+v", p)
	}
	if want := []string{"B=1=2", "HOME=/b", "PATH=/usr/local/bin:/usr/bin:/bin", "USER=vcap"}; !slices.Equal(p.Env, want) {
		t.Error(p.Env)
	}
	if p.Rlimits[0].Soft != 100 || p.Rlimits[0].Hard != 100 {
		t.Error(p.Rlimits)
	}
	root := Process(cf.Program{Args: []string{"x"}, User: "root", Dir: "/"}, 1<<40)
	if root.User.UID != 0 || root.Cwd != "/" || slices.Contains(root.Capabilities.Bounding, "CAP_SYS_ADMIN") || root.Rlimits[0].Hard >= 1<<40 {
		t.Errorf("%+v", root)
	}
}

// No two slots, of whatever data folder, share user ids, unless there are more than twelve folders.
func TestUserIDsFitAndDoNotOverlap(t *testing.T) {
	var bases []uint32
	for _, id := range []string{"00000000", "0000000b"} {
		h := Host{ID: id}
		for _, slot := range []int{0, 1, slots - 1} {
			b := h.UserBase(slot)
			if b < firstUser || uint64(b)+PerSlot > 1<<32 {
				t.Error(id, slot, b)
			}
			bases = append(bases, b)
		}
	}
	slices.Sort(bases)
	for i := range len(bases) - 1 {
		if bases[i+1]-bases[i] < PerSlot {
			t.Error(bases)
		}
	}
}
