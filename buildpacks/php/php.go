// Package php is the buildpack php_buildpack: PHP apps, in the stack's Apache or nginx or without a web server, with Composer.
//
// It promises what CF's does: an app with a composer.json or PHP files is claimed; .bp-config/options.json may choose the web folder
// (htdocs), the web server and the version; without a web folder the app's files are moved into it; Composer installs into
// lib/vendor; the server serves $PORT with the app's environment and logs to the app's log.
// (https://docs.cloudfoundry.org/buildpacks/php/index.html)
// PHP runs as Apache's module, or as php-fpm behind nginx, with the extensions of the stack, all of them on. Of an app's own server
// configuration only .bp-config/nginx/server-locations.conf is read.
package php

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"ingot/buildpacks/stager"
)

// Detect claims apps with a composer.json, or with PHP files in one of their first three levels.
func Detect(s *stager.Stager) (string, bool) {
	found := s.Has("composer.json")
	for _, pattern := range []string{"*.php", "*/*.php", "*/*/*.php"} {
		files, _ := filepath.Glob(filepath.Join(s.Build, pattern))
		found = found || slices.ContainsFunc(files, regular)
	}
	return "php " + s.Version, found
}

func regular(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// Supply brings the app's files into place.
func Supply(s *stager.Stager) error {
	if err := s.Begin(); err != nil {
		return err
	}
	s.Step("Supplying PHP")
	o, err := load(s)
	if err != nil {
		return err
	}
	if err := runtime(s, o); err != nil {
		return fmt.Errorf("could not install PHP: %w", err)
	}
	if o.Server != "none" {
		if err := webFolder(s, o); err != nil {
			return fmt.Errorf("could not set up the web directory: %w", err)
		}
	}
	if err := compose(s, o); err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Join(s.Build, "logs"), 0o755), s.WriteProfile("php.sh", profile))
}

// The empty first part of the folders to scan is PHP's own.
const profile = `export PHP_INI_SCAN_DIR=:$HOME/.bp-config/php/php.ini.d
`

// runtime checks that the stack has the PHP and the extensions that the app asks for.
func runtime(s *stager.Stager, o options) error {
	out, err := exec.Command("php", "-n", "-r", "echo PHP_VERSION;").Output()
	if err != nil {
		return fmt.Errorf("php is not in this stack: %w", err)
	}
	have := string(bytes.TrimSpace(out))
	if err := o.matches(have); err != nil {
		return err
	}
	s.Step("Installing PHP %s", have)
	out, err = exec.Command("php", "-m").Output()
	if err != nil {
		return fmt.Errorf("php -m: %w", err)
	}
	loaded := strings.Fields(strings.ToLower(string(out)))
	for _, name := range o.Extensions {
		if name = strings.ToLower(name); !slices.Contains(loaded, name) && name != "fpm" && name != "cli" {
			s.Warn("The extension '%s' is not provided by this buildpack.", name)
		}
	}
	if o.Server == "nginx" {
		version, err := stager.Match(s.DefaultRange("php-fpm"), s.Versions("php-fpm"))
		if err == nil {
			err = s.Install("php-fpm", version, "fpm")
		}
		if err != nil {
			return err
		}
	}
	for _, name := range []string{".bp-config/php/php.ini", ".bp-config/php/php-fpm.conf", ".bp-config/php/fpm.d", ".bp-config/httpd", ".bp-config/nginx"} {
		if s.Has(name) && (name != ".bp-config/nginx" || !s.Has(ownLocations)) {
			s.Warn("%s is not read by this buildpack; settings of PHP are read in .bp-config/php/php.ini.d/*.ini", name)
		}
	}
	return nil
}

// webFolder moves the app's files into the web folder when there is none.
func webFolder(s *stager.Stager, o options) error {
	web := filepath.Join(s.Build, o.Web)
	if s.Has(o.Web) {
		return nil
	}
	s.Info("WEBDIR '%s' not found, moving app files into it", o.Web)
	files, err := os.ReadDir(s.Build)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(web, 0o755); err != nil {
		return err
	}
	first, _, _ := strings.Cut(o.Web, "/")
	keep := []string{"manifest.yml", "Procfile", "composer.json", "composer.lock", "auth.json", o.Lib, first}
	for _, f := range files {
		if name := f.Name(); !slices.Contains(keep, name) && !strings.HasPrefix(name, ".") {
			err = errors.Join(err, os.Rename(filepath.Join(s.Build, name), filepath.Join(web, name)))
		}
	}
	return err
}

