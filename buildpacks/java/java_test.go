package java

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"ingot/buildpacks/stager"
)

func put(t *testing.T, dir string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		path := filepath.Join(dir, pairs[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(pairs[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// jar gives the bytes of an archive.
func jar(t *testing.T, pairs ...string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(pairs); i += 2 {
		w, err := z.Create(pairs[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(pairs[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// carried makes an archive as the buildpack carries it.
func carried(t *testing.T, path, name, text string) {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	for _, f := range []func() error{w.Close, z.Close} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	put(t, filepath.Dir(path), filepath.Base(path), b.String())
}

func staging(t *testing.T, pairs ...string) (*stager.Stager, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	for _, name := range []string{"CF_STACK", "JAVA_HOME", "JBP_CONFIG_OPEN_JDK_JRE", "JBP_CONFIG_JAVA_MAIN", "JBP_CONFIG_JAVA_OPTS", "JBP_CONFIG_TOMCAT"} {
		t.Setenv(name, "")
	}
	t.Setenv("PATH", os.Getenv("PATH"))
	root := put(t, t.TempDir(), "VERSION", "1.2.3", "manifest.yml", `language: java
default_versions: [{name: openjdk-jre, version: 17.x}, {name: tomcat, version: 10.x}, {name: jakartaee-migration, version: 1.0.x}]
dependencies: [{name: openjdk-jre, version: 17.0.0, file: jre}, {name: tomcat, version: 10.1.0, file: tomcat}, {name: jakartaee-migration, version: 1.0.6, file: migration}]
`)
	carried(t, filepath.Join(root, "jre"), "bin/java", "#!/bin/sh\necho \"java $*\"\n")
	carried(t, filepath.Join(root, "migration"), "migration.jar", "")
	carried(t, filepath.Join(root, "tomcat"), "bin/bootstrap.jar", "")
	s, err := stager.New(root, []string{put(t, t.TempDir(), pairs...), t.TempDir(), t.TempDir(), "0"}, &out)
	if err != nil {
		t.Fatal(err)
	}
	return s, &out
}

// As CF's bin/detect.
func TestDetect(t *testing.T) {
	for name, want := range map[string]bool{"pom.xml": true, "build.gradle": true, "BOOT-INF/x": true, "WEB-INF/web.xml": true, "x.war": true, "x.jar": true,
		"META-INF/MANIFEST.MF": true, "a/b/C.class": true, "a/b/c/D.class": false, "start": true, "application-root/lib/a.jar": true,
		"WEB-INF": false, "lib/a.jar": false, "index.jsp": false, "some-file": false, "x.jar/file": false} {
		s, _ := staging(t, name, "")
		if text, ok := Detect(s); ok != want || ok && text != "java 1.2.3" {
			t.Errorf("%s: %q, %v", name, text, ok)
		}
	}
	for _, files := range [][]string{{"lib/a.jar", "", "bin/app", ""}, {"Procfile", "web: java -jar x"}} {
		s, _ := staging(t, files...)
		if _, ok := Detect(s); !ok {
			t.Errorf("%v is not claimed", files)
		}
	}
	if s, _ := staging(t, "lib/a.jar", "", "bin/app.bat", ""); func() bool { _, ok := Detect(s); return ok }() {
		t.Error("a script for Windows is enough")
	}
}

const main = "Manifest-Version: 1.0\r\nMain-Class: org.example.Very\r\n Long\r\nClass-Path: a.jar ../b.jar\r\n\r\nName: x\r\nMain-Class: other\r\n"

func TestChoose(t *testing.T) {
	boot := "Main-Class: org.springframework.boot.loader.JarLauncher\n"
	for name, c := range map[string]struct {
		files      []string
		config     string
		kind, args string
		err        string
	}{
		"exploded WAR":  {[]string{"WEB-INF/web.xml", ""}, "", "Tomcat", "", ""},
		"WAR":           {[]string{"x.war", ""}, "", "Tomcat", "", ""},
		"two WARs":      {[]string{"x.war", "", "y.war", ""}, "", "", "", "it has 2 web archives"},
		"exploded JAR":  {[]string{"META-INF/MANIFEST.MF", main}, "", "Java Main", `-cp "$HOME":"$HOME"/'a.jar'"${CLASSPATH:+:$CLASSPATH}" 'org.example.VeryLong' `, ""},
		"JAR":           {[]string{"a.jar", jar(t, "META-INF/MANIFEST.MF", main)}, "", "Java Main", `-jar "$HOME"/'a.jar' `, ""},
		"library":       {[]string{"a.jar", jar(t, "a/B.class", "")}, "", "", "", "no container can run this application"},
		"no archive":    {[]string{"a.jar", "junk"}, "", "", "", "no container can run this application"},
		"Spring Boot":   {[]string{"META-INF/MANIFEST.MF", boot, "BOOT-INF/lib/a.jar", ""}, "", "Spring Boot", "'org.springframework.boot.loader.JarLauncher'", ""},
		"runnable WAR":  {[]string{"META-INF/MANIFEST.MF", "Main-Class: W\n", "WEB-INF/web.xml", ""}, "", "Java Main", "'W'", ""},
		"Dist Zip":      {[]string{"bin/app", "", "bin/app.bat", "", "lib/a.jar", ""}, "", "Dist Zip", "bin/app", ""},
		"source":        {[]string{"pom.xml", ""}, "", "", "", "sources are built before the push"},
		"a named class": {[]string{"C.class", ""}, "{java_main_class: C, arguments: --x=1}", "Java Main", "'C' --x=1", ""},
	} {
		s, _ := staging(t, c.files...)
		t.Setenv("JBP_CONFIG_JAVA_MAIN", c.config)
		conf, err := load(os.Getenv)
		if err != nil {
			t.Fatal(err)
		}
		kind, args, err := choose(s, conf)
		if kind != c.kind || !strings.Contains(args, c.args) || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %q, %q, %v; want %q, %q, %q", name, kind, args, err, c.kind, c.args, c.err)
		}
	}
}

func TestSupplyAndFinalize(t *testing.T) {
	s, out := staging(t, "WEB-INF/web.xml", "")
	t.Setenv("JBP_CONFIG_TOMCAT", "{tomcat: {version: 10.1.+, context_path: /first/second}, access_logging_support: {access_logging: enabled}}")
	t.Setenv("JBP_CONFIG_JAVA_OPTS", `{java_opts: "-Dquote='a b'"}`)
	if err := Supply(s); err != nil {
		t.Fatal(err)
	}
	if err := Finalize(s); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(s.Dep("tomcat", "webapps", "first#second")); err != nil || to != "/home/vcap/app" {
		t.Errorf("the app is at %s, %v", to, err)
	}
	for path, want := range map[string]string{s.Dep("tomcat/conf/server.xml"): "AccessLogValve", s.Dep("profile.d/java.sh"): "export JAVA_HOME=$DEPS_DIR/0/jre\n",
		filepath.Join(s.Build, script): `-XX:+ExitOnOutOfMemoryError "'-Dquote='\''a b'\'''" $JAVA_OPTS"`} {
		if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v, no %q in\n%s", path, err, want, text)
		}
	}
	if !strings.Contains(out.String(), "-----> Installing tomcat 10.1.0\n-----> Container: Tomcat\n") || Release(s)["web"] != "$HOME/.java-buildpack/start" {
		t.Error(out)
	}
	t.Setenv("JBP_CONFIG_TOMCAT", "{tomcat: {version: 7.+}}")
	if err := Supply(s); err == nil || !strings.Contains(err.Error(), "no match found for 7.x in [10.1.0]") {
		t.Errorf("another Tomcat: %v", err)
	}
	for _, bad := range []string{"{", "{memory_calculator: {headroom: 100}}", "{memory_calculator: {stack_threads: -1}}"} {
		t.Setenv("JBP_CONFIG_OPEN_JDK_JRE", bad)
		if err := Supply(s); err == nil || !strings.Contains(err.Error(), "JBP_CONFIG_OPEN_JDK_JRE") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// By the formula of the README of CF's java-buildpack-memory-calculator: 5800 bytes a class and 14 MB, 240 MB of code, 10 MB direct, 1 MB a thread.
func TestMemory(t *testing.T) {
	for name, c := range map[string]struct{ limit, opts, threads, want, wantNot string }{
		"CF's":         {"1024m", "", "250", "-Xmx450405K -XX:MaxDirectMemorySize=10240K -XX:MaxMetaspaceSize=86171K -XX:ReservedCodeCacheSize=245760K -Xss1024K", ""},
		"a gigabyte":   {"1g", "", "250", "-Xmx450405K", ""},
		"given":        {"1024m", "-Xmx300m -Xss512k", "250", "-XX:MaxMetaspaceSize=86171K", "-Xmx4"},
		"given stacks": {"1024m", "-Xss512k", "250", "-Xmx578405K", "-Xss1024K"},
		"few threads":  {"1024m", "", "20", "-Xmx685925K", ""},
		"small":        {"512m", "", "250", "-XX:ReservedCodeCacheSize=65536K", ""},
		"tiny":         {"128m", "", "250", "Cannot calculate JVM memory configuration", "JVM Memory Configuration:"},
		"tiny, given":  {"128m", "-Xmx40m", "250", "JVM Memory Configuration: -XX:MaxDirectMemorySize=10240K", "-Xmx4"},
	} {
		cmd := exec.Command("bash", "-ec", "classes=12800 threads="+c.threads+" headroom=0\n"+memory)
		cmd.Env = append(os.Environ(), "MEMORY_LIMIT="+c.limit, "JAVA_OPTS="+c.opts)
		out, _ := cmd.CombinedOutput()
		if !strings.Contains(string(out), c.want) || c.wantNot != "" && strings.Contains(string(out), c.wantNot) {
			t.Errorf("%s: %s, want %q, not %q", name, out, c.want, c.wantNot)
		}
	}
}

// Read back by the format: sun.security.provider.JavaKeyStore. That Java reads it too is for the test in the stack.
func TestKeyStore(t *testing.T) {
	one := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("one")})
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("key")})
	two := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("two")})
	got := keyStore(bytes.Join([][]byte{one, key, one, two}, []byte("# comment\n")))
	if binary.BigEndian.Uint32(got) != 0xfeedfeed || binary.BigEndian.Uint32(got[4:]) != 2 || binary.BigEndian.Uint32(got[8:]) != 2 ||
		!bytes.Contains(got, []byte("\x00\x05X.509\x00\x00\x00\x03two")) || bytes.Contains(got, []byte("key")) {
		t.Errorf("%q", got)
	}
}

func TestCountClasses(t *testing.T) {
	dir := put(t, t.TempDir(), "A.class", "", "lib/x.jar", jar(t, "B.class", "", "c/D.class", "", "text", ""), "bad.jar", "junk", "e.txt", "")
	if n, err := countClasses(dir); n != 3 || err != nil {
		t.Errorf("%d, %v; want 3", n, err)
	}
}

// FuzzManifest: no name of the main section has a line end, and all values are trimmed.
func FuzzManifest(f *testing.F) {
	f.Add(main)
	f.Add("A: b\n c\n\nD: e")
	f.Fuzz(func(t *testing.T, text string) {
		for name, value := range parseManifest(text) {
			if strings.ContainsAny(name+value, "\n\r") || strings.TrimSpace(value) != value {
				t.Fatalf("%q: %q", name, value)
			}
		}
	})
}

// What knows javax.servlet only is converted; what knows jakarta.servlet too is not, unless Tomcat 9 was asked for.
func TestMigrate(t *testing.T) {
	const javax, jakarta = "\xca\xfejavax/servlet/http/HttpServlet", "\xca\xfejakarta/servlet/Servlet"
	for name, c := range map[string]struct {
		files   []string
		version string
		want    string // what is converted
	}{
		"a class":              {[]string{"WEB-INF/classes/a/B.class", javax}, "", ""},
		"a library":            {[]string{"WEB-INF/lib/a.jar", jar(t, "B.class", javax)}, "", ""},
		"a WAR's library":      {[]string{"x.war", jar(t, "WEB-INF/lib/a.jar", jar(t, "B.class", javax))}, "", "/x.war"},
		"a library that knows": {[]string{"WEB-INF/classes/B.class", javax, "WEB-INF/lib/a.jar", jar(t, "C.class", jakarta)}, "", "-"},
		"only pages":           {[]string{"WEB-INF/web.xml", "", "index.jsp", "javax/servlet/"}, "", "-"},
		"asked for":            {[]string{"WEB-INF/web.xml", ""}, "9.0.+", ""},
		"a broken library":     {[]string{"WEB-INF/lib/a.jar", "javax/servlet/"}, "10.x", "-"},
	} {
		s, out := staging(t, c.files...)
		t.Setenv("JBP_CONFIG_TOMCAT", "{tomcat: {version: "+c.version+"}}")
		if err := Supply(s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		said, did := out.String(), "java -jar "+s.Dep("migration/migration.jar")+" -logLevel=WARNING "
		if c.want == "-" {
			if strings.Contains(said, did) {
				t.Errorf("%s: %s", name, said)
			}
			continue
		}
		if app := s.Build + c.want; !strings.Contains(said, did+app+" "+app+"\n") || strings.Contains(said, "no Tomcat 9.0.+") != (c.version != "") {
			t.Errorf("%s: %s", name, said)
		}
		if _, err := os.Stat(s.Dep("migration")); err == nil {
			t.Errorf("%s: the tool is in the droplet", name)
		}
	}
}

// FuzzConfig: a configuration is refused, or its numbers and paths are usable.
func FuzzConfig(f *testing.F) {
	f.Add("{jre: {version: 17.+}, memory_calculator: {stack_threads: 25, headroom: 5}}", "{tomcat: {version: 10.1.+, context_path: /a/b}}")
	f.Fuzz(func(t *testing.T, jre, tomcat string) {
		c, err := load(func(name string) string {
			return map[string]string{"JBP_CONFIG_OPEN_JDK_JRE": jre, "JBP_CONFIG_TOMCAT": tomcat}[name]
		})
		if err == nil && (c.threads() < 1 || c.classes(0) < 1) {
			t.Fatalf("%q, %q: %+v", jre, tomcat, c)
		}
	})
}
