package network

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"ingot/cf"
)

// batch is one transaction on our table.
type batch struct {
	*nftables.Conn
	table *nftables.Table
	err   error
}

// Sets and maps of the table. Their elements grow with containers; no rule does.
const (
	setMembers = "members" // interface . address: who may speak as whom
	mapEgress  = "egress"  // address -> chain of its rule set
	mapPorts   = "ports"   // host port -> address . port
)

var (
	memberKey  = nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeIPAddr)
	target     = nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)
	allowedKey = nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeIPAddr, nftables.TypeInetService)
)

func (n *Network) begin() (*batch, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return &batch{Conn: c, table: &nftables.Table{Name: n.tableName(), Family: nftables.TableFamilyINet}}, nil
}

func (n *Network) tableName() string { return "ingot_" + n.ID }

func (b *batch) commit() error { return errors.Join(b.err, b.Flush()) }

func (b *batch) members() *nftables.Set {
	return &nftables.Set{Table: b.table, Name: setMembers, KeyType: memberKey, Concatenation: true}
}

func (b *batch) egress() *nftables.Set {
	return &nftables.Set{Table: b.table, Name: mapEgress, IsMap: true, KeyType: nftables.TypeIPAddr, DataType: nftables.TypeVerdict}
}

func (b *batch) ports() *nftables.Set {
	return &nftables.Set{Table: b.table, Name: mapPorts, IsMap: true, KeyType: nftables.TypeInetService, DataType: target}
}

// replace makes the table anew, with everything that does not depend on containers.
func (n *Network) replace(b *batch) {
	b.AddTable(b.table)
	b.DelTable(b.table)
	b.AddTable(b.table)
	for _, s := range []*nftables.Set{b.members(), b.egress(), b.ports()} {
		b.keep(b.AddSet(s, nil))
	}
	toHost, out, in := b.chain("to_host"), b.chain("out"), b.chain("in")
	n.filterRules(b, toHost, out, in)

	ours, local := ifname(expr.MetaKeyIIFNAME, n.vethPrefix(), true), ifname(expr.MetaKeyIIFNAME, n.vethPrefix(), false)
	input := b.hook("input", nftables.ChainHookInput, nftables.ChainPriorityFilter, nftables.ChainTypeFilter)
	b.rule(input, ours, jump(toHost, expr.VerdictGoto))
	forward := b.hook("forward", nftables.ChainHookForward, nftables.ChainPriorityFilter, nftables.ChainTypeFilter)
	b.rule(forward, ours, jump(out, expr.VerdictGoto))
	b.rule(forward, ifname(expr.MetaKeyOIFNAME, n.vethPrefix(), true), jump(in, expr.VerdictGoto))

	pre := b.hook("prerouting", nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest, nftables.ChainTypeNAT)
	b.rule(pre, local, b.forwardPort(n.HostAddress))
	output := b.hook("output", nftables.ChainHookOutput, nftables.ChainPriorityNATDest, nftables.ChainTypeNAT)
	b.rule(output, b.forwardPort(n.HostAddress))
	post := b.hook("postrouting", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource, nftables.ChainTypeNAT)
	b.rule(post, within(offsetSource, n.Pool), ifname(expr.MetaKeyOIFNAME, n.vethPrefix(), false), []expr.Any{&expr.Masq{}})
}

// filterRules are what a packet from a container to the host, from a container elsewhere, and to a container must pass.
func (n *Network) filterRules(b *batch, toHost, out, in *nftables.Chain) {
	gateway := netip.PrefixFrom(Gateway(n.Pool), 32)
	for _, c := range []*nftables.Chain{toHost, out} {
		b.rule(c, ipv4(false), verdict(expr.VerdictDrop))
		b.rule(c, []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
			&expr.Payload{DestRegister: 2, Base: expr.PayloadBaseNetworkHeader, Offset: offsetSource, Len: 4},
			&expr.Lookup{SourceRegister: 1, SetName: setMembers, Invert: true},
		}, verdict(expr.VerdictDrop))
		b.rule(c, state(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), verdict(expr.VerdictAccept))
	}
	for _, open := range []struct {
		proto byte
		port  uint16
	}{{unix.IPPROTO_UDP, 53}, {unix.IPPROTO_TCP, 53}, {unix.IPPROTO_TCP, 80}, {unix.IPPROTO_TCP, 443}} {
		b.rule(toHost, within(offsetDest, gateway), l4(open.proto), port(open.port), verdict(expr.VerdictAccept))
	}
	for _, c := range []*nftables.Chain{toHost, out} {
		b.rule(c, []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offsetSource, Len: 4},
			&expr.Lookup{SourceRegister: 1, SetName: mapEgress, IsDestRegSet: true},
		})
		b.rule(c, l4(unix.IPPROTO_TCP), []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}})
		b.rule(c, []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}})
	}
	b.rule(in, state(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), verdict(expr.VerdictAccept))
	b.rule(in, []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(ctDNAT), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}, verdict(expr.VerdictAccept))
	b.rule(in, verdict(expr.VerdictDrop))
}

