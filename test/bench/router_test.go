package bench

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"ingot/test/world"
)

const proxyEnv = "INGOT_BENCH_PROXY"

// reverseProxy turns this process into a bare httputil.ReverseProxy on 127.0.0.1:9003 when it is asked to.
func reverseProxy() {
	target := os.Getenv(proxyEnv)
	if target == "" {
		return
	}
	u, err := url.Parse(target)
	if err != nil {
		panic(err)
	}
	p := httputil.NewSingleHostReverseProxy(u)
	p.Transport = &http.Transport{MaxIdleConnsPerHost: 100}
	panic((&http.Server{Addr: "127.0.0.1:9003", Handler: p, ReadHeaderTimeout: time.Second}).ListenAndServe())
}

const haproxyConfig = `
global
  nbthread 2
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend f
  bind 127.0.0.1:9001
  default_backend b
backend b
  http-reuse always
  option forwardfor
  server s %s:8080
`

const nginxConfig = `
daemon off;
worker_processes 2;
pid %[2]s/nginx.pid;
error_log %[2]s/nginx-error.log;
events { worker_connections 1024; }
http {
  access_log %[2]s/nginx-access.log;
  client_body_temp_path %[2]s; proxy_temp_path %[2]s; fastcgi_temp_path %[2]s; uwsgi_temp_path %[2]s; scgi_temp_path %[2]s;
  upstream s { server %[1]s:8080; keepalive 100; }
  server { listen 127.0.0.1:9002; location / { proxy_pass http://s; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; } }
}
`

var rate = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)

// BenchmarkRouter sends 60 keep-alive connections through the router, HAProxy, nginx and a bare ReverseProxy in turn, to
// one app instance, and gives the median of b.N rounds of each. Plain HTTP, access log on where there is one.
func BenchmarkRouter(b *testing.B) {
	w := up(b)
	push(b, w, "bin")
	ip := regexp.MustCompile(`CF_INSTANCE_INTERNAL_IP=([0-9.]+)`).FindStringSubmatch(w.Run(b, "curl", "-sk", "https://bin.apps.ingot.test/env"))[1]
	startPeers(b, w, ip)
	targets := []struct{ name, url string }{
		{"router", "http://bin.apps.ingot.test/"}, {"haproxy", "http://127.0.0.1:9001/"}, {"nginx", "http://127.0.0.1:9002/"},
		{"ReverseProxy", "http://127.0.0.1:9003/"}, {"direct", "http://" + ip + ":8080/"},
	}
	got := map[string][]float64{}
	for b.Loop() {
		for _, t := range targets {
			out := w.Run(b, "wrk", "-t2", "-c60", "-d3s", "-H", "Host: bin.apps.ingot.test", t.url)
			m := rate.FindStringSubmatch(out)
			if m == nil {
				b.Fatalf("wrk %s: %s", t.name, out)
			}
			f, err := strconv.ParseFloat(m[1], 64)
			if err != nil {
				b.Fatal(err)
			}
			got[t.name] = append(got[t.name], f)
		}
	}
	for _, t := range targets {
		slices.Sort(got[t.name])
		b.ReportMetric(got[t.name][len(got[t.name])/2], t.name+"-req/s")
	}
}

func startPeers(b *testing.B, w *world.World, ip string) {
	b.Helper()
	hc, nc := filepath.Join(w.Dir, "haproxy.cfg"), filepath.Join(w.Dir, "nginx.conf")
	for file, text := range map[string]string{hc: fmt.Sprintf(haproxyConfig, ip), nc: fmt.Sprintf(nginxConfig, ip, w.Dir)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for _, line := range [][]string{{"haproxy", "-f", hc}, {"nginx", "-c", nc, "-p", w.Dir}, {"env", proxyEnv + "=http://" + ip + ":8080", self}} {
		if err := w.Command(context.Background(), line[0], line[1:]...).Start(); err != nil { // ends with the world
			b.Fatal(err)
		}
	}
	for _, port := range []string{"9001", "9002", "9003"} {
		w.Await(b, 10*time.Second, "peer on "+port, func() error {
			return w.Command(b.Context(), "curl", "-sf", "-o", "/dev/null", "http://127.0.0.1:"+port+"/").Run()
		})
	}
}
