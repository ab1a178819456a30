package rest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"ingot/cf"
	"ingot/kit/web"
	"ingot/rest/fault"
	"ingot/rest/job"
)

// WriteError answers with the error as Cloud Controller does, and logs what is our own fault.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	status, faults := fault.Describe(err)
	if status >= http.StatusInternalServerError && !errors.Is(r.Context().Err(), context.Canceled) {
		slog.Error("request failed", "method", r.Method, "path", r.URL.Path, "request", web.RequestID(r.Context()), "err", err)
	}
	_ = web.JSON(w, status, map[string]any{"errors": faults})
}

// NotFound says that an object of that kind is not there: "App not found".
func NotFound(kind string) error {
	return cf.Errorf(cf.KindNotFound, "ResourceNotFound", "%s not found", Humanize(kind))
}

// UnknownRequest is the answer to a path that does not exist.
func UnknownRequest() error { return &cf.Error{Kind: cf.KindNotFound, Code: "NotFound"} }

// Unprocessable is a 422 in these words.
func Unprocessable(format string, args ...any) error {
	return cf.Errorf(cf.KindUnprocessable, "UnprocessableEntity", format, args...)
}

// BadParameter is a 400 about the query.
func BadParameter(faults ...string) error {
	return cf.Errorf(cf.KindInvalid, "BadQueryParameter", "%s", strings.Join(faults, ", "))
}

// Humanize turns a name of the wire into words: feature_flag into Feature flag.
func Humanize(name string) string {
	s := strings.ReplaceAll(strings.TrimSuffix(name, "_id"), "_", " ")
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + strings.ToLower(s[1:])
}

// jobFaults are the errors of a failed job, as its document shows them.
func jobFaults(j *job.Job) []fault.Fault {
	err := j.Err()
	if err == nil {
		return []fault.Fault{}
	}
	_, f := fault.Describe(err)
	return f
}