// ctDNAT is IPS_DST_NAT of the kernel's connection tracking: a packet that came through our map of ports.
const ctDNAT = 1 << 5

// add lets an endpoint speak; its rule set's chain is there already or made with it.
func (n *Network) add(b *batch, e Endpoint, chain string) {
	b.keep(b.SetAddElements(b.members(), []nftables.SetElement{{Key: memberOf(n.veth(e.Slot), e.Address)}}))
	b.keep(b.SetAddElements(b.egress(), []nftables.SetElement{{Key: e.Address.AsSlice(),
		VerdictData: &expr.Verdict{Kind: expr.VerdictJump, Chain: chain}}}))
	if els := portElements(e.Ports, e.Address); len(els) > 0 {
		b.keep(b.SetAddElements(b.ports(), els))
	}
}

func (n *Network) remove(b *batch, e Endpoint) {
	b.keep(b.SetDeleteElements(b.members(), []nftables.SetElement{{Key: memberOf(n.veth(e.Slot), e.Address)}}))
	b.keep(b.SetDeleteElements(b.egress(), []nftables.SetElement{{Key: e.Address.AsSlice()}}))
	if els := portElements(e.Ports, e.Address); len(els) > 0 {
		b.keep(b.SetDeleteElements(b.ports(), els))
	}
}

// addRules makes the chain and set of a rule set.
func (b *batch) addRules(name string, es []element) {
	c := b.AddChain(&nftables.Chain{Table: b.table, Name: "e-" + name})
	s := b.allowed(name)
	b.keep(b.AddSet(s, nil))
	for len(es) > 0 {
		some := es[:min(len(es), 256)] // a message has 64 kB
		es = es[len(some):]
		var els []nftables.SetElement
		for _, e := range some {
			els = append(els, nftables.SetElement{Key: key(e.proto.lo, e.dest.lo, e.port.lo), KeyEnd: key(e.proto.hi, e.dest.hi, e.port.hi)})
		}
		b.keep(b.SetAddElements(s, els))
	}
	b.rule(c, []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 8},
		&expr.Payload{DestRegister: 9, Base: expr.PayloadBaseNetworkHeader, Offset: offsetDest, Len: 4},
		&expr.Payload{DestRegister: 10, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: 8, SetName: s.Name, SetID: s.ID},
	}, verdict(expr.VerdictAccept))
}

func (b *batch) dropRules(name string) {
	c := &nftables.Chain{Table: b.table, Name: "e-" + name}
	b.FlushChain(c)
	b.DelChain(c)
	b.DelSet(b.allowed(name))
}

func (b *batch) allowed(name string) *nftables.Set {
	return &nftables.Set{Table: b.table, Name: "s-" + name, KeyType: allowedKey, Concatenation: true, Interval: true}
}

func (b *batch) forwardPort(host netip.Addr) []expr.Any {
	out := append(ipv4(true), within(offsetDest, netip.PrefixFrom(host, 32))...)
	out = append(out, l4(unix.IPPROTO_TCP)...)
	return append(out,
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: 1, SetName: mapPorts, DestRegister: 1, IsDestRegSet: true},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 9})
}

func (b *batch) chain(name string) *nftables.Chain {
	return b.AddChain(&nftables.Chain{Table: b.table, Name: name})
}

func (b *batch) hook(name string, h *nftables.ChainHook, p *nftables.ChainPriority, t nftables.ChainType) *nftables.Chain {
	accept := nftables.ChainPolicyAccept
	return b.AddChain(&nftables.Chain{Table: b.table, Name: name, Hooknum: h, Priority: p, Type: t, Policy: &accept})
}

func (b *batch) rule(c *nftables.Chain, parts ...[]expr.Any) {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	b.AddRule(&nftables.Rule{Table: b.table, Chain: c, Exprs: all})
}

func (b *batch) keep(err error) { b.err = errors.Join(b.err, err) }

func portElements(ports []cf.PortMapping, to netip.Addr) []nftables.SetElement {
	var out []nftables.SetElement
	for _, p := range ports {
		val := append(to.AsSlice(), binaryutil.BigEndian.PutUint16(uint16(p.Container))...)
		out = append(out, nftables.SetElement{Key: binaryutil.BigEndian.PutUint16(uint16(p.Host)), Val: append(val, 0, 0)})
	}
	return out
}
