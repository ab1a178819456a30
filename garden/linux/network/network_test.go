package network

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"ingot/cf"
)

func TestCompile(t *testing.T) {
	const tcp, udp = "6", "17"
	for name, c := range map[string]struct {
		rules []cf.EgressRule
		want  []string
	}{
		"none": {nil, nil},
		"all":  {[]cf.EgressRule{{Protocol: "all", Destinations: []string{"10.0.0.0/8"}}}, []string{"0-255 10.0.0.0-10.255.255.255 0-65535"}},
		"everything": {[]cf.EgressRule{{Protocol: "all", Destinations: []string{"0.0.0.0/0"}}, {Protocol: "tcp", Destinations: []string{"1.2.3.4"}, Ports: "80"}},
			[]string{"0-255 0.0.0.0-255.255.255.255 0-65535"}},
		"touching ranges": {[]cf.EgressRule{{Protocol: "all", Destinations: []string{"1.0.0.0-1.0.0.9", "1.0.0.10 - 1.0.0.20"}}},
			[]string{"0-255 1.0.0.0-1.0.0.20 0-65535"}},
		"list in one string": {[]cf.EgressRule{{Protocol: "icmp", Destinations: []string{"1.1.1.1,2.2.2.2"}}},
			[]string{"1-1 1.1.1.1-1.1.1.1 0-65535", "1-1 2.2.2.2-2.2.2.2 0-65535"}},
		"ports": {[]cf.EgressRule{{Protocol: "tcp", Destinations: []string{"1.1.1.1"}, Ports: "443, 8080-8090,444"}},
			[]string{tcp + "-" + tcp + " 1.1.1.1-1.1.1.1 443-444", tcp + "-" + tcp + " 1.1.1.1-1.1.1.1 8080-8090"}},
		"overlap": {[]cf.EgressRule{{Protocol: "udp", Destinations: []string{"1.0.0.0/24"}, Ports: "1-100"}, {Protocol: "udp", Destinations: []string{"1.0.0.5-1.0.1.5"}, Ports: "50-65535"}},
			[]string{udp + "-" + udp + " 1.0.0.0-1.0.0.255 1-49", udp + "-" + udp + " 1.0.0.0-1.0.1.5 50-100", udp + "-" + udp + " 1.0.0.5-1.0.1.5 101-65535"}},
		"all takes from others": {[]cf.EgressRule{{Protocol: "all", Destinations: []string{"1.0.0.10-1.0.0.20"}}, {Protocol: "tcp", Destinations: []string{"1.0.0.0-1.0.0.30"}}},
			[]string{"0-255 1.0.0.10-1.0.0.20 0-65535", tcp + "-" + tcp + " 1.0.0.0-1.0.0.9 0-65535", tcp + "-" + tcp + " 1.0.0.21-1.0.0.30 0-65535"}},
	} {
		es, err := compile(c.rules)
		var got []string
		for _, e := range es {
			got = append(got, fmt.Sprintf("%d-%d %s-%s %d-%d", e.proto.lo, e.proto.hi, number(e.dest.lo), number(e.dest.hi), e.port.lo, e.port.hi))
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q %v, want %q", name, got, err, c.want)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, r := range []cf.EgressRule{
		{Protocol: "sctp", Destinations: []string{"1.1.1.1"}}, {Destinations: []string{"1.1.1.1"}},
		{Protocol: "tcp", Destinations: []string{"x"}}, {Protocol: "tcp", Destinations: []string{""}},
		{Protocol: "tcp", Destinations: []string{"2.2.2.2-1.1.1.1"}}, {Protocol: "tcp", Destinations: []string{"1.1.1.1/33"}},
		{Protocol: "tcp", Destinations: []string{"::1"}}, {Protocol: "tcp", Destinations: []string{"1.1.1.1"}, Ports: "90-80"},
		{Protocol: "tcp", Destinations: []string{"1.1.1.1"}, Ports: "65536"}, {Protocol: "udp", Destinations: []string{"1.1.1.1"}, Ports: "a"},
	} {
		if err := Check([]cf.EgressRule{r}); !cf.IsKind(err, cf.KindInvalid) {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

// What is compiled allows what the rules allow, and no two elements overlap: the kernel refuses those.
func TestCompiledIsWhatTheRulesSay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		addr := rapid.Uint32Range(0, 20)
		var rules []cf.EgressRule
		for range rapid.IntRange(0, 6).Draw(t, "rules") {
			a, b := addr.Draw(t, "a"), addr.Draw(t, "b")
			r := cf.EgressRule{Protocol: rapid.SampledFrom([]string{"all", "tcp", "udp", "icmp"}).Draw(t, "protocol"),
				Destinations: []string{fmt.Sprintf("%s-%s", number(min(a, b)), number(max(a, b)))}}
			if p, q := addr.Draw(t, "p"), addr.Draw(t, "q"); p != q && (r.Protocol == "tcp" || r.Protocol == "udp") {
				r.Ports = fmt.Sprintf("%d-%d", min(p, q), max(p, q))
			}
			rules = append(rules, r)
		}
		es, err := compile(rules)
		if err != nil {
			t.Fatal(err)
		}
		for _, proto := range []uint32{1, 6, 17, 47} {
			for dest := range uint32(22) {
				for port := range uint32(22) {
					n := 0
					for _, e := range es {
						if in(proto, e.proto) && in(dest, e.dest) && in(port, e.port) {
							n++
						}
					}
					want := 0
					if slices.ContainsFunc(rules, func(r cf.EgressRule) bool { return says(r, proto, dest, port) }) {
						want = 1
					}
					if n != want {
						t.Fatalf("protocol %d, address %d, port %d: %d elements, want %d: %+v", proto, dest, port, n, want, es)
					}
				}
			}
		}
	})
}

func in(n uint32, s span) bool { return s.lo <= n && n <= s.hi }

// says reads one rule of the form that the test above makes, in the plainest way.
func says(r cf.EgressRule, proto, dest, port uint32) bool {
	if want := map[string]uint32{"icmp": 1, "tcp": 6, "udp": 17}[r.Protocol]; r.Protocol != "all" && want != proto {
		return false
	}
	var a, b [4]byte
	_, _ = fmt.Sscanf(r.Destinations[0], "%d.%d.%d.%d-%d.%d.%d.%d", &a[0], &a[1], &a[2], &a[3], &b[0], &b[1], &b[2], &b[3])
	if dest < uint32(a[3]) || dest > uint32(b[3]) {
		return false
	}
	var lo, hi uint32
	if n, _ := fmt.Sscanf(r.Ports, "%d-%d", &lo, &hi); n == 2 {
		return port >= lo && port <= hi
	}
	return true
}

func TestLeases(t *testing.T) {
	l := &Leases{Network: netip.MustParsePrefix("10.1.2.0/29")} // room for five: 2 to 6
	if l.Size() != 5 || Gateway(l.Network) != netip.MustParseAddr("10.1.2.1") {
		t.Fatal(l.Size(), Gateway(l.Network))
	}
	first, err := l.Take("a", []int{8080, 2222})
	if err != nil || first.Address.String() != "10.1.2.2" || fmt.Sprint(first.Ports) != "[{8080 61000} {2222 61001}]" {
		t.Fatal(first, err)
	}
	if again, err := l.Take("a", []int{8080, 2222}); err != nil || again.Slot != first.Slot {
		t.Fatal(again, err)
	}
	if _, err := l.Take("a", []int{1}); !cf.IsKind(err, cf.KindConflict) {
		t.Fatal(err)
	}
	l.Give("a")
	l.Give("a")
	if b, _ := l.Take("b", []int{80}); b.Address == first.Address || b.Ports[0].Host == 61000 {
		t.Error("what was just given back is used first", b)
	}
	for i := range 4 {
		if _, err := l.Take(fmt.Sprint(i), nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Take("full", nil); !cf.IsKind(err, cf.KindNoRoom) {
		t.Error(err)
	}
	m := &Leases{Network: l.Network}
	m.Restore("a", first)
	if b, err := m.Take("b", []int{1}); err != nil || b.Address == first.Address || b.Ports[0].Host != 61002 {
		t.Error(b, err)
	}
	if held, ok := m.Held("a"); !ok || held.Address != first.Address {
		t.Error(held, ok)
	}
}

func TestPortsRunOut(t *testing.T) {
	l := &Leases{Network: netip.MustParsePrefix("10.0.0.0/8")}
	ports := make([]int, 2000)
	for i := range ports {
		ports[i] = i + 1
	}
	for _, h := range []string{"a", "b"} {
		if _, err := l.Take(h, ports); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Take("c", ports[:2]); !cf.IsKind(err, cf.KindNoRoom) {
		t.Error(err)
	}
	if len(l.held) != 2 {
		t.Error(l.held)
	}
}
