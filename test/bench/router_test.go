package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
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
  log stdout format raw local0
defaults
  mode http
  log global
  option httplog
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
user root;
worker_processes 2;
pid %[2]s/nginx.pid;
error_log %[2]s/nginx-error.log;
events { worker_connections 1024; }
http {
  access_log %[2]s/nginx-access.log;
  client_body_temp_path %[2]s; proxy_temp_path %[2]s; fastcgi_temp_path %[2]s; uwsgi_temp_path %[2]s; scgi_temp_path %[2]s;
  upstream s { server %[1]s:8080; keepalive 100; }
  server {
    listen 127.0.0.1:9002; keepalive_requests 1000000;
    location / {
      proxy_pass http://s; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
  }
}
`

// The proxies have two CPUs for themselves, the load and the app the two others.
const proxyCPUs, loadCPUs = "0,1", "2,3"

var rate = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)

// router sends requests over 60 keep-alive connections through Ingot's router, HAProxy, nginx and a bare ReverseProxy in
// turn, to one app instance with bodies of 1 kB, and to the app directly. Plain HTTP; all but the last two write access
// lines, Ingot's into the app's log stream.
func router(b *testing.B, w *world.World) {
	compile(b, w, "backend", "test/bench/backend")
	push(b, w, "backend")
	ip := address(b, w, "backend")
	startPeers(b, w, ip)
	pid, err := w.PID()
	if err != nil {
		b.Fatal(err)
	}
	w.Run(b, "taskset", "-apc", proxyCPUs, strconv.Itoa(pid))
	app := strings.TrimSpace(w.Run(b, "sh", "-c", "for p in /proc/[0-9]*; do [ \"$(readlink $p/exe)\" = /home/vcap/app/app ] && tr '\\0' '\\n' <$p/environ | grep -q VCAP_APPLICATION.*backend && basename $p; done; true"))
	w.Run(b, "taskset", "-apc", loadCPUs, app)
	targets := []struct{ name, url string }{
		{"router", "http://backend.apps.ingot.test/"}, {"haproxy", "http://127.0.0.1:9001/"}, {"nginx", "http://127.0.0.1:9002/"},
		{"ReverseProxy", "http://127.0.0.1:9003/"}, {"direct", "http://" + ip + ":8080/"},
	}
	got := map[string][]float64{}
	asked, cpu, lost := metric(b, w, "ingot_router_requests_total"), metric(b, w, "process_cpu_seconds_total"), metric(b, w, "ingot_agent_envelopes_dropped_total")
	for b.Loop() {
		for _, t := range targets {
			got[t.name] = append(got[t.name], load(b, w, t.url))
		}
	}
	for _, peer := range []string{"haproxy", "nginx", "ReverseProxy"} {
		ratio := make([]float64, len(got[peer])) // of each round, so that the noise of the others strikes both
		for i, r := range got["router"] {
			ratio[i] = r / got[peer][i]
		}
		report(b, ratio, "x-"+peer)
	}
	for _, t := range targets {
		report(b, got[t.name], t.name+"-req/s")
	}
	b.ReportMetric(1e6*(metric(b, w, "process_cpu_seconds_total")-cpu)/(metric(b, w, "ingot_router_requests_total")-asked), "us-CPU/req")
	b.ReportMetric(metric(b, w, "ingot_agent_envelopes_dropped_total")-lost, "log-lines-lost")
	w.Run(b, "taskset", "-apc", proxyCPUs+","+loadCPUs, strconv.Itoa(pid))
}

func load(b *testing.B, w *world.World, url string) float64 {
	out := w.Run(b, "taskset", "-c", loadCPUs, "wrk", "-t2", "-c60", "-d3s", "-H", "Host: backend.apps.ingot.test", url)
	m := rate.FindStringSubmatch(out)
	if m == nil || strings.Contains(out, "Non-2xx") || strings.Contains(out, "Socket errors") {
		b.Fatalf("wrk %s: %s", url, out)
	}
	f, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		b.Fatal(err)
	}
	return f
}

// address is where the app's instance listens inside its container.
func address(b *testing.B, w *world.World, app string) string {
	b.Helper()
	var stats struct {
		Resources []struct {
			IP string `json:"instance_internal_ip"`
		}
	}
	out := w.Run(b, "cf", "curl", "/v3/apps/"+guid(b, w, app)+"/processes/web/stats")
	if err := json.Unmarshal([]byte(out), &stats); err != nil || len(stats.Resources) != 1 {
		b.Fatalf("%v: %s", err, out)
	}
	return stats.Resources[0].IP
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
		c := w.Command(context.Background(), "taskset", append([]string{"-c", proxyCPUs}, line...)...)
		if err := c.Start(); err != nil { // ends with the world
			b.Fatal(err)
		}
	}
	for _, port := range []string{"9001", "9002", "9003"} {
		w.Await(b, 10*time.Second, "peer on "+port, func() error {
			return w.Command(b.Context(), "curl", "-sf", "-o", "/dev/null", "http://127.0.0.1:"+port+"/").Run()
		})
	}
}
