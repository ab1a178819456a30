package manifest

import (
	"fmt"
	"math"
	"strings"
)

// processes reads what is said of each process. Keys at the top of the app belong to web unless "processes" has it.
func (c *checker) processes(list []map[string]any) []Process {
	var out []Process
	web := false
	for _, m := range list {
		web = web || m["type"] == "web"
	}
	if !web {
		if p := c.process(c.in, "web"); said(c.in) {
			out = append(out, p)
		}
	}
	for _, first := range []bool{true, false} { // web is told before the others
		for _, m := range list {
			if (m["type"] == "web") == first {
				out = append(out, c.process(m, fmt.Sprint(m["type"])))
			}
		}
	}
	return out
}

var processKeys = []string{"instances", "memory", "disk_quota", "log_rate_limit_per_second", "command", "user", "timeout",
	"health_check_type", "health_check_http_endpoint", "health_check_invocation_timeout", "health_check_interval",
	"readiness_health_check_type", "readiness_health_check_http_endpoint", "readiness_health_check_invocation_timeout",
	"readiness_health_check_interval"}

// said tells whether the top of the app speaks of its web process.
func said(m map[string]any) bool {
	for _, k := range processKeys {
		if _, ok := m[k]; ok && k != "user" {
			return true
		}
	}
	return false
}

func (c *checker) process(m map[string]any, kind string) Process {
	p := Process{Type: kind}
	label := func(s string) string { return fmt.Sprintf("Process %q: %s", kind, s) }
	if v := m["instances"]; v != nil {
		if n := c.whole(v, label("Instances"), 0, 2_000_000); n != nil {
			p.Instances = ptr(int(*n))
		}
	}
	p.MemoryMB = c.megabytes(m["memory"], label("Memory"))
	p.DiskMB = c.megabytes(m["disk_quota"], label("Disk quota"))
	p.LogRate = c.rate(m["log_rate_limit_per_second"], label("Log rate limit"))
	p.Health = c.check(m, "", "Health check", label)
	p.Readiness = c.check(m, "readiness_", "Readiness health check", label)
	if v, ok := m["command"]; ok {
		p.Command = c.command(v, label("Command"))
	}
	if v, ok := m["user"]; ok && kindOf(m) {
		s, isText := v.(string)
		if v != nil && !isText {
			c.fail("%s", label("User must be a string"))
		}
		if v != nil && (s == "" || len(s) > 255) {
			c.fail("%s", label("User must be between 1 and 255 characters"))
		}
		p.User = &s
	}
	return p
}

// kindOf tells an item of "processes" from the top of the app, where user is no key.
func kindOf(m map[string]any) bool { _, ok := m["type"]; return ok }

// megabytes reads a size; one that cannot be read at all was told before.
func (c *checker) megabytes(v any, label string) *int {
	if blank(v) {
		return nil
	}
	n, err := parseBytes(fmt.Sprint(v))
	if err != nil {
		return nil
	}
	mb := n >> 20
	if mb <= 0 || mb > math.MaxInt32 {
		c.fail("%s must be greater than 0MB", label)
		return nil
	}
	return ptr(int(mb))
}

func (c *checker) rate(v any, label string) *int64 {
	if blank(v) {
		return nil
	}
	switch fmt.Sprint(v) {
	case "-1":
		return ptr(int64(-1))
	case "0":
		return ptr(int64(0))
	}
	n, err := parseBytes(fmt.Sprint(v))
	if err != nil {
		return nil
	}
	if n < -1 {
		c.fail("%s must be an integer greater than or equal to -1", label)
		return nil
	}
	return &n
}

// command: null and default ask for the droplet's own.
func (c *checker) command(v any, label string) *string {
	s, ok := v.(string)
	switch {
	case v == nil, s == "null", s == "default":
		return ptr("")
	case !ok:
		c.fail("%s must be a string", label)
	}
	if s == "" || len(s) > 4096 {
		c.fail("%s must be between 1 and 4096 characters", label)
	}
	return &s
}

func (c *checker) check(m map[string]any, prefix, word string, label func(string) string) Check {
	var k Check
	kind, hasKind := m[prefix+"health_check_type"]
	if kind == "none" { // the old word
		kind = "process"
	}
	endpoint, hasEndpoint := m[prefix+"health_check_http_endpoint"]
	if hasKind && hasEndpoint && kind != "http" {
		c.fail("%s", label(word+` type must be "http" to set a health check HTTP endpoint`))
	}
	if hasKind {
		s, _ := kind.(string)
		if s != "port" && s != "process" && s != "http" {
			c.fail("%s", label(word+` type must be "port", "process", or "http"`))
		}
		k.Type = &s
	}
	if hasEndpoint {
		s, _ := endpoint.(string)
		if endpoint != nil && !uriPath(s) {
			c.fail("%s", label(word+" http endpoint must be a valid URI path"))
		}
		k.Endpoint = &s
	}
	k.Invocation = c.seconds(m, prefix+"health_check_invocation_timeout", label(word+" invocation timeout"))
	k.Interval = c.seconds(m, prefix+"health_check_interval", label(word+" interval"))
	if prefix == "" {
		k.Timeout = c.seconds(m, "timeout", label("Timeout"))
	}
	return k
}

func (c *checker) seconds(m map[string]any, key, label string) *int {
	v, ok := m[key]
	if !ok {
		return nil
	}
	if v == nil {
		return ptr(0)
	}
	n := c.whole(v, label, 1, math.MaxInt32)
	if n == nil {
		return nil
	}
	return ptr(int(*n))
}

// uriPath tells whether s is a path as a URI has it, with or without a query.
func uriPath(s string) bool {
	return strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//") && !strings.ContainsAny(s, " \t\r\n\\^`{}|<>\"#")
}

func ptr[T any](v T) *T { return &v }
