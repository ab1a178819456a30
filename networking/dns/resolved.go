package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
)

const (
	// Link is the dummy link that carries our routing domain in systemd-resolved.
	Link = "ingot-dns"
	// linkAddress makes the link one that systemd-resolved takes for usable: it wants an address that is not of the
	// host's own scope. Nothing is ever sent to it.
	linkAddress = "169.254.53.53/32"
)

// resolved tells whether systemd-resolved answers this host's questions: it runs, and resolv.conf names its stub.
func (h *Host) resolved(original saved) bool {
	if !slices.Contains(nameservers(original.Text), "127.0.0.53:53") {
		return false
	}
	c, err := net.DialTimeout("unix", or(h.Resolved, "/run/systemd/resolve/io.systemd.Resolve"), time.Second)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// route makes the link and its routing domain. The link does not survive a boot, so nothing has to be kept.
func (h *Host) route(ctx context.Context) error {
	link, err := netlink.LinkByName(Link)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		link = &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: Link}}
		err = netlink.LinkAdd(link)
	}
	if err != nil {
		return fmt.Errorf("link %s: %w", Link, err)
	}
	addr, err := netlink.ParseAddr(linkAddress)
	if err == nil {
		err = netlink.AddrReplace(link, addr)
	}
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("link %s: %w", Link, err)
	}
	for _, args := range [][]string{{"dns", Link, h.Server}, {"domain", Link, "~" + h.Domain}, {"default-route", Link, "no"}} {
		cmd := exec.CommandContext(ctx, or(h.Resolvectl, "resolvectl"), args...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("resolvectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// unroute removes the link; systemd-resolved forgets what it knew of it.
func (h *Host) unroute(context.Context) error {
	link, err := netlink.LinkByName(Link)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("remove link %s: %w", Link, err)
	}
	return nil
}
