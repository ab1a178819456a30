package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// root makes the folder of a buildpack from what is in the repository.
func root(t *testing.T, language string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"manifest.yml", "VERSION"} {
		text, err := os.ReadFile(filepath.Join("..", language, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func phaseOf(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	return run(root(t, "binary"), args, &out), out.String()
}

// The expected texts are those of CF's binary-buildpack.
func TestBinary(t *testing.T) {
	t.Setenv("CF_STACK", "cflinuxfs4")
	t.Setenv("PATH", os.Getenv("PATH"))
	build, cache, deps, profile := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(build, "app"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if code, out := phaseOf(t, "detect", build); code != 1 || out != "" {
		t.Errorf("detect: %d, %q; the binary buildpack claims nothing", code, out)
	}
	if code, out := phaseOf(t, "supply", build, cache, deps, "0"); code != 0 || out != "-----> Binary Buildpack version 1.0.0\n" {
		t.Errorf("supply: %d, %q", code, out)
	}
	if code, out := phaseOf(t, "finalize", build, cache, deps, "0", profile); code != 0 {
		t.Errorf("finalize: %d, %q", code, out)
	}
	code, out := phaseOf(t, "release", build)
	var got struct {
		Types map[string]string `yaml:"default_process_types"`
	}
	if err := yaml.Unmarshal([]byte(out), &got); err != nil || code != 0 {
		t.Fatalf("release: %d, %v, %q", code, err, out)
	}
	if want := ">&2 echo Error: no start command specified during staging or launch && exit 1"; got.Types["web"] != want {
		t.Errorf("web is %q, want %q", got.Types["web"], want)
	}
}

// The first buildpack in the order of detection that claims an app gets it; what each claims is as in CF's bin/detect.
func TestWhoDetectsWhat(t *testing.T) {
	file := filepath.Join(t.TempDir(), "some-file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{filepath.Dir(file): "", "static-site": "staticfile", "java-war": "java", "ruby-rack": "ruby",
		"node-express": "node.js", "go-module": "Go", "python-http": "python", "php-hello": "php", "nginx-conf": "nginx"} {
		if want != "" {
			dir = filepath.Join("..", "..", "examples", dir)
		}
		got := ""
		for _, language := range []string{"staticfile", "java", "ruby", "nodejs", "golang", "python", "php", "nginx", "binary"} {
			var out bytes.Buffer
			if code := run(root(t, language), []string{"detect", dir}, &out); code == 0 {
				got = out.String()
				break
			}
		}
		if name, _, _ := strings.Cut(strings.TrimSpace(got), " "); name != want {
			t.Errorf("%s is claimed with %q, want %q", dir, got, want)
		}
	}
}

func TestCompilePutsAllIntoTheApp(t *testing.T) {
	t.Setenv("CF_STACK", "")
	t.Setenv("PATH", os.Getenv("PATH"))
	build := t.TempDir()
	if code, out := phaseOf(t, "compile", build, t.TempDir()); code != 0 {
		t.Fatalf("%d, %q", code, out)
	}
	for _, name := range []string{".cloudfoundry/0/config.yml", ".profile.d/0000_set-deps-dir.sh", ".profile.d/000_multi-supply.sh"} {
		if _, err := os.Stat(filepath.Join(build, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestExitCodes(t *testing.T) {
	t.Setenv("CF_STACK", "cflinuxfs3")
	t.Setenv("PATH", os.Getenv("PATH"))
	for want, args := range map[int][]string{
		broken:       {"dance", t.TempDir()},
		supplyFailed: {"supply", t.TempDir(), t.TempDir(), t.TempDir(), "0"}, // on a foreign stack
	} {
		if code, out := phaseOf(t, args...); code != want || !strings.Contains(out, "**ERROR**") {
			t.Errorf("%v: %d, %q; want %d", args, code, out, want)
		}
	}
	if code := run(t.TempDir(), []string{"detect", t.TempDir()}, &bytes.Buffer{}); code != broken {
		t.Errorf("without a manifest: %d", code)
	}
	if code := run(t.TempDir(), nil, &bytes.Buffer{}); code != broken {
		t.Errorf("without arguments: %d", code)
	}
}
