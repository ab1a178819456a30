// Package conf fills the flags of a command from the environment and from a YAML file.
//
// It promises the order flags > environment (INGOT_FLAG_NAME) > file, and that an unknown key of the file is an
// error that names its line. It will not keep configuration anywhere.
package conf

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// Prefix begins the name of every environment variable.
const Prefix = "INGOT_"

// Env sets the flags that the command line left alone from the environment.
func Env(flags *pflag.FlagSet, env []string) error {
	values := map[string]value{}
	for _, e := range env {
		k, v, _ := strings.Cut(e, "=")
		if rest, ok := strings.CutPrefix(k, Prefix); ok {
			values[strings.ToLower(strings.ReplaceAll(rest, "_", "-"))] = value{v, "environment variable " + k}
		}
	}
	return set(flags, values)
}

// File sets the flags that neither the command line nor Env set. The file may hold all that known has; it may be missing
// where it is optional.
func File(flags, known *pflag.FlagSet, file string, optional bool) error {
	values, err := readFile(known, file, optional)
	if err != nil {
		return err
	}
	return set(flags, values)
}

type value struct{ text, from string }

func set(flags *pflag.FlagSet, values map[string]value) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		if v, ok := values[f.Name]; ok && !f.Changed {
			if err := flags.Set(f.Name, v.text); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", v.from, err))
			}
		}
	})
	return errors.Join(errs...)
}

func readFile(known *pflag.FlagSet, file string, optional bool) (map[string]value, error) {
	out := map[string]value{}
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) && optional {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(doc.Content) == 0 {
		return out, nil
	}
	m := doc.Content[0]
	if m.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: must be a list of KEY: VALUE", file)
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		k, v := m.Content[i], m.Content[i+1]
		from := fmt.Sprintf("%s:%d", file, k.Line)
		if known.Lookup(k.Value) == nil {
			return nil, fmt.Errorf("%s: unknown key %q", from, k.Value)
		}
		if _, ok := out[k.Value]; ok {
			return nil, fmt.Errorf("%s: key %q is there twice", from, k.Value)
		}
		list := []*yaml.Node{v}
		if v.Kind == yaml.SequenceNode {
			list = v.Content
		}
		var parts []string
		for _, c := range list {
			if c.Kind != yaml.ScalarNode {
				return nil, fmt.Errorf("%s: %s must be one value or a list of values", from, k.Value)
			}
			parts = append(parts, c.Value)
		}
		out[k.Value] = value{strings.Join(parts, ","), from}
	}
	return out, nil
}
