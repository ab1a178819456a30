// Package dns gives the platform's names to the host and to the containers: a small DNS server on the loopback and
// gateway addresses (Server), and the host's name resolution pointed at it and back again (Host).
//
// It promises that every name of the domain has the address of the listener that was asked, that every other question
// goes to the servers which the host had before and never to ourselves, and that the host's resolv.conf comes back byte
// for byte whenever and however Ingot ended. It will not cache, nor answer for apps.internal until discovery exists.
package dns

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	wire "github.com/miekg/dns"
	"golang.org/x/net/netutil"
)

const (
	ttl         = 30  // seconds, of our answers
	maxForwards = 256 // questions that wait for an upstream; more are told SERVFAIL at once
	maxConns    = 64  // TCP connections of a listener
)

// internal is the domain of service discovery: never asked upstream.
const internal = "apps.internal."

// Listener is one address to answer on. The server closes both when it stops.
type Listener struct {
	TCP    net.Listener
	UDP    net.PacketConn
	Answer netip.Addr // the address of our names for who asks here
}

// Server is the DNS server. Set the fields, then Start.
type Server struct {
	Domain    string // such as ingot.test
	Listeners []Listener
	Upstreams []string      // host:port, asked in this order; our own addresses are left out
	Timeout   time.Duration // for one upstream; 0 is 2 s

	mu      sync.Mutex
	servers []*wire.Server
	running sync.WaitGroup
	addrs   []string
	ask     forwarder
}

// Start answers on all listeners.
func (s *Server) Start(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.Listeners {
		s.addrs = append(s.addrs, l.TCP.Addr().String())
		h := s.handler(l.Answer)
		s.servers = append(s.servers,
			&wire.Server{Listener: netutil.LimitListener(l.TCP, maxConns), Handler: h, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second},
			&wire.Server{PacketConn: l.UDP, Handler: h})
	}
	s.ask = forwarder{timeout: s.Timeout, slots: make(chan struct{}, maxForwards)}
	if s.ask.timeout == 0 {
		s.ask.timeout = 2 * time.Second
	}
	for _, u := range s.Upstreams {
		if !s.ourselves(u) {
			s.ask.upstreams = append(s.ask.upstreams, u)
		}
	}
	for _, srv := range s.servers {
		ready := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(ready) }
		s.running.Go(func() {
			if err := srv.ActivateAndServe(); err != nil {
				slog.Error("dns server ended", "error", err)
			}
		})
		<-ready
	}
	return nil
}

// ourselves tells whether a question to that address would come back to us.
func (s *Server) ourselves(upstream string) bool {
	up, err := netip.ParseAddrPort(upstream)
	if err != nil {
		return false
	}
	ip := up.Addr().WithZone("").Unmap()
	for _, addr := range s.addrs {
		at := netip.MustParseAddrPort(addr)
		if at.Port() != up.Port() {
			continue
		}
		if own := at.Addr().Unmap(); own == ip || own.IsUnspecified() && local(ip) {
			return true
		}
	}
	return false
}

// local tells whether the address is one of this machine.
func local(ip netip.Addr) bool {
	if ip.IsLoopback() || ip.IsUnspecified() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr().Unmap() == ip
	})
}

// Stop ends the server; running questions are answered until ctx ends.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, srv := range s.servers {
		errs = append(errs, srv.ShutdownContext(ctx))
	}
	s.running.Wait()
	s.servers, s.addrs = nil, nil
	return errors.Join(errs...)
}

func (s *Server) handler(answer netip.Addr) wire.HandlerFunc {
	domain := wire.CanonicalName(s.Domain)
	return func(w wire.ResponseWriter, q *wire.Msg) {
		var a *wire.Msg
		switch {
		case q.Opcode != wire.OpcodeQuery || len(q.Question) != 1:
			a = new(wire.Msg).SetRcode(q, wire.RcodeNotImplemented)
		case q.Question[0].Qclass != wire.ClassINET:
			a = new(wire.Msg).SetRcode(q, wire.RcodeRefused)
		case wire.IsSubDomain(domain, strings.ToLower(q.Question[0].Name)):
			a = ours(q, domain, answer)
		case wire.IsSubDomain(internal, strings.ToLower(q.Question[0].Name)):
			a = negative(new(wire.Msg).SetRcode(q, wire.RcodeNameError), internal)
		default:
			a = s.ask.forward(q, w.RemoteAddr().Network() == "tcp")
		}
		if w.RemoteAddr().Network() == "udp" {
			size := wire.MinMsgSize
			if e := q.IsEdns0(); e != nil {
				size = max(size, int(e.UDPSize()))
			}
			a.Truncate(size)
		}
		if err := w.WriteMsg(a); err != nil {
			slog.Debug("dns answer not sent", "error", err) // who asked went away, or never was there
		}
	}
}

// ours answers for a name of the domain: it has an IPv4 address and nothing else.
func ours(q *wire.Msg, domain string, answer netip.Addr) *wire.Msg {
	a := new(wire.Msg).SetReply(q)
	a.Authoritative, a.RecursionAvailable = true, true
	if e := q.IsEdns0(); e != nil {
		a.SetEdns0(1232, false)
	}
	if t := q.Question[0].Qtype; t != wire.TypeA && t != wire.TypeANY {
		return negative(a, domain)
	}
	a.Answer = []wire.RR{&wire.A{
		Hdr: wire.RR_Header{Name: q.Question[0].Name, Rrtype: wire.TypeA, Class: wire.ClassINET, Ttl: ttl},
		A:   answer.AsSlice(),
	}}
	return a
}

// negative adds the SOA that says how long "there is none" may be kept (RFC 2308).
func negative(a *wire.Msg, zone string) *wire.Msg {
	a.RecursionAvailable = true
	a.Ns = []wire.RR{&wire.SOA{
		Hdr: wire.RR_Header{Name: zone, Rrtype: wire.TypeSOA, Class: wire.ClassINET, Ttl: ttl},
		Ns:  "ns." + zone, Mbox: "hostmaster." + zone, Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: ttl,
	}}
	return a
}
