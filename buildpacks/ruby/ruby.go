// Package ruby is the buildpack ruby_buildpack: Ruby apps, with Bundler.
//
// It promises what CF's does: the gems of the Gemfile without development and test, from vendor/cache alone where the app
// has one; C extensions are compiled while staging and kept for the next staging; a default web process for Rails, thin
// and Rack; production settings that the app's own environment overrides; a secret_key_base for Rails that stays from staging to
// staging; rake assets:precompile where the app has the task; gems' programs on the PATH and in the app's bin.
// Ruby and Bundler are the stack's: an app that names another Ruby version is refused by Bundler, in its words. It has neither
// JRuby nor Node: gems that need Node want the nodejs buildpack before this one.
package ruby

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"ingot/buildpacks/stager"
)

// Detect claims apps with a Gemfile.
func Detect(s *stager.Stager) (string, bool) { return "ruby " + s.Version, s.Has(gemfile()) }

func gemfile() string {
	if name := os.Getenv("BUNDLE_GEMFILE"); name != "" {
		return name
	}
	return "Gemfile"
}

// Finalize lets the scripts of all buildpacks take effect. Gems that change from one staging to the next are no base for an
// app: it asks for the lock.
func Finalize(s *stager.Stager) error {
	s.Step("Finalizing Ruby")
	if name := gemfile() + ".lock"; !s.Has(name) {
		return fmt.Errorf("%s required", filepath.Base(name))
	}
	if env := os.Getenv("RAILS_ENV"); env != "production" {
		s.Warn("You are deploying to a non-production environment: %s", env)
	}
	for _, step := range []func(*stager.Stager) error{vendorBundle, appBin} {
		if err := step(s); err != nil {
			return err
		}
	}
	if err := precompile(s); err != nil {
		return fmt.Errorf("error precompiling assets: %w", err)
	}
	return s.Finish()
}

// Release gives the default process types: a server that the lock names.
func Release(s *stager.Stager) map[string]string {
	lock, err := os.ReadFile(filepath.Join(s.Build, gemfile()+".lock"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.Error("%v", err)
	}
	thin, rails := locked(lock, "thin") > 0, locked(lock, "rails")
	web := ""
	switch {
	case rails >= 4:
		web = "bin/rails server -b 0.0.0.0 -p $PORT -e $RAILS_ENV"
	case locked(lock, "rack") > 0 && thin:
		web = "bundle exec thin start -R config.ru -e $RACK_ENV -p $PORT"
	case locked(lock, "rack") > 0:
		web = "bundle exec rackup config.ru -p $PORT -o 0.0.0.0"
	default:
		return map[string]string{}
	}
	return map[string]string{"web": web}
}

// locked is the major version of a gem in a Gemfile.lock, counted from 1 for those before 1.0; 0 where it is not there.
func locked(lock []byte, gem string) int {
	m := regexp.MustCompile(`(?m)^    ` + regexp.QuoteMeta(gem) + ` \((\d+)`).FindSubmatch(lock)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(string(m[1])) // digits
	return max(n, 1)
}
