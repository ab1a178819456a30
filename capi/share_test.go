package capi_test

import (
	"fmt"
	"strings"
	"testing"

	"ingot/cf"
	"ingot/rest/access"
)

// refused asks what must be answered 422, in these words.
func (w *world) refused(user, line, body, want string) {
	w.T.Helper()
	if r := w.Must(422, user, line, body); r.Detail() != want {
		w.T.Errorf("%s %s\n got: %s\nwant: %s", line, body, r.Detail(), want)
	}
}

// TestSharedDomain: a private domain serves the organizations it is shared with, and no other.
func TestSharedDomain(t *testing.T) {
	w := pushWorld(t)
	for _, o := range []string{"friend", "third"} {
		w.World(o)
		w.Role("dev-"+o, access.SpaceDeveloper, o)
		w.Role("dev-"+o, access.OrgUser, o)
	}
	w.Role("boss", access.OrgManager, "own")
	w.Role("boss", access.OrgManager, "friend")
	w.Role("half", access.OrgManager, "own")
	w.Role("half", access.OrgUser, "friend")
	w.Role("theirs", access.OrgManager, "friend")
	d := w.Must(201, "boss", "POST /v3/domains", `{"name":"own.com","relationships":{"organization":{"data":{"guid":"own"}}}}`).GUID()
	share := "POST /v3/domains/" + d + "/relationships/shared_organizations"
	unshare := "DELETE /v3/domains/" + d + "/relationships/shared_organizations/"
	const shape = `Data must have the structure "data": [{"guid": shared_org_guid_1}, {"guid": shared_org_guid_2}]`
	for body, want := range map[string]string{
		`{}`: shape, `{"data":null}`: shape, `{"data":{}}`: shape, `{"data":[1]}`: shape, `{"data":[{"guid":""}]}`: shape,
		`{"data":[],"x":1}`:           "Unknown field(s): 'x'",
		`{"data":[{"guid":"none"}]}`:  "Organization with guid 'none' does not exist, or you do not have access to it.",
		`{"data":[{"guid":"third"}]}`: "Organization with guid 'third' does not exist, or you do not have access to it.",
		`{"data":[{"guid":"own"}]}`:   "Domain cannot be shared with owning organization.",
	} {
		w.refused("boss", share, body, want)
	}
	w.refused("half", share, `{"data":[{"guid":"friend"}]}`, "You do not have sufficient permissions for organization 'friend' to share domain.")
	w.refused("admin", "POST /v3/domains/"+w.domain("apps.ingot.test")+"/relationships/shared_organizations", `{"data":[{"guid":"own"}]}`,
		"Domains cannot be shared with other organizations unless they are scoped to an organization.")
	w.Must(404, "dev-friend", "GET /v3/domains/"+d, nil)
	for range 2 { // again: nothing happens
		if got := w.Must(200, "boss", share, `{"data":[{"guid":"friend"},{"guid":"friend"}]}`).Text; strings.TrimSpace(got) != `{"data":[{"guid":"friend"}]}` {
			t.Error(got)
		}
	}
	w.Must(404, "dev-third", "GET /v3/domains/"+d, nil)
	if got := w.Must(200, "dev-friend", "GET /v3/domains/"+d, nil).Get("relationships", "shared_organizations", "data", 0, "guid"); got != "friend" {
		t.Errorf("shared with %v", got)
	}
	if n := len(w.Must(200, "admin", "GET /v3/organizations/friend/domains?names=OWN.com", nil).Names("name")); n != 1 {
		t.Errorf("%d domains of the friend", n)
	}
	in := func(org string) string {
		return strings.ReplaceAll(routeBody("www", "", d), "own-space", org+"-space")
	}
	w.Must(201, "dev-friend", "POST /v3/routes", in("friend"))
	w.refused("admin", "POST /v3/routes", in("third"), "Invalid domain. Domain 'own.com' is not available in organization 'third'.")
	w.refused("boss", "DELETE /v3/domains/"+d, "", "This domain is shared with other organizations. Unshare before deleting.")
	w.Must(403, "dev-friend", unshare+"friend", nil)
	w.refused("boss", unshare+"none", "", "Organization with guid 'none' does not exist or you do not have access to it.")
	w.refused("boss", unshare+"third", "", "Organization with guid 'third' does not exist or you do not have access to it.")
	w.refused("theirs", unshare+"friend", "", "This domain has associated routes in this organization. Delete the routes before unsharing.")
	w.Job(w.Must(202, "admin", "DELETE /v3/routes/"+w.Must(200, "admin", "GET /v3/routes?hosts=www", nil).Get("resources", 0, "guid").(string), nil))
	w.Must(204, "theirs", unshare+"friend", nil)
	w.refused("admin", unshare+"friend", "", "Unable to unshare domain from organization with name 'friend'. Ensure the domain is shared to this organization.")
	w.Must(201, "admin", "POST /v3/domains",
		`{"name":"born.com","relationships":{"organization":{"data":{"guid":"own"}},"shared_organizations":{"data":[{"guid":"friend"},{"guid":"third"}]}}}`)
	w.Job(w.Must(202, "admin", "DELETE /v3/organizations/third", nil))
	if got := w.Must(200, "admin", "GET /v3/domains?names=born.com", nil).Get("resources", 0, "relationships", "shared_organizations", "data"); fmt.Sprint(got) != "[map[guid:friend]]" {
		t.Errorf("shared with %v", got)
	}
	w.refused("admin", "POST /v3/domains", `{"name":"tcp.com","router_group":{"guid":"g"}}`, "Router group with guid 'g' not found.")
	w.Must(404, "admin", "GET /routing/v1/router_groups?name=default-tcp", nil)
	w.refused("boss", "POST /v3/route_policies", `{}`, "Route policies are not available on this platform yet.")
}

