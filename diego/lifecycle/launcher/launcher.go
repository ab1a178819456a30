// Package launcher starts an app inside its container, as CF's launcher does: HOME, TMPDIR and DEPS_DIR, the profile
// scripts of buildpacks and app, then the start command through bash, in the place of the launcher's own process.
//
// It will not stay: signals and exit code are the app's own.
package launcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// script is run by bash with the app's folder and the start command as its arguments.
const script = `
cd "$1" || exit 1
echo 'Invoking pre-start scripts.'
for f in ../profile.d/* .profile.d/*; do
  [ -f "$f" ] && source "$f"
done
[ -f .profile ] && source .profile
shift
echo 'Invoking start command.'
exec %s "$@"
`

// App is what to launch.
type App struct {
	Dir     string   // the app's folder, /home/vcap/app
	Command string   // empty: the one in the droplet's staging_info.yml
	Env     []string // what the container gave
}

// Exec is what to run in the launcher's place.
type Exec struct {
	Path string
	Args []string
	Env  []string
}

// info is staging_info.yml.
type info struct {
	Start  string `yaml:"start_command"`
	Config struct {
		EntrypointPrefix string `yaml:"entrypoint_prefix"`
	} `yaml:"config"`
}

// Exec works out what to run.
func (a App) Exec() (Exec, error) {
	var i info
	home := filepath.Dir(a.Dir)
	text, err := os.ReadFile(filepath.Join(home, "staging_info.yml"))
	if err == nil {
		err = yaml.Unmarshal(text, &i)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Exec{}, fmt.Errorf("invalid staging info: %w", err)
	}
	if a.Command == "" {
		a.Command = i.Start
	}
	if a.Command == "" {
		return Exec{}, errors.New("no start command specified or detected in droplet")
	}
	shell := "bash -c"
	if i.Config.EntrypointPrefix != "" {
		shell = i.Config.EntrypointPrefix
	}
	env := Set(a.Env, "HOME", a.Dir)
	env = Set(env, "TMPDIR", filepath.Join(home, "tmp"))
	env = Set(env, "DEPS_DIR", filepath.Join(home, "deps"))
	return Exec{"/bin/bash", []string{"bash", "-c", fmt.Sprintf(script, shell), "launcher", a.Dir, a.Command}, WithDatabase(env)}, nil
}

// WithDatabase adds DATABASE_URL when a bound service is a database that frameworks know by it.
func WithDatabase(env []string) []string {
	i := slices.IndexFunc(env, func(e string) bool { return strings.HasPrefix(e, "VCAP_SERVICES=") })
	if i < 0 {
		return env
	}
	var services map[string][]struct {
		Credentials struct {
			URI string `json:"uri"`
		} `json:"credentials"`
	}
	if json.Unmarshal([]byte(strings.TrimPrefix(env[i], "VCAP_SERVICES=")), &services) != nil {
		return env
	}
	labels := make([]string, 0, len(services))
	for l := range services {
		labels = append(labels, l)
	}
	slices.Sort(labels)
	schemes := map[string]string{"mysql": "mysql2", "mysql2": "mysql2", "postgres": "postgres", "postgresql": "postgres"}
	for _, l := range labels {
		for _, s := range services[l] {
			if u, err := url.Parse(s.Credentials.URI); err == nil && schemes[u.Scheme] != "" {
				u.Scheme = schemes[u.Scheme]
				return Set(env, "DATABASE_URL", u.String())
			}
		}
	}
	return env
}

// Set gives env with the variable set once.
func Set(env []string, name, value string) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(e string) bool { return strings.HasPrefix(e, name+"=") })
	return append(env, name+"="+value)
}
