package show

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestFiles(t *testing.T) {
	folder := t.TempDir()
	old := filepath.Join(folder, "bin", "old", "lifecycle")
	if err := place(old, []byte("old"), 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a second time changes nothing
		mounts, err := Files(folder, []byte("helper"), []byte("our CA\n"))
		if err != nil {
			t.Fatal(err)
		}
		program, err := os.ReadFile(mounts[0].Source)
		if err != nil || string(program) != "helper" || mounts[0].Target != "/tmp/lifecycle/lifecycle" {
			t.Errorf("program %q, %v", program, err)
		}
		if st, err := os.Stat(mounts[0].Source); err != nil || st.Mode().Perm() != 0o755 {
			t.Errorf("%v, %v", st, err)
		}
		host, _ := os.ReadFile(bundle)
		certs, err := os.ReadFile(filepath.Join(mounts[1].Source, "ca-certificates.crt"))
		if err != nil || !bytes.Equal(certs, append(host, "our CA\n"...)) {
			t.Errorf("%d bytes of certificates, the host has %d; %v", len(certs), len(host), err)
		}
		if overs := len(mounts) == 3; overs != (host != nil) {
			t.Errorf("mounts %v", mounts)
		}
	}
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("the old program stays: %v", err)
	}
	if es, err := os.ReadDir(filepath.Join(folder, "certificates")); err != nil || len(es) != 1 {
		t.Errorf("left behind: %v, %v", es, err)
	}
}
