package buildpacks

import (
	"archive/zip"
	"bytes"
	"strings"
	"testing"
)

const hello = `import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;

public class Hello {
	public static void main(String[] args) throws Exception {
		HttpServer s = HttpServer.create(new InetSocketAddress(Integer.parseInt(System.getenv("PORT"))), 0);
		s.createContext("/", x -> {
			byte[] b = ("Hello from a JAR, " + System.getProperty("word") + ", " + Runtime.getRuntime().maxMemory() / 1048576 + "M\n").getBytes();
			x.sendResponseHeaders(200, b.length);
			x.getResponseBody().write(b);
			x.close();
		});
		s.start();
	}
}
`

// output gives the root what a container has: a standard output that can be opened by name. It must be the app's own (`| cat`).
func (w world) output() { w.host("ln", "-s", "/proc/self/fd/1", w.upper("dev/stdout")) }

// An executable JAR; the JRE that the buildpack carries has a compiler inside, which makes it.
func TestJavaInTheStack(t *testing.T) {
	w := newWorld(t, "java_buildpack", "java-war")
	w.says(w.must(stageScript), "java 1.0.0\n", "-----> Installing openjdk-jre 17.0.0\n       OpenJDK 17.", "-----> Container: Tomcat\n")
	trusts := w.must("~/deps/0/jre/bin/keytool -list -cacerts -storepass changeit | grep -c trustedCertEntry; ~/deps/0/jre/bin/java -Xshare:on -version && echo shared")
	if w.says(trusts, "shared\n"); len(strings.TrimSpace(strings.SplitN(trusts, "\n", 2)[0])) < 3 {
		t.Errorf("Java trusts %s", trusts)
	}
	w.write("Hello.java", hello)
	w.write("MANIFEST.MF", "Main-Class: Hello\n")
	out := w.must(`cd /tmp && mkdir -p jar/META-INF && cp ~/app/MANIFEST.MF jar/META-INF/
~/deps/0/jre/bin/java -m jdk.compiler/com.sun.tools.javac.Main -d jar ~/app/Hello.java
cd jar && zip -qr ../hello.jar . && rm -rf ~/app/* && mv ../hello.jar ~/app/
` + stageScript)
	w.says(out, "-----> Container: Java Main\n", "web: $HOME/.java-buildpack/start\n")
	start := strings.NewReplacer("START", "$HOME/.java-buildpack/start", "ASK", "ask /",
		"export HOME=", `export MEMORY_LIMIT=256m JAVA_OPTS='-Dword="two words; $HOME" -Xmx64m' HOME=`).Replace(startScript)
	w.says(w.must(start, "--net"), "JVM Memory Configuration: -XX:MaxDirectMemorySize=10240K", "Hello from a JAR, two words; $HOME, 64M\n")
}

