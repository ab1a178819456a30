package java

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ingot/buildpacks/stager"
)

// tomcat installs Tomcat with the app as its one web application.
func tomcat(s *stager.Stager, c config) error {
	wanted := c.Tomcat.Tomcat.Version
	asked := older(wanted)
	if asked {
		s.Warn("This buildpack has no Tomcat %s: it has Tomcat 10", wanted)
		wanted = ""
	}
	if err := install(s, "tomcat", wanted, "tomcat"); err != nil {
		return err
	}
	access := ""
	if c.Tomcat.Access.Logging == "enabled" || c.Tomcat.Access.Logging == "true" {
		access = valve
	}
	for name, text := range map[string]string{"conf/server.xml": strings.Replace(server, "ACCESS", access, 1), "conf/context.xml": contextXML,
		"conf/logging.properties": logging, "webapps/.keep": "", "work/.keep": ""} {
		path := s.Dep("tomcat", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	name := strings.ReplaceAll(strings.Trim(c.Tomcat.Tomcat.Path, "/"), "/", "#")
	if name == "" {
		name = "ROOT"
	}
	if s.Has("WEB-INF") {
		if err := migrate(s, s.Build, asked); err != nil {
			return err
		}
		return os.Symlink("/home/vcap/app", s.Dep("tomcat", "webapps", name))
	}
	wars, _ := filepath.Glob(filepath.Join(s.Build, "*.war"))
	if len(wars) != 1 {
		return errors.New("the web archive is gone")
	}
	if err := migrate(s, wars[0], asked); err != nil {
		return err
	}
	return os.Symlink("/home/vcap/app/"+filepath.Base(wars[0]), s.Dep("tomcat", "webapps", name+".war"))
}

const server = `<?xml version="1.0" encoding="UTF-8"?>
<Server port="-1">
	<Service name="Catalina">
		<Connector port="${http.port}" bindOnInit="false" connectionTimeout="20000" keepAliveTimeout="120000">
			<UpgradeProtocol className="org.apache.coyote.http2.Http2Protocol"/>
		</Connector>
		<Engine name="Catalina" defaultHost="localhost">
			<Valve className="org.apache.catalina.valves.RemoteIpValve" protocolHeader="x-forwarded-proto"/>
			ACCESS
			<Host name="localhost" appBase="webapps" autoDeploy="false" failCtxIfServletStartFails="true">
				<Valve className="org.apache.catalina.valves.ErrorReportValve" showReport="false" showServerInfo="false"/>
			</Host>
		</Engine>
	</Service>
</Server>
`

const valve = `<Valve className="org.apache.catalina.valves.AccessLogValve" directory="/proc/self/fd" prefix="1" suffix="" rotatable="false" buffered="false"
				pattern="[ACCESS] %{org.apache.catalina.AccessLog.RemoteAddr}r %l %t %D %F %B %S vcap_request_id:%{X-Vcap-Request-Id}i"/>`

const contextXML = `<?xml version="1.0" encoding="UTF-8"?>
<Context>
	<WatchedResource>WEB-INF/web.xml</WatchedResource>
	<Resources allowLinking="true"/>
</Context>
`

const logging = `handlers = java.util.logging.ConsoleHandler
.handlers = java.util.logging.ConsoleHandler
java.util.logging.ConsoleHandler.level = FINE
java.util.logging.ConsoleHandler.formatter = org.apache.juli.OneLineFormatter
java.util.logging.ConsoleHandler.encoding = UTF-8
`

// startTomcat is the end of the start script: what Tomcat's own script does, without its eval of JAVA_OPTS.
var startTomcat = words + fmt.Sprintf(`exec "$JAVA_HOME/bin/java" -Djava.util.logging.config.file="$CATALINA_BASE/conf/logging.properties" \
	-Djava.util.logging.manager=org.apache.juli.ClassLoaderLogManager -Dhttp.port="$PORT" -Dorg.apache.catalina.startup.EXIT_ON_INIT_FAILURE=true \
	%s @"$options" -classpath "$CATALINA_HOME/bin/bootstrap.jar:$CATALINA_HOME/bin/tomcat-juli.jar" -Dcatalina.base="$CATALINA_BASE" \
	-Dcatalina.home="$CATALINA_HOME" org.apache.catalina.startup.Bootstrap start
`, strings.Join(opens, " "))

// opens are the packages of the JVM that Tomcat looks into to find leaks.
var opens = []string{"--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-opens=java.base/java.io=ALL-UNNAMED", "--add-opens=java.base/java.util=ALL-UNNAMED",
	"--add-opens=java.base/java.util.concurrent=ALL-UNNAMED", "--add-opens=java.rmi/sun.rmi.transport=ALL-UNNAMED"}
