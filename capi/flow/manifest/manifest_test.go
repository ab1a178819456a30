package manifest

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v3"

	"ingot/cf"
)

// cases reads a txtar whose files are named "case/file".
func cases(t *testing.T, path string) map[string]map[string]string {
	t.Helper()
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]string{}
	for _, f := range a.Files {
		name, file, _ := strings.Cut(f.Name, "/")
		if out[name] == nil {
			out[name] = map[string]string{}
		}
		out[name][file] = string(f.Data)
	}
	return out
}

// flags are CF's defaults of those that manifests ask for: all off.
func flags(name string) error {
	return cf.Errorf(cf.KindForbidden, "FeatureDisabled", "Feature Disabled: %s", name)
}

func TestCheck(t *testing.T) {
	for name, c := range cases(t, "testdata/check.txtar") {
		t.Run(name, func(t *testing.T) {
			d, err := Parse(strings.NewReader(c["in.yml"]))
			if err != nil {
				t.Fatal(err)
			}
			_, err = d.Check(flags)
			var got []string
			var e *cf.Error
			if errors.As(err, &e) {
				for _, one := range append([]*cf.Error{e}, e.More...) {
					if one.Kind != cf.KindUnprocessable {
						t.Errorf("kind %d of %q", one.Kind, one.Public)
					}
					got = append(got, one.Public)
				}
			}
			if g, w := strings.Join(got, "\n"), strings.TrimSpace(c["errors"]); g != w {
				t.Errorf("got:\n%s\nwant:\n%s", g, w)
			}
		})
	}
}

