package manifest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Change is one step from what is to what the manifest asks, in the form of CF's manifest_diff.
type Change struct {
	Op    string `json:"op"` // add, remove or replace
	Path  string `json:"path"`
	Was   any    `json:"was,omitempty"`
	Value any    `json:"value,omitempty"`
}

// recognized are the keys of an app that are compared, in the spelling that is compared.
var recognized = strings.Fields(`buildpack buildpacks command disk-quota log-rate-limit-per-second docker env
	health-check-http-endpoint health-check-invocation-timeout health-check-interval health-check-timeout health-check-type
	readiness-health-check-http-endpoint readiness-health-check-type readiness-health-check-invocation-timeout
	readiness-health-check-interval instances metadata memory lifecycle name no-route processes random-route default-route
	routes services sidecars stack timeout cnb-credentials features`)

// inner are the keys that are compared inside of some lists and mappings.
var inner = map[string][]string{
	"processes": strings.Fields(`type command user disk_quota log-rate-limit-per-second health-check-http-endpoint
		health-check-invocation-timeout health-check-interval health-check-type readiness-health-check-http-endpoint
		readiness-health-check-invocation-timeout readiness-health-check-interval readiness-health-check-type instances memory timeout`),
	"services": {"name", "parameters"},
	"sidecars": {"name", "command", "process_types", "memory"},
	"metadata": {"labels", "annotations"},
}

// identity is the key by which two items of a list are the same thing.
var identity = map[string]string{"processes": "type", "sidecars": "name", "routes": "route", "services": "name"}

// Diff compares each app of the manifest with what is there under its name (missing: a new app).
func (d *Document) Diff(now map[string]Now) ([]Change, error) {
	out := []Change{}
	for i, e := range d.Apps {
		name, _ := e.Value["name"].(string)
		has := map[string]any{}
		if n, ok := now[name]; ok {
			var err error
			if has, err = n.keys(); err != nil {
				return nil, err
			}
		}
		for _, k := range e.Keys {
			if !slices.Contains(recognized, k) || k == "memory" || k == "disk-quota" {
				continue // CF does not tell of the sizes of web at the top
			}
			want, is := normal(k, e.Value[k]), has[k]
			if is != nil {
				is = prune(k, is, want)
			}
			out = append(out, compare(fmt.Sprintf("/applications/%d/%s", i, k), is, want, identity[k])...)
		}
	}
	return out, nil
}

// normal brings sizes to the unit in which they are kept and drops what is not compared.
func normal(key string, v any) any {
	switch key {
	case "log-rate-limit-per-second":
		return size(key, v)
	case "processes", "services", "sidecars", "metadata":
		return trim(key, v)
	}
	return v
}

func trim(key string, v any) any {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = trim(key, item)
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for _, k := range inner[key] {
			if x, ok := v[k]; ok {
				out[k] = size(k, x)
			}
		}
		return out
	}
	return v
}

func size(key string, v any) any {
	mega := key == "memory" || key == "disk_quota"
	if v == nil || !mega && key != "log-rate-limit-per-second" {
		return v
	}
	s := fmt.Sprint(v)
	if !mega && (s == "-1" || s == "0") {
		return v
	}
	n, err := parseBytes(s)
	switch {
	case err != nil: // told by Check
		return v
	case mega:
		return fmt.Sprintf("%dM", n>>20)
	}
	return formatRate(n)
}

// prune leaves of what is only what the manifest speaks of, where applying it removes nothing.
func prune(key string, is, want any) any {
	id := identity[key]
	list, isList := is.([]any)
	wanted, _ := want.([]any)
	if key == "features" {
		return keep(is, want)
	}
	if !isList || id == "" {
		return is
	}
	out := []any{}
	for _, item := range list {
		m, _ := item.(map[string]any)
		for _, w := range wanted {
			if reflect.DeepEqual(item, w) { // a service, which is its name alone
				out = append(out, w)
				break
			}
			if w, ok := w.(map[string]any); ok && m == nil && w[id] == item {
				out = append(out, map[string]any{id: item})
				break
			}
			if w, ok := w.(map[string]any); ok && m != nil && reflect.DeepEqual(w[id], m[id]) {
				out = append(out, keep(m, w))
			}
		}
	}
	return out
}

func keep(is, want any) any {
	m, ok1 := is.(map[string]any)
	w, ok2 := want.(map[string]any)
	if !ok1 || !ok2 {
		return is
	}
	out := map[string]any{}
	for k := range w {
		if v, ok := m[k]; ok && w[k] != nil {
			out[k] = v
		}
	}
	return out
}

// compare tells how to come from was to value.
func compare(path string, was, value any, id string) []Change {
	if reflect.DeepEqual(was, value) {
		return nil
	}
	switch v := value.(type) {
	case map[string]any:
		if w, ok := was.(map[string]any); ok {
			return compareMaps(path, w, v)
		}
	case []any:
		if w, ok := was.([]any); ok {
			return compareLists(path, w, v, id)
		}
	}
	if was == nil {
		return []Change{{Op: "add", Path: path, Value: value}}
	}
	return []Change{{Op: "replace", Path: path, Was: was, Value: value}}
}

func compareMaps(path string, was, value map[string]any) []Change {
	var out []Change
	for _, k := range sorted(was) {
		if _, ok := value[k]; !ok {
			out = append(out, Change{Op: "remove", Path: path + "/" + k, Was: was[k]})
		}
	}
	for _, k := range sorted(value) {
		out = append(out, compare(path+"/"+k, was[k], value[k], "")...)
	}
	return out
}

// compareLists pairs items that are the same thing; what is left was removed (highest index first) or added.
func compareLists(path string, was, value []any, id string) []Change {
	var out []Change
	used := make([]bool, len(was))
	pair := make([]int, len(value))
	for i, v := range value {
		pair[i] = slices.IndexFunc(was, func(w any) bool { return same(w, v, id) })
		if j := pair[i]; j >= 0 && used[j] {
			pair[i] = -1
		} else if j >= 0 {
			used[j] = true
		}
	}
	for j := len(was) - 1; j >= 0; j-- {
		if !used[j] {
			out = append(out, Change{Op: "remove", Path: fmt.Sprintf("%s/%d", path, j), Was: was[j]})
		}
	}
	for i, v := range value {
		at := fmt.Sprintf("%s/%d", path, i)
		if pair[i] < 0 {
			out = append(out, Change{Op: "add", Path: at, Value: v})
		} else {
			out = append(out, compare(at, was[pair[i]], v, "")...)
		}
	}
	return out
}

func same(a, b any, id string) bool {
	x, ok1 := a.(map[string]any)
	y, ok2 := b.(map[string]any)
	if id != "" && ok1 && ok2 {
		return reflect.DeepEqual(x[id], y[id])
	}
	return reflect.DeepEqual(a, b)
}
