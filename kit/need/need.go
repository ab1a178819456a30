// Package need lets a test say what it needs of the machine, so that plain `go test ./...` runs anywhere.
//
// It promises that a test is skipped with its reason unless INGOT_WORLD=1 (as `make test` sets) says that everything
// is there; then nothing is skipped. It will not install anything.
package need

import (
	"os"
	"testing"
)

// World skips t unless the whole machine is at the tests' service: root, built helpers, the stack, Debian's packages.
func World(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("INGOT_WORLD") != "1" {
		t.Skip("needs INGOT_WORLD=1 (make test): " + why)
	}
	if os.Geteuid() != 0 {
		t.Fatal("INGOT_WORLD=1 needs root")
	}
}

// Cache is the folder of built tools, buildpacks and stacks: $INGOT_CACHE, by default /var/cache/ingot.
func Cache() string {
	if c := os.Getenv("INGOT_CACHE"); c != "" {
		return c
	}
	return "/var/cache/ingot"
}
