package php

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/buildpacks/stager"
)

const fakePHP = `#!/bin/sh
case "$1" in
-n) printf 8.2.36 ;;
-m) printf '[PHP Modules]\ncurl\nmbstring\n' ;;
esac
`

const fakeComposer = `#!/bin/sh
echo "composer $* in $COMPOSER_VENDOR_DIR" >>"$CALLS"
[ -z "$FAIL" ] || exit 1
mkdir -p "$COMPOSER_VENDOR_DIR" && echo >"$COMPOSER_VENDOR_DIR/autoload.php"
`

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

func staging(t *testing.T, pairs ...string) (*stager.Stager, *bytes.Buffer, string) {
	t.Helper()
	var out bytes.Buffer
	t.Setenv("CF_STACK", "")
	bin := put(t, t.TempDir(), "php", fakePHP, "composer", fakeComposer)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("CALLS", filepath.Join(bin, "calls"))
	return &stager.Stager{Build: put(t, t.TempDir(), pairs...), Cache: t.TempDir(), Deps: t.TempDir(), Index: "0", Version: "1.2.3", Log: &out,
		Profile: filepath.Join(t.TempDir(), "profile.d"), Manifest: &stager.Manifest{Language: "php"}}, &out, filepath.Join(bin, "calls")
}

// As CF's bin/detect.
func TestDetect(t *testing.T) {
	for name, want := range map[string]bool{"composer.json": true, "index.php": true, "htdocs/index.php": true, "a/b/c.php": true,
		"a/b/c/d.php": false, "index.html": false, "some-file": false, "x.php/file": false} {
		s, _, _ := staging(t, name, "")
		if text, ok := Detect(s); ok != want || ok && text != "php 1.2.3" {
			t.Errorf("%s: %q, %v", name, text, ok)
		}
	}
}

func TestSupplyMovesTheAppIntoItsWebFolder(t *testing.T) {
	s, out, _ := staging(t, "index.php", "", "lib/x.php", "", "Procfile", "", ".bp-config/options.json", `{"WEBDIR": "public"}`, "css/a.css", "")
	if err := Supply(s); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"public/index.php": true, "public/css/a.css": true, "lib/x.php": true, "Procfile": true,
		"public/lib": false, "index.php": false, "logs": true} {
		if s.Has(name) != want {
			t.Errorf("%s: there is %v, want %v", name, !want, want)
		}
	}
	if !strings.Contains(out.String(), "-----> Installing PHP 8.2.36\n") {
		t.Error(out)
	}
	s, _, _ = staging(t, "htdocs/index.php", "", "other.php", "")
	if err := Supply(s); err != nil || !s.Has("other.php") {
		t.Errorf("an app with a web folder was changed: %v", err)
	}
}

