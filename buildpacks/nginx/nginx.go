// Package nginx is the buildpack nginx_buildpack: an app's own nginx.conf, run by the stack's nginx.
//
// It promises what CF's does: an app with an nginx.conf is claimed; the templates in it are filled in when the app starts
// (Varify); a configuration that does not listen on {{port}} or that nginx refuses fails the staging.
// (https://docs.cloudfoundry.org/buildpacks/nginx/index.html) Its one nginx is the stack's; it has no OpenResty.
package nginx

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"ingot/buildpacks/stager"
)

// Detect claims apps with an nginx.conf.
func Detect(s *stager.Stager) (string, bool) { return "nginx " + s.Version, s.Has("nginx.conf") }

// settings are what a buildpack.yml says.
type settings struct {
	Nginx struct {
		Version   string   `yaml:"version"`
		Plaintext []string `yaml:"plaintext_env_vars"`
	} `yaml:"nginx"`
	Dist string `yaml:"dist"`
}

func readSettings(file string) (settings, error) {
	var set settings
	text, err := os.ReadFile(file)
	if err == nil {
		err = yaml.Unmarshal(text, &set)
	}
	if os.IsNotExist(err) {
		err = nil
	}
	return set, err
}

// Supply checks the configuration and leaves what the start needs.
func Supply(s *stager.Stager) error {
	if err := s.Begin(); err != nil {
		return err
	}
	set, err := readSettings(filepath.Join(s.Build, "buildpack.yml"))
	if err != nil {
		return fmt.Errorf("could not read buildpack.yml: %w", err)
	}
	if set.Dist != "" && set.Dist != "nginx" {
		return fmt.Errorf("could not install %s: this buildpack has only nginx", set.Dist)
	}
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		nginx = "/usr/sbin/nginx" // often not on the PATH of those who are not root
	}
	if err := version(s, nginx, set.Nginx.Version); err != nil {
		return fmt.Errorf("could not install nginx: %w", err)
	}
	if err := programs(s, nginx); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(s.Build, "logs"), 0o755); err != nil {
		return err
	}
	if err := validate(s); err != nil {
		return fmt.Errorf("could not validate nginx.conf: %w", err)
	}
	return s.WriteProfile("nginx.sh", "export DEP_DIR=$DEPS_DIR/"+s.Index+"\nmkdir -p logs\n")
}

// version fails when the app wants an nginx that is not the stack's.
func version(s *stager.Stager, nginx, wanted string) error {
	var out bytes.Buffer
	cmd := exec.Command(nginx, "-v")
	cmd.Stderr = &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("nginx is not in this stack: %w", err)
	}
	_, have, _ := strings.Cut(strings.TrimSpace(out.String()), "nginx/")
	have, _, _ = strings.Cut(have, " ")
	switch wanted {
	case "", "mainline", "stable":
		s.Step("Using nginx %s", have)
		return nil
	}
	_, err := stager.Match(wanted, []string{have})
	if err == nil {
		s.Step("Requested nginx version: %s => %s", wanted, have)
	}
	return err
}

// start is nginx as the app calls it: its log is the app's, its pid file where vcap may write, unless the configuration says otherwise.
const start = `#!/bin/sh
conf=nginx.conf prefix=. last=
for arg; do
	case $last in -c) conf=$arg ;; -p) prefix=$arg ;; esac
	last=$arg
done
case $conf in /*) ;; *) conf=$prefix/$conf ;; esac
if grep -Eqs '^[[:space:]]*pid[[:space:]]' "$conf"; then
	exec NGINX -e stderr "$@"
fi
exec NGINX -e stderr -g "pid ${TMPDIR:-/tmp}/nginx.pid;" "$@"
`

// modules are the stack's.
const modules = "/usr/lib/nginx/modules"

// programs puts nginx and varify on the app's PATH. varify is this buildpack's own program.
func programs(s *stager.Stager, nginx string) error {
	self, err := os.ReadFile(filepath.Join(s.Root, "bin", "buildpack"))
	if err != nil {
		return err
	}
	for _, dir := range []string{"programs", "nginx"} {
		if err := os.MkdirAll(s.Dep(dir), 0o755); err != nil {
			return err
		}
	}
	return errors.Join(os.WriteFile(s.Dep("programs", "varify"), self, 0o755), os.WriteFile(s.Dep("programs", "nginx"), []byte(strings.ReplaceAll(start, "NGINX", nginx)), 0o755),
		os.Symlink(modules, s.Dep("nginx", "modules")), s.LinkBin("programs"))
}

// validate fills in a copy of the app and asks nginx what it thinks of it.
func validate(s *stager.Stager) error {
	dir, err := os.MkdirTemp("", "conf")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if out, err := exec.Command("cp", "-a", s.Build+"/.", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("copy the app: %w: %s", err, out)
	}
	const port = "54321" // no app of this machine is asked
	v := varify{settings: filepath.Join(dir, "buildpack.yml"), conf: filepath.Join(dir, "nginx.conf"), local: filepath.Join(dir, "modules"),
		global: modules, resolv: resolvConf, env: func(name string) string {
			if name == "PORT" {
				return port
			}
			return os.Getenv(name)
		}}
	if err := v.run(); err != nil {
		return err
	}
	if has, err := v.mentions(port); err != nil || !has {
		s.Error("The listen port value in nginx.conf must be configured to the template `{{port}}`")
		return errors.Join(errors.New("validation of port `{{port}}` failed: no `{{port}}` in nginx.conf"), err)
	}
	cmd := exec.Command(s.Dep("bin", "nginx"), "-t", "-p", dir, "-c", v.conf)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		_, _ = s.Log.Write(out)
		return fmt.Errorf("nginx.conf contains syntax errors: %w", err)
	}
	text, err := os.ReadFile(v.conf)
	if err == nil && (!bytes.Contains(text, []byte("access_log")) || off.Match(text)) {
		s.Warn("access logging is turned off in your nginx.conf file, this may make your app difficult to debug.")
	}
	return err
}

var off = regexp.MustCompile(`(?i)access_log\s+off`)

// Finalize leaves the launch scripts.
func Finalize(s *stager.Stager) error { return s.Finish() }

// Release gives the default process types.
func Release(*stager.Stager) map[string]string {
	return map[string]string{"web": "varify -buildpack-yml-path ./buildpack.yml ./nginx.conf $HOME/modules $DEP_DIR/nginx/modules && exec nginx -p $PWD -c ./nginx.conf"}
}