// A package from the app's vendor folder, without any index.
func TestPythonInTheStack(t *testing.T) {
	w := newWorld(t, "python_buildpack", "python-http")
	var wheel bytes.Buffer
	z := zip.NewWriter(&wheel)
	for _, f := range []struct{ name, text string }{
		{"greet.py", "def main(): print('greeted')\n"},
		{"greet-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: greet\nVersion: 1.0\n"},
		{"greet-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{"greet-1.0.dist-info/entry_points.txt", "[console_scripts]\ngreet = greet:main\n"},
		{"greet-1.0.dist-info/RECORD", ""},
	} {
		out, err := z.Create(f.name)
		if err == nil {
			_, err = out.Write([]byte(f.text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	w.write("vendor/greet-1.0-py3-none-any.whl", wheel.String())
	w.write("requirements.txt", "-i http://index.invalid/simple\ngreet==1.0\n")
	w.says(w.must(stageScript), "python 1.0.0\n", "-----> Running Pip Install (Vendored)\n", "Successfully installed greet-1.0")
	// The droplet is elsewhere than where it was staged.
	start := strings.NewReplacer("START", "python server.py", "ASK", "ask /; greet; python -c 'import sys; print(sys.prefix)'; pip --version", "/home/vcap/deps", "/home/vcap/moved").Replace(startScript)
	w.says(w.must("mv /home/vcap/deps /home/vcap/moved; chown -R vcap /home/vcap/moved\n"+start, "--net"), "Hello from Python 3.11.", "greeted\n", "/home/vcap/moved/0\n", "pip 23")
}

// An nginx that is not root, with a module, and files of its own that nginx refuses.
func TestNginxInTheStack(t *testing.T) {
	w := newWorld(t, "nginx_buildpack", "nginx-conf")
	w.output()
	w.write("nginx.conf", `daemon off;
{{module "ngx_stream_module"}}
error_log stderr;
events {}
stream { server { listen 9000; return "streamed\n"; } }
http { server { listen {{port}}; location / { return 200 "from {{env "CF_INSTANCE_INDEX"}}\n"; } } }
`)
	w.says(w.must(stageScript), "nginx 1.0.0\n", "-----> Using nginx 1.22.")
	start := strings.NewReplacer("START", "varify -buildpack-yml-path ./buildpack.yml ./nginx.conf $HOME/modules $DEP_DIR/nginx/modules && exec nginx -p $PWD -c ./nginx.conf 2>&1 | cat",
		"ASK", "ask /; nc -d 127.0.0.1 9000").Replace(startScript)
	w.says(w.must(start, "--net"), "from 7\n", "streamed\n")
	w.write("nginx.conf", "events {}\nhttp { server { listen {{port}}; nonsense; } }\n")
	if out, err := w.run(stageScript); err == nil || !strings.Contains(out, `unknown directive "nonsense"`) || !strings.Contains(out, "nginx.conf contains syntax errors") {
		t.Errorf("nonsense is staged: %v", err)
	}
}

// What Composer has nothing to do for is staged without a network; what needs one says so.
func TestPHPInTheStack(t *testing.T) {
	w := newWorld(t, "php_buildpack", "php-hello")
	w.output()
	w.write("composer.json", `{"name": "a/b", "require": {"php": ">=8"}, "autoload": {"psr-4": {"A\\": "src"}}}`)
	w.write("composer.lock", `{"packages": [], "packages-dev": [], "content-hash": "x", "platform": {"php": ">=8"}}`)
	w.write("src/B.php", `<?php namespace A; class B { static function c() { return "autoloaded"; } }`)
	w.write("htdocs/b.php", `<?php require "vendor/autoload.php"; echo A\B::c(), " ", $_SERVER["CF_INSTANCE_INDEX"], "\n";`)
	w.write("htdocs/.htaccess", "RewriteEngine On\nRewriteRule ^pretty$ b.php\n")
	w.says(w.must(stageScript), "php 1.0.0\n", "-----> Installing PHP 8.2.", "-----> Running composer install --no-progress --no-interaction --no-dev\n")
	start := strings.NewReplacer("START", "$HOME/.bp/bin/start 2>&1 | cat", "ASK", "ask /; ask /pretty; ask /.htaccess; ask /../composer.json").Replace(startScript)
	w.says(w.must(start, "--net"), "Hello from PHP 8.2.", "autoloaded 7\n", "403 Forbidden", `"GET /pretty HTTP/1.1" 200`)
	w.write(".bp-config/options.json", `{"WEB_SERVER": "nginx"}`)
	w.write("htdocs/c.php", `<?php error_log("to the log"); echo PHP_SAPI, getenv("CF_INSTANCE_INDEX"), extension_loaded("mbstring"), "\n";`)
	w.says(w.must(stageScript), "-----> Installing php-fpm 8.2.0")
	start = strings.NewReplacer("START", "$HOME/.bp/bin/start 2>&1 | cat", "ASK", "ask /; ask /b.php; ask /c.php; ask /.htaccess").Replace(startScript)
	w.says(w.must(start, "--net"), "Hello from PHP 8.2.", "autoloaded 7\n", "fpm-fcgi71\n", "NOTICE: PHP message: to the log", "403 Forbidden", `"GET /b.php HTTP/1.1" 200`)
}

// A password, an include, dotfiles and pushstate at once.
func TestStaticfileInTheStack(t *testing.T) {
	w := newWorld(t, "staticfile_buildpack", "static-site")
	w.output()
	w.write("Staticfile", "root: public\npushstate: enabled\nssi: enabled\ndirectory: visible\nlocation_include: includes/*.conf\n")
	w.write("Staticfile.auth", "bob:$apr1$8TjrfW4z$znN0FLhnHI5SFv7TgxxSm.\n") // bob:secret
	w.write("nginx/conf/includes/header.conf", `add_header X-Own yes;`)
	w.write("public/.hidden", "hidden")
	w.write("public/docs/a.txt", "a")
	w.says(w.must(stageScript), "staticfile 1.0.0\n", "-----> Enabling pushstate\n")
	start := strings.NewReplacer("START", "$HOME/boot.sh 2>&1 | cat", "ASK", `ask /; ask /no/such -ubob:secret; for p in /no/such /docs/ /.hidden; do curl -si -u bob:secret "http://127.0.0.1:8080$p"; done`).Replace(startScript)
	out := w.must(start, "--net")
	w.says(out, "401 Authorization Required", "X-Own: yes", "Hello from a static site", "a.txt", "404 Not Found", `"GET /docs/ HTTP/1.1" 200`)
	if strings.Contains(out, "\nhidden") {
		t.Error("a dotfile was served")
	}
}
