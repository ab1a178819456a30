// Package web is the small HTTP machinery that every room shares: handlers that return errors, request ids, one log
// line a request, bounded bodies, and servers that stop gracefully.
//
// It knows no error dialect: each room hands it a function that turns an error into bytes.
package web

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"
)

// Handler answers a request or says why not.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Errors makes http.Handlers of Handlers; Write turns an error into the room's wire dialect.
type Errors struct {
	Write func(w http.ResponseWriter, r *http.Request, err error)
}

// Handle wraps h.
func (e Errors) Handle(h Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			e.Write(w, r, err)
		}
	})
}

// JSON writes v with a status.
func JSON(w http.ResponseWriter, status int, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // links stay readable; the type is never HTML
	if err := e.Encode(v); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client went away: nobody is left to tell
	return nil
}

type requestKey struct{}

// RequestID is the id of the request in ctx, or "".
func RequestID(ctx context.Context) string {
	s, _ := ctx.Value(requestKey{}).(string)
	return s
}

// WithRequestID gives each request an id as Cloud Controller does: the client's X-Vcap-Request-Id (its word characters
// and dashes, 255 at most) before "::" and a new one. It is answered in X-Vcap-Request-Id.
func WithRequestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := newID()
		if c := clean(r.Header.Get("X-Vcap-Request-Id")); c != "" {
			id = c + "::" + id
		}
		w.Header().Set("X-Vcap-Request-Id", id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, id)))
	})
}

func clean(s string) string {
	s = strings.Map(func(c rune) rune {
		if c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			return c
		}
		return -1
	}, s)
	if len(s) > 255 {
		s = s[:255]
	}
	return s
}

func newID() string {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic("web: no randomness: " + err.Error())
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// Status remembers what was answered; Code is 0 before.
type Status struct {
	http.ResponseWriter
	Code int
}

// WriteHeader is an http.ResponseWriter's.
func (s *Status) WriteHeader(c int) {
	if s.Code == 0 {
		s.Code = c
	}
	s.ResponseWriter.WriteHeader(c)
}

// Write is an http.ResponseWriter's.
func (s *Status) Write(b []byte) (int, error) {
	if s.Code == 0 {
		s.Code = http.StatusOK
	}
	return s.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (s *Status) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Log writes one line a request: role, method, route pattern, status, duration, request id; user is added by who asks
// for it (may be nil).
func Log(role string, user func(*http.Request) string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start, s := time.Now(), &Status{ResponseWriter: w}
		next.ServeHTTP(s, r)
		args := []any{"role", role, "method", r.Method, "route", r.Pattern, "path", r.URL.Path, "status", cmp.Or(s.Code, http.StatusOK),
			"ms", float64(time.Since(start).Microseconds()) / 1000, "request", RequestID(r.Context())}
		if user != nil {
			args = append(args, "user", user(r))
		}
		slog.LogAttrs(r.Context(), slog.LevelInfo, "request", slog.Group("", args...))
	})
}

// Serve answers on l until ctx ends, then waits up to 10 s for running requests.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 90 * time.Second, MaxHeaderBytes: 64 << 10}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		late, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if s.Shutdown(late) != nil {
			_ = s.Close()
		}
	})
	err := s.Serve(l) // which returns as soon as the shutdown begins
	if !stop() {
		<-done
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
