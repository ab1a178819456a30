// Package fault is UAA's dialect of errors: the words of "error" and what they mean, and the one place that turns an
// error into bytes ({"error","error_description"}, RFC 6749 §5.2 and UAA's API documentation).
//
// It promises that a cause which is not meant for the public never reaches it. It will not decide anything.
package fault

import (
	"errors"
	"log/slog"
	"net/http"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/kit/web"
)

// UAA's words.
const (
	InvalidRequest       = "invalid_request"
	InvalidScope         = "invalid_scope"
	UnsupportedGrantType = "unsupported_grant_type"
	UnauthorizedClient   = "unauthorized_client"
	InvalidClient        = "invalid_client"
	Unauthorized         = "unauthorized"
	InvalidToken         = "invalid_token"
	InsufficientScope    = "insufficient_scope"
	AccessDenied         = "access_denied"
	NotFound             = "not_found"
	NotImplemented       = "not_implemented"
	InvalidScim          = "invalid_scim_resource"
	Scim                 = "scim"
	ScimNotFound         = "scim_resource_not_found"
	ScimExists           = "scim_resource_already_exists"
	InvalidPassword      = "invalid_password"
	serverError          = "server_error"
	unavailable          = "temporarily_unavailable"
)

// kind is what each word means.
func kind(code string) cf.Kind {
	switch code {
	case InvalidRequest, InvalidScope, UnsupportedGrantType, InvalidScim, Scim:
		return cf.KindInvalid
	case UnauthorizedClient, InvalidClient, Unauthorized, InvalidToken:
		return cf.KindUnauthenticated
	case InsufficientScope, AccessDenied:
		return cf.KindForbidden
	case NotFound, ScimNotFound:
		return cf.KindNotFound
	case ScimExists:
		return cf.KindConflict
	case InvalidPassword:
		return cf.KindUnprocessable
	}
	return cf.KindInternal
}

// New makes an error of UAA's word and a description for the public.
func New(code, format string, args ...any) *cf.Error {
	return cf.Errorf(kind(code), code, format, args...)
}

// BadCredentials is the answer to every wrong name, password or secret.
func BadCredentials() *cf.Error { return New(Unauthorized, "Bad credentials") }

// Locked is the answer while too many tries have failed. The CLI knows it by its text.
func Locked() *cf.Error {
	return New(Unauthorized, "Your account has been locked because of too many failed attempts to login.")
}

type body struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// Write answers err.
func Write(w http.ResponseWriter, r *http.Request, err error) {
	var e *cf.Error
	if !errors.As(err, &e) {
		e = &cf.Error{Kind: cf.KindInternal, Cause: err}
		if sql.IsUnavailable(err) {
			e.Kind = cf.KindUnavailable
		}
	}
	status, b := statusOf(e), body{e.Code, e.Public}
	switch {
	case e.Kind == cf.KindUnavailable:
		b = body{unavailable, "The server is too busy. Please try again."}
	case status >= 500 && e.Code != NotImplemented:
		b = body{serverError, "An unexpected error occurred. Please try again."}
		slog.Error("uaa request failed", "path", r.URL.Path, "error", err, "request", web.RequestID(r.Context()))
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	if status == http.StatusUnauthorized {
		if e.Code == InvalidToken {
			h.Set("WWW-Authenticate", `Bearer realm="oauth", error="invalid_token"`)
		} else {
			h.Set("WWW-Authenticate", `Basic realm="UAA/client", error="unauthorized"`)
		}
	}
	_ = web.JSON(w, status, b) // of two strings
}

func statusOf(e *cf.Error) int {
	if e.Code == NotImplemented {
		return http.StatusNotImplemented
	}
	switch e.Kind {
	case cf.KindInvalid:
		return http.StatusBadRequest
	case cf.KindUnprocessable:
		return http.StatusUnprocessableEntity
	case cf.KindUnauthenticated:
		return http.StatusUnauthorized
	case cf.KindForbidden:
		return http.StatusForbidden
	case cf.KindNotFound:
		return http.StatusNotFound
	case cf.KindConflict:
		return http.StatusConflict
	case cf.KindTooLarge:
		return http.StatusRequestEntityTooLarge
	case cf.KindUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
