package capi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"ingot/capi/admin"
	"ingot/capi/org"
	"ingot/cf"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/quota"
	"ingot/rest/resttest"
	"ingot/rest/row"
)

// callers are the users of the test and their names in roles.csv. Each but the first three has its role in the
// organization "own"; those with a role in its space are in the organization besides, as CF wants it.
var callers = map[string]string{
	"admin": "Admin", "admin_read_only": "Admin Read-Only", "global_auditor": "Global Auditor",
	"organization_user": "", "organization_auditor": "Org Auditor", "organization_billing_manager": "Org Billing Manager",
	"organization_manager": "Org Manager", "space_auditor": "Space Auditor", "space_developer": "Space Developer",
	"space_manager": "Space Manager", "space_supporter": "Space Supporter", "stranger": "", "": "",
}

// call is one request of the test. {org} and {space} are those of the world asked about; {x} is a fresh object of make.
type call struct {
	line, body string
	make       func(a *resttest.API, world, guid string)
	// conditional are the callers whose conditional permission does not hold in this case, with CF's reason.
	conditional []string
	// orgUser: organization_user, which the documentation leaves out, may as well (ROLES_FOR_ORG_READING of Cloud
	// Controller's permissions), and with it who has a role in the space.
	orgUser bool
	all     bool // Cloud Controller's controller asks for no role
	// refused are documented callers whom Cloud Controller's code refuses.
	refused []string
	hidden  bool // who may not is answered as if the object were not there
}

