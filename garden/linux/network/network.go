// Package network connects containers: a point-to-point veth each, an address from a pool, and one nftables table that
// decides what a container may reach and which host ports lead to it.
//
// It promises that a container reaches nothing but the gateway's name server and router unless its egress rules say so,
// that nobody but the host (and whoever comes through a host port) reaches a container, that a container cannot speak
// with another's address, and that the number of rules does not grow with containers. It changes nothing of others'
// tables but for one marked rule where a forward chain drops by default, and Uninstall takes everything away.
package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"ingot/cf"
)

// Endpoint is a container as the network sees it.
type Endpoint struct {
	Lease
	Egress []cf.EgressRule
}

// Network is the network of one host. Set the fields before Start.
type Network struct {
	ID          string       // 8 hex digits that tell this data folder's links and table from others'
	Pool        netip.Prefix // of the containers' addresses; the first is the gateway's
	HostAddress netip.Addr   // where host ports are offered; zero = the gateway, so to this host alone
	Memory      string       // file that keeps what Start changed of the host
	Log         *slog.Logger

	mu      sync.Mutex
	mtu     int
	members map[int]member // by slot
	users   map[string]int // endpoints of each rule set
}

type member struct {
	Endpoint
	rules string
}

// Start makes the gateway and, in one transaction, the table with the containers that are there already.
func (n *Network) Start(_ context.Context, present []Endpoint) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.HostAddress.IsValid() {
		n.HostAddress = Gateway(n.Pool)
	}
	n.members, n.users = map[int]member{}, map[string]int{}
	n.mtu = defaultMTU()
	if err := n.gateway(); err != nil {
		return err
	}
	if err := n.forwarding(); err != nil {
		return err
	}
	b, err := n.begin()
	if err != nil {
		return err
	}
	n.replace(b)
	for _, e := range present {
		if err := n.join(b, e); err != nil {
			return err
		}
	}
	if err := b.commit(); err != nil {
		return fmt.Errorf("make table %s: %w", n.tableName(), err)
	}
	if err := n.passOthers(); err != nil {
		return err
	}
	return n.dropStrays()
}

// join adds an endpoint to a batch and to the books.
func (n *Network) join(b *batch, e Endpoint) error {
	es, err := compile(e.Egress)
	if err != nil {
		return err
	}
	name := digest(es)
	if n.users[name] == 0 {
		b.addRules(name, es)
	}
	n.add(b, e, "e-"+name)
	n.users[name]++
	n.members[e.Slot] = member{e, name}
	return nil
}

// leave takes an endpoint out.
func (n *Network) leave(b *batch, slot int) {
	m := n.members[slot]
	n.remove(b, m.Endpoint)
	if n.users[m.rules]--; n.users[m.rules] == 0 {
		delete(n.users, m.rules)
		b.dropRules(m.rules)
	}
	delete(n.members, slot)
}

// Check tells whether egress rules can be applied.
func Check(rules []cf.EgressRule) error {
	_, err := compile(rules)
	return err
}

// Connect gives the network namespace of the process pid its interface, and the endpoint its rules in one transaction.
func (n *Network) Connect(pid int, e Endpoint) error {
	if err := n.link(pid, e); err != nil {
		return fmt.Errorf("link of %s: %w", e.Address, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	b, err := n.begin()
	if err != nil {
		return err
	}
	if err := n.join(b, e); err != nil {
		return err
	}
	if err := b.commit(); err != nil {
		n.forget(e.Slot)
		return fmt.Errorf("rules of %s: %w", e.Address, err)
	}
	return nil
}

// forget takes a member out of the books alone.
func (n *Network) forget(slot int) {
	m := n.members[slot]
	delete(n.members, slot)
	if n.users[m.rules]--; n.users[m.rules] == 0 {
		delete(n.users, m.rules)
	}
}

// Disconnect takes away what Connect made; of an endpoint that is not connected, nothing.
func (n *Network) Disconnect(slot int) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var err error
	if _, ok := n.members[slot]; ok {
		b, e := n.begin()
		if e != nil {
			return e
		}
		n.leave(b, slot)
		err = b.commit()
	}
	return errors.Join(err, dropLink(n.veth(slot)))
}

func (n *Network) vethPrefix() string { return "v" + n.ID + "-" }

func (n *Network) veth(slot int) string { return n.vethPrefix() + strconv.Itoa(slot) }

func (n *Network) gatewayName() string { return "ingot" + n.ID }

// link makes the pair of interfaces and sets both ends up.
func (n *Network) link(pid int, e Endpoint) error {
	name := n.veth(e.Slot)
	if err := dropLink(name); err != nil { // of a container that was just deleted
		return err
	}
	la := netlink.NewLinkAttrs()
	la.Name, la.MTU = name, n.mtu
	veth := &netlink.Veth{LinkAttrs: la, PeerName: "eth0", PeerMTU: uint32(n.mtu), PeerNamespace: netlink.NsPid(pid)}
	if err := netlink.LinkAdd(veth); err != nil {
		return err
	}
	host, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	silence6(name)
	if err := netlink.LinkSetUp(host); err != nil {
		return err
	}
	if err := netlink.RouteReplace(&netlink.Route{LinkIndex: host.Attrs().Index, Dst: single(e.Address),
		Scope: netlink.SCOPE_LINK, Src: Gateway(n.Pool).AsSlice()}); err != nil {
		return fmt.Errorf("route: %w", err)
	}
	return n.inside(pid, e)
}

// inside sets up the container's end.
func (n *Network) inside(pid int, e Endpoint) error {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return err
	}
	defer ns.Close() //nolint:errcheck // only a handle
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	for _, name := range []string{"lo", "eth0"} {
		l, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := h.LinkSetUp(l); err != nil {
			return fmt.Errorf("%s up: %w", name, err)
		}
		if name == "lo" {
			continue
		}
		if err := h.AddrReplace(l, &netlink.Addr{IPNet: single(e.Address)}); err != nil {
			return fmt.Errorf("address: %w", err)
		}
		gw, at := Gateway(n.Pool), l.Attrs().Index
		if err := h.RouteReplace(&netlink.Route{LinkIndex: at, Dst: single(gw), Scope: netlink.SCOPE_LINK}); err != nil {
			return fmt.Errorf("route to the gateway: %w", err)
		}
		if err := h.RouteReplace(&netlink.Route{LinkIndex: at, Gw: gw.AsSlice()}); err != nil {
			return fmt.Errorf("default route: %w", err)
		}
	}
	return nil
}

// dropStrays removes links of containers that are not there any more.
func (n *Network) dropStrays() error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		rest, ours := strings.CutPrefix(l.Attrs().Name, n.vethPrefix())
		slot, err := strconv.Atoi(rest)
		if _, used := n.members[slot]; !ours || err == nil && used {
			continue
		}
		if err := dropLink(l.Attrs().Name); err != nil {
			return err
		}
	}
	return nil
}

func dropLink(name string) error {
	l, err := netlink.LinkByName(name)
	var none netlink.LinkNotFoundError
	if errors.As(err, &none) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(l)
	}
	if err != nil && !errors.Is(err, errGone) {
		return fmt.Errorf("remove link %s: %w", name, err)
	}
	return nil
}

func single(a netip.Addr) *net.IPNet { return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)} }
