// Package java is the buildpack java_buildpack: web archives in Tomcat, executable JARs, and applications with a start script.
//
// It promises what CF's does: what looks like a JVM application is claimed; JBP_CONFIG_* choose and configure; the JVM gets
// regions of memory that fit the limit (memory.go) and JAVA_OPTS, word by word; it trusts the stack's CAs.
// (https://docs.cloudfoundry.org/buildpacks/java/index.html)
// The droplet carries OpenJDK 17 and, for web archives, Tomcat 10.1; an application that knows javax.servlet only is converted
// while staging. It builds nothing, and has no agents and frameworks, no Groovy and no Play.
package java

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"ingot/buildpacks/stager"
)

// marks are names of which one is enough for an app to be claimed; as CF's bin/detect has them.
var marks = []string{"pom.xml", "build.gradle", "build.gradle.kts", "BOOT-INF/", "WEB-INF/", "*.war", "*.jar", "META-INF/MANIFEST.MF",
	"*.groovy", "start", "application-root/start", "staged-app/start", "application-root/lib/*.jar", "*.class", "*/*.class", "*/*/*.class"}

// Detect claims what looks like a JVM application.
func Detect(s *stager.Stager) (string, bool) {
	found := false
	for _, mark := range marks {
		files, _ := filepath.Glob(filepath.Join(s.Build, mark))
		for _, f := range files {
			info, err := os.Stat(f)
			found = found || err == nil && info.IsDir() == strings.HasSuffix(mark, "/")
		}
	}
	for _, dir := range []string{"", "application-root"} {
		found = found || s.Has(filepath.Join(dir, "lib")) && len(scripts(s, dir)) > 0
	}
	procfile, _ := os.ReadFile(filepath.Join(s.Build, "Procfile"))
	return "java " + s.Version, found || strings.Contains(string(procfile), "java")
}

// scripts are the start scripts in the folder's bin.
func scripts(s *stager.Stager, dir string) []string {
	files, _ := filepath.Glob(filepath.Join(s.Build, dir, "bin", "*"))
	var all []string
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && info.Mode().IsRegular() && !strings.HasSuffix(f, ".bat") {
			all = append(all, filepath.Join(dir, "bin", filepath.Base(f)))
		}
	}
	return all
}

// Supply installs the JRE, and Tomcat where it is needed.
func Supply(s *stager.Stager) error {
	if err := s.Begin(); err != nil {
		return err
	}
	c, err := load(os.Getenv)
	if err != nil {
		return err
	}
	kind, _, err := choose(s, c)
	if err != nil {
		return err
	}
	if err := install(s, "openjdk-jre", c.JRE.JRE.Version, "jre"); err != nil {
		return fmt.Errorf("failed to install JRE: %w", err)
	}
	if err := trust("/etc/ssl/certs/ca-certificates.crt", s.Dep("jre", "lib", "security", "cacerts")); err != nil {
		return fmt.Errorf("failed to install JRE: %w", err)
	}
	if kind == "Tomcat" {
		if err := tomcat(s, c); err != nil {
			return fmt.Errorf("failed to install Tomcat: %w", err)
		}
	}
	return errors.Join(s.LinkBin("jre/bin"), s.SetEnv("JAVA_HOME", s.Dep("jre")),
		s.WriteProfile("java.sh", "export JAVA_HOME=$DEPS_DIR/"+s.Index+"/jre\n"))
}

var release = regexp.MustCompile(`(?m)^JAVA_VERSION="(.*)"`)

// install installs the version that the app wants of what the buildpack carries. Ranges may end in + as in CF's.
func install(s *stager.Stager, name, wanted, dir string) error {
	if wanted == "" {
		wanted = s.DefaultRange(name)
	}
	version, err := stager.Match(strings.ReplaceAll(strings.ReplaceAll(wanted, "+", "x"), "_", "-"), s.Versions(name))
	if err != nil {
		return err
	}
	if err := s.Install(name, version, dir); err != nil {
		return err
	}
	if text, err := os.ReadFile(s.Dep(dir, "release")); err == nil {
		if m := release.FindSubmatch(text); m != nil {
			s.Info("OpenJDK %s", m[1])
		}
	}
	return nil
}

