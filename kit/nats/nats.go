// Package nats runs a NATS server inside this process and connects to it without a network.
//
// It promises core NATS only, and that nobody outside this process can connect: it listens nowhere.
// It will not keep messages (no JetStream): what travels here may be lost.
package nats

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Server is a NATS server in this process.
type Server struct{ srv *server.Server }

// Start returns once clients can connect.
func (s *Server) Start() error {
	srv, err := server.NewServer(&server.Options{ServerName: "ingot", DontListen: true, NoSigs: true, NoLog: true,
		MaxPayload: 1 << 20, WriteDeadline: 10 * time.Second})
	if err != nil {
		return fmt.Errorf("nats: %w", err)
	}
	s.srv = srv
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		s.Stop()
		return errors.New("nats: not ready after 10 s")
	}
	return nil
}

// Stop ends the server and all connections.
func (s *Server) Stop() {
	if s.srv != nil {
		s.srv.Shutdown()
		s.srv.WaitForShutdown()
	}
}

// Connect opens a connection that comes back by itself until it is closed.
func (s *Server) Connect(name string) (*nats.Conn, error) {
	c, err := nats.Connect("", nats.Name(name), nats.InProcessServer(s.srv),
		nats.MaxReconnects(-1), nats.ReconnectWait(200*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("nats: connect %s: %w", name, err)
	}
	return c, nil
}
