package builder

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// pack is a buildpack as the names of its scripts and their text.
type pack map[string]string

const (
	yes = "#!/bin/sh\necho \"Simple\"\n"
	no  = "#!/bin/sh\nexit 1\n"
)

func release(types string) string {
	return "#!/bin/sh\ncat <<E\n---\ndefault_process_types:\n" + types + "\nE\n"
}

type bench struct {
	*Build
	t        *testing.T
	dir      string
	out, err bytes.Buffer
}

// newBench lays out a build of files with packs.
func newBench(t *testing.T, files map[string]string, packs ...pack) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{t: t, dir: dir}
	at := func(n string) string { return filepath.Join(dir, n) }
	b.Build = &Build{Package: at("package.zip"), BuildDir: at("app"), Buildpacks: at("buildpacks"), OldCache: at("cache.tgz"), CacheDir: at("cache"),
		Contents: at("contents"), Droplet: at("droplet"), Result: at("result.json"), NewCache: at("output-cache"), Downloads: at("downloads"), Out: &b.out, Err: &b.err}
	b.zip(files)
	for i, p := range packs {
		b.Order = append(b.Order, "pack"+string(rune('A'+i)))
		for name, text := range p {
			f := filepath.Join(b.Buildpacks, string(rune('0'+i)), "bin", name)
			if strings.Contains(name, "/") {
				f = filepath.Join(b.Buildpacks, string(rune('0'+i)), name)
			}
			if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(f, []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b
}

func (b *bench) zip(files map[string]string) {
	b.t.Helper()
	if err := os.WriteFile(b.Package, zipOf(b.t, files), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func zipOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, n := range slices.Sorted(maps.Keys(files)) {
		h := &zip.FileHeader{Name: n, Method: zip.Deflate}
		h.SetMode(0o755)
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, files[n]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func (b *bench) run() {
	b.t.Helper()
	if err := b.Run(b.t.Context()); err != nil {
		b.t.Fatalf("%v\nout: %s\nerr: %s", err, &b.out, &b.err)
	}
}

func (b *bench) fails(code int, text string) {
	b.t.Helper()
	err := b.Run(b.t.Context())
	var f *Failure
	if !errors.As(err, &f) || f.Code != code || !strings.HasPrefix(err.Error(), text) {
		b.t.Fatalf("got %v, want code %d and %q", err, code, text)
	}
}

func (b *bench) result() (r result) {
	b.t.Helper()
	text, err := os.ReadFile(b.Result)
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// files reads a tar.gz as names and contents.
func files(t *testing.T, name string) map[string]string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != vcap || h.Gid != vcap {
			t.Errorf("%s is owned by %d:%d", h.Name, h.Uid, h.Gid)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = string(text) + h.Linkname
	}
}

func TestDetectsInOrderAndCompiles(t *testing.T) {
	b := newBench(t, map[string]string{"server.js": "x", "bin/run": "y"},
		pack{"detect": no, "compile": no, "release": no},
		pack{"detect": yes, "compile": "#!/bin/sh\necho \"-----> $# args\"; echo made > $1/made; echo warn >&2; ln -s made $1/link\n", "release": release("  web: node server.js")})
	b.run()
	r := b.result()
	if want := map[string]string{"web": "node server.js"}; !maps.Equal(r.ProcessTypes, want) {
		t.Errorf("process types %v", r.ProcessTypes)
	}
	if got := r.Lifecycle.Buildpacks; len(got) != 1 || got[0].Key != "packB" || got[0].Name != "Simple" || got[0].DetectOutput != "Simple" {
		t.Errorf("buildpacks %+v", got)
	}
	if r.Lifecycle.Key != "packB" || r.Lifecycle.Detected != "Simple" || r.Type != "buildpack" {
		t.Errorf("result %+v", r)
	}
	got := files(t, b.Droplet)
	for name, want := range map[string]string{"./": "", "./app/": "", "./app/server.js": "x", "./app/bin/run": "y", "./app/made": "made\n", "./app/link": "made",
		"./deps/": "", "./profile.d/": "", "./tmp/": "", "./logs/": ""} {
		if text, ok := got[name]; !ok || text != want {
			t.Errorf("droplet's %s is %q (there: %v), want %q", name, text, ok, want)
		}
	}
	var info map[string]string
	if err := json.Unmarshal([]byte(got["./staging_info.yml"]), &info); err != nil || info["detected_buildpack"] != "Simple" || info["start_command"] != "node server.js" {
		t.Errorf("staging_info.yml %q, %v", got["./staging_info.yml"], err)
	}
	if b.out.String() != "-----> 2 args\n" || b.err.String() != "warn\n" {
		t.Errorf("out %q, err %q", &b.out, &b.err)
	}
}

func TestSupplyAndFinalize(t *testing.T) {
	tell := func(name string) string {
		return "#!/bin/sh\necho " + name + " $#: $(basename $1) $(basename $3) $4 $(basename \"$5\")\n[ -d \"$2\" ] && [ -d \"$3/$4\" ]\n"
	}
	b := newBench(t, map[string]string{"f": ""},
		pack{"detect": no, "supply": tell("supplyA") + "printf 'name: ruby\\nversion: 1.2.3\\n' > $3/$4/config.yml\n", "finalize": no},
		pack{"detect": no, "supply": tell("supplyB"), "finalize": tell("finalizeB") + "echo 'export A=1' > $5/b.sh; printf 'name: go\\nconfig: {entrypoint_prefix: foo}\\n' > $3/$4/config.yml\n", "release": release("  web: ./b")})
	b.SkipDetect = true
	b.run()
	if want := "supplyA 4: app deps 0\nsupplyB 4: app deps 1\nfinalizeB 5: app deps 1 profile.d\n"; b.out.String() != want {
		t.Errorf("said\n%swant\n%s", &b.out, want)
	}
	got := b.result().Lifecycle.Buildpacks
	if len(got) != 2 || got[0].Name != "ruby" || got[0].Version != "1.2.3" || got[1].Name != "go" || got[1].Key != "packB" || got[0].DetectOutput != "" || got[1].DetectOutput != "go" {
		t.Errorf("buildpacks %+v", got)
	}
	f := files(t, b.Droplet)
	if f["./profile.d/b.sh"] != "export A=1\n" || !strings.Contains(f["./staging_info.yml"], `"entrypoint_prefix":"foo"`) {
		t.Errorf("droplet %v", f)
	}
}

func TestIndexIsPadded(t *testing.T) {
	b := Build{SkipDetect: true, Order: make([]string, 11)}
	if b.index(2) != "02" || b.index(10) != "10" {
		t.Errorf("%s %s", b.index(2), b.index(10))
	}
}

func TestProcfileWins(t *testing.T) {
	b := newBench(t, map[string]string{"Procfile": "web: ./mine\nworker: ./work it\n"}, pack{"detect": no, "compile": yes, "release": release("  web: theirs\n  clock: tick")})
	b.SkipDetect = true
	b.run()
	if want := map[string]string{"web": "./mine", "worker": "./work it", "clock": "tick"}; !maps.Equal(b.result().ProcessTypes, want) {
		t.Errorf("process types %v", b.result().ProcessTypes)
	}
}

func TestLaunchYML(t *testing.T) {
	b := newBench(t, map[string]string{"f": ""}, pack{"finalize": `#!/bin/sh
cat > $3/$4/launch.yml <<E
processes:
- type: web
  command: run
- type: agent
  command: watch
  limits: {memory: 10}
  platforms: {cloudfoundry: {sidecar_for: [web]}}
E
`})
	b.SkipDetect = true
	b.run()
	r := b.result()
	if !maps.Equal(r.ProcessTypes, map[string]string{"web": "run"}) || len(r.Sidecars) != 1 || r.Sidecars[0].Name != "agent" || r.Sidecars[0].Memory != 10 {
		t.Errorf("%+v", r)
	}
}

func TestNoStartCommand(t *testing.T) {
	b := newBench(t, map[string]string{"f": ""}, pack{"compile": yes, "release": "#!/bin/sh\necho '--- {}'\n"})
	b.SkipDetect = true
	b.run()
	if !strings.Contains(b.err.String(), "No start command specified by buildpack or via Procfile.\n") || b.result().ProcessTypes == nil {
		t.Errorf("err %q", &b.err)
	}
}

func TestFailures(t *testing.T) {
	good := release("  web: x")
	cases := map[string]struct {
		packs []pack
		skip  bool
		files map[string]string
		code  int
		text  string
	}{
		"nothing detects":      {packs: []pack{{"detect": no}, {"compile": yes}}, code: 222, text: "None of the buildpacks detected a compatible application"},
		"no buildpacks":        {code: 222, text: "None of the buildpacks detected a compatible application"},
		"compile":              {packs: []pack{{"detect": yes, "compile": "#!/bin/sh\nexit 7\n", "release": good}}, code: 223, text: "Failed to compile droplet: exit status 7"},
		"finalize":             {packs: []pack{{"detect": yes, "finalize": no, "release": good}}, code: 223, text: "Failed to compile droplet: Failed to run finalize script: exit status 1"},
		"last supply":          {packs: []pack{{"detect": yes, "supply": no, "finalize": yes, "release": good}}, code: 223, text: "Failed to compile droplet: Failed to run all supply scripts: exit status 1"},
		"no compile at all":    {packs: []pack{{"detect": yes}}, code: 223, text: "Failed to compile droplet"},
		"release":              {packs: []pack{{"detect": yes, "compile": yes, "release": no}}, code: 224, text: "Failed to build droplet release: exit status 1"},
		"release says rubbish": {packs: []pack{{"detect": yes, "compile": yes, "release": "#!/bin/sh\necho ': - {'\n"}}, code: 224, text: "Failed to build droplet release: buildpack's release output invalid"},
		"supply":               {packs: []pack{{"supply": no}, {"compile": yes, "release": good}}, skip: true, code: 225, text: "Failed to run all supply scripts: exit status 1"},
		"cannot supply":        {packs: []pack{{"compile": yes}, {"compile": yes, "release": good}}, skip: true, code: 225, text: "Error: one of the buildpacks chosen"},
		"malformed":            {packs: []pack{{"a/b": "x", "c/d": "x"}}, skip: true, code: 225, text: "Failed to run all supply scripts: malformed buildpack does not contain a /bin dir: packA"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, map[string]string{"f": ""}, c.packs...)
			b.SkipDetect = c.skip
			b.fails(c.code, c.text)
			if _, err := os.Stat(b.Droplet); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("there is a droplet: %v", err)
			}
		})
	}
}

func TestBadInput(t *testing.T) {
	ok := pack{"detect": yes, "compile": yes, "release": release("  web: x")}
	b := newBench(t, map[string]string{"Procfile": "- web\n"}, ok)
	if err := b.Run(t.Context()); err == nil || err.Error() != "Failed to read command from Procfile: invalid YAML" {
		t.Errorf("bad Procfile: %v", err)
	}
	b = newBench(t, map[string]string{"../evil": "x"}, ok)
	if err := b.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "leads outside") {
		t.Errorf("bad package: %v", err)
	}
	b = newBench(t, nil, ok)
	if err := os.WriteFile(b.Package, []byte("PK\x03\x04 cut"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := b.Run(t.Context()); err == nil {
		t.Error("a cut package was built")
	}
	b = newBench(t, map[string]string{"f": ""}, ok)
	if err := os.WriteFile(b.OldCache, []byte("no gzip"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.run()
	if !strings.Contains(b.err.String(), "cache is left out") {
		t.Errorf("bad cache: %q", &b.err)
	}
}

func TestCacheGoesRound(t *testing.T) {
	p := pack{"supply": "#!/bin/sh\n[ -f $2/seen ] && echo again; echo x > $2/seen\n", "finalize": yes, "release": release("  web: x")}
	first := newBench(t, map[string]string{"f": ""}, p, p)
	first.SkipDetect = true
	first.run()
	if strings.Contains(first.out.String(), "again") {
		t.Fatalf("the first build saw a cache: %s", &first.out)
	}
	second := newBench(t, map[string]string{"f": ""}, p, p)
	second.SkipDetect, second.OldCache = true, first.NewCache
	second.run()
	if strings.Count(second.out.String(), "again") != 2 {
		t.Errorf("the second build said %q", &second.out)
	}
	// packA takes part no more.
	third := newBench(t, map[string]string{"f": ""}, p)
	third.SkipDetect, third.OldCache = true, second.NewCache
	third.run()
	if got := files(t, third.NewCache); len(got) != 3 || got["./final/seen"] != "x\n" {
		t.Errorf("cache %v", got)
	}
}

// TestSameFilesSameDroplet: neither the moment nor the number of cores shows in a droplet.
func TestSameFilesSameDroplet(t *testing.T) {
	var large strings.Builder // several blocks, each a core's
	for i := range 500_000 {
		fmt.Fprintln(&large, i*i)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var sums [2][]byte
	for i := range sums {
		runtime.GOMAXPROCS(1 + 3*i)
		b := newBench(t, map[string]string{"a": "1", "b/c": "2", "large": large.String()}, pack{"compile": "#!/bin/sh\nmkdir $1/new\n", "release": release("  web: x")})
		b.SkipDetect = true
		b.run()
		var err error
		if sums[i], err = os.ReadFile(b.Droplet); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(sums[0], sums[1]) {
		t.Error("two builds of the same files differ")
	}
}

func TestArchiveOfAGitHost(t *testing.T) {
	b := newBench(t, map[string]string{"f": ""}, pack{"around/bin/compile": yes, "around/bin/release": release("  web: x")})
	b.SkipDetect = true
	b.run()
}

func FuzzReadTar(f *testing.F) {
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		name := filepath.Join(t.TempDir(), "c.tgz")
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(data)
		_ = z.Close()
		if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		_ = readTar(name, filepath.Join(t.TempDir(), "in"))
	})
}
