package php

import (
	"fmt"
	"strings"

	"ingot/buildpacks/stager"
)

// head is the beginning of the start script of both servers.
const head = `#!/bin/bash
# A worker takes about 24 MB; what the limit holds of them, and five at the least.
memory=${MEMORY_LIMIT:-1024m}
case $memory in
*[gG]) workers=$((${memory%?} * 1024 / 24)) ;;
*) workers=$((${memory//[!0-9]/} / 24)) ;;
esac
[ "$workers" -ge 5 ] || workers=5
[ "$workers" -le 256 ] || workers=256
run=${TMPDIR:-/tmp}
`

const startHTTPD = `export HTTPD_WORKERS=$workers HTTPD_RUN=$run
# PHP finds the environment in $_SERVER too, but nothing there may pose as a header.
compgen -e | grep -Ev '^(HTTP_|_$|BASH|SHLVL|PWD|OLDPWD)' | sed 's/^/PassEnv /' >"$HTTPD_RUN/environment.conf"
exec /usr/sbin/apache2 -f "$HOME/httpd/httpd.conf" -DFOREGROUND
`

// modules of the stack's Apache; those that it has built in need no loading.
var modules = strings.Fields(`mpm_prefork authn_core authn_file authz_core authz_host authz_user auth_basic access_compat alias deflate dir env expires
	filter headers mime negotiation remoteip reqtimeout rewrite setenvif`)

// httpd gives Apache's configuration.
func (o options) httpd() string {
	var b strings.Builder
	for _, m := range modules {
		fmt.Fprintf(&b, "LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n", m, m)
	}
	return b.String() + strings.NewReplacer("WEBDIR", o.Web, "ADMIN", o.Admin).Replace(page)
}

const page = `LoadModule php_module /usr/lib/apache2/modules/libphp8.2.so

ServerRoot "${HOME}/httpd"
Listen ${PORT}
ServerName 0.0.0.0
ServerAdmin "ADMIN"
PidFile "${HTTPD_RUN}/httpd.pid"
DefaultRuntimeDir "${HTTPD_RUN}"
Mutex file:${HTTPD_RUN}
ServerTokens Prod
ServerSignature Off
TraceEnable Off
Timeout 60
KeepAliveTimeout 95
RequestReadTimeout header=20-40,MinRate=500 body=20,MinRate=500
GracefulShutdownTimeout 9

StartServers 2
MinSpareServers 1
MaxSpareServers 5
ServerLimit ${HTTPD_WORKERS}
MaxRequestWorkers ${HTTPD_WORKERS}

TypesConfig /etc/mime.types
ErrorLog "/proc/self/fd/2"
LogLevel warn
LogFormat "%a %l %u %t \"%r\" %>s %b vcap_request_id=%{X-Vcap-Request-Id}i peer_addr=%{c}a" extended
CustomLog "/proc/self/fd/1" extended

# What the router tells of the client.
RemoteIpHeader x-forwarded-for
RemoteIpInternalProxy 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16
SetEnvIf x-forwarded-proto https HTTPS=on
RequestHeader unset Proxy early
Include "${HTTPD_RUN}/environment.conf"

AddOutputFilterByType DEFLATE text/html text/plain text/xml text/css text/javascript application/javascript application/json
DocumentRoot "${HOME}/WEBDIR"
DirectoryIndex index.php index.html index.htm

<Directory />
	AllowOverride None
	Require all denied
</Directory>
<Directory "${HOME}/WEBDIR">
	Options SymLinksIfOwnerMatch
	AllowOverride All
	Require all granted
</Directory>
<FilesMatch "^\.(ht|git|env|user\.ini)">
	Require all denied
</FilesMatch>
<FilesMatch "\.php$">
	SetHandler application/x-httpd-php
</FilesMatch>
`

// scripts are run when there is no web server and the app names no command.
var scripts = []string{"app.php", "main.php", "run.php", "start.php"}

// command gives the start script.
func (o options) command(s *stager.Stager) string {
	switch o.Server {
	case "httpd":
		return head + startHTTPD
	case "nginx":
		return head + strings.ReplaceAll(startNginx, "INDEX", s.Index)
	}
	if o.Start != "" {
		return "#!/bin/bash\ncd \"$HOME\"\nexec " + o.Start + "\n"
	}
	for _, name := range scripts {
		if s.Has(name) {
			return "#!/bin/bash\ncd \"$HOME\"\nexec php " + name + "\n"
		}
	}
	s.Warn("The application will fail to start. Set APP_START_CMD or create one of: %s", strings.Join(scripts, ", "))
	return "#!/bin/bash\necho 'No start script found. Set APP_START_CMD in .bp-config/options.json, or create one of: " +
		strings.Join(scripts, ", ") + "' >&2\nexit 1\n"
}
