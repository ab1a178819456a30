package conf

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

type settings struct {
	domain string
	memory int
	listen []string
}

func fill(t *testing.T, args, env []string, file string) (settings, error) {
	t.Helper()
	var s settings
	flags := pflag.NewFlagSet("up", pflag.ContinueOnError)
	flags.StringVar(&s.domain, "domain", "ingot.test", "")
	flags.IntVar(&s.memory, "apps-memory", 0, "")
	flags.StringSliceVar(&s.listen, "listen", nil, "")
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ingot.yml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Env(flags, env); err != nil {
		return s, err
	}
	return s, File(flags, flags, path, false)
}

func TestOrder(t *testing.T) {
	const file = "domain: file.test\napps-memory: 1\nlisten: [10.0.0.1, 10.0.0.2]\n"
	for _, c := range []struct {
		name      string
		args, env []string
		file      string
		want      settings
	}{
		{"nothing", nil, []string{"PATH=/bin", "INGOT_OF_ANOTHER_PROGRAM=x"}, "", settings{domain: "ingot.test"}},
		{"file", nil, nil, file, settings{"file.test", 1, []string{"10.0.0.1", "10.0.0.2"}}},
		{"environment over file", nil, []string{"INGOT_DOMAIN=env.test", "INGOT_APPS_MEMORY=2"}, file, settings{"env.test", 2, []string{"10.0.0.1", "10.0.0.2"}}},
		{"flag over both", []string{"--domain=flag.test", "--listen=::1"}, []string{"INGOT_DOMAIN=env.test"}, file, settings{"flag.test", 1, []string{"::1"}}},
		{"the flag's own default", []string{"--domain=ingot.test"}, nil, file, settings{"ingot.test", 1, []string{"10.0.0.1", "10.0.0.2"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := fill(t, c.args, c.env, c.file)
			if err != nil || got.domain != c.want.domain || got.memory != c.want.memory || !slices.Equal(got.listen, c.want.listen) {
				t.Errorf("got %+v: %v", got, err)
			}
		})
	}
}

func TestBadSettings(t *testing.T) {
	for _, c := range []struct {
		name, file string
		env        []string
		words      []string
	}{
		{"unknown key", "domain: a.test\ndomian: b.test\n", nil, []string{"ingot.yml:2", `"domian"`}},
		{"not a number", "domain: a.test\napps-memory: lots\n", nil, []string{"ingot.yml:2", "lots"}},
		{"not a number in the environment", "", []string{"INGOT_APPS_MEMORY=lots"}, []string{"INGOT_APPS_MEMORY", "lots"}},
		{"no list of keys", "- domain\n", nil, []string{"ingot.yml", "KEY: VALUE"}},
		{"not YAML", "domain: [", nil, []string{"ingot.yml"}},
		{"a map for a value", "domain:\n  name: a.test\n", nil, []string{"ingot.yml:1", "domain"}},
		{"a list of lists", "listen: [[a], b]\n", nil, []string{"ingot.yml:1", "listen"}},
		{"twice", "domain: a.test\ndomain: b.test\n", nil, []string{"ingot.yml:2", "twice"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := fill(t, nil, c.env, c.file)
			if err == nil {
				t.Fatalf("taken: %+v", got)
			}
			for _, w := range c.words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not name %s", err, w)
				}
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	flags := pflag.NewFlagSet("up", pflag.ContinueOnError)
	none := filepath.Join(t.TempDir(), "none.yml")
	if err := File(flags, flags, none, true); err != nil {
		t.Errorf("optional: %v", err)
	}
	if err := File(flags, flags, none, false); err == nil {
		t.Error("a file that was named and is missing was overlooked")
	}
}
