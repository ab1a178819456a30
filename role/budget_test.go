package role

import (
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"strings"
	"testing"
)

// Budgets of design: lines of a file, of a package, of a function; parameters of a function.
const (
	maxFile, maxPackage, maxFamily, maxFunc, maxParams = 400, 1500, 2500, 60, 5
)

// allowed are the named exceptions. The list may only shrink.
var allowed = map[string]string{
	"role": "the only package that knows every room",
}

// overlong collects functions while the tree is parsed; tree() fills it anew each time.
var overlong = map[string]string{}

func budgetFile(set *token.FileSet, dir, name string, f *ast.File) {
	ast.Inspect(f, func(n ast.Node) bool {
		fn, ok := n.(*ast.FuncDecl)
		if !ok {
			return true
		}
		id := dir + "." + fn.Name.Name
		if n := set.Position(fn.End()).Line - set.Position(fn.Pos()).Line + 1; n > maxFunc {
			overlong[id] = fmt.Sprintf("%s/%s: func %s has %d lines, at most %d", dir, name, fn.Name.Name, n, maxFunc)
		}
		if n := fn.Type.Params.NumFields(); n > maxParams {
			overlong[id] = fmt.Sprintf("%s/%s: func %s has %d parameters, at most %d", dir, name, fn.Name.Name, n, maxParams)
		}
		return true
	})
}

func TestSizes(t *testing.T) {
	table := &strings.Builder{}
	for _, p := range tree(t) {
		sum := 0
		for name, n := range p.lines {
			sum += n
			if n > maxFile {
				t.Errorf("%s/%s has %d lines, at most %d", p.dir, name, n, maxFile)
			}
		}
		limit := maxPackage
		if strings.HasPrefix(p.dir, "capi/") || p.dir == "rest" {
			limit = maxFamily
		}
		if sum > limit && allowed[p.dir] == "" {
			t.Errorf("%s has %d lines, at most %d", p.dir, sum, limit)
		}
		fmt.Fprintf(table, "%6d  %s\n", sum, p.dir)
	}
	for id, what := range overlong {
		if allowed[id] == "" {
			t.Error(what)
		}
	}
	t.Logf("lines per package, tests not counted:\n%s", table)
}

func TestArchitectureIsShort(t *testing.T) {
	b, err := os.ReadFile("../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), "\n"); n > 200 {
		t.Errorf("ARCHITECTURE.md has %d lines, at most 200", n)
	}
}
