package manifest

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Now is an app as it is, in the keys and order of a generated manifest.
type Now struct {
	Name       string            `yaml:"name"`
	Env        map[string]string `yaml:"env,omitempty"`
	Lifecycle  string            `yaml:"lifecycle"`
	Buildpacks []string          `yaml:"buildpacks,omitempty"`
	Stack      string            `yaml:"stack,omitempty"`
	Features   map[string]bool   `yaml:"features,omitempty"`
	Routes     []NowRoute        `yaml:"routes,omitempty"`
	Services   []string          `yaml:"services,omitempty"` // names of service instances
	Metadata   NowMetadata       `yaml:"metadata,omitempty"`
	Processes  []NowProcess      `yaml:"processes,omitempty"`
	Sidecars   []NowSidecar      `yaml:"sidecars,omitempty"`
}

// NowSidecar is a sidecar of the app.
type NowSidecar struct {
	Name    string   `yaml:"name"`
	Types   []string `yaml:"process_types"`
	Command string   `yaml:"command"`
	Memory  string   `yaml:"memory,omitempty"`
}

// Beside adds a sidecar; memoryMB may be 0.
func (n *Now) Beside(name, command string, types []string, memoryMB int) {
	s := NowSidecar{Name: name, Types: types, Command: command}
	if memoryMB > 0 {
		s.Memory = Megabytes(memoryMB)
	}
	n.Sidecars = append(n.Sidecars, s)
}

// NowRoute is a route that is mapped to the app.
type NowRoute struct {
	Route    string            `yaml:"route"`
	Protocol string            `yaml:"protocol,omitempty"`
	Options  map[string]string `yaml:"options,omitempty"`
}

// NowMetadata holds labels and annotations.
type NowMetadata struct {
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

// NowProcess is a process with its sizes as a manifest writes them (Megabytes, Rate).
type NowProcess struct {
	Type                string `yaml:"type"`
	Instances           int    `yaml:"instances"`
	Memory              string `yaml:"memory"`
	DiskQuota           string `yaml:"disk_quota"`
	LogRate             any    `yaml:"log-rate-limit-per-second"`
	Command             string `yaml:"command,omitempty"`
	User                string `yaml:"user,omitempty"`
	HealthType          string `yaml:"health-check-type"`
	HealthEndpoint      string `yaml:"health-check-http-endpoint,omitempty"`
	HealthInvocation    int    `yaml:"health-check-invocation-timeout,omitempty"`
	HealthInterval      int    `yaml:"health-check-interval,omitempty"`
	ReadinessType       string `yaml:"readiness-health-check-type"`
	ReadinessEndpoint   string `yaml:"readiness-health-check-http-endpoint,omitempty"`
	ReadinessInvocation int    `yaml:"readiness-health-check-invocation-timeout,omitempty"`
	ReadinessInterval   int    `yaml:"readiness-health-check-interval,omitempty"`
	Timeout             int    `yaml:"timeout,omitempty"`
}

// Megabytes writes a size.
func Megabytes(mb int) string { return strconv.Itoa(mb) + "M" }

// Rate writes a log rate limit; -1, no limit, is a number.
func Rate(n int64) any {
	if n == -1 {
		return -1
	}
	return formatBytes(n)
}

// Write generates the manifest of an app.
func (n Now) Write() ([]byte, error) {
	slices.SortFunc(n.Routes, func(a, b NowRoute) int { return cmp.Compare(strings.ToLower(a.Route), strings.ToLower(b.Route)) })
	slices.SortFunc(n.Services, func(a, b string) int { return cmp.Compare(strings.ToLower(a), strings.ToLower(b)) })
	slices.SortFunc(n.Processes, func(a, b NowProcess) int { return cmp.Compare(a.Type, b.Type) })
	var b bytes.Buffer
	b.WriteString("---\n")
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(map[string][]Now{"applications": {n}}); err != nil {
		return nil, err
	}
	return b.Bytes(), e.Close()
}

// keys gives what Write would write as plain values; the keys of the web process stand at the top too.
func (n Now) keys() (map[string]any, error) {
	b, err := yaml.Marshal(n)
	if err != nil {
		return nil, err
	}
	top, err := decode(b)
	if err != nil {
		return nil, err
	}
	m, _ := value(top).(map[string]any)
	list, _ := m["processes"].([]any)
	for _, p := range list {
		if p, ok := p.(map[string]any); ok && p["type"] == "web" {
			for k, v := range p {
				m[k] = v
			}
		}
	}
	if v, ok := m["disk_quota"]; ok {
		m["disk-quota"] = v
	}
	return m, nil
}
