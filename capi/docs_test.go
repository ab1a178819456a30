package capi_test

import (
	"flag"
	"os"
	"testing"

	"ingot/rest/access"
	"ingot/rest/resttest"
)

var update = flag.Bool("update", false, "rewrite the documents that are made from data")

// walks are the success cases of all endpoints, in an order in which they work one after the other.
var walks = [][]step{steps, pushSteps, taskSteps, otherSteps, serviceSteps}

// otherSteps are the endpoints that neither a push nor the first walk needs.
var otherSteps = []step{
	{line: "POST /v3/apps", body: `{"name":"solo","relationships":{"space":{"data":{"guid":"own-space"}}}}`, keep: "app"},
	{line: "POST /v3/packages", body: `{"type":"bits","relationships":{"app":{"data":{"guid":"{app}"}}}}`, keep: "package", shape: "single_bits_package"},
	{line: "DELETE /v3/packages/{package}"},
	{line: "DELETE /v3/droplets/:guid", act: func(w *world, kept map[string]string) resttest.Answer {
		old := w.stage("dev", kept["app"])
		w.stage("dev", kept["app"])
		return w.Do("admin", "DELETE /v3/droplets/"+old, nil)
	}},
	{line: "GET /v3/domains", keep: "domain", besides: domains},
	{line: "POST /v3/routes", body: `{"relationships":{"space":{"data":{"guid":"own-space"}},"domain":{"data":{"guid":"{domain}"}}},"host":"solo"}`, keep: "route", besides: []string{"options"}},
	{line: "PATCH /v3/routes/:guid/destinations/:destination_guid", act: func(w *world, kept map[string]string) resttest.Answer {
		return w.Do("admin", "PATCH /v3/routes/"+kept["route"]+"/destinations/"+w.destination(kept), `{"protocol":"http2"}`)
	}},
	{line: "DELETE /v3/routes/:guid/destinations/:destination_guid", act: func(w *world, kept map[string]string) resttest.Answer {
		return w.Do("admin", "DELETE /v3/routes/"+kept["route"]+"/destinations/"+w.destination(kept), nil)
	}},
	{line: "DELETE /v3/routes/{route}"},
	{line: "POST /v3/stacks", body: `{"name":"gone"}`, keep: "stack"},
	{line: "DELETE /v3/stacks/{stack}"},
	{line: "DELETE /v3/apps/{app}"},
}

// unwalked are the endpoints that have no success case here, and why.
var unwalked = map[string]string{
	"GET /v2/info":                                                  "not of version 3; the oracle has no shape of it",
	"PATCH /v3/apps/{guid}/processes/{type}":                        "the oracle has it as /v3/processes/:guid only",
	"GET /routing/v1/router_groups":                                 "of CF's routing API; there are none",
	"POST /v3/route_policies":                                       "route policies are absent",
	"POST /v3/service_route_bindings":                               "route services are absent",
	"GET /v3/service_route_bindings/{guid}":                         "there are none",
	"POST /v3/service_brokers":                                      "service brokers are absent",
	"GET /v3/service_brokers/{guid}":                                "there are none",
	"GET /v3/service_offerings/{guid}":                              "there are none",
	"GET /v3/service_plans/{guid}":                                  "there are none",
	"GET /v3/service_instances/{guid}/parameters":                   "user-provided instances have none",
	"GET /v3/service_credential_bindings/{guid}/parameters":         "bindings to user-provided instances have none",
	"POST /v3/service_instances/{guid}/relationships/shared_spaces": "user-provided instances cannot be shared",
}

// destination maps the route to the app, and gives the destination.
func (w *world) destination(kept map[string]string) string {
	at := "/v3/routes/" + kept["route"] + "/destinations"
	r := w.Must(200, "admin", "PATCH "+at, `{"destinations":[{"app":{"guid":"`+kept["app"]+`"}}]}`)
	g, _ := r.Get("destinations", 0, "guid").(string)
	return g
}

// TestDocs: every endpoint has a success case, and docs/api.md and docs/openapi.json say what is served.
func TestDocs(t *testing.T) {
	w := pushWorld(t)
	w.World("second")
	w.SetFlag("route_sharing", true)
	w.Role("dev", access.SpaceDeveloper, "own")
	for _, steps := range walks {
		walk(t, w, steps)
	}
	all := w.api.Endpoints()
	for _, e := range w.rec.Unasked(all) {
		if unwalked[e] == "" {
			t.Errorf("%s: no step of a walk asks it with success", e)
		}
	}
	openapi, err := w.rec.OpenAPI(all)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"../docs/api.md": w.rec.Markdown(all), "../docs/openapi.json": string(openapi)} {
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if have, err := os.ReadFile(file); err != nil || string(have) != want {
			t.Errorf("%s is not what is served (%v): run go test ./capi -run TestDocs -update", file, err)
		}
	}
}
