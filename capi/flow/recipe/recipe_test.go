package recipe

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"ingot/capi/app"
	"ingot/capi/build"
	"ingot/capi/route"
	"ingot/cf"
	"ingot/rest/access"
	"ingot/rest/row"
)

func guid(g string) row.Labelled { return row.Labelled{Row: row.Row{GUID: g}} }

func place() Place {
	return Place{Space: &access.Space{Labelled: guid("s"), Name: "dev"}, Org: &access.Organization{Labelled: guid("o"), Name: "acme"},
		Group: map[string]string{"A": "group", "G": "1"}, API: "https://api.ingot.test"}
}

func anApp() *app.App {
	a := &app.App{Labelled: guid("a"), Name: "Dora", SpaceGUID: "s"}
	a.Env.V = map[string]string{"A": "app", "Z": "x=y"}
	return a
}

func mapped(host, process string, port int) route.Mapped {
	return route.Mapped{Route: route.Route{Host: host, DomainName: "apps.ingot.test"},
		To: route.Destination{Process: process, Port: port, Protocol: "http1"}}
}

// TestLRP: the keys are those of CF's documentation ("Environment variables") and of Cloud Controller's VCAP builder.
func TestLRP(t *testing.T) {
	p := &app.Process{Labelled: guid("p"), Type: "web", Version: "v", Instances: 2, MemoryMB: 64, DiskMB: 128, LogRate: -1,
		HealthType: "http", HealthTimeout: 90, HealthInterval: 5, ReadinessType: "process"}
	d := &build.Droplet{Blob: "droplets/x", Stack: "cflinuxfs4"}
	d.ProcessTypes.V = map[string]string{"web": "./web", "worker": "./work"}
	inner := mapped("in", "web", 8080)
	inner.Internal = true
	got := LRP(anApp(), p, d, []route.Mapped{mapped("Z", "web", 9000), mapped("Dora", "web", 8080), mapped("w", "worker", 8080), inner}, place())

	if got.ID != "p-v" || got.AppID != "a" || got.Process != "p" || got.Instances != 2 || got.Droplet != "droplets/x" || got.Stack != "cflinuxfs4" {
		t.Errorf("%+v", got)
	}
	if want := []string{"A=app", "G=1", "VCAP_SERVICES={}", "Z=x=y"}; !reflect.DeepEqual(got.Env, want) {
		t.Errorf("env: %v", got.Env)
	}
	if want := []int{8080, 9000}; !reflect.DeepEqual(got.Ports, want) { // PORT is the first
		t.Errorf("ports: %v", got.Ports)
	}
	if want := []cf.LRPRoute{{URI: "dora.apps.ingot.test", Port: 8080, Protocol: "http1"}, {URI: "z.apps.ingot.test", Port: 9000, Protocol: "http1"}}; !reflect.DeepEqual(got.Routes, want) {
		t.Errorf("routes: %+v", got.Routes)
	}
	if want := (cf.HealthCheck{Type: "http", Endpoint: "/", Timeout: 90 * time.Second, Interval: 5 * time.Second}); got.Health != want {
		t.Errorf("health: %+v", got.Health)
	}
	if want := (cf.Limits{MemoryMB: 64, DiskMB: 128, LogBytesPerSec: -1, FileDescriptors: 16384}); got.Limits != want {
		t.Errorf("limits: %+v", got.Limits)
	}
	vcap, err := json.Marshal(got.VCAPApp)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"application_id":"a","application_name":"Dora","application_uris":["dora.apps.ingot.test","in.apps.ingot.test","z.apps.ingot.test"],` +
		`"application_version":"v","cf_api":"https://api.ingot.test","limits":{"disk":128,"fds":16384,"mem":64},"name":"Dora","organization_id":"o",` +
		`"organization_name":"acme","process_id":"p","process_type":"web","space_id":"s","space_name":"dev",` +
		`"uris":["dora.apps.ingot.test","in.apps.ingot.test","z.apps.ingot.test"],"users":null,"version":"v"}`
	if string(vcap) != want {
		t.Errorf("VCAP_APPLICATION:\n%s\n%s", vcap, want)
	}
	if strings.Contains(string(vcap), "=") {
		t.Error("an equals sign in VCAP_APPLICATION: apps cut there")
	}
	tags := map[string]string{"source_id": "a", "app_id": "a", "app_name": "Dora", "space_id": "s", "space_name": "dev",
		"organization_id": "o", "organization_name": "acme", "process_id": "p", "process_type": "web"}
	if !reflect.DeepEqual(got.MetricTags, tags) {
		t.Errorf("tags: %v", got.MetricTags)
	}
	if len(got.Egress) != 3 || got.Egress[0].Protocol != "all" || got.Egress[1].Ports != "53" {
		t.Errorf("egress: %+v", got.Egress)
	}
}

func TestStartCommandAndPorts(t *testing.T) {
	d := &build.Droplet{}
	d.ProcessTypes.V = map[string]string{"web": "./web"}
	for _, c := range []struct {
		command, kind, want string
		ports               []route.Mapped
		wantPorts           []int
	}{
		{"", "web", "./web", nil, []int{8080}},
		{"./own", "web", "./own", []route.Mapped{mapped("x", "web", 9000)}, []int{9000}},
		{"", "other", "", []route.Mapped{mapped("x", "web", 9000)}, []int{8080}},
		{"", "web", "./web", []route.Mapped{mapped("x", "web", 7777), mapped("y", "web", 8080), mapped("z", "web", 7777)}, []int{8080, 7777}},
	} {
		got := LRP(anApp(), &app.Process{Type: c.kind, Command: c.command}, d, c.ports, place())
		if got.Start != c.want || !reflect.DeepEqual(got.Ports, c.wantPorts) {
			t.Errorf("%+v: %q %v", c, got.Start, got.Ports)
		}
	}
}

func TestEnvDocument(t *testing.T) {
	doc, err := json.Marshal(EnvDocument(anApp(), place(), nil, []string{"dora.apps.ingot.test"}, true))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"application_env_json":{"VCAP_APPLICATION":{"application_id":"a","application_name":"Dora","application_uris":["dora.apps.ingot.test"],` +
		`"cf_api":"https://api.ingot.test","limits":{"fds":16384},"name":"Dora","organization_id":"o","organization_name":"acme","space_id":"s","space_name":"dev",` +
		`"uris":["dora.apps.ingot.test"],"users":null}},"environment_variables":{"A":"app","Z":"x=y"},"running_env_json":{"A":"group","G":"1"},` +
		`"staging_env_json":{},"system_env_json":{"VCAP_SERVICES":{}}}`
	if string(doc) != want {
		t.Errorf("got:\n%s\nwant:\n%s", doc, want)
	}
	doc, _ = json.Marshal(EnvDocument(anApp(), place(), nil, nil, false)["system_env_json"])
	if string(doc) != `{"redacted_message":"[PRIVATE DATA HIDDEN]"}` {
		t.Errorf("%s", doc)
	}
}

func TestRandomHost(t *testing.T) {
	seen := map[string]bool{}
	for range 50 {
		h := RandomHost("app")
		if strings.Count(h, "-") != 3 || !strings.HasPrefix(h, "app-") || len(h[strings.LastIndex(h, "-")+1:]) != 2 {
			t.Fatalf("%q", h)
		}
		seen[h] = true
	}
	if len(seen) < 40 {
		t.Errorf("only %d different hosts of 50", len(seen))
	}
}
