package nginx

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	html "html/template"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"
)

const resolvConf = "/etc/resolv.conf"

// varify fills in the templates of a configuration and of the files that it includes by a plain name: {{port}}, {{env "NAME"}},
// {{module "name"}}, {{nameservers}}. Values of env are escaped as in HTML, but for those that buildpack.yml calls plain.
type varify struct {
	settings, conf string // buildpack.yml and nginx.conf
	local, global  string // folders of modules, the app's own first
	resolv         string
	env            func(string) string
}

// Varify is the command `varify [-buildpack-yml-path FILE] CONF LOCAL GLOBAL`.
func Varify(args []string) error {
	v := varify{env: os.Getenv, resolv: resolvConf}
	fs := flag.NewFlagSet("varify", flag.ContinueOnError)
	fs.StringVar(&v.settings, "buildpack-yml-path", "", "path to buildpack.yml file")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() < 3 {
		return fmt.Errorf("usage: varify [-buildpack-yml-path FILE] CONF LOCAL_MODULES GLOBAL_MODULES")
	}
	v.conf, v.local, v.global = fs.Arg(0), fs.Arg(1), fs.Arg(2)
	return v.run()
}

func (v varify) run() error {
	set, err := readSettings(v.settings)
	if err != nil {
		return fmt.Errorf("read buildpack.yml: %w", err)
	}
	files, err := v.files()
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("could not read config file: %w", err)
		}
		filled, err := v.fill(string(text), set.Nginx.Plaintext)
		if err != nil {
			return fmt.Errorf("could not parse config file %s: %w", filepath.Base(file), err)
		}
		if err := os.WriteFile(file, filled, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// fill works in two rounds, as CF's does: plain values first, the rest escaped.
func (v varify) fill(text string, plain []string) ([]byte, error) {
	again := func(name string) func() string { return func() string { return "{{" + name + "}}" } }
	var first bytes.Buffer
	t, err := template.New("nginx.conf").Funcs(template.FuncMap{
		"port": again("port"), "nameservers": again("nameservers"),
		"module": func(name string) string { return fmt.Sprintf("{{module %q}}", name) },
		"env": func(name string) string {
			if slices.Contains(plain, name) {
				return v.env(name)
			}
			return fmt.Sprintf("{{env %q}}", name)
		}}).Parse(text)
	if err == nil {
		err = t.Execute(&first, nil)
	}
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	h, err := html.New("nginx.conf").Funcs(html.FuncMap{"port": func() string { return v.env("PORT") }, "env": v.env,
		"module": v.module, "nameservers": v.nameservers}).Parse(first.String())
	if err == nil {
		err = h.Execute(&out, nil)
	}
	return out.Bytes(), err
}

func (v varify) module(name string) string {
	dir := v.global
	if _, err := os.Stat(filepath.Join(v.local, name+".so")); err == nil {
		dir = v.local
	}
	return "load_module " + filepath.Join(dir, name) + ".so;"
}

// nameservers are those of this machine; CF's own when it names none.
func (v varify) nameservers() string {
	var all []string
	f, err := os.Open(v.resolv)
	if err == nil {
		defer func() { _ = f.Close() }()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] == "nameserver" {
				all = append(all, fields[1])
			}
		}
	}
	if len(all) == 0 {
		return "169.254.0.2"
	}
	return strings.Join(all, " ")
}

var include = regexp.MustCompile(`include\s+([-.\w/]+\.conf);`)

// files are the configuration and what it includes by a plain name.
func (v varify) files() ([]string, error) {
	text, err := os.ReadFile(v.conf)
	if err != nil {
		return nil, fmt.Errorf("could not read config file: %w", err)
	}
	files := []string{v.conf}
	for _, m := range include.FindAllSubmatch(text, -1) {
		file := string(m[1])
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(v.conf), file)
		}
		if !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	return files, nil
}

// mentions tells whether one of the files has the word.
func (v varify) mentions(word string) (bool, error) {
	files, err := v.files()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || bytes.Contains(text, []byte(word)) {
			return err == nil, err
		}
	}
	return false, err
}