// choose tells how the app runs: its kind in CF's words, and the arguments of java (or of the shell, for a DistZip).
func choose(s *stager.Stager, c config) (kind, args string, err error) {
	manifest := readManifest(filepath.Join(s.Build, "META-INF", "MANIFEST.MF"))
	jar, jarClass := executable(s)
	var start []string
	for _, dir := range []string{"", "application-root"} {
		if s.Has(filepath.Join(dir, "lib")) {
			start = append(start, scripts(s, dir)...)
		}
	}
	wars, _ := filepath.Glob(filepath.Join(s.Build, "*.war"))
	switch {
	case c.Main.Class != "":
		return "Java Main", "-cp " + classpath(s, manifest) + " " + quote(c.Main.Class) + " " + c.Main.Arguments, nil
	case s.Has("BOOT-INF") && manifest["Main-Class"] != "":
		return "Spring Boot", "-cp " + classpath(s, manifest) + " " + quote(manifest["Main-Class"]) + " " + c.Main.Arguments, nil
	case s.Has("WEB-INF") && manifest["Main-Class"] == "" || len(wars) == 1:
		return "Tomcat", "", nil
	case len(wars) > 1:
		return "", "", fmt.Errorf("no container can run this application: it has %d web archives, and only one can be the application", len(wars))
	case manifest["Main-Class"] != "":
		return "Java Main", "-cp " + classpath(s, manifest) + " " + quote(manifest["Main-Class"]) + " " + c.Main.Arguments, nil
	case jarClass != "":
		return "Java Main", "-jar \"$HOME\"/" + quote(jar) + " " + c.Main.Arguments, nil
	case len(start) == 1:
		return "Dist Zip", start[0], nil
	}
	return "", "", errors.New("no container can run this application: push a WAR, a JAR whose manifest has a Main-Class, or a folder with bin and lib " +
		"(-p names it); sources are built before the push")
}

// classpath is that of an unpacked JAR: itself, and what its manifest and CF's layout add.
func classpath(s *stager.Stager, manifest map[string]string) string {
	parts := []string{`"$HOME"`}
	for _, p := range strings.Fields(manifest["Class-Path"]) {
		if filepath.IsLocal(p) {
			parts = append(parts, `"$HOME"/`+quote(p))
		}
	}
	jars, _ := filepath.Glob(filepath.Join(s.Build, "*.jar"))
	for _, j := range jars {
		parts = append(parts, `"$HOME"/`+quote(filepath.Base(j)))
	}
	if s.Has("lib") {
		parts = append(parts, `"$HOME/lib/*"`)
	}
	return strings.Join(parts, ":") + `"${CLASSPATH:+:$CLASSPATH}"`
}

// quote makes a text one word of the shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// script is where the start script is, in the app.
const script = ".java-buildpack/start"

// Finalize writes the start script.
func Finalize(s *stager.Stager) error {
	c, err := load(os.Getenv)
	if err != nil {
		return err
	}
	kind, args, err := choose(s, c)
	if err != nil {
		return err
	}
	s.Step("Container: %s", kind)
	classes, err := countClasses(s.Build)
	if err != nil {
		return err
	}
	text := head + fmt.Sprintf("classes=%d threads=%d headroom=%d\n", c.classes(classes), c.threads(), c.JRE.Memory.Headroom) + memory
	switch kind {
	case "Tomcat":
		text += fmt.Sprintf("export CATALINA_HOME=$DEPS_DIR/%s/tomcat CATALINA_BASE=$DEPS_DIR/%[1]s/tomcat\n", s.Index) + startTomcat
	case "Dist Zip":
		if err := os.Chmod(filepath.Join(s.Build, args), 0o755); err != nil {
			return err
		}
		text += "export JAVA_OPTS\nexec \"$HOME\"/" + quote(args) + "\n"
	default:
		if strings.Contains(args, "org.springframework.boot.loader.") {
			text += "export SERVER_PORT=$PORT\n"
		}
		text += words + "exec \"$JAVA_HOME/bin/java\" @\"$options\" " + args + "\n"
	}
	text = strings.Replace(text, "OPTIONS", quote(c.Opts.Text), 1)
	path := filepath.Join(s.Build, script)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		return err
	}
	return s.Finish()
}

// Release gives the default process types.
func Release(*stager.Stager) map[string]string { return map[string]string{"web": "$HOME/" + script} }

// head is the beginning of the start script. What the app says comes after what we say, so that it wins.
const head = `#!/bin/bash
set -e
JAVA_OPTS="-Djava.io.tmpdir=${TMPDIR:-/tmp} -Dfile.encoding=UTF-8 -XX:ActiveProcessorCount=$(nproc) -XX:+ExitOnOutOfMemoryError "OPTIONS" $JAVA_OPTS"
`

// words leaves JAVA_OPTS to java, which takes quotes away and expands nothing.
const words = `options=${TMPDIR:-/tmp}/java.options
printf '%s\n' "$JAVA_OPTS" >"$options"
`
