// Package python is the buildpack python_buildpack: Python apps, with pip.
//
// It promises what CF's does: an app with a requirements.txt, setup.py, Pipfile or environment.yml is claimed; runtime.txt or
// Pipfile.lock may ask for a version; pip installs the requirements from the app's vendor folder, or else from the package
// index; Django's static files are collected; the app finds python and what was installed on its PATH. There is no
// default process: a Procfile or -c says how to start.
// Python is the stack's, in a virtual environment in the droplet. It has neither Conda nor Pipenv: an app that is only
// described by an environment.yml or an unlocked Pipfile is refused.
package python

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"ingot/buildpacks/stager"
)

// Detect claims apps with one of the files that describe a Python project.
func Detect(s *stager.Stager) (string, bool) {
	for _, name := range []string{"requirements.txt", "setup.py", "environment.yml", "Pipfile"} {
		if s.Has(name) {
			return "python " + s.Version, true
		}
	}
	return "", false
}

// Supply makes the virtual environment and installs the requirements.
func Supply(s *stager.Stager) error {
	if err := s.Begin(); err != nil {
		return err
	}
	s.Step("Supplying Python")
	if s.Has("environment.yml") {
		return errors.New("this app is described by an environment.yml, and this buildpack has no Conda: add a requirements.txt in its place")
	}
	if err := environment(s); err != nil {
		return fmt.Errorf("could not install python: %w", err)
	}
	file, err := requirements(s)
	if err != nil {
		return err
	}
	if file != "" {
		defer func() { _ = os.Remove(file) }()
		if err := pip(s, file); err != nil {
			return fmt.Errorf("could not install pip packages: %w", err)
		}
	}
	if s.Has("nltk.txt") {
		s.Warn("nltk.txt is not read: put the corpora into the app")
	}
	return movable(s)
}

// environment makes the virtual environment in the buildpack's own folder, so that its bin is on the PATH of all that comes after. pip
// and setuptools are the stack's.
func environment(s *stager.Stager) error {
	wanted, err := version(s)
	if err != nil {
		return err
	}
	out, err := exec.Command("python3", "-c", "import platform; print(platform.python_version())").Output()
	if err != nil {
		return fmt.Errorf("python3 is not in this stack: %w", err)
	}
	have := string(bytes.TrimSpace(out))
	if _, err := stager.Match(wanted, []string{have}); err != nil {
		return err
	}
	s.Step("Installing python %s", have)
	if out, err := exec.Command("python3", "-m", "venv", "--system-site-packages", "--without-pip", s.Dep()).CombinedOutput(); err != nil {
		return fmt.Errorf("python -m venv: %w: %s", err, out)
	}
	script := []byte("#!/bin/sh\nexec python -m pip \"$@\"\n")
	for _, name := range []string{"pip", "pip3"} {
		if err := os.WriteFile(s.Dep("bin", name), script, 0o755); err != nil {
			return err
		}
	}
	for _, v := range []struct{ name, value string }{{"PYTHONUNBUFFERED", "1"}, {"PYTHONHASHSEED", "random"}, {"LANG", "en_US.UTF-8"}} {
		if err := s.SetEnv(v.name, v.value); err != nil {
			return err
		}
	}
	return errors.Join(os.Setenv("PATH", s.Dep("bin")+":"+os.Getenv("PATH")), s.WriteProfile("python.sh", profile))
}

const profile = `export LANG=${LANG:-en_US.UTF-8}
export PYTHONHASHSEED=${PYTHONHASHSEED:-random}
export PYTHONUNBUFFERED=1
export FORWARDED_ALLOW_IPS='*'
export GUNICORN_CMD_ARGS=${GUNICORN_CMD_ARGS:-'--access-logfile -'}
`

// version is the range that the app asks for.
func version(s *stager.Stager) (string, error) {
	text, err := os.ReadFile(filepath.Join(s.Build, "runtime.txt"))
	if err == nil {
		return strings.TrimPrefix(strings.TrimSpace(string(text)), "python-"), nil
	}
	if !os.IsNotExist(err) {
		return "", err
	}
	lock, err := readLock(s)
	if err != nil || lock.Meta.Requires.Version == "" {
		return "*", err
	}
	if v := lock.Meta.Requires.Version; strings.Count(v, ".") < 2 {
		return v + ".x", nil
	}
	return lock.Meta.Requires.Version, nil
}

