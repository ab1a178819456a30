package nats

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestInProcess(t *testing.T) {
	defer goleak.VerifyNone(t)
	var s Server
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	if at := s.srv.Addr(); at != nil {
		t.Fatal("listens at", at)
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
