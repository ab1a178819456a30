package room

import (
	"testing"

	"ingot/cf"
)

func TestTakeAndGive(t *testing.T) {
	r := Room{Total: cf.Resources{MemoryMB: 100, DiskMB: 100, Containers: 2}, Folder: t.TempDir()}
	need := cf.Limits{MemoryMB: 60, DiskMB: 10}
	if err := r.Take("a", need); err != nil {
		t.Fatal(err)
	}
	if err := r.Take("b", need); !cf.IsKind(err, cf.KindNoRoom) {
		t.Errorf("memory was given twice: %v", err)
	}
	r.Hold("b", need)
	if f := r.Free(); f != (cf.Resources{MemoryMB: -20, DiskMB: 80, Containers: 0}) {
		t.Errorf("free %+v", f)
	}
	r.Give("b")
	r.Give("b")
	r.Give("a")
	if f := r.Free(); f != r.Total {
		t.Errorf("free %+v", f)
	}
}

func TestRealDisk(t *testing.T) {
	r := Room{Total: cf.Resources{MemoryMB: 100, DiskMB: 1 << 40, Containers: 1}, Folder: t.TempDir()}
	if f := r.Free(); f.DiskMB >= 1<<40 || f.DiskMB < 0 {
		t.Errorf("more disk than there can be: %+v", f)
	}
	if err := r.Take("a", cf.Limits{DiskMB: 1 << 39}); err == nil || err.Error() != "insufficient resources: disk" {
		t.Errorf("got %v", err)
	}
}
