package router

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// bare is a codec that leaves messages as they are.
type bare struct{}

func (bare) Marshal(v any) ([]byte, error)   { return *v.(*[]byte), nil }
func (bare) Unmarshal(b []byte, v any) error { *v.(*[]byte) = bytes.Clone(b); return nil }
func (bare) Name() string                    { return "bare" }
func (w *world) grpcApp(host string, left chan<- struct{}) {
	w.t.Helper()
	l := listen(w.t)
	s := grpc.NewServer(grpc.ForceServerCodec(bare{}), grpc.UnknownServiceHandler(func(_ any, st grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(st)
		st.SetTrailer(metadata.Pairs("x-trailer", "t"))
		switch method {
		case "/s/fail":
			return status.Error(codes.NotFound, "nothing: here, 100%")
		case "/s/wait":
			_ = st.SendHeader(metadata.Pairs("x-head", "h"))
			<-st.Context().Done()
			left <- struct{}{}
			return nil
		}
		for {
			var b []byte
			if err := st.RecvMsg(&b); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if err := st.SendMsg(&b); err != nil {
				return err
			}
		}
	}))
	go func() { _ = s.Serve(l) }()
	w.t.Cleanup(s.Stop)
	m := w.message(host, l.Addr().String(), 0)
	m.Protocol = "http2"
	w.Table.Register(m, time.Now())
}

// TestGRPC: the reference implementation finds nothing missing: calls, errors without a body, streams both ways at
// once, metadata, trailers, large messages, cancellation.
func TestGRPC(t *testing.T) {
	w := start(t, nil)
	left := make(chan struct{}, 1)
	w.grpcApp("a.test", left)
	c, err := grpc.NewClient("passthrough:///"+w.tlsAddr, grpc.WithAuthority("a.test"), grpc.WithDefaultCallOptions(grpc.ForceCodec(bare{})),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: w.ca.Pool(), ServerName: "a.test"})))
	must(t, err)
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()

	var trailer metadata.MD
	in, out := []byte("hello"), []byte(nil)
	if err := c.Invoke(ctx, "/s/echo", &in, &out, grpc.Trailer(&trailer)); err != nil || string(out) != "hello" || len(trailer["x-trailer"]) != 1 {
		t.Fatal(string(out), trailer, err)
	}
	err = c.Invoke(ctx, "/s/fail", &in, &out, grpc.Trailer(&trailer))
	if status.Code(err) != codes.NotFound || status.Convert(err).Message() != "nothing: here, 100%" || len(trailer["x-trailer"]) != 1 {
		t.Fatal(err, trailer)
	}
	st, err := c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/s/bidi")
	must(t, err)
	for i := range 200 {
		in := []byte(fmt.Sprint(i))
		must(t, st.SendMsg(&in))
		must(t, st.RecvMsg(&out))
		if string(out) != string(in) {
			t.Fatal(i, string(out))
		}
	}
	in = bytes.Repeat([]byte("0123456789abcdef"), 200<<10) // 3.2 MB
	must(t, st.SendMsg(&in))
	must(t, st.RecvMsg(&out))
	if !bytes.Equal(in, out) {
		t.Fatal(len(out))
	}
	must(t, st.CloseSend())
	if err := st.RecvMsg(&out); !errors.Is(err, io.EOF) || len(st.Trailer()["x-trailer"]) != 1 {
		t.Fatal(err, st.Trailer())
	}

	short, stop := context.WithCancel(ctx)
	st, err = c.NewStream(short, &grpc.StreamDesc{ServerStreams: true}, "/s/wait")
	must(t, err)
	if h, err := st.Header(); err != nil || len(h["x-head"]) != 1 { // before any message
		t.Fatal(h, err)
	}
	stop()
	select {
	case <-left:
	case <-ctx.Done():
		t.Fatal("the call was not cancelled")
	}
	if err := c.Invoke(metadata.AppendToOutgoingContext(ctx, "x-cf-app-instance", "nonsense"), "/s/echo", &in, &out); err == nil {
		t.Fatal("a pinned call to nobody succeeded")
	}
}
