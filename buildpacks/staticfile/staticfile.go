// Package staticfile is the buildpack staticfile_buildpack: files served by the stack's nginx.
//
// It promises what CF's does: an app with a Staticfile is claimed; what its root (or the app) holds is moved into public,
// which is served on $PORT with the Staticfile's options; Staticfile.auth asks for a password; requests and errors go to
// the app's log. (https://docs.cloudfoundry.org/buildpacks/staticfile/index.html)
package staticfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"ingot/buildpacks/stager"
)

// Detect claims apps with a Staticfile.
func Detect(s *stager.Stager) (string, bool) { return "staticfile " + s.Version, s.Has("Staticfile") }

// Supply puts the stack's nginx on the app's PATH.
func Supply(s *stager.Stager) error {
	if err := s.Begin(); err != nil {
		return err
	}
	if err := os.MkdirAll(s.Dep("bin"), 0o755); err != nil {
		return err
	}
	return os.Symlink("/usr/sbin/nginx", s.Dep("bin", "nginx"))
}

// options are what a Staticfile says, and whether there is a Staticfile.auth.
type options struct {
	Root            string            `yaml:"root"`
	HostDotFiles    toggle            `yaml:"host_dot_files"`
	LocationInclude string            `yaml:"location_include"`
	Directory       string            `yaml:"directory"` // any value turns it on
	SSI             toggle            `yaml:"ssi"`
	PushState       toggle            `yaml:"pushstate"`
	HSTS            toggle            `yaml:"http_strict_transport_security"`
	HSTSSubDomains  toggle            `yaml:"http_strict_transport_security_include_subdomains"`
	HSTSPreload     toggle            `yaml:"http_strict_transport_security_preload"`
	ForceHTTPS      toggle            `yaml:"force_https"`
	HTTP2           toggle            `yaml:"enable_http2"`
	StatusCodes     map[string]string `yaml:"status_codes"`
	Auth            bool              `yaml:"-"`
}

// toggle is on when its text is enabled or true.
type toggle bool

// UnmarshalYAML takes any scalar, as CF's buildpack does.
func (t *toggle) UnmarshalYAML(n *yaml.Node) error {
	var text string
	if err := n.Decode(&text); err != nil {
		return err
	}
	*t = text == "enabled" || text == "true"
	return nil
}

// parse reads a Staticfile; an empty one has no options.
func parse(text []byte) (options, error) {
	var o options
	if err := yaml.Unmarshal(text, &o); err != nil {
		return o, err
	}
	for _, value := range append(classes(o.StatusCodes), o.LocationInclude) {
		if strings.ContainsAny(value, ";{}\n\r\"'\\") {
			return o, fmt.Errorf("%q cannot stand in nginx's configuration", value)
		}
	}
	return o, nil
}

func classes(codes map[string]string) []string {
	var all []string
	for code, page := range codes {
		all = append(all, code, page)
	}
	return all
}

func load(s *stager.Stager) (options, error) {
	text, err := os.ReadFile(filepath.Join(s.Build, "Staticfile"))
	if err != nil && !os.IsNotExist(err) {
		return options{}, err
	}
	o, err := parse(text)
	if err != nil {
		return o, fmt.Errorf("unable to load Staticfile: %w", err)
	}
	o.Auth = s.Has("Staticfile.auth")
	for _, say := range []struct {
		on   bool
		text string
	}{
		{bool(o.HostDotFiles), "Enabling hosting of dotfiles"},
		{o.LocationInclude != "", "Enabling location include file " + o.LocationInclude},
		{o.Directory != "", "Enabling directory index for folders without index.html files"},
		{bool(o.SSI), "Enabling SSI"}, {bool(o.PushState), "Enabling pushstate"}, {bool(o.HSTS), "Enabling HSTS"},
		{bool(o.HSTSSubDomains), "Enabling HSTS includeSubDomains"}, {bool(o.HSTSPreload), "Enabling HSTS Preload"},
		{bool(o.HTTP2), "Enabling HTTP/2"}, {bool(o.ForceHTTPS), "Enabling HTTPS redirect"},
		{len(o.StatusCodes) > 0, "Enabling custom pages for status_codes"},
		{o.Auth, "Enabling basic authentication using Staticfile.auth"},
	} {
		if say.on {
			s.Step("%s", say.text)
		}
	}
	if !o.HSTS && (o.HSTSSubDomains || o.HSTSPreload) {
		s.Warn("http_strict_transport_security is not enabled while http_strict_transport_security_include_subdomains or " +
			"http_strict_transport_security_preload have been enabled: they do nothing without it.")
	}
	return o, nil
}

