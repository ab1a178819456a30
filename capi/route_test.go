package capi_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"ingot/rest/access"
)

func (w *world) domain(name string) string {
	w.T.Helper()
	g, _ := w.Must(200, "admin", "GET /v3/domains?names="+name, nil).Get("resources", 0, "guid").(string)
	return g
}

func routeBody(host, path, domain string) string {
	return fmt.Sprintf(`{"host":%q,"path":%q,"relationships":{"space":{"data":{"guid":"own-space"}},"domain":{"data":{"guid":%q}}}}`, host, path, domain)
}

// TestRouteNames: which names a route may have, and CF's words where it may not.
func TestRouteNames(t *testing.T) {
	w := pushWorld(t)
	w.World("other")
	w.Role("dev", access.SpaceDeveloper, "own")
	w.Role("dev", access.OrgUser, "own")
	apps := w.domain("apps.ingot.test")
	system := w.Must(201, "admin", "POST /v3/domains", `{"name":"ingot.test"}`).GUID()
	internal := w.domain("apps.internal")
	private := w.Must(201, "admin", "POST /v3/domains", `{"name":"own.example.com","relationships":{"organization":{"data":{"guid":"own"}}}}`).GUID()
	foreign := w.Must(201, "admin", "POST /v3/domains", `{"name":"other.example.com","relationships":{"organization":{"data":{"guid":"other"}}}}`).GUID()
	w.Must(201, "admin", "POST /v3/domains", `{"name":"taken.apps.ingot.test"}`)
	w.Must(201, "dev", "POST /v3/routes", routeBody("Dora", "", apps))
	w.Must(201, "dev", "POST /v3/routes", routeBody("dora", "/x", apps))
	w.Must(201, "dev", "POST /v3/routes", routeBody("", "", private))
	w.Must(201, "dev", "POST /v3/routes", routeBody("*", "", private))
	w.Must(201, "admin", "POST /v3/routes", routeBody("*", "", apps))
	w.Must(201, "admin", "POST /v3/routes",
		strings.ReplaceAll(routeBody("elsewhere", "", apps), "own-space", "other-space"))
	for _, c := range []struct{ user, body, want string }{
		{"dev", routeBody("dORA", "", apps), "Route already exists with host 'dORA' for domain 'apps.ingot.test'."},
		{"dev", routeBody("dora", "/x", apps), "Route already exists with host 'dora' and path '/x' for domain 'apps.ingot.test'."},
		{"dev", routeBody("", "", private), "Route already exists for domain 'own.example.com'."},
		{"dev", routeBody("elsewhere", "/hijack", apps), "Route already exists with host 'elsewhere' and path '/hijack' for domain 'apps.ingot.test'."},
		{"dev", routeBody("uaa", "", system), "Route conflicts with a reserved system route."},
		{"admin", routeBody("UAA", "", system), "Route conflicts with a reserved system route."},
		{"dev", routeBody("api", "/x", system), "Route conflicts with a reserved system route."},
		{"dev", routeBody("*", "/x", apps), "You do not have sufficient permissions to create a route with a wildcard host on a domain not scoped to an organization."},
		{"dev", routeBody("", "", apps), "Missing host. Routes in shared domains must have a host defined."},
		{"dev", routeBody("taken", "", apps), "Route conflicts with domain 'taken.apps.ingot.test'."},
		{"dev", routeBody("a", "/x", internal), "Paths are not supported for internal domains."},
		{"dev", routeBody("a", "", foreign), "Invalid domain. Ensure that the domain exists and you have access to it."},
		{"admin", routeBody("a", "", foreign), "Invalid domain. Domain 'other.example.com' is not available in organization 'own'."},
		{"dev", routeBody("a", "", "nope"), "Invalid domain. Ensure that the domain exists and you have access to it."},
		{"dev", routeBody("a.b", "", apps), `Host must be either "*" or contain only alphanumeric characters, "_", or "-"`},
		{"dev", routeBody(strings.Repeat("a", 64), "", apps), "Host is too long (maximum is 63 characters)"},
		{"dev", routeBody("a", "x", apps), "Path must begin with /"},
		{"dev", routeBody("a", "/", apps), "Path cannot be exactly /"},
		{"dev", routeBody("a", "/x?y", apps), "Path cannot contain ?"},
		{"dev", routeBody("a", "/x y", apps), "Path is invalid."},
		{"dev", routeBody("dora", "/X", apps), "Route already exists with host 'dora' and path '/X' for domain 'apps.ingot.test'."},
		{"dev", strings.Replace(routeBody("a", "", apps), "{", `{"port":-1,`, 1), "Port must be greater than or equal to 0"},
		{"dev", strings.Replace(routeBody("a", "", apps), "{", `{"port":"x","what":1,`, 1), "Unknown field(s): 'what', Port is not a number"},
		{"dev", strings.Replace(routeBody("a", "", apps), "{", `{"port":65536,`, 1), "Port must be less than or equal to 65535"},
		{"dev", `{"host":7,"path":[]}`, "Host must be a string, Path must be a string, Relationships can't be blank, Relationships 'relationships' is not an object"},
		{"dev", `{"relationships":{"space":{"data":{"guid":"own-space"}}}}`, "Relationships Domain can't be blank, Relationships Domain must be structured like this: \"domain: {\"data\": {\"guid\": \"valid-guid\"}}\""},
		{"dev", strings.Replace(routeBody("a", "", apps), "{", `{"port":80,`, 1), "Routes with protocol 'http' do not support ports."},
		{"dev", strings.Replace(routeBody("a", "", apps), "{", `{"options":{"loadbalancing":"fast"},`, 1),
			"Options Loadbalancing must be one of 'round-robin, least-connection' if present"},
	} {
		if r := w.Must(422, c.user, "POST /v3/routes", c.body); r.Detail() != c.want {
			t.Errorf("%s\n got: %s\nwant: %s", c.body, r.Detail(), c.want)
		}
	}
	for q, want := range map[string]bool{"host=dora": true, "host=Dora&path=/X": true, "host=DORA&path=/x": true, "host=dora&path=/y": false, "host=nobody": false} {
		if got := w.Must(200, "dev", "GET /v3/domains/"+apps+"/route_reservations?"+q, nil).Get("matching_route"); got != want {
			t.Errorf("%s is reserved: %v", q, got)
		}
	}
	if n := len(w.Must(200, "dev", "GET /v3/routes?hosts=DORA", nil).Names("guid")); n != 2 {
		t.Errorf("%d routes by the host in capitals", n)
	}
	for q, want := range map[string]int{"hosts=dora&paths=/X": 1, "hosts=dora,elsewhere&paths=,/y": 1, "hosts=dora&ports=0": 2, "ports=x": 0, "hosts=": 1, "space_guids=other-space": 0} {
		if n := len(w.Must(200, "dev", "GET /v3/routes?"+q, nil).Names("guid")); n != want {
			t.Errorf("%d routes with %s", n, q)
		}
	}
	if l := w.Must(200, "dev", "GET /v3/routes?include=domain,space,space.organization&hosts=dora", nil); l.Get("included", "domains", 0, "name") != "apps.ingot.test" ||
		l.Get("included", "organizations", 0, "name") != "own" || l.Get("included", "spaces", 0, "guid") != "own-space" || l.Get("included", "spaces", 1) != nil {
		t.Error(l.Text)
	}
	if l := w.Must(200, "dev", "GET /v3/routes?include=space.organization&hosts=dora", nil); l.Get("included", "spaces", 0, "name") == nil ||
		l.Get("included", "organizations", 0, "name") != "own" {
		t.Error("the space comes with its organization:", l.Text)
	}
}