// pip installs what the file lists.
func pip(s *stager.Stager, file string) error {
	args := []string{"-m", "pip", "install", "-r", file, "--ignore-installed", "--exists-action=w", "--src=" + s.Dep("src"),
		"--disable-pip-version-check", "--no-warn-script-location"}
	if s.Has("vendor") {
		s.Step("Running Pip Install (Vendored)")
		args = append(args, "--no-index", "--no-build-isolation", "--find-links=file://"+filepath.Join(s.Build, "vendor"))
	} else {
		s.Step("Running Pip Install")
	}
	s.Info("python %s", strings.Join(args, " "))
	cmd := exec.Command("python", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Build, s.Log, s.Log
	cmd.Env = append(os.Environ(), "PIP_CACHE_DIR="+filepath.Join(s.Cache, "pip_cache"))
	if os.Getenv("PIP_CERT") == "" {
		cmd.Env = append(cmd.Env, "PIP_CERT=/etc/ssl/certs/ca-certificates.crt")
	}
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if s.Has("vendor") {
		s.Info("Running pip install failed. You need to include all dependencies in the vendor directory.")
	} else {
		s.Info("Running pip install failed. Where no package index can be reached, put the packages into a folder vendor: pip download -r requirements.txt -d vendor")
	}
	return fmt.Errorf("could not run pip: %w", err)
}

var shebang = regexp.MustCompile(`\A#!/\S*/python[0-9.]*`)

// movable makes what pip left work where the droplet will be: programs find python on the PATH, and paths are those of the app's container.
func movable(s *stager.Stager) error {
	programs, err := os.ReadDir(s.Dep("bin"))
	if err != nil {
		return err
	}
	for _, p := range programs {
		if !p.Type().IsRegular() {
			continue
		}
		if err := edit(s.Dep("bin", p.Name()), func(b []byte) []byte { return shebang.ReplaceAll(b, []byte("#!/usr/bin/env python")) }); err != nil {
			return err
		}
	}
	paths := []string{s.Build + "/", "/home/vcap/app/"}
	if !strings.HasPrefix(s.Deps, s.Build+"/") {
		paths = append(paths, s.Deps+"/", "/home/vcap/deps/", s.Build+"\n", "/home/vcap/app\n", s.Build+"'", "/home/vcap/app'")
	}
	moved := strings.NewReplacer(paths...)
	return filepath.WalkDir(s.Dep("lib"), func(path string, d fs.DirEntry, err error) error {
		name := filepath.Base(path)
		if err != nil || !d.Type().IsRegular() || !strings.HasSuffix(name, ".pth") && !strings.HasPrefix(name, "__editable__") && !strings.HasSuffix(name, ".egg-link") {
			return err
		}
		return edit(path, func(b []byte) []byte { return []byte(moved.Replace(string(b))) })
	})
}

// edit rewrites a file in place, if change changes it.
func edit(path string, change func([]byte) []byte) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	fresh := change(text)
	if bytes.Equal(text, fresh) {
		return nil
	}
	return os.WriteFile(path, fresh, 0o755)
}

// Finalize collects Django's static files and leaves the launch scripts.
func Finalize(s *stager.Stager) error {
	if err := collect(s); err != nil {
		return err
	}
	return s.Finish()
}

// Release gives no process types: a Procfile or -c does.
func Release(*stager.Stager) map[string]string { return map[string]string{} }

var django = regexp.MustCompile(`(?im)^\s*django\b`)

func collect(s *stager.Stager) error {
	text, err := os.ReadFile(filepath.Join(s.Build, "requirements.txt"))
	if err != nil || os.Getenv("DISABLE_COLLECTSTATIC") != "" || !django.Match(text) {
		return nil
	}
	found, _ := filepath.Glob(filepath.Join(s.Build, "manage.py"))
	deeper, _ := filepath.Glob(filepath.Join(s.Build, "*", "manage.py"))
	found = append(found, deeper...)
	if len(found) == 0 {
		return nil
	}
	manage, err := filepath.Rel(s.Build, found[0])
	if err != nil {
		return err
	}
	s.Info("Running python %s collectstatic --noinput --traceback", manage)
	cmd := exec.Command("python", manage, "collectstatic", "--noinput", "--traceback")
	cmd.Dir = s.Build
	if out, err := cmd.CombinedOutput(); err != nil {
		_, _ = s.Log.Write(out)
		return fmt.Errorf("error while running '$ python %s collectstatic --noinput'; repair it, or do without: cf set-env <app> DISABLE_COLLECTSTATIC 1: %w", manage, err)
	}
	return nil
}
