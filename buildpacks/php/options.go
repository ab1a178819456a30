package php

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"ingot/buildpacks/stager"
)

// options are what .bp-config/options.json says, over buildpack.yml, over CF's defaults.
type options struct {
	Web             string          `json:"WEBDIR"`
	Lib             string          `json:"LIBDIR"`
	Server          string          `json:"WEB_SERVER"` // httpd, nginx, none
	Version         string          `json:"PHP_VERSION"`
	Admin           string          `json:"ADMIN_EMAIL"`
	Extensions      []string        `json:"PHP_EXTENSIONS"`
	Vendor          string          `json:"COMPOSER_VENDOR_DIR"`
	ComposerOptions []string        `json:"COMPOSER_INSTALL_OPTIONS"`
	Start           string          `json:"APP_START_CMD"` // without a web server
	Preprocess      json.RawMessage `json:"ADDITIONAL_PREPROCESS_CMDS"`
	preprocess      []string
}

func load(s *stager.Stager) (options, error) {
	var texts [2][]byte
	for i, name := range []string{"buildpack.yml", ".bp-config/options.json"} {
		text, err := os.ReadFile(filepath.Join(s.Build, name))
		if err != nil && !os.IsNotExist(err) {
			return options{}, err
		}
		texts[i] = text
	}
	return parse(texts[0], texts[1])
}

// parse reads the texts of buildpack.yml and options.json; either may be empty.
func parse(buildpack, text []byte) (options, error) {
	o := options{Web: "htdocs", Lib: "lib", Server: "httpd", Admin: "admin@localhost", ComposerOptions: []string{"--no-interaction", "--no-dev"}}
	var old struct {
		PHP struct {
			Server  string `yaml:"webserver"`
			Web     string `yaml:"webdirectory"`
			Lib     string `yaml:"libdirectory"`
			Version string `yaml:"version"`
		} `yaml:"php"`
	}
	if err := yaml.Unmarshal(buildpack, &old); err != nil {
		return o, fmt.Errorf("buildpack.yml: %w", err)
	}
	for _, v := range []struct {
		to   *string
		text string
	}{{&o.Server, old.PHP.Server}, {&o.Web, old.PHP.Web}, {&o.Lib, old.PHP.Lib}, {&o.Version, old.PHP.Version}} {
		if v.text != "" {
			*v.to = v.text
		}
	}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &o); err != nil {
			return o, fmt.Errorf("failed to load user options: invalid JSON in .bp-config/options.json: %w", err)
		}
	}
	if o.Vendor == "" {
		o.Vendor = filepath.Join(o.Lib, "vendor")
	}
	o.Vendor = strings.TrimPrefix(strings.ReplaceAll(o.Vendor, "{LIBDIR}", o.Lib), "{BUILD_DIR}/")
	return o, errors.Join(o.check(), o.readPreprocess())
}

var email = regexp.MustCompile(`^[^\s"'$\\]+$`)

func (o *options) check() error {
	switch o.Server {
	case "httpd", "nginx", "none":
	default:
		return fmt.Errorf("invalid WEB_SERVER: %s (must be 'httpd', 'nginx', or 'none')", o.Server)
	}
	for _, f := range []struct{ name, path string }{{"WEBDIR", o.Web}, {"LIBDIR", o.Lib}, {"COMPOSER_VENDOR_DIR", o.Vendor}} {
		if !filepath.IsLocal(f.path) || filepath.Clean(f.path) != strings.TrimSuffix(f.path, "/") || strings.ContainsAny(f.path, "\"'$\\\n\r") {
			return fmt.Errorf("invalid %s: %q is no folder of the app", f.name, f.path)
		}
	}
	if !email.MatchString(o.Admin) {
		return fmt.Errorf("invalid ADMIN_EMAIL: %q", o.Admin)
	}
	return nil
}

// readPreprocess takes the commands as text, a list of texts, or a list of lists of words, as CF's buildpack does.
func (o *options) readPreprocess() error {
	if len(o.Preprocess) == 0 {
		return nil
	}
	var one string
	var words [][]string
	switch {
	case json.Unmarshal(o.Preprocess, &one) == nil:
		o.preprocess = []string{one}
	case json.Unmarshal(o.Preprocess, &o.preprocess) == nil:
	case json.Unmarshal(o.Preprocess, &words) == nil:
		o.preprocess = nil
		for _, w := range words {
			o.preprocess = append(o.preprocess, strings.Join(w, " "))
		}
	default:
		return errors.New("ADDITIONAL_PREPROCESS_CMDS must be a command or a list of them")
	}
	return nil
}

var line = regexp.MustCompile(`^\{PHP_(\d)(\d+)_LATEST\}$`)

// matches tells whether the stack's version will do.
func (o *options) matches(have string) error {
	wanted := o.Version
	if m := line.FindStringSubmatch(wanted); m != nil {
		wanted = m[1] + "." + m[2] + ".x"
	}
	if wanted == "" || wanted == "{PHP_DEFAULT}" {
		return nil
	}
	_, err := stager.Match(wanted, []string{have})
	return err
}
