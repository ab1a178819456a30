package capi_test

import (
	"testing"

	"ingot/rest/access"
	"ingot/rest/resttest"
)

// TestDuties asks every row and route for what all nouns owe.
func TestDuties(t *testing.T) {
	w := pushWorld(t)
	w.World("other")
	w.SetFlag("route_sharing", true) // asked before the route, too
	for i, world := range []string{"own", "other"} {
		deploying(w.API, world, "x"+string(rune('1'+i)))
		tasking(w.API, world, "t"+string(rune('1'+i)))
		freshUse(w.API, world, "use-"+world)
		freshServiceUse(w.API, world, "service-use-"+world)
		freshEvent(w.API, world, "event-"+world)
		w.privateDomain("private.example-"+world+".com", world)
	}
	bound(w.API, "own", "bound")
	w.Must(201, "admin", "POST /v3/stacks", `{"name":"other"}`)
	w.Must(201, "admin", "POST /v3/users", `{"guid":"ann"}`)
	for _, name := range []string{"own", "other"} {
		freshQuota(w.API, "", "quota-"+name)
		freshSpaceQuota(w.API, name, "space-quota-"+name)
		w.Must(201, "admin", "POST /v3/isolation_segments", `{"name":"segment `+name+`"}`)
	}
	d := &resttest.Duties{API: w.API, Endpoints: w.api.Endpoints(), Users: []string{"stranger", "admin_read_only", "global_auditor"},
		Good: map[string]string{ // the order of Cloud Controller's RoutesController and DomainsController
			"POST /v3/domains/{guid}/relationships/shared_organizations": `{"data":[{"guid":"own"}]}`,
			"POST /v3/routes/{guid}/destinations":                        `{"destinations":[{"app":{"guid":"x1"}}]}`,
			"PATCH /v3/routes/{guid}/destinations":                       `{"destinations":[]}`,
			"PATCH /v3/routes/{guid}/relationships/space":                `{"data":{"guid":"own-space"}}`,
		},
		Excuses: map[string]string{
			"GET /v3/feature_flags?updated_ats":    "a flag that nobody set has no time",
			"POST /v3/service_route_bindings with": "route services are absent",
			"DELETE /v3/sidecars/{guid}: none":     "they are in no list of all; the walk deletes one",
			"GET /v3/tasks?sequence_ids":           "only below an app",
			"GET /v3/apps/{guid}/tasks?app_guids":  "not below an app",
			"POST /v3/service_brokers with":        "service brokers are absent",
		}}
	for _, r := range access.AllRoles {
		w.Role(string(r), r, "own")
		if !r.OfOrg() {
			w.Role(string(r), access.OrgUser, "own")
		}
		d.Users = append(d.Users, string(r))
	}
	d.Doors()
	d.Lists()
	d.Seen()
	d.Bodies()
	d.Deletions()
}

func (w *world) privateDomain(name, org string) {
	w.Must(201, "admin", "POST /v3/domains", `{"name":"`+name+`","relationships":{"organization":{"data":{"guid":"`+org+`"}}}}`)
}
