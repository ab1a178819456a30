package room

import (
	"testing"

	"ingot/cf"
)

func TestTakeAndGive(t *testing.T) {
	r := Room{Total: cf.Resources{MemoryMB: 100, DiskMB: 100, Containers: 2}, Disk: func() int { return 1000 }}
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
	r.Ended("b")
	r.Ended("c")
	if f := r.Free(); f != (cf.Resources{MemoryMB: 40, DiskMB: 80, Containers: 0}) {
		t.Errorf("free of what ended %+v", f)
	}
	r.Give("b")
	r.Give("b")
	r.Give("a")
	if f := r.Free(); f != r.Total {
		t.Errorf("free %+v", f)
	}
}

// What others write comes off what is left, besides all that was given away.
func TestRealDisk(t *testing.T) {
	real := 100
	r := Room{Total: cf.Resources{MemoryMB: 100, DiskMB: 100, Containers: 9}, Disk: func() int { return real }}
	if err := r.Take("a", cf.Limits{DiskMB: 50}); err != nil {
		t.Fatal(err)
	}
	real = 80
	if f := r.Free(); f.DiskMB != 30 {
		t.Errorf("free %+v", f)
	}
	if err := r.Take("b", cf.Limits{DiskMB: 31}); err == nil || err.Error() != "insufficient resources: disk" {
		t.Errorf("got %v", err)
	}
	real = 10
	if f := r.Free(); f.DiskMB != 0 {
		t.Errorf("free %+v", f)
	}
}
