package router

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"ingot/routing/router/inside"
	"ingot/routing/table"
)

// remoteHeader carries the client's address to the system's handlers. No client can set it: all X-Cf-* are stripped.
const remoteHeader = "X-Cf-Remote"

// system serves the handlers of this process. To the data path it is one more endpoint, reached through connections in
// memory, so that system names share TLS, limits, framing and errors with the apps.
type system struct {
	names map[string]http.Handler // lower case
	end   *table.Endpoint
	srv   *http.Server
	in    *inside.Listener
}

func newSystem(hosts map[string]http.Handler) *system {
	s := &system{names: map[string]http.Handler{}, end: &table.Endpoint{Addr: "system"}, in: inside.Listen("system")}
	for n, h := range hosts {
		s.names[strings.ToLower(n)] = h
	}
	s.srv = &http.Server{Handler: http.HandlerFunc(s.handle), MaxHeaderBytes: 2 << 20, ReadHeaderTimeout: 20 * time.Second,
		ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn)}
	return s
}

// handle shows the handler the request as it came from outside.
func (s *system) handle(w http.ResponseWriter, r *http.Request) {
	r.RemoteAddr = r.Header.Get(remoteHeader)
	r.Header.Del(remoteHeader)
	if r.Header.Get("X-Forwarded-Proto") == "https" {
		r.TLS = &tls.ConnectionState{HandshakeComplete: true}
	}
	s.names[nameOf(r.Host)].ServeHTTP(w, r)
}

func (s *system) serve() {
	if err := s.srv.Serve(s.in); !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
		slog.Error("router: system names are no longer served", "error", err)
	}
}

func (s *system) close() {
	_ = s.in.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.srv.Shutdown(ctx) != nil {
		_ = s.srv.Close()
	}
}

// nameOf cuts the port and final dot of a Host and folds its case.
func nameOf(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host[i:], ']') < 0 {
		host = host[:i]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
