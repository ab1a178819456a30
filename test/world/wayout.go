package world

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Addresses of the link between a world and the namespace that stands for the internet. They are documentation
// addresses (RFC 5737), which CF's default security groups count as public.
const (
	outside = "198.51.100.1"
	inside  = "198.51.100.2"
)

// wayOut makes the internet of a world: one more network namespace, linked to the world's, in which a CONNECT proxy
// listens. The proxy dials from the host's namespace, so the host gets no link and no rule.
func wayOut(holder int) (string, error) {
	type result struct {
		l   net.Listener
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine, the namespace with its last user
		l, err := internet(holder)
		done <- result{l, err}
	}()
	r := <-done
	if r.err != nil {
		return "", fmt.Errorf("way out: %w", r.err)
	}
	go func() {
		s := &http.Server{Handler: http.HandlerFunc(connect), ReadHeaderTimeout: 10 * time.Second}
		_ = s.Serve(r.l) // until the test process ends
	}()
	return "http://" + r.l.Addr().String(), nil
}

// internet runs on a thread that it takes into a new network namespace.
func internet(holder int) (net.Listener, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "world"}, PeerName: "eth0", PeerNamespace: netlink.NsPid(holder)}
	here, err := netlink.NewHandle()
	if err != nil {
		return nil, err
	}
	defer here.Close()
	if err := here.LinkAdd(veth); err != nil {
		return nil, err
	}
	if err := address(here, "world", outside); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", net.JoinHostPort(outside, "3128"))
	if err != nil {
		return nil, err
	}
	return l, gotoWorld(holder)
}

// gotoWorld takes the thread on into the world and sets up its end of the link.
func gotoWorld(holder int) error {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", holder))
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	h, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer h.Close()
	if err := address(h, "eth0", inside); err != nil {
		return err
	}
	return h.RouteAdd(&netlink.Route{Gw: net.ParseIP(outside)})
}

func address(h *netlink.Handle, name, ip string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	p := netip.PrefixFrom(netip.MustParseAddr(ip), 30)
	addr, err := netlink.ParseAddr(p.String())
	if err != nil {
		return err
	}
	if err := h.AddrAdd(link, addr); err != nil {
		return err
	}
	return h.LinkSetUp(link)
}

// connect serves the CONNECT method and nothing else.
func connect(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "CONNECT only", http.StatusMethodNotAllowed)
		return
	}
	out, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(r.Context(), "tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer func() { _ = out.Close() }()
	in, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = in.Close() }()
	if _, err := io.WriteString(in, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(out, rw) // one side closing ends both
		_ = out.Close()
	}()
	_, _ = io.Copy(in, out)
}
