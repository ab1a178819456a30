package nginx

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/buildpacks/stager"
)

func put(t *testing.T, dir string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		path := filepath.Join(dir, pairs[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(pairs[i+1]), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// fakeNginx stands in for the stack's: it knows its version, and refuses a configuration with a certain word.
const fakeNginx = `#!/bin/sh
echo 'nginx version: nginx/1.22.1 (Debian)' >&2
for arg; do [ "$prev" = -c ] && conf=$arg; prev=$arg; done
[ -z "$conf" ] || ! grep -q WRONG "$conf"
`

func staging(t *testing.T, pairs ...string) (*stager.Stager, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	t.Setenv("CF_STACK", "")
	t.Setenv("PATH", put(t, t.TempDir(), "nginx", fakeNginx)+":"+os.Getenv("PATH"))
	return &stager.Stager{Root: put(t, t.TempDir(), "bin/buildpack", "program"), Build: put(t, t.TempDir(), pairs...), Deps: t.TempDir(),
		Index: "0", Version: "1.2.3", Log: &out, Manifest: &stager.Manifest{Language: "nginx"}}, &out
}

func TestDetect(t *testing.T) {
	for name, want := range map[string]bool{"nginx.conf": true, "conf/nginx.conf": false, "some-file": false} {
		s, _ := staging(t, name, "")
		if text, ok := Detect(s); ok != want || ok && text != "nginx 1.2.3" {
			t.Errorf("%s: %q, %v", name, text, ok)
		}
	}
}

// The templates and their values are those of CF's documentation; the escapes those of its buildpack.
func TestFill(t *testing.T) {
	dir := put(t, t.TempDir(), "local/own.so", "", "resolv.conf", "search x\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n")
	env := map[string]string{"PORT": "8080", "QUOTED": `a "b"`, "PLAIN": `a "b"`}
	v := varify{local: filepath.Join(dir, "local"), global: "/g", resolv: filepath.Join(dir, "resolv.conf"), env: func(n string) string { return env[n] }}
	for text, want := range map[string]string{
		"listen {{port}};":                   "listen 8080;",
		`x {{env "QUOTED"}};`:                "x a &#34;b&#34;;",
		`x {{env "PLAIN"}};`:                 `x a "b";`,
		`x {{env "NONE"}};`:                  "x ;",
		`{{module "own"}}`:                   "load_module " + v.local + "/own.so;",
		`{{module "ngx_stream_module"}}`:     "load_module /g/ngx_stream_module.so;",
		"resolver {{nameservers}};":          "resolver 10.0.0.1 10.0.0.2;",
		`{{if env "NONE"}}a{{else}}b{{end}}`: "a", // as CF's: the first round sees the name, not the value
	} {
		if got, err := v.fill(text, []string{"PLAIN"}); err != nil || string(got) != want {
			t.Errorf("%s gives %q, %v; want %q", text, got, err, want)
		}
	}
	for _, bad := range []string{"{{", "{{nonsense}}", "{{port 1}}"} {
		if got, err := v.fill(bad, nil); err == nil {
			t.Errorf("%s gives %q", bad, got)
		}
	}
	v.resolv = filepath.Join(dir, "none")
	if got := v.nameservers(); got != "169.254.0.2" {
		t.Errorf("without a resolv.conf: %s", got)
	}
}

func TestVarifyFillsIncludedFiles(t *testing.T) {
	dir := put(t, t.TempDir(), "nginx.conf", "include custom.conf; include mime.types;", "custom.conf", "listen {{port}};",
		"buildpack.yml", "nginx: {plaintext_env_vars: [A]}")
	t.Setenv("PORT", "61001")
	if err := Varify([]string{"-buildpack-yml-path", dir + "/buildpack.yml", dir + "/nginx.conf", dir, dir}); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(dir + "/custom.conf"); err != nil || string(text) != "listen 61001;" {
		t.Errorf("%q, %v", text, err)
	}
	if err := Varify([]string{dir + "/none.conf", dir, dir}); err == nil {
		t.Error("a missing file is no error")
	}
	if err := Varify(nil); err == nil {
		t.Error("no arguments are no error")
	}
}

func TestSupply(t *testing.T) {
	const good = "events {}\nhttp { server { listen {{port}}; access_log /dev/stdout; } }\n"
	for name, c := range map[string]struct {
		files []string
		want  string // of the error
		said  string
	}{
		"good":            {[]string{"nginx.conf", good}, "", "-----> Using nginx 1.22.1\n"},
		"no port":         {[]string{"nginx.conf", "http { server { listen 80; } }"}, "no `{{port}}` in nginx.conf", "must be configured to the template `{{port}}`"},
		"no conf":         {nil, "could not read config file", ""},
		"no logs":         {[]string{"nginx.conf", strings.Replace(good, "/dev/stdout", "off", 1)}, "", "access logging is turned off"},
		"a version":       {[]string{"nginx.conf", good, "buildpack.yml", "nginx: {version: 1.22.x}"}, "", "1.22.x => 1.22.1"},
		"another version": {[]string{"nginx.conf", good, "buildpack.yml", "nginx: {version: 1.99.x}"}, "no match found for 1.99.x in [1.22.1]", ""},
		"openresty":       {[]string{"nginx.conf", good, "buildpack.yml", "dist: openresty"}, "this buildpack has only nginx", ""},
		"syntax":          {[]string{"nginx.conf", good + "WRONG"}, "nginx.conf contains syntax errors", "nginx version"},
		"bad yaml":        {[]string{"nginx.conf", good, "buildpack.yml", "nginx: ["}, "could not read buildpack.yml", ""},
	} {
		s, out := staging(t, c.files...)
		err := Supply(s)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || !strings.Contains(out.String(), c.said) {
			t.Errorf("%s: %v, want %q\n%s", name, err, c.want, out)
		}
	}
}

// FuzzFill: a configuration is refused or filled in; nothing else happens.
func FuzzFill(f *testing.F) {
	f.Add(`listen {{port}}; {{env "A"}} {{module "x"}} {{nameservers}}`)
	f.Add(`{{define "a"}}{{template "a"}}{{end}}{{if env "B"}}x{{end}}`)
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "template") || strings.Contains(text, "block") || strings.Contains(text, "range") {
			return // an app may loop in its own container
		}
		v := varify{env: func(string) string { return "value" }, resolv: "/nonexistent"}
		_, _ = v.fill(text, []string{"A"})
	})
}
