package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ingot/kit/file"
)

// errGone is what removing a link says that went by itself, with its namespace.
const errGone = unix.ENODEV

const forwardKey = "net/ipv4/ip_forward"

// gateway makes the link that holds the address which containers know the host by.
func (n *Network) gateway() error {
	la := netlink.NewLinkAttrs()
	la.Name = n.gatewayName()
	err := netlink.LinkAdd(&netlink.Dummy{LinkAttrs: la})
	if errors.Is(err, unix.EOPNOTSUPP) { // a kernel without dummies; a bridge without ports does as well
		err = netlink.LinkAdd(&netlink.Bridge{LinkAttrs: la})
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make link %s: %w", la.Name, err)
	}
	l, err := netlink.LinkByName(la.Name)
	if err != nil {
		return fmt.Errorf("link %s: %w", la.Name, err)
	}
	silence6(la.Name)
	if err := netlink.AddrReplace(l, &netlink.Addr{IPNet: single(Gateway(n.Pool))}); err != nil {
		return fmt.Errorf("address of %s: %w", la.Name, err)
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("%s up: %w", la.Name, err)
	}
	return nil
}

// forwarding switches the host to pass packets on, and remembers for Uninstall whether it did not before.
func (n *Network) forwarding() error {
	was, err := os.ReadFile(sysctl(forwardKey))
	if err != nil {
		return fmt.Errorf("read %s: %w", forwardKey, err)
	}
	if bytes.HasPrefix(was, []byte("1")) {
		return nil
	}
	if _, err := os.Stat(n.Memory); errors.Is(err, os.ErrNotExist) {
		text, err := json.Marshal(map[string]string{forwardKey: strings.TrimSpace(string(was))})
		if err != nil {
			return err
		}
		if err := file.Replace(n.Memory, text, 0o600); err != nil {
			return err
		}
	}
	if err := os.WriteFile(sysctl(forwardKey), []byte("1"), 0o644); err != nil {
		return fmt.Errorf("set %s: %w", forwardKey, err)
	}
	return nil
}

// Uninstall takes away the table, the links and our marked rules, and sets back what Start changed.
func (n *Network) Uninstall(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.members = nil
	errs := []error{n.dropStrays(), dropLink(n.gatewayName()), n.unmark()}
	if b, err := n.begin(); err != nil {
		errs = append(errs, err)
	} else {
		b.AddTable(b.table) // so that removing it cannot fail
		b.DelTable(b.table)
		errs = append(errs, b.commit())
	}
	text, err := os.ReadFile(n.Memory)
	if err == nil {
		was := map[string]string{}
		errs = append(errs, json.Unmarshal(text, &was))
		if v, ok := was[forwardKey]; ok {
			errs = append(errs, os.WriteFile(sysctl(forwardKey), []byte(v), 0o644))
		}
		errs = append(errs, os.Remove(n.Memory))
	} else if !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// passOthers lets our packets pass the forward chains of others that drop by default (as Docker's does), by a marked
// rule at their top: an accept in our own table could not overrule them.
func (n *Network) passOthers() error {
	if err := n.unmark(); err != nil {
		return err
	}
	return n.droppers(func(c *nftables.Conn, chain *nftables.Chain) error {
		n.Log.Info("forward chain drops by default: adding our marked rules", "table", chain.Table.Name, "chain", chain.Name)
		for _, key := range []expr.MetaKey{expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME} {
			c.InsertRule(&nftables.Rule{Table: chain.Table, Chain: chain, UserData: n.mark(),
				Exprs: append(ifname(key, n.vethPrefix(), true), verdict(expr.VerdictAccept)...)})
		}
		return c.Flush()
	})
}

// unmark removes our rules from others' forward chains.
func (n *Network) unmark() error {
	return n.droppers(func(c *nftables.Conn, chain *nftables.Chain) error {
		rules, err := c.GetRules(chain.Table, chain)
		if err != nil {
			return err
		}
		for _, r := range rules {
			if bytes.Equal(r.UserData, n.mark()) {
				if err := c.DelRule(r); err != nil {
					return err
				}
			}
		}
		return c.Flush()
	})
}

// mark is a rule's comment, in the form in which nft shows it.
func (n *Network) mark() []byte {
	text := n.tableName() + "\x00"
	return append([]byte{0, byte(len(text))}, text...)
}

// droppers calls do for each forward chain of another table that drops by default.
func (n *Network) droppers(do func(*nftables.Conn, *nftables.Chain) error) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	chains, err := c.ListChains()
	if err != nil {
		return fmt.Errorf("list chains: %w", err)
	}
	for _, chain := range chains {
		f := chain.Table.Family
		if chain.Table.Name == n.tableName() || f != nftables.TableFamilyIPv4 && f != nftables.TableFamilyINet ||
			chain.Hooknum == nil || *chain.Hooknum != *nftables.ChainHookForward ||
			chain.Policy == nil || *chain.Policy != nftables.ChainPolicyDrop {
			continue
		}
		if err := do(c, chain); err != nil {
			return fmt.Errorf("chain %s of table %s: %w", chain.Name, chain.Table.Name, err)
		}
	}
	return nil
}

// defaultMTU is that of the link of the default route: a container must not send what cannot leave the host.
func defaultMTU() int {
	const usual = 1500
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: nil}, netlink.RT_FILTER_DST)
	if err != nil {
		return usual
	}
	for _, r := range routes {
		if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil && l.Attrs().MTU > 0 {
			return l.Attrs().MTU
		}
	}
	return usual
}

// silence6 keeps IPv6 off a link of ours; where the kernel has none, there is nothing to keep off. The table drops it anyway.
func silence6(link string) {
	_ = os.WriteFile(sysctl(filepath.Join("net/ipv6/conf", link, "disable_ipv6")), []byte("1"), 0o644)
}

func sysctl(key string) string { return filepath.Join("/proc/sys", key) }