func TestDiff(t *testing.T) {
	for name, c := range cases(t, "testdata/diff.txtar") {
		t.Run(name, func(t *testing.T) {
			d, err := Parse(strings.NewReader(c["in.yml"]))
			if err != nil {
				t.Fatal(err)
			}
			var now Now
			if err := yaml.Unmarshal([]byte(c["now.yml"]), &now); err != nil {
				t.Fatal(err)
			}
			changes, err := d.Diff(map[string]Now{now.Name: now})
			if err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(changes)
			if err != nil {
				t.Fatal(err)
			}
			var got, want any
			if err := json.Unmarshal(b, &got); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(c["diff"]), &want); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got:\n%s\nwant:\n%s", b, c["diff"])
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"anchor":      {"applications:\n- &a\n  name: x\n", "Bad request: Manifest does not support Anchors and Aliases"},
		"alias":       {"x: &a [1]\napplications: *a\n", "Bad request: Manifest does not support Anchors and Aliases"},
		"too large":   {"applications: [{name: " + strings.Repeat("x", MaxSize) + "}]", "Bad request: Manifest size is too large. The maximum supported size is 1MB."},
		"not UTF-8":   {"applications: [{name: \"\xff\"}]", "Request invalid due to parse error: Invalid UTF-8 encoding in YAML data"},
		"no YAML":     {"applications: [", "Request invalid due to parse error: invalid request body"},
		"a list":      {"- 1", "Request invalid due to parse error: invalid request body"},
		"nothing":     {"", "Request invalid due to parse error: invalid request body"},
		"deep":        {"applications: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "Request invalid due to parse error: invalid request body"},
		"version 2":   {"version: 2\napplications: [{name: x}]", "Unsupported manifest schema version. Currently supported versions: [1]."},
		"no apps":     {"version: 1\n", "Cannot parse manifest with no 'applications' field."},
		"apps a text": {"applications: x\n", "Cannot parse manifest with no 'applications' field."},
		"apps empty":  {"applications: []\n", "Cannot parse manifest with no 'applications' field."},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(strings.NewReader(c.in))
			var e *cf.Error
			if !errors.As(err, &e) || e.Public != c.want {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestApps(t *testing.T) {
	const in = `
applications:
- name: a
  memory: 1.5G
  disk-quota: 512MB
  instances: "3"
  command: "null"
  log_rate_limit_per_second: 1K
  timeout: 80
  health-check-type: none
  env: {ONE: 1, TWO: 1.10, YES: true, NO: null, MAP: {x: [1]}, TEXT: "01"}
  metadata: {labels: {team: x, gone: null}}
  buildpack: default
  routes: [{route: "https://WWW.Example.com/path"}, {route: "tcp.example.com:1234"}]
  features: {ssh: false}
  processes: [{type: worker, memory: 256M}]
- name: b
  memory: 1G
  processes: [{type: worker}, {type: web, instances: 0}]
`
	d, err := Parse(strings.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	apps, err := d.Check(flags)
	if err != nil {
		t.Fatal(err)
	}
	a := apps[0]
	want := []Process{
		{Type: "web", MemoryMB: ptr(1536), DiskMB: ptr(512), Instances: ptr(3), Command: ptr(""), LogRate: ptr(int64(1024)),
			Health: Check{Type: ptr("process"), Timeout: ptr(80)}},
		{Type: "worker", MemoryMB: ptr(256)},
	}
	if !reflect.DeepEqual(a.Processes, want) {
		g, _ := json.Marshal(a.Processes)
		t.Errorf("processes: %s", g)
	}
	env := map[string]*string{"ONE": ptr("1"), "TWO": ptr("1.10"), "YES": ptr("true"), "NO": nil, "MAP": ptr(`{"x":[1]}`), "TEXT": ptr("01")}
	if !reflect.DeepEqual(a.Env, env) {
		t.Errorf("env: %v", a.Env)
	}
	if a.Buildpacks == nil || len(*a.Buildpacks) != 0 {
		t.Errorf("buildpack default asks for detection: %v", a.Buildpacks)
	}
	if !reflect.DeepEqual(a.Labels, map[string]*string{"team": ptr("x"), "gone": nil}) {
		t.Errorf("labels: %v", a.Labels)
	}
	if r := a.Routes[0]; r.Host != "www.example.com" || r.Path != "/path" || len(a.Routes) != 2 || a.Routes[1].Port != 1234 {
		t.Errorf("routes: %+v", a.Routes)
	}
	if got := a.Routes[0].Candidates(); !reflect.DeepEqual(got, [][2]string{{"", "www.example.com"}, {"www", "example.com"}}) {
		t.Errorf("candidates: %v", got)
	}
	if strings.Contains(a.Audit, "1.10") || !strings.Contains(a.Audit, "PRIVATE DATA HIDDEN") {
		t.Errorf("audit shows the environment: %s", a.Audit)
	}
	// where "processes" has web, the keys at the top are not web's
	if b := apps[1].Processes; len(b) != 2 || b[0].Type != "web" || b[0].MemoryMB != nil || *b[0].Instances != 0 {
		t.Errorf("processes of b: %+v", b)
	}
}

func TestWrite(t *testing.T) {
	n := Now{Name: "a", Env: map[string]string{"K": "v"}, Lifecycle: "buildpack", Stack: "cflinuxfs4",
		Features: map[string]bool{"ssh": true, "revisions": true},
		Routes:   []NowRoute{{Route: "z.x", Protocol: "http1"}, {Route: "B.x", Protocol: "http2"}},
		Processes: []NowProcess{
			{Type: "worker", Memory: Megabytes(64), DiskQuota: Megabytes(1024), LogRate: Rate(-1), HealthType: "process", ReadinessType: "process"},
			{Type: "web", Instances: 1, Memory: Megabytes(1024), DiskQuota: Megabytes(1024), LogRate: Rate(1 << 20), HealthType: "port", ReadinessType: "process", Command: "x"},
		}}
	b, err := n.Write()
	if err != nil {
		t.Fatal(err)
	}
	const want = `---
applications:
  - name: a
    env:
      K: v
    lifecycle: buildpack
    stack: cflinuxfs4
    features:
      revisions: true
      ssh: true
    routes:
      - route: B.x
        protocol: http2
      - route: z.x
        protocol: http1
    processes:
      - type: web
        instances: 1
        memory: 1024M
        disk_quota: 1024M
        log-rate-limit-per-second: 1M
        command: x
        health-check-type: port
        readiness-health-check-type: process
      - type: worker
        instances: 0
        memory: 64M
        disk_quota: 1024M
        log-rate-limit-per-second: -1
        health-check-type: process
        readiness-health-check-type: process
`
	if string(b) != want {
		t.Errorf("got:\n%s", b)
	}
	// what is written can be applied and changes nothing
	d, err := Parse(strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Check(flags); err != nil {
		t.Error(err)
	}
	if c, err := d.Diff(map[string]Now{"a": n}); err != nil || len(c) != 0 {
		t.Errorf("diff of itself: %v %v", c, err)
	}
}

// FuzzParse: whatever the bytes, parsing, checking and comparing end with an answer.
func FuzzParse(f *testing.F) {
	f.Add([]byte("applications: [{name: a, processes: [{type: [x]}], routes: [{route: {}}], services: [1]}]"))
	f.Add([]byte("version: 1\napplications:\n- name: a\n  env: {a: .nan}\n  metadata: {labels: {a: 1}}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Parse(strings.NewReader(string(b)))
		if err != nil {
			return
		}
		_, _ = d.Check(flags)
		_, _ = d.Diff(map[string]Now{"a": {Name: "a", Routes: []NowRoute{{Route: "x"}}, Processes: []NowProcess{{Type: "web"}}}})
	})
}
