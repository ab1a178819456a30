package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestAnswers(t *testing.T) {
	t.Setenv("CF_INSTANCE_INDEX", "2")
	for path, want := range map[string]struct {
		code int
		body string
	}{
		"/":       {http.StatusOK, "Hello from Go, instance 2\n"},
		"/health": {http.StatusOK, "ok\n"},
		"/none":   {http.StatusNotFound, "404 page not found\n"},
	} {
		w := httptest.NewRecorder()
		handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != want.code || w.Body.String() != want.body {
			t.Errorf("%s: %d %q", path, w.Code, w.Body)
		}
	}
}