var calls = []call{
	{line: "GET /v3/organizations"},
	{line: "GET /v3/organizations/{org}"},
	{line: "POST /v3/organizations", body: `{"name":"{x}"}`, conditional: []string{"All Roles"}}, // flag user_org_creation is off
	{line: "PATCH /v3/organizations/{org}", body: `{"metadata":{"labels":{"a":"b"}}}`},
	{line: "PATCH /v3/organizations/{org}", body: `{"suspended":true}`, conditional: []string{"Org Manager"}}, // admins only
	{line: "DELETE /v3/organizations/{x}", make: freshOrg},
	{line: "GET /v3/organizations/{org}/users"},
	{line: "GET /v3/organizations/{org}/usage_summary"},
	{line: "GET /v3/organizations/{org}/relationships/default_isolation_segment"},
	{line: "PATCH /v3/organizations/{org}/relationships/default_isolation_segment", body: `{"data":null}`},
	{line: "GET /v3/organization_quotas"},
	{line: "GET /v3/organization_quotas/{x}", make: freshQuota, all: true},
	{line: "POST /v3/organization_quotas", body: `{"name":"{x}"}`},
	{line: "PATCH /v3/organization_quotas/{x}", make: freshQuota, body: `{"apps":{}}`},
	{line: "POST /v3/organization_quotas/{x}/relationships/organizations", make: freshQuota, body: `{"data":[{"guid":"{org}"}]}`},
	{line: "DELETE /v3/organization_quotas/{x}", make: freshQuota},
	{line: "GET /v3/space_quotas"},
	{line: "GET /v3/space_quotas/{x}", make: freshSpaceQuota, conditional: spaceRoles}, // theirs is not this one
	{line: "POST /v3/space_quotas", body: `{"name":"{x}","relationships":{"organization":{"data":{"guid":"{org}"}}}}`},
	{line: "PATCH /v3/space_quotas/{x}", make: freshSpaceQuota, body: `{"apps":{}}`},
	{line: "POST /v3/space_quotas/{x}/relationships/spaces", make: freshSpaceQuota, body: `{"data":[{"guid":"{space}"}]}`},
	{line: "DELETE /v3/space_quotas/{x}/relationships/spaces/{x}-space", make: givenSpaceQuota},
	{line: "DELETE /v3/space_quotas/{x}", make: freshSpaceQuota},
	{line: "GET /v3/isolation_segments"},
	{line: "GET /v3/isolation_segments/{x}", make: freshSegment},
	{line: "GET /v3/isolation_segments/{x}/organizations", make: freshSegment, orgUser: true},
	{line: "GET /v3/isolation_segments/{x}/relationships/organizations", make: freshSegment},
	{line: "GET /v3/isolation_segments/{x}/relationships/spaces", make: freshSegment},
	{line: "POST /v3/isolation_segments", body: `{"name":"{x}"}`},
	{line: "PATCH /v3/isolation_segments/{x}", make: freshSegment, body: `{}`},
	{line: "DELETE /v3/isolation_segments/{x}", make: func(a *resttest.API, _, guid string) {
		a.Insert(&org.Segment{Labelled: row.Labelled{Row: base(guid)}, Name: guid, NameKey: guid})
	}},
	{line: "POST /v3/isolation_segments/{x}/relationships/organizations", make: freshSegment, body: `{"data":[{"guid":"{org}"}]}`},
	{line: "DELETE /v3/isolation_segments/{x}/relationships/organizations/{org}", make: freshSegment},
	{line: "GET /v3/spaces/{space}/running_security_groups"},
	{line: "GET /v3/spaces/{space}/staging_security_groups"},
	{line: "GET /v3/security_groups"},
	{line: "GET /v3/security_groups/{x}", all: true, make: func(a *resttest.API, _, guid string) {
		a.Insert(&admin.SecurityGroup{Row: base(guid), Name: guid, Running: true})
	}},
	{line: "GET /v3/spaces"},
	{line: "GET /v3/spaces/{space}"},
	{line: "POST /v3/spaces", body: `{"name":"{x}","relationships":{"organization":{"data":{"guid":"{org}"}}}}`},
	{line: "PATCH /v3/spaces/{space}", body: `{"metadata":{"labels":{"a":"b"}}}`},
	{line: "PATCH /v3/spaces/{space}", body: `{"suspended":false}`, conditional: []string{"Space Manager"}}, // not suspension
	{line: "DELETE /v3/spaces/{x}", make: freshSpace},
	{line: "GET /v3/spaces/{space}/users"},
	{line: "GET /v3/spaces/{space}/usage_summary"},
	{line: "GET /v3/spaces/{space}/features"},
	{line: "GET /v3/spaces/{space}/features/ssh"},
	{line: "PATCH /v3/spaces/{space}/features/ssh", body: `{"enabled":true}`},
	{line: "GET /v3/spaces/{space}/relationships/isolation_segment"},
	{line: "PATCH /v3/spaces/{space}/relationships/isolation_segment", body: `{"data":null}`},
	{line: "GET /v3/roles"},
	{line: "GET /v3/roles/{x}", make: freshRole(access.OrgAuditor), orgUser: true},
	{line: "POST /v3/roles", make: freshUser, conditional: []string{"Space Manager"}, // only roles in the space
		body: `{"type":"organization_auditor","relationships":{"user":{"data":{"guid":"{x}"}},"organization":{"data":{"guid":"{org}"}}}}`},
	{line: "POST /v3/roles", make: freshUser,
		body: `{"type":"space_auditor","relationships":{"user":{"data":{"guid":"{x}"}},"space":{"data":{"guid":"{space}"}}}}`},
	{line: "DELETE /v3/roles/{x}", make: freshRole(access.OrgAuditor), conditional: []string{"Space Manager"}},
	{line: "DELETE /v3/roles/{x}", make: freshRole(access.SpaceAuditor)},
	{line: "GET /v3/users"},
	{line: "GET /v3/users/{x}", make: freshUser, orgUser: true},
	{line: "POST /v3/users", body: `{"guid":"{x}"}`, conditional: []string{"Org Manager"}}, // not without allow_user_creation_by_org_manager
	{line: "PATCH /v3/users/{x}", body: `{}`, make: freshUser},
	{line: "DELETE /v3/users/{x}", make: freshUser},
	{line: "GET /v3/audit_events"},
	{line: "GET /v3/audit_events/{x}", make: freshEvent},
	{line: "GET /v3/feature_flags"},
	{line: "GET /v3/feature_flags/diego_docker"},
	{line: "PATCH /v3/feature_flags/diego_docker", body: `{"enabled":true}`},
	{line: "GET /v3/environment_variable_groups/running"},
	{line: "PATCH /v3/environment_variable_groups/running", body: `{"var":{}}`},
	{line: "GET /v3/stacks"},
	{line: "POST /v3/stacks", body: `{"name":"{x}"}`},
	{line: "GET /v3/stacks/{x}", make: freshStack, all: true},
	{line: "PATCH /v3/stacks/{x}", make: freshStack, body: `{"state":"DEPRECATED"}`},
	{line: "DELETE /v3/stacks/{x}", make: freshStack},
	{line: "GET /v3/buildpacks"},
	{line: "POST /v3/buildpacks", body: `{"name":"{x}"}`},
	{line: "GET /v3/buildpacks/{x}", make: freshBuildpack},
	{line: "PATCH /v3/buildpacks/{x}", body: `{"enabled":true}`, make: freshBuildpack},
	{line: "DELETE /v3/buildpacks/{x}", make: freshBuildpack},
	{line: "POST /v3/admin/actions/clear_buildpack_cache"},
	{line: "GET /v3/info/usage_summary"},
}

