// Command buildpack is the program in each of the default buildpacks: bin/detect, bin/supply, bin/finalize, bin/release and
// bin/compile call it with their own name and arguments. Which buildpack it is, it reads in the manifest.yml beside bin.
//
// It ends with 0 when the phase succeeded, 1 when detect does not claim the app, and with CF's codes when a phase failed.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"ingot/buildpacks/binary"
	"ingot/buildpacks/golang"
	"ingot/buildpacks/java"
	"ingot/buildpacks/nginx"
	"ingot/buildpacks/nodejs"
	"ingot/buildpacks/php"
	"ingot/buildpacks/python"
	"ingot/buildpacks/ruby"
	"ingot/buildpacks/stager"
	"ingot/buildpacks/staticfile"
)

// buildpack is one language's phases.
type buildpack struct {
	detect   func(*stager.Stager) (string, bool)
	supply   func(*stager.Stager) error
	finalize func(*stager.Stager) error
	release  func(*stager.Stager) map[string]string
}

var buildpacks = map[string]buildpack{
	"binary":     {binary.Detect, binary.Supply, binary.Finalize, binary.Release},
	"go":         {golang.Detect, golang.Supply, golang.Finalize, golang.Release},
	"java":       {java.Detect, java.Supply, java.Finalize, java.Release},
	"nginx":      {nginx.Detect, nginx.Supply, nginx.Finalize, nginx.Release},
	"nodejs":     {nodejs.Detect, nodejs.Supply, nodejs.Finalize, nodejs.Release},
	"php":        {php.Detect, php.Supply, php.Finalize, php.Release},
	"python":     {python.Detect, python.Supply, python.Finalize, python.Release},
	"ruby":       {ruby.Detect, ruby.Supply, ruby.Finalize, ruby.Release},
	"staticfile": {staticfile.Detect, staticfile.Supply, staticfile.Finalize, staticfile.Release},
}

// Exit codes of a phase, as CF's buildpacks have them.
const (
	noMatch        = 1
	broken         = 10
	supplyFailed   = 14
	finalizeFailed = 12
)

func main() {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	if filepath.Base(os.Args[0]) == "varify" { // in an app of nginx_buildpack
		if err := nginx.Varify(os.Args[1:]); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(run(filepath.Dir(filepath.Dir(self)), os.Args[1:], os.Stdout))
}

// run runs the phase args[0] of the buildpack in root.
func run(root string, args []string, out io.Writer) int {
	if len(args) < 2 {
		_, _ = fmt.Fprintln(out, "usage: buildpack detect|supply|finalize|release|compile BUILD [CACHE [DEPS INDEX [PROFILE]]]")
		return broken
	}
	s, err := stager.New(root, args[1:], out)
	if err != nil {
		_, _ = fmt.Fprintln(out, err)
		return broken
	}
	b, ok := buildpacks[s.Manifest.Language]
	if !ok {
		s.Error("no buildpack for the language %q", s.Manifest.Language)
		return broken
	}
	switch args[0] {
	case "detect":
		text, ok := b.detect(s)
		if !ok {
			return noMatch
		}
		_, _ = fmt.Fprintln(out, text)
		return 0
	case "supply":
		return phase(s, b.supply, supplyFailed)
	case "finalize":
		return phase(s, b.finalize, finalizeFailed)
	case "compile":
		return b.compile(s)
	case "release":
		return release(s, b)
	}
	s.Error("unknown phase %q", args[0])
	return broken
}

func phase(s *stager.Stager, f func(*stager.Stager) error, code int) int {
	err := s.UseEarlier()
	if err == nil {
		err = f(s)
	}
	if err != nil {
		text := err.Error()
		s.Error("%s", strings.ToUpper(text[:1])+text[1:]) // a sentence, as CF's buildpacks print it
		return code
	}
	return 0
}

// compile is the contract before supply and finalize: all goes into the app's own folder.
func (b buildpack) compile(s *stager.Stager) int {
	s.Deps, s.Index = filepath.Join(s.Build, ".cloudfoundry"), "0"
	s.Profile = filepath.Join(s.Build, ".profile.d")
	for _, dir := range []string{s.Dep(), s.Profile} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			s.Error("%v", err)
			return broken
		}
	}
	script := filepath.Join(s.Profile, "0000_set-deps-dir.sh")
	if err := os.WriteFile(script, []byte("export DEPS_DIR=$HOME/.cloudfoundry\n"), 0o755); err != nil {
		s.Error("%v", err)
		return broken
	}
	if code := phase(s, b.supply, supplyFailed); code != 0 {
		return code
	}
	return phase(s, b.finalize, finalizeFailed)
}

func release(s *stager.Stager, b buildpack) int {
	text, err := yaml.Marshal(map[string]any{"default_process_types": b.release(s)})
	if err != nil {
		s.Error("%v", err)
		return broken
	}
	_, _ = fmt.Fprintf(s.Log, "---\n%s", text)
	return 0
}
