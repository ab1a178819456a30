package stack

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// suites are Debian's own of the release that the stack is made of.
var suites = []string{Release, Release + "-updates", Release + "-security"}

// sources returns those of the machine's apt sources (dir is its /etc/apt) that give Debian's own packages of the
// release, in the deb822 format. They are chosen by suite, component and key, so mirrors are fine and other
// vendors' repositories stay out.
func sources(dir string) ([]byte, error) {
	files, err := sourceFiles(dir)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read apt sources: %w", err)
		}
		stanzas := deb822(text)
		if filepath.Ext(name) == ".list" {
			stanzas = oneLine(text)
		}
		for _, s := range stanzas {
			writeStanza(&out, s)
		}
	}
	if out.Len() == 0 {
		return nil, fmt.Errorf("no source of Debian %s packages in %s: the stack is made of them; add one there", Release, dir)
	}
	return out.Bytes(), nil
}

func sourceFiles(dir string) ([]string, error) {
	var files []string
	main := filepath.Join(dir, "sources.list")
	if _, err := os.Stat(main); err == nil {
		files = append(files, main)
	}
	more, err := os.ReadDir(filepath.Join(dir, "sources.list.d"))
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("read apt sources: %w", err)
	}
	for _, e := range more {
		if ext := filepath.Ext(e.Name()); ext == ".list" || ext == ".sources" {
			files = append(files, filepath.Join(dir, "sources.list.d", e.Name()))
		}
	}
	return files, nil
}

// deb822 parses stanzas of "Key: value" with continuation lines; keys are lower-cased.
func deb822(text []byte) []map[string]string {
	var all []map[string]string
	cur, last := map[string]string{}, ""
	lines := bufio.NewScanner(bytes.NewReader(append(text, "\n\n"...)))
	for lines.Scan() {
		line := lines.Text()
		key, value, ok := strings.Cut(line, ":")
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			if len(cur) > 0 {
				all = append(all, cur)
			}
			cur, last = map[string]string{}, ""
		case (line[0] == ' ' || line[0] == '\t') && last != "":
			cur[last] += "\n" + line
		case ok:
			last = strings.ToLower(strings.TrimSpace(key))
			cur[last] = strings.TrimSpace(value)
		}
	}
	return all
}

// oneLine parses lines of "deb [options] URI suite component...".
func oneLine(text []byte) []map[string]string {
	var all []map[string]string
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		s := map[string]string{"types": "deb"}
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb")
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '\t' {
			continue
		}
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			options, after, _ := strings.Cut(rest[1:], "]")
			for _, o := range strings.Fields(options) {
				key, value, _ := strings.Cut(o, "=")
				s[strings.ToLower(key)] = strings.ReplaceAll(value, ",", " ")
			}
			rest = after
		}
		if f := strings.Fields(rest); len(f) >= 3 {
			s["uris"], s["suites"], s["components"] = f[0], f[1], strings.Join(f[2:], " ")
			all = append(all, s)
		}
	}
	return all
}

// writeStanza writes what of s is Debian's main archive; often nothing.
func writeStanza(out *bytes.Buffer, s map[string]string) {
	ours := slices.DeleteFunc(strings.Fields(s["suites"]), func(suite string) bool { return !slices.Contains(suites, suite) })
	key := s["signed-by"]
	foreignKey := strings.HasPrefix(key, "/") && !strings.Contains(filepath.Base(key), "debian-archive")
	if len(ours) == 0 || foreignKey || s["uris"] == "" || strings.EqualFold(s["enabled"], "no") ||
		!slices.Contains(strings.Fields(s["types"]), "deb") || !slices.Contains(strings.Fields(s["components"]), "main") {
		return
	}
	fmt.Fprintf(out, "Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n", s["uris"], strings.Join(ours, " "))
	if key != "" {
		fmt.Fprintf(out, "Signed-By: %s\n", key)
	}
	out.WriteByte('\n')
}

// aptSettings keeps of `apt-config dump` what decides how packages are fetched: proxies, certificates, time checks.
func aptSettings(dump []byte) []byte {
	var out bytes.Buffer
	for line := range strings.Lines(string(dump)) {
		key, value, _ := strings.Cut(line, " ")
		wanted := strings.HasPrefix(key, "Acquire::http") || strings.HasPrefix(key, "Acquire::Check-") ||
			strings.HasPrefix(key, "Acquire::Force") || key == "Acquire::Retries"
		if wanted && strings.TrimSpace(value) != `"";` {
			out.WriteString(line)
		}
	}
	return out.Bytes()
}