func base(guid string) row.Row { return row.Row{GUID: guid} }

func freshOrg(a *resttest.API, _, guid string) {
	a.Insert(&access.Organization{Labelled: row.Labelled{Row: base(guid)}, Name: guid, NameKey: guid, Status: access.Active})
}

func freshSpace(a *resttest.API, world, guid string) {
	a.Insert(&access.Space{Labelled: row.Labelled{Row: base(guid)}, Name: guid, NameKey: guid, OrgGUID: world, Status: access.Active})
}

// spaceRoles as roles.csv names them.
var spaceRoles = []string{"Space Auditor", "Space Developer", "Space Manager", "Space Supporter"}

func freshQuota(a *resttest.API, _, guid string) {
	a.Insert(&quota.OfOrg{Quota: quota.Quota{Row: base(guid), Name: guid, NameKey: guid}})
}

func freshSpaceQuota(a *resttest.API, world, guid string) {
	a.Insert(&quota.OfSpace{Quota: quota.Quota{Row: base(guid), Name: guid, NameKey: guid, OrgGUID: world}})
}

// givenSpaceQuota makes besides a space that has the quota.
func givenSpaceQuota(a *resttest.API, world, guid string) {
	freshSpaceQuota(a, world, guid)
	a.Insert(&access.Space{Labelled: row.Labelled{Row: base(guid + "-space")}, Name: guid, NameKey: guid, OrgGUID: world,
		Status: access.Active, QuotaGUID: guid})
}

// freshSegment makes a segment to which the world is entitled.
func freshSegment(a *resttest.API, world, guid string) {
	a.Insert(&org.Segment{Labelled: row.Labelled{Row: base(guid)}, Name: guid, NameKey: guid})
	a.Must(200, "admin", "POST /v3/isolation_segments/"+guid+"/relationships/organizations", `{"data":[{"guid":"`+world+`"}]}`)
}

func freshUser(a *resttest.API, world, guid string) {
	a.Insert(&access.User{Labelled: row.Labelled{Row: base(guid)}}, &access.RoleRow{Type: access.OrgUser, UserGUID: guid, OrgGUID: world})
}

func freshRole(t access.Role) func(a *resttest.API, world, guid string) {
	return func(a *resttest.API, world, guid string) {
		r := &access.RoleRow{Row: base(guid), Type: t, UserGUID: guid, OrgGUID: world}
		if !t.OfOrg() {
			r.SpaceGUID = world + "-space"
		}
		a.Insert(r)
	}
}

func freshBuildpack(a *resttest.API, _, guid string) {
	a.Insert(&admin.Buildpack{Labelled: row.Labelled{Row: base(guid)}, Name: guid, Lifecycle: "buildpack", Blob: "buildpacks/x"})
}

func freshStack(a *resttest.API, _, guid string) {
	a.Insert(&admin.Stack{Labelled: row.Labelled{Row: base(guid)}, Name: guid, State: "ACTIVE"})
}

func freshEvent(a *resttest.API, world, guid string) {
	a.Insert(&event.Event{Row: base(guid), Type: "audit.app.create", OrgGUID: world, SpaceGUID: world + "-space"})
}

// allowed tells whether the documentation lets the caller do it, in an organization of theirs.
func allowed(c call, documented map[string]string, user string) bool {
	if strings.HasPrefix(c.line, "GET") && shared(c.line) && user != "" && !strings.HasSuffix(c.line, "usage_summary") {
		return true // a list is answered to everybody; it may be empty
	}
	if (user == "organization_user" || strings.HasPrefix(user, "space_")) && c.orgUser {
		return true
	}
	if slices.Contains(c.refused, callers[user]) {
		return false
	}
	note, listed := documented[callers[user]]
	if callers[user] == "" {
		listed = false
	}
	if n, all := documented["All Roles"]; all && !listed && user != "" {
		return n == "" || !slices.Contains(c.conditional, "All Roles")
	}
	return listed && (note == "" || !slices.Contains(c.conditional, callers[user]))
}

