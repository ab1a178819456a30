// Command go-module is a web app that is pushed as Go source.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"runtime"

	"example.com/go-module/greet"
)

func main() {
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, greet.Instance(os.Getenv("CF_INSTANCE_INDEX")))
	})
	http.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, runtime.Version())
	})
	http.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	log.Fatal(http.ListenAndServe(":"+os.Getenv("PORT"), nil))
}
