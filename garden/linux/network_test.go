package linux

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"

	"ingot/cf"
)

func TestEgress(t *testing.T) {
	e := engine(t)
	outside(t)
	greet(t, "10.254.0.1:80")
	greet(t, "10.254.0.1:9999")
	closed := tiny("closed", "serve", "8080")
	opened := tiny("opened", "sleep")
	opened.Egress = []cf.EgressRule{
		{Protocol: "tcp", Destinations: []string{"192.0.2.0/24"}, Ports: "80,8000-8100"},
		{Protocol: "tcp", Destinations: []string{"192.0.2.2-192.0.2.9"}, Ports: "80"},
		{Protocol: "udp", Destinations: []string{"192.0.2.2"}, Ports: "53"},
	}
	all := tiny("all", "sleep")
	all.Egress = []cf.EgressRule{{Protocol: "all", Destinations: []string{"0.0.0.0-255.255.255.255"}}}
	to, out := start(t, e, closed)
	start(t, e, opened)
	start(t, e, all)
	await(t, "server", func() bool { return strings.Contains(out.String(), "ready") })
	for _, c := range []struct {
		from, network, addr, want string
	}{
		{"closed", "tcp", "192.0.2.2:80", "refused"},
		{"closed", "udp", "192.0.2.2:53", "refused"},
		{"closed", "tcp", "192.0.2.1:80", "refused"},
		{"closed", "tcp", "10.254.0.1:80", "open from " + to.Address},
		{"closed", "tcp", "10.254.0.1:9999", "refused"},
		{"closed", "tcp", "127.0.0.1:8080", "open hello"},
		{"opened", "tcp", "192.0.2.2:80", "open from 192.0.2.1"}, // masqueraded
		{"opened", "tcp", "192.0.2.2:8080", "open from"},
		{"opened", "tcp", "192.0.2.2:443", "refused"},
		{"opened", "tcp", "198.51.100.7:80", "refused"},
		{"opened", "udp", "192.0.2.2:53", "open pong"},
		{"opened", "tcp", to.Address + ":8080", "refused"},
		{"all", "tcp", "198.51.100.7:443", "open from"},
		{"all", "tcp", to.Address + ":8080", "open hello"},
	} {
		begin := time.Now()
		if _, got := run(t, e, c.from, "dial", c.network, c.addr); !strings.Contains(got, c.want) || time.Since(begin) > 2*time.Second {
			t.Errorf("%s to %s %s: %q after %s, want %q", c.from, c.network, c.addr, got, time.Since(begin), c.want)
		}
	}
	if got := dialed(to.Address + ":8080"); got != "hello" {
		t.Error("the host does not reach a container:", got)
	}
}

func dialed(addr string) string {
	c, err := net.DialTimeout("tcp", addr, 2*time.Second)
	if err != nil {
		return err.Error()
	}
	defer c.Close() //nolint:errcheck // read to its end
	b, _ := io.ReadAll(c)
	return string(b)
}

func TestHostPorts(t *testing.T) {
	e := engine(t)
	s := tiny("ports", "serve", "8080")
	s.Ports = []int{8080}
	i, out := start(t, e, s)
	await(t, "server", func() bool { return strings.Contains(out.String(), "ready") })
	at := fmt.Sprintf("10.254.0.1:%d", i.Ports[0].Host)
	if got := dialed(at); got != "hello" {
		t.Error(at, got)
	}
	if err := e.Delete(ctx, "ports"); err != nil {
		t.Fatal(err)
	}
	if got := dialed(at); got == "hello" {
		t.Error("a deleted container answers")
	}
}

func TestRulesDoNotGrowWithInstances(t *testing.T) {
	e := engine(t)
	count := func() int {
		c, err := nftables.New()
		if err != nil {
			t.Fatal(err)
		}
		chains, err := c.ListChains()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, ch := range chains {
			rules, err := c.GetRules(ch.Table, ch)
			if err != nil {
				t.Fatal(err)
			}
			n += len(rules)
		}
		return n
	}
	none := count()
	s := tiny("rules-0", "sleep")
	s.Ports, s.Egress = []int{8080}, []cf.EgressRule{{Protocol: "tcp", Destinations: []string{"192.0.2.0/24"}, Ports: "443"}}
	create(t, e, s)
	first := count()
	for i := range 3 {
		s.Handle = fmt.Sprint("rules-", i+1)
		create(t, e, s)
	}
	if got := count(); got != first || first <= none {
		t.Error(none, first, got)
	}
	for i := range 4 {
		if err := e.Delete(ctx, fmt.Sprint("rules-", i)); err != nil {
			t.Fatal(err)
		}
	}
	if got := count(); got != none {
		t.Error("rules are left:", none, got)
	}
}

// A forward chain of somebody else that drops by default, as Docker's does, gets our marked rules, and loses them again.
func TestForwardChainThatDrops(t *testing.T) {
	e := engine(t)
	outside(t)
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	drop := nftables.ChainPolicyDrop
	table := c.AddTable(&nftables.Table{Name: "others", Family: nftables.TableFamilyIPv4})
	chain := c.AddChain(&nftables.Chain{Table: table, Name: "FORWARD", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &drop})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		c.DelTable(table)
		if err := c.Flush(); err != nil {
			t.Error(err)
		}
	}()
	s := tiny("forward", "sleep")
	s.Egress = []cf.EgressRule{{Protocol: "all", Destinations: []string{"0.0.0.0/0"}}}
	start(t, e, s)
	if _, got := run(t, e, "forward", "dial", "tcp", "192.0.2.2:80"); strings.Contains(got, "open") {
		t.Fatal("the other's chain does not drop", got)
	}
	for range 2 { // a second start does not double them
		if err := e.net.Start(ctx, nil); err != nil {
			t.Fatal(err)
		}
	}
	if rules, err := c.GetRules(table, chain); err != nil || len(rules) != 2 {
		t.Fatal(len(rules), err)
	}
}

func TestMTUIsThatOfTheDefaultRoute(t *testing.T) {
	e := engine(t)
	outside(t)
	if err := e.net.Start(ctx, nil); err != nil {
		t.Fatal(err)
	}
	s := tiny("mtu", "sleep")
	start(t, e, s)
	if _, got := run(t, e, "mtu", "read", "/sys/class/net/eth0/mtu"); !strings.Contains(got, "text 1400") {
		t.Error(got)
	}
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward"); err != nil || string(b) != "1\n" {
		t.Error(string(b), err)
	}
}
