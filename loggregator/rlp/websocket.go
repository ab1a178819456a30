package rlp

import (
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"time"

	"golang.org/x/net/websocket"

	"ingot/cf"
)

// TrafficController serves the websockets of dropsonde envelopes: /firehose/{subscription} with everything, and
// /apps/{guid}/stream with one app's.
func (a *API) TrafficController() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /firehose/{subscription}", func(w http.ResponseWriter, r *http.Request) {
		id, err := a.who(r)
		if err != nil || !all(id) {
			w.Header().Set("WWW-Authenticate", "Basic")
			http.Error(w, "You are not authorized. Error: Invalid authorization", http.StatusUnauthorized)
			return
		}
		a.socket(w, r, "firehose/"+r.PathValue("subscription"), func(*cf.Envelope) bool { return true })
	})
	m.HandleFunc("GET /apps/{guid}/stream", func(w http.ResponseWriter, r *http.Request) {
		id, err := a.who(r)
		if err != nil {
			w.Header().Set("WWW-Authenticate", "Basic")
			http.Error(w, "You are not authorized. Error: Invalid authorization", http.StatusUnauthorized)
			return
		}
		app := r.PathValue("guid")
		if !all(id) && !a.MayRead(r.Context(), id, app) {
			http.NotFound(w, r)
			return
		}
		a.socket(w, r, "stream/"+rand.Text(), func(e *cf.Envelope) bool { return e.SourceID == app })
	})
	m.HandleFunc("/", http.NotFound)
	return m
}

func (a *API) socket(w http.ResponseWriter, r *http.Request, shard string, want func(*cf.Envelope) bool) {
	s, err := a.Hub.open(shard, want)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer s.close()
	// The handshake asks for no Origin: clients are programs, and what lets them in is a token.
	websocket.Server{Handler: func(ws *websocket.Conn) { a.frames(ws, s) }}.ServeHTTP(w, r)
}

// frames writes the stream until the client ends it, or does not read.
func (a *API) frames(ws *websocket.Conn, s *stream) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // answers pings; what the client says is nothing to us
		defer cancel()
		ws.MaxPayloadBytes = 64 << 10
		_, _ = io.Copy(io.Discard, ws)
	}()
	send := func(kind byte, payload []byte) bool {
		ws.PayloadType = kind
		if ws.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil {
			return false
		}
		_, err := ws.Write(payload)
		return err == nil
	}
	for {
		envelopes, err := s.next(ctx, a.heartbeat())
		if err != nil || len(envelopes) == 0 && !send(websocket.PingFrame, nil) {
			return
		}
		for i := range envelopes {
			for _, b := range dropsonde(&envelopes[i]) {
				if !send(websocket.BinaryFrame, b) {
					return
				}
			}
		}
	}
}