// shared things have no owner: what All Roles may see of them, strangers may too.
func shared(line string) bool {
	return !strings.ContainsAny(line, "{") || strings.HasPrefix(line, "GET /v3/buildpacks/")
}

// TestRoles asks everything as everybody, in an own and in a foreign organization, against roles.csv.
func TestRoles(t *testing.T) {
	w := newWorld(t)
	a := w.API
	a.Users.Known = []cf.User{}
	a.SetFlag("route_sharing", true)
	a.World("own")
	a.World("other")
	freshBuildpack(a, "", "any")
	for _, r := range access.AllRoles {
		a.Role(string(r), r, "own")
		if !r.OfOrg() {
			a.Role(string(r), access.OrgUser, "own")
		}
	}
	n := 0
	defer func() { t.Logf("%d cells", n) }()
	for _, c := range slices.Concat(calls, pushCalls, serviceCalls) {
		method, path, _ := strings.Cut(c.line, " ")
		path, _, _ = strings.Cut(path, "?")
		documented := map[string]string{}
		for _, r := range resttest.Table(t, "roles.csv") {
			if r[0] == method && same(r[1], path) {
				documented[r[2]] = r[3]
			}
		}
		if len(documented) == 0 {
			t.Errorf("%s: nobody is documented", c.line)
		}
		for user := range callers {
			for _, world := range []string{"own", "other"} {
				n++
				x := fmt.Sprintf("x%d", n)
				if c.make != nil {
					c.make(a, world, x)
				}
				fill := strings.NewReplacer("{org}", world, "{space}", world+"-space", "{x}", x).Replace
				global := strings.HasPrefix(callers[user], "Admin") || user == "global_auditor"
				may := c.all && user != "" || allowed(c, documented, user) && (global || shared(c.line+c.body) || world == "own" && user != "stranger" ||
					c.make == nil && strings.Contains(c.body, "{x}") && shared(c.line) && !strings.Contains(c.body, "{org}") && !strings.Contains(c.body, "{space}"))
				before := a.Do(user, fill("GET "+object(path)), nil)
				r := w.ask(user, fill(c.line), fill(c.body))
				check(t, c, user, world, may, before, r)
				if strings.Contains(c.body, "suspended\":true") && r.Status == 200 {
					a.Must(200, "admin", fill(c.line), `{"suspended":false}`)
				}
			}
		}
	}
}

// ask sends a body as JSON, or as the YAML that manifests are.
func (w *world) ask(user, line, body string) resttest.Answer {
	w.T.Helper()
	if user != "" && strings.HasPrefix(line, "POST") && strings.Contains(line, "manifest") {
		return w.yaml(user, line, body)
	}
	return w.Do(user, line, body)
}

// object is the part of a path that names the object: /v3/apps/{x} of /v3/apps/{x}/env.
func object(path string) string {
	parts := strings.Split(path, "/")
	return strings.Join(parts[:min(4, len(parts))], "/")
}

func check(t *testing.T, c call, user, world string, may bool, before, r resttest.Answer) {
	t.Helper()
	creates := strings.HasPrefix(c.line, "POST") && shared(c.line)
	switch {
	case user == "":
		if r.Status != 401 {
			t.Errorf("%s without a token: %d", c.line, r.Status)
		}
	case may && r.Status >= 400:
		t.Errorf("%s as %s in %s: %d %s, but CF allows it", c.line, user, world, r.Status, r.Detail())
	case !may && r.Status < 400:
		t.Errorf("%s as %s in %s: %d, but CF does not allow it", c.line, user, world, r.Status)
	case !may && creates && (strings.Contains(r.Detail(), "Ensure") || strings.Contains(r.Detail(), "you do not have access") || strings.Contains(r.Detail(), "could not be found")): // 422: a foreign object in the body
	case !may && c.hidden && r.Status == 404:
	case !may && creates && r.Status != 403:
		t.Errorf("%s as %s in %s: %d %s", c.line, user, world, r.Status, r.Detail())
	case !may && strings.HasPrefix(c.line, "POST /v3/deployments/") && r.Status == 404: // to those who may not steer it is not there
	case !may && !creates && before.Status == 200 != (r.Status == 403) && !strings.Contains(c.line, "segment"):
		t.Errorf("%s as %s in %s: refused with %d, but its GET answers %d", c.line, user, world, r.Status, before.Status)
	}
}
