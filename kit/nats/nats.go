// Package nats runs a NATS server inside this process and connects to it without a network.
//
// It promises core NATS only, credentials made anew at each start, and no listening port unless one is asked for.
// It will not keep messages (no JetStream): what travels here may be lost.
package nats

import (
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Server is a NATS server in this process.
type Server struct {
	Host string // where to listen; "" = nowhere
	Port int    // 0 = any free port, when Host is set

	srv            *server.Server
	user, password string
}

// Start returns once clients can connect.
func (s *Server) Start() error {
	s.user, s.password = rand.Text(), rand.Text()
	o := &server.Options{ServerName: "ingot", Host: s.Host, Port: s.Port, DontListen: s.Host == "", NoSigs: true, NoLog: true,
		Username: s.user, Password: s.password, MaxPayload: 1 << 20, WriteDeadline: 10 * time.Second}
	if s.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	srv, err := server.NewServer(o)
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
	c, err := nats.Connect("", nats.Name(name), nats.InProcessServer(s.srv), nats.UserInfo(s.user, s.password),
		nats.MaxReconnects(-1), nats.ReconnectWait(200*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("nats: connect %s: %w", name, err)
	}
	return c, nil
}

// URL is where other processes connect, with the credentials; "" when the server does not listen.
func (s *Server) URL() string {
	if s.Host == "" {
		return ""
	}
	return "nats://" + s.user + ":" + s.password + "@" + s.srv.Addr().String()
}
