package role

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"

	"ingot/kit/web"
)

// listenError names the cure of a port that cannot be had; flag is the one that changes the address, if any does.
func listenError(addr, flag string, err error) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	cure := "stop it (`ss -ltnp` names it)"
	if flag != "" {
		cure += " or choose another address with " + flag
	}
	return fmt.Errorf("%s is in use by another program; %s", addr, cure)
}

// serve logs why a server ended, if it did so by itself.
func serve(ctx context.Context, l net.Listener, h http.Handler) {
	if err := web.Serve(ctx, l, h); err != nil {
		slog.Error("server ended", "address", l.Addr().String(), "error", err)
	}
}

// listenFlagError is listenError for an address that --listen may have named.
func listenFlagError(addr string, err error) error {
	flag := "--listen"
	if ip, _, _ := net.SplitHostPort(addr); net.ParseIP(ip).IsLoopback() { // in any case
		flag = ""
	}
	return listenError(addr, flag, err)
}

func listenAdmin(c Config) (net.Listener, error) {
	l, err := net.Listen("tcp", c.Admin)
	if err != nil {
		return nil, listenError(c.Admin, "--admin", err)
	}
	return l, nil
}

// listenAll listens on one port of several addresses.
func listenAll(addrs []string, port string) ([]net.Listener, error) {
	var out []net.Listener
	for _, a := range addrs {
		addr := net.JoinHostPort(a, port)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			for _, o := range out {
				_ = o.Close()
			}
			return nil, listenFlagError(addr, err)
		}
		out = append(out, l)
	}
	return out, nil
}