// Finalize moves the files into public and writes nginx's configuration.
func Finalize(s *stager.Stager) error {
	o, err := load(s)
	if err != nil {
		return err
	}
	if err := public(s, o); err != nil {
		return err
	}
	s.Step("Configuring nginx")
	if err := configure(s, o); err != nil {
		return fmt.Errorf("unable to configure nginx: %w", err)
	}
	return s.Finish()
}

// Release gives the default process types.
func Release(*stager.Stager) map[string]string { return map[string]string{"web": "$HOME/boot.sh"} }

// own are the app's names that are never served.
var own = []string{"Staticfile", "Staticfile.auth", "manifest.yml", ".profile", ".profile.d", "stackato.yml", ".cloudfoundry", "nginx"}

// public moves what is served into the folder public.
func public(s *stager.Stager, o options) error {
	root := filepath.Join(s.Build, o.Root)
	s.Step("Root folder %s", root)
	if root != s.Build && !strings.HasPrefix(root, s.Build+"/") {
		return fmt.Errorf("invalid root directory: the application Staticfile specifies a root directory %s outside of the app", o.Root)
	}
	info, err := os.Stat(root)
	switch {
	case err != nil:
		return fmt.Errorf("invalid root directory: the application Staticfile specifies a root directory %s that does not exist", o.Root)
	case !info.IsDir():
		return fmt.Errorf("invalid root directory: the application Staticfile specifies a root directory %s that is a plain file, but was expected to be a directory", o.Root)
	}
	if root == s.Build && s.Has("nginx/conf") {
		s.Warn("You have an nginx/conf directory, but have not set *root*, or have set it to '.'.\n" +
			"If you are using the nginx/conf directory for nginx configuration, you probably need to also set the *root* directive.")
	}
	s.Step("Copying project files into public")
	to := filepath.Join(s.Build, "public")
	if root == to {
		return nil
	}
	files, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(s.Build, ".public")
	if err != nil {
		return err
	}
	for _, f := range files {
		if name := f.Name(); !slices.Contains(own, name) && (bool(o.HostDotFiles) || !strings.HasPrefix(name, ".")) {
			err = errors.Join(err, os.Rename(filepath.Join(root, name), filepath.Join(fresh, name)))
		}
	}
	return errors.Join(err, os.Chmod(fresh, 0o755), os.RemoveAll(to), os.Rename(fresh, to))
}

// configure writes nginx's configuration and the script that starts it.
func configure(s *stager.Stager, o options) error {
	text, err := render(o)
	if err != nil {
		return err
	}
	conf := filepath.Join(s.Build, "nginx", "conf")
	for _, dir := range []string{conf, filepath.Join(s.Build, "nginx", "logs")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{"nginx.conf": text, "mime.types": "include /etc/nginx/mime.types;\n"} {
		err := os.Rename(filepath.Join(s.Build, "public", name), filepath.Join(conf, name))
		switch {
		case err == nil && name == "nginx.conf":
			s.Warn("overriding nginx.conf is deprecated and highly discouraged, as it breaks the functionality of the Staticfile and " +
				"Staticfile.auth configuration directives. Please use the nginx_buildpack instead.")
		case os.IsNotExist(err):
			err = os.WriteFile(filepath.Join(conf, name), []byte(text), 0o644)
		}
		if err != nil {
			return err
		}
	}
	if o.Auth {
		if err := os.Rename(filepath.Join(s.Build, "Staticfile.auth"), filepath.Join(conf, ".htpasswd")); err != nil {
			return err
		}
	}
	return errors.Join(s.WriteProfile("staticfile.sh", "export APP_ROOT=$HOME\n"),
		os.WriteFile(filepath.Join(s.Build, "boot.sh"), []byte(boot), 0o755))
}
