package staticfile

import (
	"maps"
	"slices"
	"strings"
	"text/template"
)

// boot fills in what is known only when the app starts, and becomes nginx.
const boot = `#!/bin/sh
set -e
root=${APP_ROOT:-$HOME}
listen="listen $PORT;" https=
[ -z "$ENABLE_HTTP2" ] || listen="listen $PORT http2;"
[ -z "$FORCE_HTTPS" ] || https='if ($best_proto != "https") { return 301 https://$best_host$best_prefix$request_uri; }'
sed -i -e "s#((APP_ROOT))#$root#g; s#((PORT))#$PORT#g; s#((LISTEN_DIRECTIVE))#$listen#; s#((FORCE_HTTPS_DIRECTIVE))#$https#" \
	"$root/nginx/conf/nginx.conf"
exec nginx -e stderr -p "$root/nginx" -c "$root/nginx/conf/nginx.conf"
`

var page = template.Must(template.New("nginx.conf").Parse(`daemon off;
worker_processes 1;
pid ((APP_ROOT))/nginx/nginx.pid;
error_log stderr;
events { worker_connections 1024; }

http {
	charset utf-8;
	log_format cloudfoundry '$http_x_forwarded_for - $http_referer - [$time_local] "$request" $status $body_bytes_sent';
	access_log /dev/stdout cloudfoundry;
	default_type application/octet-stream;
	include mime.types;
	sendfile on;
	tcp_nopush on;
	keepalive_timeout 30;
	server_tokens off;
	port_in_redirect off; # the port in the container is nobody else's business

	gzip on;
	gzip_static always;
	gunzip on;
	gzip_proxied any;
	gzip_vary on;
	gzip_comp_level 6;
	gzip_min_length 1100;
	gzip_types text/plain text/css text/xml text/javascript application/javascript application/json application/xml application/rss+xml image/svg+xml;

	# What the client asked for, told by the first proxy.
	map $http_x_forwarded_host $best_host { default $host; "~^([^,]+)" $1; }
	map $http_x_forwarded_prefix $best_prefix { default ''; "~^([^,]+)" $1; }
	map $http_x_forwarded_proto $best_proto { default ''; "~^([^,]+)" $1; }

	server {
		{{if .HTTP2}}listen ((PORT)) http2;{{else}}((LISTEN_DIRECTIVE)){{end}}
		server_name localhost;
		root ((APP_ROOT))/public;
		{{if .ForceHTTPS}}if ($best_proto != "https") { return 301 https://$best_host$best_prefix$request_uri; }{{else}}((FORCE_HTTPS_DIRECTIVE)){{end}}
{{- if .Auth}}
		auth_basic "Restricted";
		auth_basic_user_file ((APP_ROOT))/nginx/conf/.htpasswd;
{{- end}}
		location / {
			index index.html index.htm Default.htm;
{{- if .PushState}}
			if (!-e $request_filename) { rewrite ^(.*)$ / break; }
{{- end}}
{{- if .Directory}}
			autoindex on;
			absolute_redirect off;
{{- end}}
{{- if .SSI}}
			ssi on;
{{- end}}
{{- if .HSTS}}
			add_header Strict-Transport-Security "max-age=31536000{{if .HSTSSubDomains}}; includeSubDomains{{end}}{{if .HSTSPreload}}; preload{{end}}";
{{- end}}
{{- if .LocationInclude}}
			include {{.LocationInclude}};
{{- end}}
{{- range .ErrorPages}}
			error_page {{.}};
{{- end}}
		}
{{- if not .HostDotFiles}}
		location ~ /\. { return 404; }
{{- end}}
	}
}
`))

// render gives the configuration; what stands in (( )) is filled in by boot.
func render(o options) (string, error) {
	var text strings.Builder
	err := page.Execute(&text, o)
	return text.String(), err
}

// groups are the status codes that one name in status_codes stands for.
var groups = []struct{ name, codes string }{
	{"4xx", "400 401 402 403 404 405 406 407 408 409 410 411 412 413 414 415 416 417 418 421 422 423 424 426 428 429 431 451"},
	{"5xx", "500 501 502 503 504 505 506 507 508 510 511"},
}

// ErrorPages gives the arguments of error_page, in a steady order.
func (o options) ErrorPages() []string {
	var pages []string
	for _, code := range slices.Sorted(maps.Keys(o.StatusCodes)) {
		codes := code
		for _, g := range groups {
			if strings.Contains(code, g.name) {
				codes = g.codes
			}
		}
		pages = append(pages, codes+" "+o.StatusCodes[code])
	}
	return pages
}
