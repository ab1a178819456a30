package manifest

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// checker collects the mistakes of one app in the order in which Cloud Controller tells them.
type checker struct {
	in    map[string]any // keys with underscores
	entry Entry
	flag  func(string) error
	errs  []string
}

func (c *checker) fail(format string, args ...any) {
	c.errs = append(c.errs, fmt.Sprintf(format, args...))
}

func (c *checker) has(key string) bool { _, ok := c.in[key]; return ok }

func (c *checker) app() App {
	a := App{Name: c.name()}
	c.quantities(c.in, "web")
	list := c.processList()
	a.Sidecars = c.sidecars()
	a.Processes = c.processes(list)
	c.lifecycle(&a)
	if c.has("buildpack") && c.has("buildpacks") {
		c.fail("Buildpack and Buildpacks fields cannot be used together.")
	}
	c.images(&a)
	a.Services = c.services()
	a.Env = c.env()
	c.routes(&a)
	a.Features = c.features()
	a.Audit = c.audit()
	return a
}

func (c *checker) name() string {
	s, ok := c.in["name"].(string)
	switch {
	case c.in["name"] == nil, ok && strings.TrimSpace(s) == "":
		c.fail("Name must not be empty")
		if !ok {
			c.fail("Name must be a string")
		}
		return ""
	case !ok:
		c.fail("Name must be a string")
		return fmt.Sprint(c.in["name"])
	}
	return s
}

func blank(v any) bool {
	s, ok := v.(string)
	return v == nil || ok && strings.TrimSpace(s) == ""
}

// quantities tells of sizes that cannot be read.
func (c *checker) quantities(m map[string]any, process string) {
	for _, q := range []struct{ key, label string }{{"memory", "Memory"}, {"disk_quota", "Disk quota"}, {"log_rate_limit_per_second", "Log rate limit per second"}} {
		v := m[q.key]
		if s := fmt.Sprint(v); blank(v) || q.key == "log_rate_limit_per_second" && (s == "-1" || s == "0") {
			continue
		}
		if _, err := parseBytes(fmt.Sprint(v)); err != nil {
			c.fail("Process %q: %s %s", process, q.label, err)
		}
	}
}

// processList returns the mappings of "processes".
func (c *checker) processList() []map[string]any {
	if !c.has("processes") {
		return nil
	}
	list, ok := c.in["processes"].([]any)
	var out []map[string]any
	for _, v := range list {
		m, isMap := v.(map[string]any)
		ok = ok && isMap
		out = append(out, m)
	}
	if !ok {
		c.fail("Processes must be an array of process configurations")
		return nil
	}
	seen := map[string]int{}
	untyped, twice := false, []string(nil)
	for _, m := range out {
		if kind, ok := m["type"].(string); !ok || blank(kind) {
			untyped = true
		} else if seen[kind]++; seen[kind] == 2 {
			twice = append(twice, kind)
		}
	}
	if untyped {
		c.fail("All Processes must specify a type")
		return nil
	}
	for _, kind := range twice {
		c.fail("Process %q may only be present once", kind)
	}
	for _, m := range out {
		c.quantities(m, fmt.Sprint(m["type"]))
	}
	return out
}

// lifecycle reads buildpacks, stack, lifecycle and metadata.
func (c *checker) lifecycle(a *App) {
	if s, _ := c.in["lifecycle"].(string); s == "buildpack" || s == "cnb" {
		a.Lifecycle = s
	} else if c.has("docker") {
		a.Lifecycle = "docker"
	}
	if c.has("buildpacks") && c.in["buildpacks"] != nil {
		a.Buildpacks = c.buildpacks()
	} else if c.has("buildpack") {
		a.Buildpacks = c.buildpack()
	}
	if v := c.in["stack"]; v != nil {
		s, ok := v.(string)
		if !ok {
			c.fail("Stack must be a string")
		}
		if !ok || s == "" || len(s) > 4096 {
			c.fail("Stack must be between 1 and 4096 characters")
		}
		a.Stack = &s
	}
	if c.has("metadata") {
		c.metadata(a)
	}
}

func (c *checker) buildpacks() *[]string {
	list, ok := c.in["buildpacks"].([]any)
	if !ok {
		c.fail("Buildpacks must be an array")
		return nil
	}
	out, nonText, length := []string{}, false, false
	for _, v := range list {
		s, ok := v.(string)
		nonText = nonText || !ok
		length = length || ok && (strings.TrimSpace(s) == "" || len(s) > 4096)
		out = append(out, s)
	}
	if nonText {
		c.fail("Buildpacks can only contain strings")
	}
	if length {
		c.fail("Buildpacks entries must be between 1 and 4096 characters")
	}
	return &out
}

