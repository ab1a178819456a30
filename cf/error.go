package cf

import (
	"errors"
	"fmt"
)

// Kind is what an error means to the caller, whatever the wire.
type Kind int

// Kinds of errors.
const (
	KindInternal        Kind = iota // a bug or a broken part: public words say nothing of the cause
	KindInvalid                     // the request cannot be right (400)
	KindUnprocessable               // the request is understood and refused (422)
	KindUnauthenticated             // no valid token (401)
	KindForbidden                   // a valid token that may not (403)
	KindNotFound                    // not there, or not visible (404)
	KindConflict                    // somebody else was first (409)
	KindTooLarge                    // over a size limit (413)
	KindLimited                     // too many requests (429)
	KindUnavailable                 // later, perhaps (503)
	KindNoRoom                      // no cell, disk or port is left
)

// Error crosses every door unchanged: a kind, words for the public, and a private cause for the log.
type Error struct {
	Kind   Kind
	Code   string   // name in the wire dialect's table, such as UniquenessError; empty = the kind's own
	Public string   // words for the client; empty = the code's own
	Before string   // of what the error speaks: said to the client before the code's text
	Cause  error    // never shown to a client
	More   []*Error // further errors of the same answer
}

// Error gives the words for the log.
func (e *Error) Error() string {
	s := e.Public
	if s == "" {
		s = e.Code
	}
	if s == "" {
		s = fmt.Sprintf("kind %d", e.Kind)
	}
	s = e.Before + s
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Errorf makes an error of a kind with public words.
func Errorf(k Kind, code, format string, args ...any) *Error {
	return &Error{Kind: k, Code: code, Public: fmt.Sprintf(format, args...)}
}

// Wrap hides err behind a kind and public words; nil stays nil.
func Wrap(k Kind, code, public string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: k, Code: code, Public: public, Cause: err}
}

// KindOf is the kind of the nearest Error in the chain; KindInternal for foreign errors.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindInternal
}

// IsKind tells whether err is not nil and of kind k.
func IsKind(err error, k Kind) bool { return err != nil && KindOf(err) == k }