// TestSharedRoute: a route can lead to apps of the spaces that it was given to, and can change its owner.
func TestSharedRoute(t *testing.T) {
	w, app := running(t)
	for _, o := range []string{"other", "third"} {
		w.World(o)
	}
	for _, o := range []string{"own", "other"} {
		w.Role("dev", access.SpaceDeveloper, o)
		w.Role("dev", access.OrgUser, o)
	}
	w.Role("view", access.SpaceAuditor, "other")
	w.Role("view", access.OrgUser, "other")
	w.Role("view", access.SpaceDeveloper, "own")
	away := w.Must(201, "admin", "POST /v3/apps", `{"name":"away","relationships":{"space":{"data":{"guid":"other-space"}}}}`).GUID()
	r := w.Must(201, "dev", "POST /v3/routes", routeBody("dora", "", w.domain("apps.ingot.test"))).GUID()
	w.Must(201, "dev", "POST /v3/routes", routeBody("dora", "/sub", w.domain("apps.ingot.test")))
	spaces, to, own := "/v3/routes/"+r+"/relationships/shared_spaces", "/v3/routes/"+r+"/destinations", "/v3/routes/"+r+"/relationships/space"
	for _, line := range []string{"GET " + spaces, "POST " + spaces, "DELETE " + spaces + "/other-space", "PATCH " + own} {
		if got := w.Must(403, "dev", line, `{}`); got.Detail() != "Feature Disabled: route_sharing" {
			t.Error(got.Text)
		}
	}
	w.SetFlag("route_sharing", true)
	const url = "dora.apps.ingot.test"
	for body, want := range map[string]string{
		`{}`:                              "Data can't be blank, Data must be an array",
		`{"data":[]}`:                     "Data can't be blank",
		`{"data":"x","y":1}`:              "Unknown field(s): 'y', Data must be an array",
		`{"data":[{"guid":1},"x"]}`:       "Invalid data type: Data[0] guid should be a string., Invalid data type: Data[1] guid should be a string.",
		`{"data":[{"guid":"none"}]}`:      "Unable to share route " + url + " with spaces ['none']. Ensure the spaces exist and that you have access to them.",
		`{"data":[{"guid":"own-space"}]}`: "Unable to share route '" + url + "' with space 'own-space'. Routes cannot be shared into the space where they were created.",
	} {
		w.refused("dev", "POST "+spaces, body, want)
	}
	const there = `{"data":[{"guid":"other-space"}]}`
	w.refused("view", "POST "+spaces, there, "Unable to share route "+url+" with spaces ['other-space']. Write permission is required in order to share a route with a space and the containing organization must not be suspended.")
	w.refused("dev", "POST "+to, `{"destinations":[{"app":{"guid":"`+away+`"}}]}`, "Routes destinations must be in either the route's space or the route's shared spaces")
	w.Must(200, "dev", "POST "+spaces, there)
	if got := w.Must(200, "dev", "GET "+spaces, nil); got.Get("data", 0, "guid") != "other-space" || got.Get("links", "self", "href") != "https://api.ingot.test"+spaces {
		t.Error(got.Text)
	}
	w.Must(200, "dev", "POST "+to, `{"destinations":[{"app":{"guid":"`+away+`"}}]}`)
	if l := w.Must(200, "view", "GET /v3/routes?space_guids=other-space", nil).Names("guid"); len(l) != 1 || l[0] != r {
		t.Errorf("routes of the space it was given to: %v", l)
	}
	for body, want := range map[string]string{
		`{}`:                              "Data can't be blank, Data must be an object",
		`{"data":[1]}`:                    "Data must be an object",
		`{"data":{"a":1,"b":2}}`:          "Data can only accept one key, Data can only accept key 'guid'",
		`{"data":{"guid":1}}`:             "Data 1 must be a string",
		`{"data":{"guid":""}}`:            "Data guid can't be blank",
		`{"data":{"guid":"none"}}`:        "Unable to transfer owner of route '" + url + "' to space 'none'. Ensure the space exists and that you have access to it.",
		`{"data":{"guid":"other-space"}}`: "Route already exists with host 'dora' for domain 'apps.ingot.test'.", // its path stays behind
	} {
		w.refused("dev", "PATCH "+own, body, want)
	}
	w.refused("view", "PATCH "+own, `{"data":{"guid":"other-space"}}`, "Unable to transfer owner of route '"+url+"' to space 'other-space'. You don't have write permission for the target space.")
	w.refused("dev", "DELETE "+spaces+"/own-space", "", "Unable to unshare route '"+url+"' from space 'own-space'. Routes cannot be removed from the space that owns them.")
	w.refused("dev", "DELETE "+spaces+"/third-space", "", "Unable to unshare route '"+url+"' from space 'third-space'. Ensure the space exists and that you have access to it.")
	w.Job(w.Must(202, "dev", "DELETE /v3/spaces/own-space/routes?unmapped=true", nil))
	w.Must(200, "dev", "POST "+to, `{"destinations":[{"app":{"guid":"`+app+`"}}]}`)
	w.Must(204, "dev", "PATCH "+own, `{"data":{"guid":"other-space"}}`)
	got := w.Must(200, "dev", "GET /v3/routes/"+r, nil)
	if got.Get("relationships", "space", "data", "guid") != "other-space" || len(w.sched.lrps(app)["web"].Routes) != 1 {
		t.Error("moved:", got.Text)
	}
	if g := w.Must(200, "dev", "GET "+spaces, nil).Get("data", 0, "guid"); g != "own-space" {
		t.Errorf("the space that had it keeps a share: %v", g)
	}
	var events []string
	for _, kind := range []string{"share", "transfer-owner"} {
		events = append(events, w.Must(200, "admin", "GET /v3/audit_events?types=audit.route."+kind, nil).Names("type")...)
	}
	if strings.Join(events, " ") != "audit.route.share audit.route.transfer-owner" {
		t.Error(events)
	}
	w.Job(w.Must(202, "admin", "DELETE /v3/organizations/own", nil)) // with the app, and the share
	if g := w.Must(200, "dev", "GET "+spaces, nil).Get("data", 0); g != nil {
		t.Errorf("shared with %v, which is gone", g)
	}
	if n := len(w.Must(200, "dev", "GET "+to, nil).JSON["destinations"].([]any)); n != 1 {
		t.Errorf("%d destinations after one app is gone", n)
	}
}

