package world

import (
	"os"
	"strings"
	"testing"

	"ingot/kit/need"
)

func TestMain(m *testing.M) {
	Holder()
	os.Exit(m.Run())
}

// TestWorldIsApart looks at a world from inside: its own links, names, /run and processes, and a way out.
func TestWorldIsApart(t *testing.T) {
	need.World(t, "namespaces")
	host, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		t.Fatal(err)
	}
	w := New(t)
	if got := w.Run(t, "cat", "/etc/resolv.conf"); got != "nameserver "+outside+"\n" {
		t.Errorf("resolv.conf %q", got)
	}
	w.Run(t, "sh", "-c", "echo other > /etc/resolv.conf; touch /run/mine")
	if now, err := os.ReadFile("/etc/resolv.conf"); err != nil || string(now) != string(host) {
		t.Errorf("the host's resolv.conf changed: %q %v", now, err)
	}
	if _, err := os.Stat("/run/mine"); err == nil {
		t.Error("/run is the host's")
	}
	if got := w.Run(t, "cat", "/proc/1/cmdline"); !strings.HasPrefix(got, "/proc/self/exe") {
		t.Errorf("pid 1 is %q", got)
	}
	if got := w.Run(t, "ip", "-o", "-4", "addr"); !strings.Contains(got, inside) || !strings.Contains(got, "127.0.0.1") {
		t.Errorf("addresses %s", got)
	}
	if got := w.Run(t, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-x", w.Proxy, "http://nowhere.test/"); got != "405" {
		t.Errorf("the proxy answers %s to what is not CONNECT", got)
	}
}
