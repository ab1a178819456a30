package bits

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"ingot/cf"
	"ingot/kit/web"
)

// Prefix is the path below which Handler answers.
const Prefix = "/bits/"

// Handler answers GET and HEAD of signed URLs, whole or in ranges.
func (b *Bits) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+Prefix+"{key...}", web.Errors{Write: writeError}.Handle(b.get))
	return mux
}

func (b *Bits) get(w http.ResponseWriter, r *http.Request) error {
	if err := b.Keys.Verify(r.Method, r.URL.EscapedPath(), r.URL.Query(), time.Now()); err != nil {
		return err
	}
	key := r.PathValue("key")
	at, err := path(key)
	if err != nil {
		return err
	}
	body, err := b.store.Read(r.Context(), at)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if _, name, _ := strings.Cut(key, "/"); digest.MatchString(name) {
		w.Header().Set("ETag", `"`+name+`"`)
	}
	http.ServeContent(w, r, "", body.ModTime(), body)
	return nil
}

// writeError answers with the public words of an error.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	status := map[cf.Kind]int{cf.KindForbidden: http.StatusForbidden, cf.KindNotFound: http.StatusNotFound}[cf.KindOf(err)]
	var e *cf.Error
	if status == 0 || !errors.As(err, &e) {
		slog.ErrorContext(r.Context(), "bits: cannot answer", "path", r.URL.Path, "request", web.RequestID(r.Context()), "error", err)
		http.Error(w, "the blob cannot be read", http.StatusInternalServerError)
		return
	}
	http.Error(w, e.Public, status)
}