func TestSupplyRefuses(t *testing.T) {
	for name, c := range map[string]struct{ options, want string }{
		"json":     {"{", "invalid JSON in .bp-config/options.json"},
		"server":   {`{"WEB_SERVER": "iis"}`, "invalid WEB_SERVER: iis (must be 'httpd', 'nginx', or 'none')"},
		"folder":   {`{"WEBDIR": "../.."}`, "invalid WEBDIR"},
		"quote":    {`{"WEBDIR": "a\"b"}`, "invalid WEBDIR"},
		"version":  {`{"PHP_VERSION": "{PHP_83_LATEST}"}`, "no match found for 8.3.x in [8.2.36]"},
		"email":    {`{"ADMIN_EMAIL": "a\"\nb"}`, "invalid ADMIN_EMAIL"},
		"commands": {`{"ADDITIONAL_PREPROCESS_CMDS": 1}`, "must be a command or a list"},
	} {
		s, _, _ := staging(t, "index.php", "", ".bp-config/options.json", c.options)
		if err := Supply(s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestOptionsThatFit(t *testing.T) {
	for _, options := range []string{`{"PHP_VERSION": "8.2.x"}`, `{"PHP_VERSION": "{PHP_82_LATEST}"}`, `{"PHP_VERSION": "{PHP_DEFAULT}"}`,
		`{"PHP_EXTENSIONS": ["curl", "gd"]}`, `{"WEB_SERVER": "none", "APP_START_CMD": "php worker.php"}`} {
		s, out, _ := staging(t, "index.php", "", ".bp-config/options.json", options)
		if err := Supply(s); err != nil {
			t.Errorf("%s: %v", options, err)
		}
		if strings.Contains(options, "gd") != strings.Contains(out.String(), "The extension 'gd' is not provided") || strings.Contains(out.String(), "'curl'") {
			t.Errorf("%s: %s", options, out)
		}
	}
}

func TestComposer(t *testing.T) {
	s, _, calls := staging(t, "htdocs/index.php", "", "htdocs/composer.json", "{}", "htdocs/vendor/old.php", "")
	if err := Supply(s); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(calls)
	if want := "composer install --no-progress --no-interaction --no-dev in " + s.Build + "/lib/vendor\n"; err != nil || string(text) != want {
		t.Errorf("called %q, %v; want %q", text, err, want)
	}
	for _, name := range []string{"composer.json", "lib/vendor/old.php", "htdocs/vendor/autoload.php"} {
		if !s.Has(name) {
			t.Errorf("no %s", name)
		}
	}
	t.Setenv("FAIL", "1")
	s, out, _ := staging(t, "index.php", "", "composer.json", "{}")
	if err := Supply(s); err == nil || !strings.Contains(err.Error(), "composer install failed") || !strings.Contains(out.String(), "push composer.lock and the vendor folder") {
		t.Errorf("a failure: %v, %s", err, out)
	}
}

func TestFinalize(t *testing.T) {
	s, _, _ := staging(t, "htdocs/index.php", "", ".bp-config/options.json", `{"ADDITIONAL_PREPROCESS_CMDS": [["php", "migrate.php"], ["date"]]}`,
		".bp-config/php/php.ini.d/a.ini", "x = @{HOME}/#{WEBDIR}/@{OTHER}")
	if err := Finalize(s); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"httpd/httpd.conf": `DocumentRoot "${HOME}/htdocs"`, ".bp/bin/start": "exec /usr/sbin/apache2",
		".bp-config/php/php.ini.d/a.ini": "x = /home/vcap/app/htdocs/@{OTHER}"} {
		if text, err := os.ReadFile(filepath.Join(s.Build, name)); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v\n%s\nwant %q", name, err, text, want)
		}
	}
	if text, err := os.ReadFile(s.Dep("profile.d", "preprocess.sh")); err != nil || string(text) != "php migrate.php\ndate\n" {
		t.Errorf("%q, %v", text, err)
	}
	for options, want := range map[string]string{`{"WEB_SERVER": "none"}`: "exec php main.php", `{"WEB_SERVER": "none", "APP_START_CMD": "php w.php"}`: "exec php w.php"} {
		s, _, _ := staging(t, "main.php", "", ".bp-config/options.json", options)
		err := Finalize(s)
		text, _ := os.ReadFile(filepath.Join(s.Build, ".bp/bin/start"))
		if err != nil || !strings.Contains(string(text), want) || s.Has("httpd") {
			t.Errorf("%s: %v, %s", options, err, text)
		}
	}
}

func TestNginx(t *testing.T) {
	s, out, _ := staging(t, "web dir/index.php", "", ".bp-config/options.json", `{"WEB_SERVER": "nginx", "WEBDIR": "web dir"}`)
	s.Root, s.Manifest.Dependencies = put(t, t.TempDir(), "fpm.tar.zst", ""), []stager.Dependency{{Name: "php-fpm", Version: "8.2.0", File: "fpm.tar.zst"}}
	if err := Supply(s); err != nil || !strings.Contains(out.String(), "-----> Installing php-fpm 8.2.0\n") {
		t.Fatalf("%v, %s", err, out)
	}
	has := func(name, want string) {
		t.Helper()
		if err := Finalize(s); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(filepath.Join(s.Build, name)); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v\n%s\nwant %q", name, err, text, want)
		}
	}
	has("nginx/nginx.conf", "root \"@HOME@/web dir\";\n")
	has("nginx/nginx.conf", "location / { try_files $uri $uri/ =404; }")
	has("php/php-fpm.conf", "pm.max_children = @WORKERS@\n")
	has(".bp/bin/start", `"$DEPS_DIR/0/fpm/sbin/php-fpm" --nodaemonize`)
	put(t, s.Build, ownLocations, "location / { root @{HOME}/#{WEBDIR}; }\n")
	has("nginx/nginx.conf", "location / { root @HOME@/web dir; }\n")
	if s.Has("httpd") {
		t.Error("Apache is configured")
	}
}

// FuzzOptions: options are refused, or Apache's configuration keeps its lines.
func FuzzOptions(f *testing.F) {
	f.Add("php: {webserver: httpd, webdirectory: htdocs}", `{"WEBDIR": "public", "ADMIN_EMAIL": "a@b"}`)
	f.Add("", `{"ADDITIONAL_PREPROCESS_CMDS": [["a", "b"]], "COMPOSER_VENDOR_DIR": "{BUILD_DIR}/{LIBDIR}/vendor"}`)
	f.Fuzz(func(t *testing.T, buildpack, text string) {
		o, err := parse([]byte(buildpack), []byte(text))
		if err != nil {
			return
		}
		plain := options{Web: "htdocs", Admin: "admin@localhost"}
		if got, want := strings.Count(o.httpd(), "\n"), strings.Count(plain.httpd(), "\n"); got != want || strings.Count(o.httpd(), `"`) != strings.Count(plain.httpd(), `"`) {
			t.Fatalf("%q, %q: %d lines, want %d", buildpack, text, got, want)
		}
	})
}