// TestRouteOptions: what options a route may have, in CF's words, and that they reach the instances.
func TestRouteOptions(t *testing.T) {
	w, app := running(t)
	apps := w.domain("apps.ingot.test")
	with := func(options string) string {
		return strings.Replace(routeBody("dora", "", apps), "{", `{"options":`+options+`,`, 1)
	}
	for options, want := range map[string]string{
		`null`:                           "Options 'options' is not a valid object",
		`[]`:                             "Options 'options' is not a valid object",
		`{"loadbalancing":5}`:            "Options Loadbalancing must be one of 'round-robin, least-connection' if present",
		`{"loadbalancing":"hash","x":1}`: "Options Unknown field(s): 'x', Options Loadbalancing must be one of 'round-robin, least-connection' if present",
		`{"hash_header":"h"}`:            "Options Unknown field(s): 'hash_header'",
		`{"loadbalancing":{}}`:           "Options Loadbalancing must be a string",
		`{"x":"` + strings.Repeat("x", 1100) + `"}`: "Options must be smaller than 1024 bytes (actual size is 1108 bytes), Options Unknown field(s): 'x'",
	} {
		w.refused("admin", "POST /v3/routes", with(options), want)
	}
	w.SetFlag("hash_based_routing", true)
	for options, want := range map[string]string{
		`{"loadbalancing":"x"}`:    "Options Loadbalancing must be one of 'round-robin, least-connection, hash' if present",
		`{"loadbalancing":"hash"}`: "Hash header must be present when loadbalancing is set to hash.",
		`{"hash_balance":"1.05","hash_header":"` + strings.Repeat("h", 129) + `"}`: "Options Hash header must be at most 128 characters, Options Hash balance must be either 0 or between 1.1 and 10.0",
		`{"hash_balance":"abc"}`:                                             "Options Hash balance must be a numeric value",
		`{"hash_balance":"1.00000000000000000"}`:                             "Options Hash balance must be at most 16 characters",
		`{"loadbalancing":"round-robin","hash_header":"h","hash_balance":2}`: "Options Hash header can only be set when loadbalancing is hash, Options Hash balance can only be set when loadbalancing is hash",
	} {
		w.refused("admin", "POST /v3/routes", with(options), want)
	}
	made := w.Must(201, "admin", "POST /v3/routes", with(`{"loadbalancing":"hash","hash_header":"X-H","hash_balance":1.25}`))
	if got := fmt.Sprint(made.Get("options")); got != "map[hash_balance:1.3 hash_header:X-H loadbalancing:hash]" {
		t.Error(got)
	}
	route := "/v3/routes/" + made.GUID()
	w.Must(200, "admin", "POST "+route+"/destinations", `{"destinations":[{"app":{"guid":"`+app+`"}}]}`)
	options := func() string { return fmt.Sprint(w.sched.lrps(app)["web"].Routes[0].Options) }
	if got := options(); got != "map[hash_balance:1.3 hash_header:X-H loadbalancing:hash]" {
		t.Errorf("at the instances: %s", got)
	}
	w.refused("admin", "PATCH "+route, `{"options":{"hash_header":null}}`, "Hash header must be present when loadbalancing is set to hash.")
	w.refused("admin", "PATCH "+route, `{"host":"x"}`, "Unknown field(s): 'host'")
	w.Must(200, "admin", "PATCH "+route, `{"options":{"loadbalancing":"least-connection"}}`)
	if got := options(); got != "map[loadbalancing:least-connection]" {
		t.Errorf("after the change: %s", got)
	}
	w.Must(200, "admin", "PATCH "+route, `{"options":{"loadbalancing":null}}`)
	if got := options(); got != "map[]" {
		t.Errorf("after all were taken away: %s", got)
	}
	for _, c := range [][2]string{
		{"loadbalancing: hash", "For application 'app': For route 'm.apps.ingot.test': Hash header must be present when loadbalancing is set to hash."},
		{"loadbalancing: hash, hash_header: h, hash_balance: 2.5", ""},
	} {
		if state, detail := w.applied("applications: [{name: app, routes: [{route: m.apps.ingot.test, options: {" + c[0] + "}}]}]"); detail != c[1] {
			t.Errorf("%s: %s %s", c[0], state, detail)
		}
	}
	m := w.yaml("admin", "POST /v3/spaces/own-space/actions/apply_manifest", "applications: [{name: app, routes: [{route: m.apps.ingot.test, options: {loadbalancing: round-robin, hash_balance: x}}]}]")
	if want := "For application 'app': Route 'm.apps.ingot.test': Hash balance must be a numeric value; For application 'app': Route 'm.apps.ingot.test': Hash balance can only be set when loadbalancing is hash"; m.Detail() != want {
		t.Errorf("%d %s", m.Status, m.Detail())
	}
}

