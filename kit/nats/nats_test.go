package nats

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
)

func TestInProcess(t *testing.T) {
	defer goleak.VerifyNone(t)
	var s Server
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	if s.URL() != "" {
		t.Fatal("listens at", s.URL())
	}
	a, err := s.Connect("a")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	sub, err := a.SubscribeSync("x")
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Connect("b")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := a.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := b.Publish("x", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	m, err := sub.NextMsg(5 * time.Second)
	if err != nil || string(m.Data) != "hello" {
		t.Fatal(m, err)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	s := Server{Host: "127.0.0.1"}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	if c, err := nats.Connect("nats://" + s.srv.Addr().String()); err == nil {
		c.Close()
		t.Fatal("connected without credentials")
	}
	c, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
