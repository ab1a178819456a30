package org

import (
	"strings"
	"testing"

	"ingot/cf"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/resttest"
)

func newAPI(t testing.TB) *resttest.API {
	db := resttest.Open(t)
	f := &Family{DB: db}
	a := resttest.New(t, db, rest.Server{})
	f.Directory = a.Users
	if err := f.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.Serve(rest.Server{Nouns: f.Nouns(), Routes: f.Routes(), Includes: []rest.Include{
		{Of: "space", Param: "organization", Kind: "organization", Key: "organizations",
			Where: "guid IN (SELECT org_guid FROM rest_spaces WHERE guid IN (?))"},
		{Of: "role", Param: "user", Kind: "user", Key: "users", Where: "guid IN (SELECT user_guid FROM rest_roles WHERE guid IN (?))"},
	}})
	return a
}

// refused checks that a request is refused in exactly these words.
func refused(t *testing.T, a *resttest.API, status int, user, line, body, words string) {
	t.Helper()
	if r := a.Do(user, line, body); r.Status != status || r.Detail() != words {
		t.Errorf("%s as %s %s\n got %d %q\nwant %d %q", line, user, body, r.Status, r.Detail(), status, words)
	}
}

func TestOrganizations(t *testing.T) {
	a := newAPI(t)
	o := a.Must(201, "admin", "POST /v3/organizations", `{"name":"Acme","metadata":{"labels":{"team":"red"}}}`)
	path := "/v3/organizations/" + o.GUID()
	refused(t, a, 422, "admin", "POST /v3/organizations", `{"name":"aCME"}`, "Organization 'aCME' already exists.")
	refused(t, a, 403, "joe", "POST /v3/organizations", `{"name":"x"}`, "You are not authorized to perform the requested action")
	refused(t, a, 404, "joe", "GET "+path, "", "Organization not found")
	refused(t, a, 404, "joe", "PATCH "+path, "{}", "Organization not found")
	a.Role("boss", access.OrgManager, o.GUID())
	a.Role("joe", access.OrgUser, o.GUID())
	refused(t, a, 403, "joe", "PATCH "+path, "{}", "You are not authorized to perform the requested action")
	refused(t, a, 403, "boss", "PATCH "+path, `{"suspended":true}`, "You are not authorized to perform the requested action")
	a.Must(200, "boss", "PATCH "+path, `{"metadata":{"labels":{"team":null,"x":"y"}}}`)
	a.Must(200, "admin", "PATCH "+path, `{"suspended":true}`)
	refused(t, a, 403, "boss", "PATCH "+path, `{"name":"z"}`, "The organization is suspended")
	a.Must(201, "admin", "POST /v3/organizations", `{"name":"b"}`)
	refused(t, a, 422, "admin", "PATCH "+path, `{"name":"B"}`, "Organization name 'B' is already taken.")
	for query, want := range map[string]string{
		"names=ACME,zzz": "Acme", "label_selector=x%20in%20(y,z)": "Acme", "label_selector=!x": "b", "order_by=-name": "b Acme",
		"order_by=name": "Acme b", "names=a%252Cb": "", "created_ats[gt]=2000-01-01T00:00:00Z": "Acme b", "per_page=1&page=2": "b",
		"guids=" + o.GUID(): "Acme", "label_selector=team": "",
	} {
		if got := strings.Join(a.Must(200, "admin", "GET /v3/organizations?"+query, nil).Names("name"), " "); got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
	if j := a.Job(a.Must(202, "admin", "DELETE "+path, nil)); j.JSON["state"] != "COMPLETE" || j.JSON["operation"] != "organization.delete" {
		t.Error(j.Text)
	}
	a.Must(404, "admin", "GET "+path, nil)
	a.Must(404, "admin", "DELETE "+path, nil)
}

func TestUserCreatesOrganization(t *testing.T) {
	a := newAPI(t)
	a.SetFlag("user_org_creation", true)
	o := a.Must(201, "joe", "POST /v3/organizations", `{"name":"mine"}`)
	a.Must(200, "joe", "PATCH /v3/organizations/"+o.GUID(), `{"name":"ours"}`)
	roles := a.Must(200, "joe", "GET /v3/roles?organization_guids="+o.GUID()+"&order_by=created_at", nil).Names("type")
	if strings.Join(roles, " ") != "organization_user organization_manager" {
		t.Error(roles)
	}
}

func TestSpaces(t *testing.T) {
	a := newAPI(t)
	a.World("acme")
	a.World("other")
	a.Role("boss", access.OrgManager, "acme")
	a.Role("dev", access.SpaceDeveloper, "acme")
	body := `{"name":"prod","relationships":{"organization":{"data":{"guid":"acme"}}}}`
	s := a.Must(201, "boss", "POST /v3/spaces", body)
	path := "/v3/spaces/" + s.GUID()
	refused(t, a, 422, "boss", "POST /v3/spaces", strings.Replace(body, "prod", "PROD", 1), "Name must be unique per organization")
	refused(t, a, 422, "boss", "POST /v3/spaces", strings.Replace(body, "acme", "other", 1),
		"Invalid organization. Ensure the organization exists and you have access to it.")
	refused(t, a, 422, "boss", "POST /v3/spaces", `{}`, "Relationships 'relationships' is not an object, Name can't be blank")
	refused(t, a, 422, "boss", "POST /v3/spaces", `{"name":"x","relationships":{}}`,
		"Relationships 'relationships' must include one or more valid relationships")
	refused(t, a, 422, "boss", "POST /v3/spaces", `{"name":"x","relationships":{"organization":"acme"}}`,
		`Relationships Organization must be structured like this: "organization: {"data": {"guid": "valid-guid"}}"`)
	refused(t, a, 404, "dev", "GET "+path, "", "Space not found")
	refused(t, a, 403, "dev", "PATCH /v3/spaces/acme-space", "{}", "You are not authorized to perform the requested action")
	a.Must(200, "boss", "PATCH "+path, `{"name":"live","suspended":true}`)
	refused(t, a, 422, "boss", "PATCH "+path, `{"name":"acme-space"}`, "Organization 'acme' already contains a space with name 'acme-space'.")
	a.Must(200, "admin", "PATCH /v3/spaces/acme-space", `{"suspended":true}`)

	f := a.Must(200, "dev", "GET /v3/spaces/acme-space/features/ssh", nil)
	if f.JSON["enabled"] != true {
		t.Error(f.Text)
	}
	refused(t, a, 404, "dev", "GET /v3/spaces/acme-space/features/nope", "", "Feature not found")
	a.Must(200, "boss", "PATCH /v3/spaces/acme-space/features/ssh", `{"enabled":false}`)
	refused(t, a, 422, "boss", "PATCH /v3/spaces/acme-space/features/ssh", `{"enabled":"no"}`, "Enabled must be a boolean")

	l := a.Must(200, "boss", "GET /v3/spaces?order_by=name&include=organization&organization_guids=acme", nil)
	if l.Get("included", "organizations", 0, "name") != "acme" || strings.Join(l.Names("name"), " ") != "acme-space live" {
		t.Error(l.Text)
	}
	refused(t, a, 400, "boss", "GET /v3/spaces?include=x", "",
		"The query parameter is invalid: Invalid included resource: 'x'. Valid included resources are: 'organization'")
	a.Must(200, "dev", "GET /v3/spaces/acme-space?include=organization", nil)
	a.Job(a.Must(202, "boss", "DELETE "+path, nil))
	refused(t, a, 403, "dev", "DELETE /v3/spaces/acme-space", "", "You are not authorized to perform the requested action")
	a.Job(a.Must(202, "admin", "DELETE /v3/organizations/acme", nil))
	a.Must(404, "admin", "GET /v3/spaces/acme-space", nil)
}

func TestRoles(t *testing.T) {
	a := newAPI(t)
	a.World("acme")
	a.World("other")
	a.Role("boss", access.OrgManager, "acme")
	a.Users.Known = []cf.User{{ID: "ann-guid", Name: "Ann", Origin: "uaa"}, {ID: "two1", Name: "two", Origin: "uaa"}, {ID: "two2", Name: "two", Origin: "ldap"}}
	role := func(kind, user, place, guid string) string {
		return `{"type":"` + kind + `","relationships":{"user":{"data":{` + user + `}},"` + place + `":{"data":{"guid":"` + guid + `"}}}}`
	}
	const post = "POST /v3/roles"
	byName := `"username":"ann"`
	refused(t, a, 422, "boss", post, role("space_developer", byName, "space", "acme-space"), notInOrg)
	o := a.Must(201, "boss", post, role("organization_user", byName, "organization", "acme"))
	refused(t, a, 422, "boss", post, role("organization_user", byName, "organization", "acme"),
		"User 'Ann' already has 'organization_user' role in organization 'acme'.")
	s := a.Must(201, "boss", post, role("space_developer", `"guid":"ann-guid"`, "space", "acme-space"))
	refused(t, a, 422, "boss", post, role("space_developer", byName, "space", "acme-space"),
		"User 'Ann' already has 'space_developer' role in space 'acme-space'.")
	refused(t, a, 422, "boss", post, role("organization_user", `"username":"nobody"`, "organization", "acme"),
		"No user exists with the username 'nobody'.")
	refused(t, a, 422, "boss", post, role("organization_user", `"username":"nobody","origin":"ldap"`, "organization", "acme"),
		"No user exists with the username 'nobody' and origin 'ldap'.")
	refused(t, a, 422, "boss", post, role("organization_user", `"username":"two"`, "organization", "acme"),
		"Ambiguous user. User with username 'two' exists in the following origins: ldap, uaa. Specify an origin to disambiguate.")
	refused(t, a, 422, "boss", post, role("organization_user", byName, "space", "acme-space"),
		"Relationships Space cannot be provided with the organization role type: 'organization_user'.")
	refused(t, a, 422, "boss", post, role("king", byName, "space", "acme-space"), `Type must be one of the allowed types `+
		`["organization_auditor", "organization_manager", "organization_billing_manager", "organization_user", "space_auditor", "space_manager", "space_developer", "space_supporter"]`)
	refused(t, a, 422, "boss", post, role("organization_user", byName, "organization", "none"),
		"Invalid organization. Ensure that the organization exists and you have access to it.")
	refused(t, a, 403, "boss", post, role("organization_user", byName, "organization", "other"), "You are not authorized to perform the requested action") // RolesController
	refused(t, a, 403, "ann", post, role("organization_user", byName, "organization", "acme"), "You are not authorized to perform the requested action")
	refused(t, a, 422, "boss", "DELETE /v3/roles/"+o.GUID(), "", "Cannot delete organization_user role while user has roles in spaces in that organization.")
	l := a.Must(200, "boss", "GET /v3/roles?user_guids=ann-guid&include=user&order_by=created_at", nil)
	if l.Get("included", "users", 0, "username") != "Ann" || strings.Join(l.Names("type"), " ") != "organization_user space_developer" {
		t.Error(l.Text)
	}
	refused(t, a, 422, "boss", "GET /v3/roles?x=1", "", "Unknown query parameter(s): 'x'. Valid parameters are: 'page', 'per_page', "+
		"'order_by', 'created_ats', 'updated_ats', 'guids', 'organization_guids', 'space_guids', 'user_guids', 'types', 'include'")
	a.Job(a.Must(202, "boss", "DELETE /v3/roles/"+s.GUID(), nil))
	a.Job(a.Must(202, "boss", "DELETE /v3/roles/"+o.GUID(), nil))
	a.Must(404, "ann", "GET /v3/organizations/acme", nil)
	a.SetFlag("set_roles_by_username", false)
	refused(t, a, 403, "boss", post, role("organization_user", byName, "organization", "acme"), "Feature Disabled: set_roles_by_username")
	a.Must(201, "admin", post, role("organization_user", byName, "organization", "acme"))
}

func TestUsers(t *testing.T) {
	a := newAPI(t)
	a.World("acme")
	a.Role("boss", access.OrgManager, "acme")
	a.Users.Known = []cf.User{{ID: "ann", Name: "Ann", Origin: "uaa"}, {ID: "bob", Name: "bob", Origin: "ldap"}}
	u := a.Must(201, "admin", "POST /v3/users", `{"guid":"ann"}`)
	if u.JSON["username"] != "Ann" || u.JSON["presentation_name"] != "Ann" || u.JSON["origin"] != "uaa" {
		t.Error(u.Text)
	}
	refused(t, a, 422, "admin", "POST /v3/users", `{"guid":"ann"}`, "User with guid 'ann' already exists.")
	refused(t, a, 422, "admin", "POST /v3/users", `{}`, "Guid or 'username' and 'origin' must be provided")
	refused(t, a, 403, "boss", "POST /v3/users", `{"guid":"x"}`, "You are not authorized to perform the requested action")
	a.Must(201, "admin", "POST /v3/users", `{"username":"bob","origin":"ldap"}`)
	refused(t, a, 422, "admin", "POST /v3/users", `{"username":"bob","origin":"ldap"}`, "User with username 'bob' and origin 'ldap' already exists.")
	if r := a.Must(201, "admin", "POST /v3/users", `{"username":"cleo","origin":"saml"}`); r.JSON["username"] != "cleo" || r.JSON["origin"] != "saml" {
		t.Error("a user whom UAA did not know:", r.Text)
	}
	refused(t, a, 404, "boss", "GET /v3/users/ann", "", "User not found")
	for query, want := range map[string]string{"usernames=ANN,x": "ann", "usernames=ann,bob&origins=ldap": "bob", "partial_usernames=NN": "ann",
		"partial_usernames=b,n&origins=ldap": "bob", "partial_usernames=zz": ""} {
		if got := strings.Join(a.Must(200, "admin", "GET /v3/users?"+query, nil).Names("guid"), " "); got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
	refused(t, a, 422, "admin", "GET /v3/users?origins=x", "", "Origins filter cannot be provided without usernames or partial_usernames filter.")
	if got := a.Must(200, "boss", "GET /v3/organizations/acme/users", nil).Names("guid"); len(got) != 1 || got[0] != "boss-guid" {
		t.Error(got)
	}
	a.Must(200, "admin", "PATCH /v3/users/ann", `{"metadata":{"annotations":{"a":"b"}}}`)
	a.Job(a.Must(202, "admin", "DELETE /v3/users/ann", nil))
	a.Must(404, "admin", "GET /v3/users/ann", nil)
}
