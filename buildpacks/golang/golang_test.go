package golang

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ingot/buildpacks/stager"
)

func app(t *testing.T, files ...string) *stager.Stager {
	t.Helper()
	s := &stager.Stager{Build: t.TempDir(), Log: t.Output(), Manifest: &stager.Manifest{Defaults: []stager.Default{{Name: "go", Version: "1.26.x"}},
		Dependencies: []stager.Dependency{{Name: "go", Version: "1.26.8"}, {Name: "go", Version: "1.25.9"}}}}
	for _, f := range files {
		name, text, _ := strings.Cut(f, "=")
		name = filepath.Join(s.Build, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// The cases are those of CF's go-buildpack (bin/detect).
func TestDetect(t *testing.T) {
	for _, c := range []struct {
		files []string
		name  string // GOPACKAGENAME
		want  bool
	}{
		{[]string{"go.mod"}, "", true},
		{[]string{"main.go", "vendor/x/x.go"}, "", true},
		{[]string{"main.go"}, "example.com/x", true},
		{[]string{"src/x/main.go"}, "", true},
		{[]string{"Gopkg.toml"}, "", true},
		{[]string{".godir"}, "", true},
		{[]string{"main.go"}, "", false},
		{[]string{"some-file"}, "example.com/x", false},
		{[]string{"vendor/x.js", "src/x.js"}, "", false},
	} {
		t.Setenv("GOPACKAGENAME", c.name)
		if _, ok := Detect(app(t, c.files...)); ok != c.want {
			t.Errorf("%v %q: %v", c.files, c.name, ok)
		}
	}
}

func TestChoose(t *testing.T) {
	for wanted, want := range map[string]string{"": "1.26.8", "latest": "1.26.8", "go1.25": "1.25.9", "1.25.x": "1.25.9", "go1.25.9": "1.25.9", "go1.12": "", "rubbish": ""} {
		t.Setenv("GOVERSION", wanted)
		if got, err := choose(app(t)); got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v", wanted, got, err)
		}
	}
}

func TestFlags(t *testing.T) {
	plain := []string{"-tags", "cloudfoundry", "-buildmode", "pie"}
	if got, err := flags(app(t)); err != nil || !slices.Equal(got, plain) {
		t.Errorf("%v, %v", got, err)
	}
	t.Setenv("GO_LINKER_SYMBOL", "main.v")
	t.Setenv("GO_LINKER_VALUE", "1")
	got, err := flags(app(t, "buildpack.yml=go: {ldflags: {main.a: x y}}"))
	if want := append(plain, "-ldflags", "-X main.a=x y -X main.v=1"); err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := flags(app(t, "buildpack.yml=: - {")); err == nil || !strings.HasPrefix(err.Error(), "unable to parse buildpack.yml") {
		t.Errorf("%v", err)
	}
}

func TestSourceKeepsInside(t *testing.T) {
	t.Setenv("GOPACKAGENAME", "../../etc")
	if _, _, err := source(app(t, "main.go")); err == nil || err.Error() != `GOPACKAGENAME "../../etc" is no package name` {
		t.Errorf("%v", err)
	}
}

func TestFinalizeWantsAProgram(t *testing.T) {
	for _, name := range []string{"GOBIN", "GOCACHE", "GOMODCACHE", "GOFLAGS", "GO_INSTALL_PACKAGE_SPEC"} {
		t.Setenv(name, "") // Finalize sets them
	}
	s := app(t, "go.mod=module example.com/lib\n\ngo 1.21\n", "lib.go=package lib\n")
	s.Cache, s.Deps, s.Index, s.Profile = t.TempDir(), t.TempDir(), "0", t.TempDir()
	if err := Finalize(s); err == nil || err.Error() != "package . is no program: GO_INSTALL_PACKAGE_SPEC names the one that is" {
		t.Errorf("%v", err)
	}
}