// compose lets Composer install what a composer.json lists.
func compose(s *stager.Stager, o options) error {
	for _, name := range []string{"composer.json", "composer.lock", "auth.json"} {
		inWeb := filepath.Join(s.Build, o.Web, name)
		if _, err := os.Stat(inWeb); err == nil && !s.Has(name) {
			if err := os.Rename(inWeb, filepath.Join(s.Build, name)); err != nil {
				return err
			}
		}
	}
	if !s.Has("composer.json") {
		return nil
	}
	if !s.Has("composer.lock") {
		s.Warn("PROTIP: Include a `composer.lock` file with your application! This will make sure the exact same version of dependencies are used when you deploy to CloudFoundry.")
	}
	vendor := filepath.Join(s.Build, o.Vendor)
	for _, brought := range []string{"vendor", filepath.Join(o.Web, "vendor")} {
		if !s.Has(o.Vendor) && s.Has(brought) {
			s.Step("Moving existing vendor directory to %s", o.Vendor)
			if err := errors.Join(os.MkdirAll(filepath.Dir(vendor), 0o755), os.Rename(filepath.Join(s.Build, brought), vendor)); err != nil {
				return err
			}
		}
	}
	args := append([]string{"install", "--no-progress"}, o.ComposerOptions...)
	s.Step("Running composer %s", strings.Join(args, " "))
	cmd := exec.Command("composer", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Build, s.Log, s.Log
	cmd.Env = append(os.Environ(), "COMPOSER_VENDOR_DIR="+vendor, "COMPOSER_CACHE_DIR="+filepath.Join(s.Cache, "composer"),
		"COMPOSER_HOME="+filepath.Join(s.Cache, "composer-home"), "COMPOSER_NO_INTERACTION=1")
	if err := cmd.Run(); err != nil {
		s.Info("Where no package repository can be reached, run composer install before the push, and push composer.lock and the vendor folder with the app.")
		return fmt.Errorf("composer install failed: %w", err)
	}
	link := filepath.Join(s.Build, o.Web, "vendor") // apps look for it beside their index.php
	if _, err := os.Lstat(link); err == nil || !s.Has(o.Web) || !s.Has(o.Vendor) {
		return nil
	}
	to, err := filepath.Rel(filepath.Dir(link), vendor)
	if err != nil {
		return err
	}
	return os.Symlink(to, link)
}

// Finalize writes the server's configuration and the start script.
func Finalize(s *stager.Stager) error {
	o, err := load(s)
	if err != nil {
		return err
	}
	if err := fillIni(s, o); err != nil {
		return err
	}
	files := map[string]string{".bp/bin/start": o.command(s)}
	switch o.Server {
	case "httpd":
		files["httpd/httpd.conf"] = o.httpd()
	case "nginx":
		conf, err := o.nginx(s)
		if err != nil {
			return err
		}
		files["nginx/nginx.conf"], files["php/php-fpm.conf"] = conf, fpm
	}
	for name, text := range files {
		path := filepath.Join(s.Build, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			return err
		}
	}
	if len(o.preprocess) > 0 {
		if err := s.WriteProfile("preprocess.sh", strings.Join(o.preprocess, "\n")+"\n"); err != nil {
			return err
		}
	}
	return s.Finish()
}

// Release gives the default process types.
func Release(*stager.Stager) map[string]string {
	return map[string]string{"web": "$HOME/.bp/bin/start"}
}

var placeholder = regexp.MustCompile(`[@#]\{(HOME|WEBDIR|LIBDIR|TMPDIR)\}`)

// fillIni fills the placeholders of CF's buildpack in the app's own settings.
func fillIni(s *stager.Stager, o options) error {
	files, _ := filepath.Glob(filepath.Join(s.Build, ".bp-config", "php", "php.ini.d", "*.ini"))
	values := map[string]string{"HOME": "/home/vcap/app", "WEBDIR": o.Web, "LIBDIR": o.Lib, "TMPDIR": "${TMPDIR}"}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fresh := placeholder.ReplaceAllFunc(text, func(m []byte) []byte { return []byte(values[string(m[2:len(m)-1])]) })
		if err := os.WriteFile(path, fresh, fs.FileMode(0o644)); err != nil {
			return err
		}
	}
	return nil
}
