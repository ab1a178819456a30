package python

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"ingot/buildpacks/stager"
)

// lock is a Pipfile.lock (https://pipenv.pypa.io, format 6).
type lock struct {
	Meta struct {
		Sources []struct {
			URL string `json:"url"`
		} `json:"sources"`
		Requires struct {
			Version string `json:"python_version"`
		} `json:"requires"`
	} `json:"_meta"`
	Default map[string]locked `json:"default"`
}

type locked struct {
	Version string   `json:"version"`
	Extras  []string `json:"extras"`
	Markers string   `json:"markers"`
	Git     string   `json:"git"`
	Ref     string   `json:"ref"`
}

// readLock reads the app's Pipfile.lock; without one, an empty one.
func readLock(s *stager.Stager) (lock, error) {
	var l lock
	text, err := os.ReadFile(filepath.Join(s.Build, "Pipfile.lock"))
	if err == nil {
		err = json.Unmarshal(text, &l)
	}
	if os.IsNotExist(err) {
		err = nil
	}
	if err != nil {
		return l, fmt.Errorf("unable to load Pipfile.lock: %w", err)
	}
	return l, nil
}

// requirements writes what pip is to install into a file and returns its name; "" when there is nothing.
func requirements(s *stager.Stager) (string, error) {
	text, err := os.ReadFile(filepath.Join(s.Build, "requirements.txt"))
	switch {
	case err == nil:
	case !os.IsNotExist(err):
		return "", err
	case s.Has("Pipfile.lock"):
		l, err := readLock(s)
		if err != nil {
			return "", err
		}
		s.Info("Generating 'requirements.txt' from Pipfile.lock")
		if text, err = l.requirements(); err != nil {
			return "", err
		}
	case s.Has("setup.py") && !s.Has("Pipfile"):
		text = []byte("-e .\n")
	case s.Has("Pipfile"):
		return "", errors.New("this app has a Pipfile without a Pipfile.lock, and this buildpack has no Pipenv: run pipenv lock, or add a requirements.txt")
	}
	if s.Has("vendor") {
		text = indexes.ReplaceAll(text, nil) // with an index pip would want the internet
	}
	if !line.Match(text) {
		return "", nil
	}
	// In the app, because paths in it are relative to it.
	f, err := os.CreateTemp(s.Build, ".requirements-*.txt")
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	return f.Name(), errors.Join(err, f.Close())
}

var (
	indexes = regexp.MustCompile(`(?m)^\s*(-i|--index-url|--extra-index-url)[\s=].*$`)
	line    = regexp.MustCompile(`(?m)^\s*[^#\s]`)
)

// requirements lists the locked packages as a requirements.txt, in a steady order.
func (l lock) requirements() ([]byte, error) {
	var b strings.Builder
	for i, src := range l.Meta.Sources {
		fmt.Fprintf(&b, "%s %s\n", map[bool]string{true: "-i", false: "--extra-index-url"}[i == 0], src.URL)
	}
	for _, name := range slices.Sorted(maps.Keys(l.Default)) {
		p, extras := l.Default[name], ""
		if len(p.Extras) > 0 {
			extras = "[" + strings.Join(p.Extras, ",") + "]"
		}
		switch {
		case p.Git != "":
			fmt.Fprintf(&b, "%s%s @ git+%s@%s", name, extras, p.Git, p.Ref)
		case p.Version != "":
			b.WriteString(name + extras + p.Version)
		default:
			return nil, fmt.Errorf("%s in Pipfile.lock is neither of a version nor of a Git repository", name)
		}
		if p.Markers != "" {
			b.WriteString(" ; " + p.Markers)
		}
		b.WriteString("\n")
	}
	return []byte(b.String()), nil
}