// TestDomainNames: which names a domain may have.
func TestDomainNames(t *testing.T) {
	w := pushWorld(t)
	w.World("other")
	w.Role("boss", access.OrgManager, "own")
	of := func(name string) string {
		return fmt.Sprintf(`{"name":%q,"relationships":{"organization":{"data":{"guid":"own"}}}}`, name)
	}
	w.Must(201, "admin", "POST /v3/domains", `{"name":"other.com","relationships":{"organization":{"data":{"guid":"other"}}}}`)
	w.Must(201, "admin", "POST /v3/domains", `{"name":"below.taken.org"}`)
	w.Must(201, "boss", "POST /v3/domains", of("Own.COM"))
	w.Must(201, "boss", "POST /v3/domains", of("sub.own.com"))
	w.Must(201, "admin", "POST /v3/routes", routeBody("www", "", w.domain("own.com")))
	for _, c := range []struct{ body, want string }{
		{of("own.com"), `The domain name "own.com" is already in use`},
		{of("www.own.com"), `The domain name "www.own.com" cannot be created because "www.own.com" is already reserved by a route`},
		{of("a.other.com"), `The domain name "a.other.com" cannot be created because "other.com" is already reserved by another domain`},
		{of("api.ingot.test"), `The domain name "api.ingot.test" cannot be created because "api.ingot.test" is already reserved by the system`},
		{of("co.uk"), `The "co.uk" domain is reserved and cannot be used for org-scoped domains.`},
		{of("taken.org"), `The domain name "taken.org" cannot be created because "below.taken.org" is already reserved by another domain`},
		{`{"name":"x.com","relationships":{"organization":{"data":null}}}`, "Organization with guid '' does not exist or you do not have access to it."},
		{`{"name":"x.com","relationships":{"shared_organizations":{"data":[{"guid":"other"}]}}}`, "Relationships cannot contain shared_organizations without an owning organization."},
		{`{"name":"x.com","internal":1,"router_group":"g"}`, "Router group must be an object, Internal must be a boolean"},
		{`{"name":"x.com","internal":true,"router_group":{"guid":7,"x":1}}`, "Router group Unknown field(s): 'x', Router group guid must be a string, Internal domains cannot be associated to a router group."},
		{`{"name":"x.com","router_group":{"guid":"g"},"relationships":{"organization":{"data":{"guid":"own"}}}}`, "Domains scoped to an organization cannot be associated to a router group."},
		{`{"name":"x.com","enforce_route_policies":true,"route_policies_scope":"all"}`, "Route policies scope must be one of 'any', 'org', 'space', Route policies are not available on this platform yet."},
		{`{"name":null,"what":1}`, "Unknown field(s): 'what', Name can't be blank, Name must contain at least one \".\""},
		{of("ingot.test"), `The "ingot.test" domain is reserved and cannot be used for org-scoped domains.`},
		{of("nodots"), `Name does not comply with RFC 1035 standards, Name must contain at least one "."`},
		{of("bad_.com"), "Name does not comply with RFC 1035 standards, Name must consist of alphanumeric characters and hyphens"},
		{`{"name":"x.com","internal":true,"relationships":{"organization":{"data":{"guid":"own"}}}}`, "Cannot associate an internal domain with an organization"},
		{`{"name":"x.com","relationships":{"organization":{"data":{"guid":"none"}}}}`, "Organization with guid 'none' does not exist or you do not have access to it."},
	} {
		if r := w.Must(422, "boss", "POST /v3/domains", c.body); r.Detail() != c.want {
			t.Errorf("%s\n got: %s\nwant: %s", c.body, r.Detail(), c.want)
		}
	}
	w.SetFlag("private_domain_creation", false)
	w.Must(403, "boss", "POST /v3/domains", of("late.com"))
	w.Must(403, "boss", "POST /v3/domains", `{"name":"shared.com"}`)
	if names := w.Must(200, "boss", "GET /v3/domains", nil).Names("name"); strings.Join(names, " ") != "apps.ingot.test apps.internal below.taken.org own.com sub.own.com" {
		t.Errorf("sees %v", names)
	}
	if n := w.Must(200, "boss", "GET /v3/organizations/own/domains/default", nil).Get("name"); n != "apps.ingot.test" {
		t.Errorf("default: %v", n)
	}
	w.Job(w.Must(202, "boss", "DELETE /v3/domains/"+w.domain("own.com"), nil))
	if n := len(w.Must(200, "admin", "GET /v3/routes", nil).Names("guid")); n != 0 {
		t.Errorf("%d routes of a deleted domain are left", n)
	}
}

