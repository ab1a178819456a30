package java

import (
	"archive/zip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"ingot/buildpacks/stager"
)

// config is what the JBP_CONFIG_* variables say.
type config struct {
	JRE struct {
		JRE struct {
			Version string `yaml:"version"`
		} `yaml:"jre"`
		Memory struct {
			Threads  int `yaml:"stack_threads"`
			Classes  int `yaml:"class_count"`
			Headroom int `yaml:"headroom"` // percent
		} `yaml:"memory_calculator"`
	}
	Main struct {
		Class     string `yaml:"java_main_class"`
		Arguments string `yaml:"arguments"` // words of the shell
	}
	Opts struct {
		Text string `yaml:"java_opts"`
	}
	Tomcat struct {
		Tomcat struct {
			Version string `yaml:"version"`
			Path    string `yaml:"context_path"`
		} `yaml:"tomcat"`
		Access struct {
			Logging string `yaml:"access_logging"`
		} `yaml:"access_logging_support"`
	}
}

// load reads the configuration from the environment.
func load(env func(string) string) (config, error) {
	var c config
	for _, v := range []struct {
		name string
		to   any
	}{{"JBP_CONFIG_OPEN_JDK_JRE", &c.JRE}, {"JBP_CONFIG_JAVA_MAIN", &c.Main}, {"JBP_CONFIG_JAVA_OPTS", &c.Opts}, {"JBP_CONFIG_TOMCAT", &c.Tomcat}} {
		if err := yaml.Unmarshal([]byte(env(v.name)), v.to); err != nil {
			return c, fmt.Errorf("failed to parse %s: %w", v.name, err)
		}
	}
	m := c.JRE.Memory
	if m.Threads < 0 || m.Classes < 0 || m.Headroom < 0 || m.Headroom > 99 {
		return c, fmt.Errorf("JBP_CONFIG_OPEN_JDK_JRE: memory_calculator wants numbers that are not negative, and a headroom of less than 100 percent")
	}
	if p := strings.Trim(c.Tomcat.Tomcat.Path, "/"); p != "" && !filepath.IsLocal(p) {
		return c, fmt.Errorf("JBP_CONFIG_TOMCAT: %q is no context_path", c.Tomcat.Tomcat.Path)
	}
	return c, nil
}

// threads that the memory is divided among.
func (c config) threads() int {
	if c.JRE.Memory.Threads > 0 {
		return c.JRE.Memory.Threads
	}
	return 250
}

// classes that the JVM will have loaded: CF's guess is 35 % of the app's and of its own.
func (c config) classes(app int) int {
	if c.JRE.Memory.Classes > 0 {
		return c.JRE.Memory.Classes
	}
	return (app + 42215) * 35 / 100
}

// countClasses counts the classes in the folder and in its archives.
func countClasses(dir string) (int, error) {
	n := 0
	return n, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		switch filepath.Ext(path) {
		case ".class", ".groovy":
			n++
		case ".jar", ".war":
			z, err := zip.OpenReader(path)
			if err != nil {
				return nil // not an archive: nothing of it will be loaded
			}
			for _, f := range z.File {
				if ext := filepath.Ext(f.Name); ext == ".class" || ext == ".groovy" {
					n++
				}
			}
			return z.Close()
		}
		return nil
	})
}

// readManifest reads the main section of a MANIFEST.MF; without the file, nothing.
func readManifest(path string) map[string]string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil
	}
	return parseManifest(string(text))
}

// parseManifest reads the main section, whose long lines go on after a space (JAR File Specification).
func parseManifest(text string) map[string]string {
	all := map[string]string{}
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	text = strings.ReplaceAll(text, "\n ", "")
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\n"); line == "" {
			break
		}
		if name, value, ok := strings.Cut(line, ":"); ok {
			all[name] = strings.TrimSpace(value)
		}
	}
	return all
}

// executable finds a JAR in the app's folder that has a main class.
func executable(s *stager.Stager) (jar, class string) {
	jars, _ := filepath.Glob(filepath.Join(s.Build, "*.jar"))
	for _, path := range jars {
		z, err := zip.OpenReader(path)
		if err != nil {
			continue
		}
		if f, err := z.Open("META-INF/MANIFEST.MF"); err == nil {
			if text, err := io.ReadAll(io.LimitReader(f, 1<<20)); err == nil {
				class = parseManifest(string(text))["Main-Class"]
			}
			_ = f.Close()
		}
		_ = z.Close()
		if class != "" {
			return filepath.Base(path), class
		}
	}
	return "", ""
}
