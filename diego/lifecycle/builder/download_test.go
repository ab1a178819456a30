package builder

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func needs(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skip(program, "is not on this machine")
	}
}

func TestBuildpackByAddress(t *testing.T) {
	needs(t, "curl")
	good := zipOf(t, map[string]string{"a-main/bin/compile": "#!/bin/sh\necho made\n", "a-main/bin/release": release("  web: x")})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/good.zip":
			_, _ = w.Write(good)
		case "/moved.zip":
			http.Redirect(w, r, "/good.zip", http.StatusFound)
		case "/out.zip":
			_, _ = w.Write(zipOf(t, map[string]string{"../../evil": "x"}))
		case "/page.zip":
			_, _ = w.Write([]byte("<html>"))
		default:
			http.NotFound(w, r)
		}
	}))
	defer s.Close()
	withSecret := strings.Replace(s.URL, "://", "://me:secret@", 1)

	for _, path := range []string{"/good.zip", "/moved.zip"} {
		b := newBench(t, map[string]string{"f": ""})
		b.SkipDetect, b.Order = true, []string{withSecret + path}
		b.run()
		if !strings.HasPrefix(b.out.String(), "Downloaded buildpack `"+s.URL+path+"` (") || !strings.HasSuffix(b.out.String(), "made\n") {
			t.Errorf("said %q", &b.out)
		}
		if got := b.result().Lifecycle.Buildpacks; len(got) != 1 || got[0].Key != withSecret+path {
			t.Errorf("buildpacks %+v", got)
		}
	}
	for path, want := range map[string]string{
		"/none.zip": "Failed to download buildpack '" + s.URL + "/none.zip': exit status 22",
		"/out.zip":  "Failed to extract buildpack '" + s.URL + "/out.zip': bad archive",
		"/page.zip": "Failed to extract buildpack '" + s.URL + "/page.zip': bad archive",
	} {
		b := newBench(t, map[string]string{"f": ""})
		b.SkipDetect, b.Order = true, []string{withSecret + path}
		if err := b.Run(t.Context()); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

func TestBuildpackFromGit(t *testing.T) {
	needs(t, "git")
	repo := t.TempDir()
	sh := `set -e
cd "$1"; git init -q -b main .; mkdir bin
printf '#!/bin/sh\necho from main\n' >bin/compile; printf '#!/bin/sh\necho "--- {default_process_types: {web: x}}"\n' >bin/release; chmod +x bin/*
c="git -c user.name=n -c user.email=e"; $c add .; $c commit -qm one
git checkout -qb v2; printf '#!/bin/sh\necho from v2\n' >bin/compile; $c commit -qam two; git checkout -q main`
	if out, err := exec.Command("sh", "-c", sh, "sh", repo).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for suffix, want := range map[string]string{"": "from main\n", "#v2": "from v2\n"} {
		b := newBench(t, map[string]string{"f": ""})
		b.SkipDetect, b.Order = true, []string{"file://" + repo + suffix}
		b.run()
		if b.out.String() != want {
			t.Errorf("%q: said %q", suffix, &b.out)
		}
	}
	b := newBench(t, map[string]string{"f": ""})
	b.SkipDetect, b.Order = true, []string{"file://" + filepath.Join(repo, "none")}
	if err := b.Run(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "Failed to clone git repository at file://"+repo+"/none: ") {
		t.Errorf("no repository: %v", err)
	}
}

func TestAddress(t *testing.T) {
	for name, want := range map[string][2]bool{
		"go_buildpack": {}, "https://h/x.zip": {true, false}, "https://h/x.zip?a=b": {true, false}, "https://h/x": {false, true},
		"https://h/x.git#v1": {false, true}, "git@h:x/y.git": {false, true}, "ssh://git@h/x.git": {false, true},
	} {
		if zip, git := address(name); zip != want[0] || git != want[1] {
			t.Errorf("%s: %v %v", name, zip, git)
		}
	}
}

// TestFloods: what a buildpack says is bounded in each phase whose words are kept.
func TestFloods(t *testing.T) {
	const flood = "head -c 3000000 /dev/zero | tr '\\0' 'x'\n"
	b := newBench(t, map[string]string{"f": ""}, pack{"detect": "#!/bin/sh\n" + flood, "compile": "#!/bin/sh\n" + flood, "release": release("  web: x")})
	b.run()
	if got := b.result().Lifecycle; len(got.Detected) != 255 || len(got.Buildpacks[0].DetectOutput) != 255 || len(got.Buildpacks[0].Name) != 255 {
		t.Errorf("%d %d", len(got.Detected), len(got.Buildpacks[0].DetectOutput))
	}
	b = newBench(t, map[string]string{"f": ""}, pack{"detect": yes, "compile": yes, "release": "#!/bin/sh\n" + flood})
	b.fails(CodeRelease, releaseFailed)
	b = newBench(t, map[string]string{"f": ""}, pack{"finalize": "#!/bin/sh\n(printf 'name: '; " + strings.TrimSpace(flood) + ") > $3/$4/launch.yml\n"})
	b.SkipDetect = true
	if err := b.Run(t.Context()); err == nil || err.Error() != "launch.yml is larger than 1048576 bytes" {
		t.Errorf("launch.yml: %v", err)
	}
}
