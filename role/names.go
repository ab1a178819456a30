package role

import (
	"context"
	"net"

	"ingot/networking/dns"
)

// startNames answers for our names on loopback with loopback, and for containers with the gateway.
func (r *rooms) startNames(ctx context.Context) error {
	upstreams, err := r.host.Upstreams()
	if err != nil {
		return err
	}
	r.names = &dns.Server{Domain: r.c.Domain, Upstreams: upstreams}
	tcp, err := r.held.listeners(r.c.addresses(), "53")
	if err != nil {
		return err
	}
	for i, a := range r.c.addresses() {
		udp, err := net.FilePacketConn(r.held["udp/"+net.JoinHostPort(a, "53")])
		if err != nil {
			return err
		}
		r.names.Listeners = append(r.names.Listeners, dns.Listener{TCP: tcp[i], UDP: udp, Answer: outwards(a)})
	}
	return r.names.Start(ctx)
}

func (r *rooms) stopNames(ctx context.Context) error { return r.names.Stop(ctx) }

// newHost is this machine's name resolution, also for commands that clean up after a dead Ingot.
func newHost(c Config) *dns.Host {
	return &dns.Host{Domain: c.Domain, Server: "127.0.0.1", Data: c.Data}
}

func (r *rooms) takeNames(ctx context.Context) error {
	if r.c.DNS == "none" {
		return nil
	}
	return r.host.Install(ctx)
}
