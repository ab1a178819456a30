package role

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the docs that are made from data")

// TestFeaturesDoc keeps docs/features.md equal to the registry.
func TestFeaturesDoc(t *testing.T) {
	var b strings.Builder
	b.WriteString("# What this Ingot can do\n\nMade from the registry in `role/features.go` (`go test ./role -update`); `ingot features` prints the same.\n" +
		"`beta`: whole and tested, may still change. `absent`: answers with a clear error.\n\n| feature | maturity | note |\n|---|---|---|\n")
	for _, f := range features() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", f.Name, f.Maturity, f.Note)
	}
	const file = "../docs/features.md"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != b.String() {
		t.Fatalf("%s is not what the registry says (%v): run go test ./role -update", file, err)
	}
}