// TestManifestRoutes: a manifest that changes a route that leads to another app besides leaves that one its mapping and
// tells it of the change.
func TestManifestRoutes(t *testing.T) {
	w, app := running(t)
	w.applied("applications: [{name: " + w.Must(200, "admin", "GET /v3/apps/"+app, nil).JSON["name"].(string) + ", routes: [{route: both.apps.ingot.test}]}]")
	if state, detail := w.applied("applications: [{name: second, routes: [{route: BOTH.apps.ingot.test, options: {loadbalancing: least-connection}}]}]"); detail != "" {
		t.Fatal(state, detail)
	}
	if state, detail := w.applied("applications: [{name: second, routes: [{route: both.apps.ingot.test, protocol: http2}]}]"); detail != "" {
		t.Fatal(state, detail)
	}
	routes := w.sched.lrps(app)["web"].Routes
	want := cf.LRPRoute{URI: "both.apps.ingot.test", Port: 8080, Protocol: "http1", Options: map[string]string{"loadbalancing": "least-connection"}}
	if len(routes) != 1 || fmt.Sprint(routes[0]) != fmt.Sprint(want) {
		t.Errorf("%+v", routes)
	}
	r := w.Must(200, "admin", "GET /v3/routes?hosts=both", nil)
	if r.Get("resources", 0, "destinations", 0, "protocol") != "http1" || r.Get("resources", 0, "destinations", 1, "protocol") != "http2" {
		t.Error(r.Text)
	}
}
