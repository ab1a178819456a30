package php

import (
	"os"
	"path/filepath"
	"strings"

	"ingot/buildpacks/stager"
)

// startNginx runs PHP's FastCGI server and nginx: the end of either ends the instance, and a stop is a graceful one for both.
const startNginx = `sed "s#@RUN@#$run#g; s#@WORKERS@#$workers#" "$HOME/php/php-fpm.conf" >"$run/php-fpm.conf"
sed "s#@RUN@#$run#g; s#@HOME@#$HOME#g; s#@PORT@#$PORT#" "$HOME/nginx/nginx.conf" >"$run/nginx.conf"
trap 'kill -QUIT $(jobs -p)' TERM
LD_LIBRARY_PATH="$DEPS_DIR/INDEX/fpm/lib:$LD_LIBRARY_PATH" PHP_INI_SCAN_DIR="/etc/php/8.2/apache2/conf.d:$HOME/.bp-config/php/php.ini.d" \
	"$DEPS_DIR/INDEX/fpm/sbin/php-fpm" --nodaemonize --fpm-config "$run/php-fpm.conf" -c /etc/php/8.2/apache2/php.ini -d fastcgi.logging=0 &
/usr/sbin/nginx -e stderr -p "$HOME/nginx" -c "$run/nginx.conf" &
wait -n
code=$?
kill -QUIT $(jobs -p) 2>/dev/null
wait
exit "$code"
`

const fpm = `[global]
pid = @RUN@/php-fpm.pid
error_log = /proc/self/fd/2
log_level = notice
process_control_timeout = 9s
[www]
listen = @RUN@/php-fpm.sock
listen.mode = 0600
pm = dynamic
pm.max_children = @WORKERS@
pm.start_servers = 2
pm.min_spare_servers = 1
pm.max_spare_servers = 5
clear_env = no
catch_workers_output = yes
decorate_workers_output = no
`

const nginxConf = `daemon off;
worker_processes 1;
pid @RUN@/nginx.pid;
error_log stderr;
events { worker_connections 1024; }
http {
	include /etc/nginx/mime.types;
	default_type application/octet-stream;
	log_format extended '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent vcap_request_id=$http_x_vcap_request_id peer_addr=$realip_remote_addr';
	access_log /dev/stdout extended;
	client_body_temp_path @RUN@/body;
	fastcgi_temp_path @RUN@/fastcgi;
	sendfile on;
	keepalive_timeout 95;
	server_tokens off;
	port_in_redirect off;
	client_max_body_size 0; # PHP's own settings bound it
	gzip on;
	gzip_types text/plain text/css text/xml text/javascript application/javascript application/json;

	# What the router tells of the client.
	set_real_ip_from 10.0.0.0/8;
	set_real_ip_from 172.16.0.0/12;
	set_real_ip_from 192.168.0.0/16;
	real_ip_header x-forwarded-for;
	real_ip_recursive on;
	map $http_x_forwarded_proto $proxy_https { default ''; https on; }

	include /etc/nginx/fastcgi_params;
	fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
	fastcgi_param HTTPS $proxy_https if_not_empty;
	fastcgi_param HTTP_PROXY '';
	fastcgi_index index.php;
	upstream php_fpm { server unix:@RUN@/php-fpm.sock; }

	server {
		listen @PORT@;
		root "@HOME@/WEBDIR";
		index index.php index.html index.htm;
LOCATIONS
	}
}
`

// ownLocations is the one file of CF's nginx configuration that an app may replace here.
const ownLocations = ".bp-config/nginx/server-locations.conf"

const locations = `		location ~ /\.(ht|git|env|user\.ini) { deny all; }
		location / { try_files $uri $uri/ =404; }
		location ~ \.php$ {
			try_files $uri =404;
			fastcgi_pass php_fpm;
		}
`

// nginx gives the configuration of nginx.
func (o options) nginx(s *stager.Stager) (string, error) {
	own, err := os.ReadFile(filepath.Join(s.Build, ownLocations))
	if os.IsNotExist(err) {
		own, err = []byte(locations), nil
	}
	fill := strings.NewReplacer("#{HOME}", "@HOME@", "@{HOME}", "@HOME@", "#{WEBDIR}", o.Web, "@{WEBDIR}", o.Web)
	return strings.NewReplacer("WEBDIR", o.Web, "LOCATIONS", fill.Replace(string(own))).Replace(nginxConf), err
}