// buildpack reads the old singular key; default and null ask for detection.
func (c *checker) buildpack() *[]string {
	v := c.in["buildpack"]
	s, ok := v.(string)
	if v == nil || s == "default" || s == "null" {
		return &[]string{}
	}
	if !ok {
		c.fail("Buildpack must be a string")
	}
	if s == "" || len(s) > 4096 {
		c.fail("Buildpack must be between 1 and 4096 characters")
	}
	return &[]string{s}
}

func (c *checker) images(a *App) {
	if c.has("docker") {
		c.needs("diego_docker")
	}
	if a.Lifecycle == "cnb" {
		c.needs("diego_cnb")
	}
	if c.has("docker") && (c.has("buildpack") || c.has("buildpacks")) {
		c.fail("Cannot specify both buildpack(s) and docker keys")
	}
}

func (c *checker) needs(flag string) {
	if err := c.flag(flag); err != nil {
		c.fail("%s", err)
	}
}

func (c *checker) services() []Service {
	if !c.has("services") {
		return nil
	}
	list, ok := c.in["services"].([]any)
	var out []Service
	for _, v := range list {
		s, good := service(v)
		ok = ok && good
		out = append(out, s)
	}
	if !ok {
		c.fail("Services must be a list of service instances")
	}
	return out
}

func service(v any) (s Service, ok bool) {
	if name, is := v.(string); is {
		return Service{Name: name}, true
	}
	m, ok := v.(map[string]any)
	if !ok || m["name"] == nil {
		return s, false
	}
	for k, v := range m {
		good := false
		switch k {
		case "name":
			s.Name, good = v.(string)
		case "parameters":
			s.Parameters, good = v.(map[string]any)
		case "binding_name":
			s.BindingName, good = v.(string)
		}
		ok = ok && good
	}
	return s, ok
}

var reserved = regexp.MustCompile(`(?i)^(VCAP_|VMC|PORT$)`)

func (c *checker) env() map[string]*string {
	if !c.has("env") {
		return nil
	}
	if c.in["env"] != nil && c.entry.env == nil {
		c.fail("Env must be an object of keys and values")
		return nil
	}
	for _, k := range sorted(c.entry.env) {
		switch u := strings.ToUpper(k); {
		case k == "":
			c.fail("Env key must be a minimum length of 1")
		case !reserved.MatchString(k):
		case strings.HasPrefix(u, "VCAP_"):
			c.fail("Env cannot start with VCAP_")
		case u == "PORT":
			c.fail("Env cannot set PORT")
		default:
			c.fail("Env cannot start with VMC_")
		}
	}
	return c.entry.env
}

// features are those that the platform has.
var features = map[string]bool{"ssh": true, "revisions": true}

func (c *checker) features() map[string]bool {
	if !c.has("features") {
		return nil
	}
	m, ok := c.in["features"].(map[string]any)
	ok = ok && len(m) > 0
	out := map[string]bool{}
	for k, v := range m {
		b, isBool := v.(bool)
		ok = ok && isBool && features[k]
		out[k] = b
	}
	if !ok {
		c.fail("Features must be a map of valid feature names to booleans (true = enabled, false = disabled)")
	}
	return out
}

// audit writes the entry as the audit event keeps it.
func (c *checker) audit() string {
	shown := make(map[string]any, len(c.entry.Value))
	for k, v := range c.entry.Value {
		if k == "env" || k == "cnb-credentials" {
			v = "[PRIVATE DATA HIDDEN]"
		}
		shown[k] = v
	}
	b, err := yaml.Marshal(map[string]any{"applications": []any{shown}})
	if err != nil {
		return ""
	}
	return "---\n" + string(b)
}

// whole reads an integer within [low, high]; label begins the mistake.
func (c *checker) whole(v any, label string, low, high float64) *int64 {
	var f float64
	switch n := v.(type) {
	case int:
		f = float64(n)
	case float64:
		f = n
	case string:
		var err error
		if f, err = strconv.ParseFloat(strings.TrimSpace(n), 64); err != nil {
			c.fail("%s is not a number", label)
			return nil
		}
	default:
		c.fail("%s is not a number", label)
		return nil
	}
	switch {
	case f != math.Trunc(f):
		c.fail("%s must be an integer", label)
	case f < low:
		c.fail("%s must be greater than or equal to %d", label, int64(low))
	case f > high:
		c.fail("%s must be less than or equal to %d", label, int64(high))
	default:
		n := int64(f)
		return &n
	}
	return nil
}