// TestDestinations: what a destination may be.
func TestDestinations(t *testing.T) {
	w, app := running(t)
	w.World("other")
	away := w.Must(201, "admin", "POST /v3/apps", `{"name":"away","relationships":{"space":{"data":{"guid":"other-space"}}}}`).GUID()
	r := w.Must(201, "admin", "POST /v3/routes", routeBody("dora", "", w.domain("apps.ingot.test"))).GUID()
	to := func(s string) string {
		return `{"destinations":[` + strings.ReplaceAll(s, "APP", `"app":{"guid":"`+app+`"}`) + `]}`
	}
	w.Must(200, "admin", "POST /v3/routes/"+r+"/destinations", to(`{APP}`))
	w.Must(200, "admin", "POST /v3/routes/"+r+"/destinations", to(`{APP}`)) // again: nothing happens
	for _, c := range []struct{ method, body, want string }{
		{"POST", `{}`, "Destinations must be an array containing between 1 and 100 destination objects."},
		{"POST", to(``), "Destinations must be an array containing between 1 and 100 destination objects."},
		{"POST", to(`1,{},{"app":{"guid":""}},{APP,"x":1}`), `Destinations[0]: must be an object., Destinations[1]: must have an "app"., Destinations[2]: app must have the structure {"guid": "app_guid"}, Destinations[3]: must have only "app" and optionally "weight", "port" or "protocol".`},
		{"POST", to(`{APP,"weight":1},{APP,"port":80},{APP,"protocol":"x"}`), "Destinations[0]: weighted destinations can only be used when replacing all destinations., Destinations[1]: port must be a positive integer between 1024 and 65535 inclusive., Destinations[2]: protocol must be 'http1', 'http2' or 'tcp'."},
		{"PATCH", to(`{APP,"weight":50},{APP,"port":9000}`), "Destinations cannot contain both weighted and unweighted destinations."},
		{"PATCH", to(`{APP,"weight":50},{APP,"port":9000,"weight":49}`), "Destinations must have weights that sum to 100."},
		{"POST", `{"destinations":null,"x":1}`, "Unknown field(s): 'x', Destinations must be an array containing between 1 and 100 destination objects."},
		{"PATCH", to(`{APP,"weight":101},{APP,"weight":"50","port":9000}`), "Destinations[0]: weight must be a positive integer between 1 and 100., Destinations[1]: weight must be a positive integer between 1 and 100."},
		{"POST", to(`{APP},{APP}`), "Destinations cannot contain duplicate entries"},
		{"POST", to(`{APP,"protocol":"tcp"}`), "Cannot use 'tcp' protocol for http routes; valid options are: [http1, http2]."},
		{"POST", to(`{APP,"protocol":"http2"}`), "Cannot add destination with protocol: http2. Destination already exists for route: dora.apps.ingot.test, app: " + app + ", process: web, and protocol: http1."},
		{"POST", `{"destinations":[{"app":{"guid":"none"}}]}`, `App(s) with guid(s) "none" do not exist.`},
		{"POST", `{"destinations":[{"app":{"guid":"` + away + `"}}]}`, "Routes destinations must be in either the route's space or the route's shared spaces"},
	} {
		if got := w.Must(422, "admin", c.method+" /v3/routes/"+r+"/destinations", c.body); got.Detail() != c.want {
			t.Errorf("%s %s\n got: %s\nwant: %s", c.method, c.body, got.Detail(), c.want)
		}
	}
	w.Must(200, "admin", "PATCH /v3/routes/"+r+"/destinations", to(`{APP,"port":9000,"weight":30},{APP,"weight":70}`))
	lrp := w.sched.lrps(app)["web"]
	if len(lrp.Routes) != 2 || lrp.Routes[0].Port != 8080 || lrp.Routes[0].Weight != 70 || lrp.Routes[1].Port != 9000 {
		t.Errorf("routes: %+v", lrp.Routes)
	}
	w.Must(200, "admin", "POST /v3/apps/"+app+"/actions/restart", nil)
	if p := w.sched.lrps(app)["web"].Ports; len(p) != 2 || p[0] != 8080 {
		t.Errorf("ports: %v", p)
	}
	d := w.Must(200, "admin", "GET /v3/routes/"+r+"/destinations?app_guids="+app, nil).Get("destinations", 0, "guid").(string)
	if got := w.Must(422, "admin", "DELETE /v3/routes/"+r+"/destinations/"+d, nil); got.Detail() != "Weighted destinations cannot be deleted individually." {
		t.Error(got.Text)
	}
	w.Must(422, "admin", "DELETE /v3/routes/"+r+"/destinations/none", nil)
	for q, want := range map[string]string{
		"":                   "Unmapped can't be blank, Mass delete not supported for routes. Use 'unmapped=true' parameter to delete all unmapped routes., Unmapped must be a boolean",
		"?unmapped=false":    "Mass delete not supported for mapped routes. Use 'unmapped=true' parameter to delete all unmapped routes.",
		"?unmapped=yes":      "Unmapped must be a boolean",
		"?unmapped=true&a=b": "Unknown field(s): 'a'",
	} {
		if got := w.Must(422, "admin", "DELETE /v3/spaces/own-space/routes"+q, nil); got.Detail() != want {
			t.Error(got.Text)
		}
	}
	for body, want := range map[string]string{
		`{"protocol":"tcp"}`:        "Destination protocol must be 'http1' or 'http2' if the parent route's protocol is 'http'",
		`{"protocol":null}`:         "Destination protocol must be 'http1', 'http2' or 'tcp'.",
		`{"protocol":1,"weight":2}`: "Unknown field(s): 'weight', Destination protocol must be 'http1', 'http2' or 'tcp'.",
	} {
		if got := w.Must(422, "admin", "PATCH /v3/routes/"+r+"/destinations/"+d, body); got.Detail() != want {
			t.Error(got.Text)
		}
	}
	w.Must(200, "admin", "PATCH /v3/routes/"+r+"/destinations/"+d, `{"protocol":"http2"}`)
	if p := w.sched.lrps(app)["web"].Routes; p[0].Protocol == p[1].Protocol {
		t.Errorf("protocols: %+v", p)
	}
	if got := w.Must(422, "admin", "GET /v3/routes/"+r+"/destinations?x=1", nil); got.Detail() != "Unknown query parameter(s): 'x'. Valid parameters are: 'guids', 'app_guids'" {
		t.Error(got.Text)
	}
	w.Job(w.Must(202, "admin", "DELETE /v3/routes/"+r, nil))
	if n := len(w.sched.lrps(app)["web"].Routes); n != 0 {
		t.Errorf("%d routes in the LRP after the route was deleted", n)
	}
}

// TestOneRoute: of many who want a name at once, one gets it.
func TestOneRoute(t *testing.T) {
	w := pushWorld(t)
	apps := w.domain("apps.ingot.test")
	var wg sync.WaitGroup
	status := make(chan int, 16)
	for i := range 16 {
		wg.Go(func() {
			status <- w.Do("admin", "POST /v3/routes", routeBody([]string{"dora", "DORA"}[i%2], "", apps)).Status
		})
	}
	wg.Wait()
	close(status)
	made := 0
	for s := range status {
		if s == 201 {
			made++
		}
	}
	if made != 1 {
		t.Errorf("%d routes of one name", made)
	}
}
