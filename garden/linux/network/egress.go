package network

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ingot/cf"
)

// maxElements bounds what one container's rules may compile to.
const maxElements = 20_000

// span is a closed range.
type span struct{ lo, hi uint32 }

// element is one allowed block: protocols x destinations x ports. The elements of a set never overlap, as the kernel's
// concatenated interval sets demand.
type element struct{ proto, dest, port span }

var allPorts = span{0, 65535}

// compile turns egress rules into the elements of one set. Elements of protocol "all" come first; what they cover is
// taken out of the others.
func compile(rules []cf.EgressRule) ([]element, error) {
	var all, icmp []span
	ports := map[uint32][]block{}
	for _, r := range rules {
		dests, err := destinations(r)
		if err != nil {
			return nil, err
		}
		switch r.Protocol {
		case "all":
			all = append(all, dests...)
		case "icmp":
			icmp = append(icmp, dests...)
		case "tcp", "udp":
			p, err := portSpans(r.Ports)
			if err != nil {
				return nil, err
			}
			n := uint32(unix.IPPROTO_TCP)
			if r.Protocol == "udp" {
				n = unix.IPPROTO_UDP
			}
			ports[n] = append(ports[n], block{dests, p})
		default:
			return nil, bad("protocol %q is none of all, tcp, udp, icmp", r.Protocol)
		}
	}
	all = merge(all)
	var out []element
	for _, d := range all {
		out = append(out, element{span{0, 255}, d, allPorts})
	}
	for _, d := range without(merge(icmp), all) {
		out = append(out, element{span{unix.IPPROTO_ICMP, unix.IPPROTO_ICMP}, d, allPorts})
	}
	for _, proto := range []uint32{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		out = append(out, sweep(proto, ports[proto], all)...)
	}
	if len(out) > maxElements {
		return nil, bad("the rules amount to more than %d blocks", maxElements)
	}
	return out, nil
}

// block is the part of one rule that depends on ports.
type block struct{ dests, ports []span }

// sweep cuts the port numbers wherever a rule begins or ends and unites the destinations of each piece.
func sweep(proto uint32, blocks []block, all []span) []element {
	var cuts []uint32
	for _, b := range blocks {
		for _, p := range b.ports {
			cuts = append(cuts, p.lo, p.hi+1)
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	var out, open []element // open: those of the piece before, which may go on
	for i := 0; i+1 < len(cuts); i++ {
		piece := span{cuts[i], cuts[i+1] - 1}
		var dests []span
		for _, b := range blocks {
			if slices.ContainsFunc(b.ports, func(p span) bool { return p.lo <= piece.lo && piece.hi <= p.hi }) {
				dests = append(dests, b.dests...)
			}
		}
		dests = without(merge(dests), all)
		if same(open, dests, piece.lo) {
			for j := range open {
				open[j].port.hi = piece.hi
			}
			continue
		}
		out, open = append(out, open...), nil
		for _, d := range dests {
			open = append(open, element{span{proto, proto}, d, piece})
		}
	}
	return append(out, open...)
}

func same(open []element, dests []span, next uint32) bool {
	return len(open) > 0 && open[0].port.hi+1 == next &&
		slices.EqualFunc(open, dests, func(e element, d span) bool { return e.dest == d })
}

func destinations(r cf.EgressRule) ([]span, error) {
	var out []span
	for _, d := range r.Destinations {
		for one := range strings.SplitSeq(d, ",") {
			s, err := destination(strings.TrimSpace(one))
			if err != nil {
				return nil, err
			}
			out = append(out, s)
		}
	}
	return out, nil
}

// destination reads an address, a CIDR or a range FIRST-LAST.
func destination(s string) (span, error) {
	if first, last, ok := strings.Cut(s, "-"); ok {
		a, err1 := netip.ParseAddr(strings.TrimSpace(first))
		b, err2 := netip.ParseAddr(strings.TrimSpace(last))
		if err1 == nil && err2 == nil && a.Is4() && b.Is4() && !b.Less(a) {
			return span{bits(a), bits(b)}, nil
		}
	} else if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is4() {
		lo := bits(p.Masked().Addr())
		return span{lo, lo | uint32(1<<(32-p.Bits())-1)}, nil
	} else if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
		return span{bits(a), bits(a)}, nil
	}
	return span{}, bad("destination %q is no IPv4 address, CIDR or range", s)
}

// portSpans reads "53", "8080-8090,443"; nothing means all.
func portSpans(s string) ([]span, error) {
	if s == "" {
		return []span{allPorts}, nil
	}
	var out []span
	for one := range strings.SplitSeq(s, ",") {
		first, last, ok := strings.Cut(strings.TrimSpace(one), "-")
		if !ok {
			last = first
		}
		lo, err1 := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
		hi, err2 := strconv.ParseUint(strings.TrimSpace(last), 10, 16)
		if err1 != nil || err2 != nil || hi < lo {
			return nil, bad("ports %q are no list of ports and ranges", s)
		}
		out = append(out, span{uint32(lo), uint32(hi)})
	}
	return merge(out), nil
}

// merge sorts spans and unites those that touch.
func merge(in []span) []span {
	in = slices.Clone(in)
	sort.Slice(in, func(i, j int) bool { return in[i].lo < in[j].lo })
	var out []span
	for _, s := range in {
		if n := len(out); n > 0 && uint64(s.lo) <= uint64(out[n-1].hi)+1 {
			out[n-1].hi = max(out[n-1].hi, s.hi)
			continue
		}
		out = append(out, s)
	}
	return out
}

// without takes b out of a; both are merged.
func without(a, b []span) []span {
	var out []span
	for _, s := range a {
		lo, done := uint64(s.lo), false
		for _, t := range b {
			if uint64(t.hi) < lo || t.lo > s.hi {
				continue
			}
			if uint64(t.lo) > lo {
				out = append(out, span{uint32(lo), t.lo - 1})
			}
			lo = uint64(t.hi) + 1
			done = lo > uint64(s.hi)
		}
		if !done {
			out = append(out, span{uint32(lo), s.hi})
		}
	}
	return out
}

// digest names a rule set by what it allows.
func digest(es []element) string {
	h := sha256.New()
	for _, e := range es {
		_ = binary.Write(h, binary.BigEndian, []uint32{e.proto.lo, e.proto.hi, e.dest.lo, e.dest.hi, e.port.lo, e.port.hi})
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func bits(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func bad(format string, args ...any) error {
	return cf.Errorf(cf.KindInvalid, "", "egress rule: %s", fmt.Sprintf(format, args...))
}
