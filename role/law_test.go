package role

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

const module = "ingot/"

// pkg is one package of the tree, without its tests.
type pkg struct {
	dir     string // relative to the module, "." for main
	files   map[string]*ast.File
	lines   map[string]int
	imports map[string]bool // of ours, relative to the module
}

// parts are folders whose sub-folders are rooms of their own, with the reason.
var parts = map[string]string{
	"diego":       "the brain, the cells and the lifecycle run on different machines",
	"routing":     "the table is pure; routers and emitters run on different machines",
	"networking":  "dns, policies and agents run on different machines",
	"loggregator": "agents and log-cache run on different machines",
	"uaa":         "",
}

// cores are pure packages that one other room is built around; they stand beside it only to stay free of its I/O.
var cores = map[string]string{"routing/table": "routing/router"}

// room is the unit of the import law: "bits", "diego/bbs", "capi/app", ...
func room(dir string) string {
	s := strings.Split(dir, "/")
	if len(s) > 1 && (parts[s[0]] != "" || s[0] == "capi") {
		return s[0] + "/" + s[1]
	}
	return s[0]
}

// forbidden gives the reason why from may not import to, or "".
func forbidden(from, to string) string {
	a, b := room(from), room(to)
	top := strings.Split(from, "/")[0]
	switch {
	case a == b || from == ".":
		if from == "." && to != "role" {
			return "main calls role and nothing else"
		}
		return ""
	case top == "test":
		return "these tests run the binary: they may know nothing of its inside"
	case b == "role":
		return "role is above every room"
	case b == "test" || strings.HasPrefix(to, "test/"):
		return "nothing may lean on tests"
	case top == "kit":
		if strings.HasPrefix(to, "kit/") {
			return ""
		}
		return "kit knows nothing of Cloud Foundry"
	case top == "cf":
		return "cf is the leaf: stdlib only"
	case top == "role":
		return ""
	case a == "diego/lifecycle":
		if strings.HasPrefix(to, "kit/") {
			return ""
		}
		return "the lifecycle runs inside app containers and stays small: stdlib and kit only"
	case strings.HasPrefix(to, "kit/") || b == "cf":
		return ""
	case top == "rest":
		return "the engine knows no noun: cf and kit only"
	case b == "rest":
		if top == "capi" || top == "services" {
			return ""
		}
		return "the v3 engine serves Cloud Controller's nouns only"
	case cores[to] == a:
		return ""
	case top == "capi" && strings.HasPrefix(b, "capi"):
		if a == "capi/flow" || a == "capi" { // the package above them puts them on one server
			return ""
		}
		return "families of capi never import each other; only flow does"
	case strings.HasSuffix(to, "/client") && top == "cli":
		return ""
	}
	return "a room imports no other room, not even its client: doors come from cf, bodies from role"
}

func TestImportLaw(t *testing.T) {
	for _, p := range tree(t) {
		for to := range p.imports {
			if why := forbidden(p.dir, to); why != "" {
				t.Errorf("%s imports %s: %s", p.dir, to, why)
			}
		}
	}
}

func TestForbiddenEdges(t *testing.T) {
	for _, e := range []struct {
		from, to string
		ok       bool
	}{
		{"cf", "kit/sql", false}, {"kit/web", "kit/sql", true}, {"kit/web", "cf", false}, {"rest", "cf", true}, {"rest", "uaa", false},
		{"capi/app", "rest", true}, {"capi/app", "capi/org", false}, {"capi/flow", "capi/app", true}, {"bits", "rest", false},
		{"services", "rest/access", true}, {"services", "capi/app", false}, {"capi", "services", false},
		{"diego/bbs", "diego/auction", false}, {"diego/bbs", "diego/bbs/migrations", true}, {"uaa/grant", "uaa/key", true},
		{"routing/router", "routing/table", true}, {"routing/emit", "routing/table", false}, {".", "role", true}, {".", "cf", false}, {"test/world", "cf", false}, {"bits", "role", false},
	} {
		if got := forbidden(e.from, e.to) == ""; got != e.ok {
			t.Errorf("%s -> %s: allowed %t, want %t", e.from, e.to, got, e.ok)
		}
	}
}

func TestPackageDocs(t *testing.T) {
	for _, p := range tree(t) {
		doc := false
		for _, f := range p.files {
			doc = doc || f.Doc != nil && len(f.Doc.Text()) > 40
		}
		if !doc {
			t.Errorf("%s has no package comment: say what it is, what it promises, what it will not do", p.dir)
		}
	}
}

func TestNoInit(t *testing.T) {
	for _, p := range tree(t) {
		for name, f := range p.files {
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s/%s has an init function: wiring is in role only", p.dir, name)
				}
			}
		}
	}
}

var banned = []string{"util", "utils", "common", "helpers", "helper", "manager", "types", "models", "misc", "base"}

func TestNames(t *testing.T) {
	for _, p := range tree(t) {
		for _, b := range banned {
			if path.Base(p.dir) == b {
				t.Errorf("%s: %q says nothing; name the package by its noun", p.dir, b)
			}
		}
	}
}

// tree parses every package of the module without its tests.
func tree(t *testing.T) []*pkg {
	t.Helper()
	byDir := map[string]*pkg{}
	set := token.NewFileSet()
	err := filepath.WalkDir("..", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("..", file)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skipDir(rel, file)
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		return addFile(set, byDir, rel, file)
	})
	if err != nil {
		t.Fatal(err)
	}
	var out []*pkg
	for _, p := range byDir {
		out = append(out, p)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].dir < out[j].dir })
	return out
}

func skipDir(rel, file string) error {
	if rel == "." {
		return nil
	}
	if _, err := os.Stat(filepath.Join(file, "go.mod")); err == nil {
		return filepath.SkipDir // a module of its own
	}
	switch base := filepath.Base(rel); {
	case base == "testdata", strings.HasPrefix(base, "."), base == "bin", base == "examples", base == "node_modules":
		return filepath.SkipDir
	}
	return nil
}

func addFile(set *token.FileSet, byDir map[string]*pkg, rel, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	f, err := parser.ParseFile(set, file, text, parser.ParseComments)
	if err != nil {
		return err
	}
	dir := filepath.ToSlash(filepath.Dir(rel))
	p := byDir[dir]
	if p == nil {
		p = &pkg{dir: dir, files: map[string]*ast.File{}, lines: map[string]int{}, imports: map[string]bool{}}
		byDir[dir] = p
	}
	name := filepath.Base(rel)
	p.files[name] = f
	p.lines[name] = strings.Count(string(text), "\n")
	for _, i := range f.Imports {
		if to, ok := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), module); ok {
			p.imports[to] = true
		}
	}
	budgetFile(set, dir, name, f)
	return nil
}
