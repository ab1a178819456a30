// Package manifest reads, checks, compares and writes app manifests (CF's docs: "App manifest attribute reference";
// schema version 1).
//
// It promises: every mistake of every app is told at once, in Cloud Controller's words; unknown keys are ignored; dashes
// and underscores in keys mean the same. It does no I/O and knows no table: what an app has now is handed to it.
package manifest

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"ingot/cf"

	"go.yaml.in/yaml/v3"
)

// MaxSize is the largest manifest that is read.
const MaxSize = 1 << 20

// Document is a parsed manifest: what it says, not yet checked.
type Document struct {
	YAML []byte // as sent
	Apps []Entry
}

// Entry is one item of "applications". Keys are in the order and spelling of the manifest.
type Entry struct {
	Keys  []string
	Value map[string]any
	env   map[string]*string // scalars of "env" as they are written; nil removes the variable
}

// App is one checked app. A nil pointer, slice or map means that the manifest does not speak of it.
type App struct {
	Name         string
	Lifecycle    string // buildpack, docker or cnb; "" = not given
	Buildpacks   *[]string
	Stack        *string
	Labels       map[string]*string
	Annotations  map[string]*string
	Env          map[string]*string
	Processes    []Process // web first
	Sidecars     []Sidecar
	NoRoute      bool
	RandomRoute  bool
	DefaultRoute bool
	Routes       []Route
	HasRoutes    bool
	Services     []Service
	Features     map[string]bool
	Audit        string // the entry as YAML with hidden values, for the audit event
}

// Process is what the manifest says of one process type. Command, User and the endpoints: "" = forget the present one.
type Process struct {
	Type      string
	Command   *string
	User      *string
	Instances *int
	MemoryMB  *int
	DiskMB    *int
	LogRate   *int64 // bytes a second, -1 = unlimited
	Health    Check
	Readiness Check
}

// Sidecar is one item of "sidecars".
type Sidecar struct {
	Name, Command string
	Types         []string // of processes
	MemoryMB      *int
}

// Check is what the manifest says of a health check. Times are in seconds; 0 = forget the present one.
type Check struct {
	Type, Endpoint                *string
	Timeout, Invocation, Interval *int
}

// Route is one route of "routes", not yet matched to a domain.
type Route struct {
	Text     string // as written
	Host     string // the whole name, in lower case
	Port     int
	Path     string
	Protocol string
	Options  map[string]*string // nil takes one away
}

// Service is one item of "services".
type Service struct {
	Name, BindingName string
	Parameters        map[string]any
}

// Parse reads a manifest. Its errors are Cloud Controller's.
func Parse(r io.Reader) (*Document, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, cf.Wrap(cf.KindInvalid, "MessageParseError", "Request invalid due to parse error: invalid request body", err)
	}
	if len(b) > MaxSize {
		return nil, cf.Errorf(cf.KindInvalid, "BadRequest", "Bad request: Manifest size is too large. The maximum supported size is 1MB.")
	}
	if !utf8.Valid(b) {
		return nil, cf.Errorf(cf.KindInvalid, "MessageParseError", "Request invalid due to parse error: Invalid UTF-8 encoding in YAML data")
	}
	top, err := decode(b)
	if errors.Is(err, errAlias) {
		return nil, cf.Errorf(cf.KindInvalid, "BadRequest", "Bad request: Manifest does not support Anchors and Aliases")
	}
	if err != nil {
		return nil, cf.Wrap(cf.KindInvalid, "MessageParseError", "Request invalid due to parse error: invalid request body", err)
	}
	if v, ok := field(top, "version"); ok && v.Tag != "!!null" && v.Value != "1" {
		return nil, cf.Errorf(cf.KindUnprocessable, "", "Unsupported manifest schema version. Currently supported versions: [1].")
	}
	apps, ok := field(top, "applications")
	if !ok || apps.Kind != yaml.SequenceNode || len(apps.Content) == 0 {
		return nil, cf.Errorf(cf.KindUnprocessable, "", "Cannot parse manifest with no 'applications' field.")
	}
	d := &Document{YAML: b}
	for _, n := range apps.Content {
		d.Apps = append(d.Apps, entryOf(n))
	}
	return d, nil
}

// Names returns the names of the apps in order.
func (d *Document) Names() []string {
	var names []string
	for _, e := range d.Apps {
		s, _ := e.Value["name"].(string)
		names = append(names, s)
	}
	return names
}

// Check checks all apps and returns them, or one error that carries every mistake. enabled answers why a feature
// flag stands in the way, or nil.
func (d *Document) Check(enabled func(flag string) error) ([]App, error) {
	var (
		apps  []App
		first *cf.Error
	)
	for i, e := range d.Apps {
		c := &checker{in: underscored(e.Value), entry: e, flag: enabled}
		app := c.app()
		apps = append(apps, app)
		prefix := fmt.Sprintf("For application '%s': ", app.Name)
		if app.Name == "" {
			prefix = fmt.Sprintf("For application at index %d: ", i)
		}
		for _, text := range c.errs {
			one := cf.Errorf(cf.KindUnprocessable, "", "%s", prefix+text)
			if first == nil {
				first = one
			} else {
				first.More = append(first.More, one)
			}
		}
	}
	if first != nil {
		return nil, first
	}
	return apps, nil
}

// underscored gives the keys of an app, and of its processes, one spelling.
func underscored(in map[string]any) map[string]any {
	out := make(map[string]any, len(in))
	for k, v := range in {
		k = strings.ReplaceAll(k, "-", "_")
		if list, ok := v.([]any); ok && (k == "processes" || k == "sidecars") {
			v = underscoredList(list)
		}
		out[k] = v
	}
	return out
}

func underscoredList(list []any) []any {
	out := make([]any, len(list))
	for i, v := range list {
		if m, ok := v.(map[string]any); ok {
			v = underscored(m)
		}
		out[i] = v
	}
	return out
}
