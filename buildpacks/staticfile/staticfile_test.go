package staticfile

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/buildpacks/stager"
)

func app(t *testing.T, pairs ...string) (*stager.Stager, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	s := &stager.Stager{Build: t.TempDir(), Deps: t.TempDir(), Index: "0", Version: "1.2.3", Log: &out,
		Manifest: &stager.Manifest{Language: "staticfile"}}
	s.Profile = filepath.Join(t.TempDir(), "profile.d")
	for i := 0; i < len(pairs); i += 2 {
		path := filepath.Join(s.Build, pairs[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(pairs[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return s, &out
}

func TestDetect(t *testing.T) {
	s, _ := app(t, "index.html", "")
	if text, ok := Detect(s); ok {
		t.Errorf("an index.html alone is claimed: %q", text)
	}
	s, _ = app(t, "Staticfile", "")
	if text, ok := Detect(s); !ok || text != "staticfile 1.2.3" {
		t.Errorf("got %q, %v", text, ok)
	}
}

func TestSupplyPutsNginxOnThePath(t *testing.T) {
	s, out := app(t, "Staticfile", "")
	t.Setenv("CF_STACK", "")
	if err := Supply(s); err != nil || out.String() != "-----> Staticfile Buildpack version 1.2.3\n" {
		t.Errorf("%v, %s", err, out)
	}
	if to, err := os.Readlink(s.Dep("bin", "nginx")); err != nil || to != "/usr/sbin/nginx" {
		t.Errorf("bin/nginx: %s, %v", to, err)
	}
}

// The options and their effects are those of CF's documentation.
func TestOptions(t *testing.T) {
	for _, c := range []struct{ file, want, wantNot string }{
		{"", "((LISTEN_DIRECTIVE))", "autoindex"},
		{"", "location ~ /\\. { return 404; }", "auth_basic"},
		{"host_dot_files: true", "index index.html", "location ~ /\\."},
		{"directory: visible", "autoindex on;", ""},
		{"ssi: enabled", "ssi on;", ""},
		{"ssi: yes", "", "ssi on;"},
		{"pushstate: enabled", "rewrite ^(.*)$ / break;", ""},
		{"pushstate: disabled", "", "rewrite"},
		{"http_strict_transport_security: true", `"max-age=31536000";`, "includeSubDomains"},
		{"http_strict_transport_security: true\nhttp_strict_transport_security_include_subdomains: true\nhttp_strict_transport_security_preload: true",
			`"max-age=31536000; includeSubDomains; preload";`, ""},
		{"http_strict_transport_security_preload: true", "", "Strict-Transport-Security"},
		{"force_https: true", "return 301 https://$best_host$best_prefix$request_uri;", "FORCE_HTTPS_DIRECTIVE"},
		{"enable_http2: true", "listen ((PORT)) http2;", "LISTEN_DIRECTIVE"},
		{"location_include: includes/*.conf", "include includes/*.conf;", ""},
		{"status_codes: {404: /404.html, 5xx: /5xx.html}", "error_page 404 /404.html;", "5xx /5xx.html"},
		{"status_codes: {4xx: /4xx.html}", "429 431 451 /4xx.html;", ""},
	} {
		o, err := parse([]byte(c.file))
		if err != nil {
			t.Errorf("%q: %v", c.file, err)
			continue
		}
		text, err := render(o)
		if err != nil || !strings.Contains(text, c.want) || c.wantNot != "" && strings.Contains(text, c.wantNot) {
			t.Errorf("%q: want %q, not %q in\n%s(%v)", c.file, c.want, c.wantNot, text, err)
		}
	}
	for _, bad := range []string{"root: [", "- list", "ssi: {a: b}", "location_include: 'x; } evil {'", "status_codes: {'404': '/x; y'}"} {
		if o, err := parse([]byte(bad)); err == nil {
			t.Errorf("%q is taken as %+v", bad, o)
		}
	}
}

func TestFinalizeMovesWhatIsServed(t *testing.T) {
	s, out := app(t, "Staticfile", "", "Staticfile.auth", "bob:x", "manifest.yml", "", ".secret", "", "index.html", "hello", "css/a.css", "",
		"public/old.txt", "")
	if err := Finalize(s); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"public/index.html": true, "public/css/a.css": true, "public/public/old.txt": true,
		"public/Staticfile": false, "public/Staticfile.auth": false, "public/.secret": false, "public/manifest.yml": false,
		"nginx/conf/nginx.conf": true, "nginx/conf/mime.types": true, "nginx/conf/.htpasswd": true, "boot.sh": true} {
		if s.Has(name) != want {
			t.Errorf("%s: there is %v, want %v", name, !want, want)
		}
	}
	info, err := os.Stat(filepath.Join(s.Build, "public"))
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("public: %v, %v", info, err)
	}
	if !strings.Contains(out.String(), "-----> Enabling basic authentication using Staticfile.auth\n") {
		t.Errorf("said %s", out)
	}
}

func TestFinalizeWithARoot(t *testing.T) {
	s, _ := app(t, "Staticfile", "root: dist", "dist/index.html", "hello", "nginx/conf/includes/x.conf", "", "secret", "")
	if err := Finalize(s); err != nil {
		t.Fatal(err)
	}
	if !s.Has("public/index.html") || s.Has("public/secret") || !s.Has("nginx/conf/includes/x.conf") {
		t.Error("the root was not what is served")
	}
	for root, want := range map[string]string{"none": "that does not exist", "file": "that is a plain file", "../..": "outside of the app"} {
		s, _ := app(t, "Staticfile", "root: "+root, "file", "")
		if err := Finalize(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("root %s: %v, want %q", root, err, want)
		}
	}
}

func TestTheAppsOwnNginxConf(t *testing.T) {
	s, out := app(t, "Staticfile", "root: public", "public/nginx.conf", "mine ((PORT))")
	if err := Finalize(s); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(s.Build, "nginx/conf/nginx.conf"))
	if err != nil || string(text) != "mine ((PORT))" || !strings.Contains(out.String(), "overriding nginx.conf is deprecated") {
		t.Errorf("%q, %v, %s", text, err, out)
	}
}

// FuzzStaticfile: a Staticfile is refused, or it gives a configuration whose braces close.
func FuzzStaticfile(f *testing.F) {
	f.Add("root: dist\npushstate: enabled\nstatus_codes: {404: /404.html}\nlocation_include: x.conf\n")
	f.Add("directory: visible\nhost_dot_files: true\n")
	f.Fuzz(func(t *testing.T, text string) {
		o, err := parse([]byte(text))
		if err != nil {
			return
		}
		conf, err := render(o)
		if err != nil || strings.Count(conf, "{") != strings.Count(conf, "}") {
			t.Fatalf("%q gives %v\n%s", text, err, conf)
		}
	})
}
