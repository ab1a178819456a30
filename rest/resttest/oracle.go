package resttest

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Oracle is a file of CF's documentation as data, testdata/oracle of the repository.
func Oracle(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	for err == nil && dir != "/" {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	b, err := os.ReadFile(filepath.Join(dir, "testdata", "oracle", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Table is an oracle's CSV without its head.
func Table(t testing.TB, name string) [][]string {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(Oracle(t, name))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows[1:]
}

// free are the objects whose keys are the client's own.
var free = []string{"labels", "annotations", "var", "data.request", "custom", "environment_variables"}

// Shape checks that an answer has the keys of a documented shape and no others; what is null or empty has no inner
// keys. besides are keys that differ, with a reason at the place of the call.
func (a *API) Shape(r Answer, shape string, besides ...string) {
	a.T.Helper()
	want := strings.Fields(Oracle(a.T, "shapes/"+shape+".txt"))
	have, closed := map[string]bool{}, map[string]bool{}
	walk(r.JSON, "", have, closed)
	for k := range have {
		if !slices.Contains(want, k) && !loose(k) && !within(k, besides) {
			a.T.Errorf("%s: key %s is not documented", shape, k)
		}
	}
	for _, k := range want {
		if !have[k] && !loose(k) && !within(k, besides) && !under(k, closed) {
			a.T.Errorf("%s: documented key %s is missing", shape, k)
		}
	}
}

func walk(v any, path string, have, closed map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for k, in := range v {
			p := strings.TrimPrefix(path+"."+k, ".")
			have[p] = true
			walk(in, p, have, closed)
		}
		if len(v) == 0 {
			closed[path] = true
		}
	case []any:
		for _, in := range v {
			walk(in, path+"[]", have, closed)
		}
		if len(v) == 0 {
			closed[path] = true
		}
	case nil:
		closed[path] = true
	}
}

// loose keys are below an object of the client's own keys.
func loose(key string) bool {
	for _, f := range free {
		if i := strings.Index("."+key+".", "."+f+"."); i >= 0 && len(key) > i+len(f) {
			return true
		}
	}
	return false
}

func within(key string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool {
		return key == p || strings.HasPrefix(key, p+".") || strings.HasPrefix(key, p+"[]")
	})
}

func under(key string, closed map[string]bool) bool {
	for k := range closed {
		if strings.HasPrefix(key, k+".") || strings.HasPrefix(key, k+"[]") {
			return true
		}
	}
	return false
}
