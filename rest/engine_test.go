package rest_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/resttest"
	"ingot/rest/row"
)

// spaces serves the spaces as a plain noun, with everything that a noun can declare.
func spaces(t *testing.T) *resttest.API {
	r := &rest.Resource[access.Space]{
		Kind: "space", Path: "/v3/spaces", Visible: access.InSpaces("guid"),
		Filters: []rest.Filter{
			{Param: "names", Where: "name_key IN (?)", Fold: true},
			{Param: "ssh", Where: "allow_ssh = ?", Bool: true},
			{Param: "org", Where: "org_guid = ?", One: true, Check: rest.OneOf("org", "acme", "other")},
			{Param: "not", Where: "guid IN (?)", Not: "guid NOT IN (?)"},
			{Param: "quotas", Where: "quota_guid IN (?)", Null: "quota_guid = ''"},
		},
		Orders: []string{"name:name_key"},
		View:   func(_ *rest.Call, s *access.Space) rest.Object { return rest.Object{"name": s.Name} },
		Update: func(c *rest.Call, s *access.Space) error {
			var in body
			if err := rest.Take(c, &in); err != nil {
				return err
			}
			return c.Change(s, func(context.Context, bun.Tx) error { return in.meta.Apply(s.Meta()) })
		},
	}
	orgs := &rest.Resource[access.Organization]{
		Kind: "organization", Path: "/v3/organizations", Visible: access.InOrgs("guid"),
		View: func(_ *rest.Call, o *access.Organization) rest.Object {
			return rest.Object{"name": o.Name, "relationships": rest.Object{"quota": rest.ToOne(o.QuotaGUID), "x": 1}}
		},
	}
	where := "guid IN (SELECT org_guid FROM rest_spaces WHERE guid IN (?))"
	db := resttest.Open(t)
	return resttest.New(t, db, rest.Server{
		Nouns: []rest.Noun{r, orgs},
		Routes: []rest.Route{
			{Pattern: "POST /v3/bodies", Handle: func(c *rest.Call) error { return rest.Take(c, &body{}) }},
			{Pattern: "GET /v3/panics", Handle: func(*rest.Call) error { panic("x") }},
			{Pattern: "POST /v3/vanish", Handle: func(c *rest.Call) error { // somebody deletes the row between look and change
				return c.Change(&access.Space{Labelled: row.Labelled{Row: row.Row{GUID: "gone"}}}, nil)
			}},
			{Pattern: "GET /v3/bug", Handle: func(*rest.Call) error { return fmt.Errorf("secret") }},
			{Pattern: "GET /open", Handle: func(c *rest.Call) error { return c.JSON(200, rest.Object{"you": c.Caller.GUID}) }, Open: true},
			{Pattern: "GET /v3/warns", Handle: func(c *rest.Call) error { c.Warn("a, b"); return c.NoContent() }},
		},
		Includes: []rest.Include{
			{Of: "space", Param: "organization", Kind: "organization", Key: "organizations", Where: where},
			{Of: "space", Param: "organization", Kind: "organization", Key: "organizations", Where: where, Fields: []string{"guid", "name", "relationships.quota"}},
			{Of: "space", Param: "organization.spaces", Kind: "space", Key: "spaces", Fields: []string{"guid"},
				Where: "org_guid IN (SELECT org_guid FROM rest_spaces WHERE guid IN (?))"},
		},
	})
}

type body struct {
	name, guid rest.Opt[string]
	on         rest.Opt[bool]
	n          rest.Opt[int]
	list       rest.Opt[[]string]
	one        rest.Opt[string]
	many       rest.Opt[[]string]
	meta       row.Patch
}

func (in *body) Take(b *rest.Body) {
	b.Metadata(&in.meta)
	b.String("name", &in.name, rest.Length(1, 5), rest.Printable)
	b.GUID("guid", &in.guid)
	b.Bool("on", &in.on)
	b.Int("memory_in_mb", &in.n, 1, 10, "must be between 1 and 10")
	b.Strings("list", &in.list, "must be an array of strings")
	b.Nested("data", func(b *rest.Body) { b.String("stack", &rest.Opt[string]{}, rest.Required) })
	b.Relationships(true, func(b *rest.Body) { b.ToOne("space", &in.one, rest.Required); b.ToMany("orgs", &in.many) })
	if b.Has("var") {
		b.Env("var")
	}
}

func TestVanished(t *testing.T) {
	if r := spaces(t).Do("admin", "POST /v3/vanish", ""); r.Status != 404 || r.Detail() != "Space not found" {
		t.Errorf("%d %s", r.Status, r.Detail())
	}
}

func TestBodies(t *testing.T) {
	a := spaces(t)
	const parse = "Request invalid due to parse error: invalid request body"
	deep := strings.Repeat("[", 200) + strings.Repeat("]", 200)
	for in, want := range map[string]string{
		`{`: parse, `x`: parse, `{"name":"a"}}`: parse, `{"list":` + deep + `}`: parse, "{\"name\":\"\xff\"}": parse,
		`[]`: "Unknown field(s): '_json'", `"x"`: "Unknown field(s): '_json'",
		``: "", `{}`: "", `null`: "", `{"name":null,"on":null,"memory_in_mb":null}`: "",
		`{"x":1,"y":2}`:                             "Unknown field(s): 'x', 'y'",
		`{"name":1}`:                                "Name must be a string",
		`{"name":"toolong"}`:                        "Name is too long (maximum is 5 characters)",
		`{"name":"äöüßé"}`:                          "",
		`{"name":"","name":"b"}`:                    "",
		`{"name":"a\nb"}`:                           "Name must not contain escaped characters",
		`{"name":"a\u0000b"}`:                       "Name must not contain null characters, Name must not contain escaped characters",
		`{"guid":7}`:                                "Guid must be a string, Guid must be between 1 and 200 characters",
		`{"on":"true"}`:                             "On must be a boolean",
		`{"memory_in_mb":11}`:                       "Memory in mb must be between 1 and 10",
		`{"memory_in_mb":99999999999999999999999}`:  "Memory in mb must be between 1 and 10",
		`{"memory_in_mb":1.5}`:                      "Memory in mb must be an integer",
		`{"memory_in_mb":"1"}`:                      "Memory in mb is not a number",
		`{"list":{}}`:                               "List must be an array of strings",
		`{"list":[1]}`:                              "List must be an array of strings",
		`{"data":{}}`:                               "Data Stack can't be blank",
		`{"data":{"stack":1,"z":1}}`:                "Data Unknown field(s): 'z', Data Stack must be a string",
		`{"data":3}`:                                "Data must be an object",
		`{"relationships":{"space":{"data":null}}}`: "",
		`{"relationships":{"orgs":{"data":[{"guid":"a"}]}}}`:                           `Relationships Space can't be blank, Relationships Space must be structured like this: "space: {"data": {"guid": "valid-guid"}}"`,
		`{"relationships":{"space":{"data":{"guid":""}}}}`:                             "Relationships Space guid must be between 1 and 200 characters",
		`{"relationships":{"space":{"data":{"guid":"a"}},"orgs":{"data":[{"id":1}]}}}`: `Relationships Orgs must be structured like this: "orgs: {"data": [{"guid": "valid-guid"},{"guid": "valid-guid"}]}"`,
		`{"relationships":7}`:             "Relationships 'relationships' is not an object",
		`{"metadata":7}`:                  "Metadata must be an object",
		`{"metadata":{"x":1,"labels":7}}`: "Metadata 'labels' is not an object, Metadata has unexpected field(s): 'x'",
		`{"metadata":{"labels":{"":"","a/b/c":"","-a":"","cloudfoundry.org/x":"","x_/y":""}}}`: "Metadata label key error: key cannot be empty string, " +
			"Metadata label key error: '-a' starts or ends with invalid characters, Metadata label key error: key has more than one '/', " +
			"Metadata label key error: prefix 'cloudfoundry.org' is reserved, Metadata label key error: prefix 'x_' must be in valid dns format",
		`{"metadata":{"labels":{"a":"` + strings.Repeat("x", 64) + `"}}}`:        "Metadata label value error: 'xxxxxxxx...' is greater than 63 characters",
		`{"metadata":{"annotations":{"a":"` + strings.Repeat("x", 5001) + `"}}}`: "Metadata annotation value error: 'xxxxxxxx...' is greater than 5000 characters",
		`{"var":{"VCAP_X":"","vmc":"","port":"","a":1}}`:                         `Non-string value in environment variable for key 'a', value '1', Var cannot set PORT, Var cannot start with VMC_, Var cannot start with VCAP_`,
	} {
		r := a.Do("admin", "POST /v3/bodies", in)
		got := r.Detail()
		if strings.Contains(in, `"var"`) { // order of keys is not CF's business
			got, want = sortedWords(got), sortedWords(want)
		}
		status := map[bool]int{true: 400, false: 422}[want == parse]
		if got != want || want != "" && r.Status != status {
			t.Errorf("%s\n got %d %s\nwant %d %s", first(in), r.Status, got, status, want)
		}
	}
	if r := a.Do("admin", "POST /v3/bodies", strings.Repeat(" ", 5<<20)); r.Status != 413 || r.Detail() != "The request body is too large" {
		t.Errorf("a body of 5 MB: %d", r.Status)
	}
}

func sortedWords(s string) string {
	l := strings.Split(s, ", ")
	slices.Sort(l)
	return strings.Join(l, ", ")
}

func first(s string) string { return s[:min(120, len(s))] }

func TestLists(t *testing.T) {
	a := spaces(t)
	a.World("acme")
	a.World("other")
	for i, labels := range []string{`{"color":"red","x.io/tier":"db"}`, `{"color":"blue","empty":""}`} {
		a.Must(200, "admin", "PATCH /v3/spaces/"+[]string{"acme-space", "other-space"}[i], `{"metadata":{"labels":`+labels+`}}`)
	}
	for query, want := range map[string]string{
		"":                                "acme-space other-space",
		"names=ACME-space":                "acme-space",
		"names=acme-space,%20other-space": "acme-space other-space",
		"names=a%252Cb":                   "", "names=": "",
		"guids=acme-space&guids=other-space": "other-space",
		"ssh=true":                           "acme-space other-space", "ssh=false": "",
		"org=acme": "acme-space", "not[not]=acme-space": "other-space",
		"quotas=": "acme-space other-space", "quotas=x": "",
		"order_by=-name": "other-space acme-space", "order_by=%2Bname": "acme-space other-space", "order_by=-created_at": "other-space acme-space",
		"page=2&per_page=1": "other-space", "page=9": "",
		"created_ats[gt]=2001-01-01T00:00:00Z&created_ats[lt]=2999-01-01T00:00:00Z": "acme-space other-space",
		"created_ats[lte]=2001-01-01T00:00:00Z":                                     "", "updated_ats=2001-01-01T00:00:00Z,2002-01-01T00:00:00Z": "",
		"label_selector=" + url.QueryEscape("color"):                        "acme-space other-space",
		"label_selector=" + url.QueryEscape("!color"):                       "",
		"label_selector=" + url.QueryEscape("color=red"):                    "acme-space",
		"label_selector=" + url.QueryEscape("color==red"):                   "acme-space",
		"label_selector=" + url.QueryEscape("color!=red"):                   "other-space",
		"label_selector=" + url.QueryEscape("color in (red,blue)"):          "acme-space other-space",
		"label_selector=" + url.QueryEscape("color notin (red),!x.io/tier"): "other-space",
		"label_selector=" + url.QueryEscape("x.io/tier=db,color in (red)"):  "acme-space",
		"label_selector=" + url.QueryEscape("tier=db"):                      "",
		"label_selector=" + url.QueryEscape("empty="):                       "other-space",
	} {
		if got := strings.Join(a.Must(200, "admin", "GET /v3/spaces?"+query, nil).Names("name"), " "); got != want {
			t.Errorf("%s\n got %q\nwant %q", query, got, want)
		}
	}
	const bad = "The query parameter is invalid: "
	const stamp = " has an invalid timestamp format. Timestamps should be formatted as 'YYYY-MM-DDThh:mm:ssZ'"
	for query, want := range map[string]string{
		"foo=1&bar[x]=2": bad + "Unknown query parameter(s): 'foo', 'bar'. Valid parameters are: 'page', 'per_page', 'order_by', 'created_ats', " +
			"'updated_ats', 'guids', 'names', 'ssh', 'org', 'not', 'quotas', 'include', 'fields', 'label_selector'",
		"page=0": bad + "Page must be a positive integer", "page=x": bad + "Page must be a positive integer", "page=": bad + "Page must be a positive integer",
		"per_page=5001": bad + "Per page must be between 1 and 5000", "per_page=-1": bad + "Per page must be a positive integer",
		"page=99999999999999999999": bad + "Maximum result (page * per_page) must be less than 9223372036854775807",
		"order_by=guid":             bad + "Order by can only be: 'created_at', 'updated_at', 'name'",
		"created_ats=yesterday":     bad + "Created ats" + stamp, "updated_ats[gt]=2020-13-45T00:00:00Z": bad + "Updated ats" + stamp,
		"created_ats[near]=2020-01-01T00:00:00Z": bad + "Created ats Invalid relational operator: 'near'",
		"created_ats[lt]=2020-01-01T00:00:00Z,x": bad + "Created ats only accepts one value when using a relational operator",
		"label_selector=":                        bad + "Missing label_selector value", "label_selector=a%20b": bad + "Invalid label_selector value",
		"label_selector=" + strings.Repeat("a,", 51): bad + "Too many label_selector requirements (maximum is 50)",
		"label_selector=a=-":                         bad + "'-' starts or ends with invalid characters",
		"ssh=maybe":                                  bad + "Ssh must be 'true' or 'false'", "org=x": bad + "Org must be one of ['acme', 'other']",
		"names[x]=1": bad + "Names must be an array", "not[x]=1": bad + "Not not has an invalid operator",
		"include=x":                         bad + "Invalid included resource: 'x'. Valid included resources are: 'organization'",
		"include=organization,organization": bad + "Duplicate included resource: 'organization'",
		"fields[x]=guid":                    bad + "Fields [x] valid resources are: 'organization', 'organization.spaces'",
		"fields[organization]=x":            bad + "Fields valid keys for 'organization' are: 'guid', 'name', 'relationships.quota'",
		"names=%zz":                         "The request is invalid", "names=%ff": "The request is invalid", "names=%00": "The request is invalid",
	} {
		if r := a.Do("admin", "GET /v3/spaces?"+query, nil); r.Status != 400 || r.Detail() != want {
			t.Errorf("%s\n got %d %s\nwant 400 %s", query, r.Status, r.Detail(), want)
		}
	}
}

func TestPages(t *testing.T) {
	a := spaces(t)
	for i := range 7 {
		a.World(fmt.Sprintf("o%d", i))
	}
	r := a.Must(200, "admin", "GET /v3/spaces?per_page=3&order_by=-name&names=O0-space,o1-space,o2-space,o3-space,o4-space,o5-space,a%252Cb", nil)
	var seen []string
	for n := 0; ; n++ {
		seen = append(seen, r.Names("name")...)
		if r.Get("pagination", "total_results") != 6.0 || r.Get("pagination", "total_pages") != 2.0 || n > 2 {
			t.Fatalf("page %d: %s", n, r.Text)
		}
		next, _ := r.Get("pagination", "next", "href").(string)
		if next == "" {
			break
		}
		if !strings.HasPrefix(next, "https://api.ingot.test/v3/spaces?names=O0-space%2C") || !strings.Contains(next, "a%252Cb") ||
			!strings.HasSuffix(next, "&order_by=-name&page=2&per_page=3") {
			t.Fatal(next)
		}
		r = a.Must(200, "admin", "GET "+next, nil)
	}
	if got := strings.Join(seen, " "); got != "o5-space o4-space o3-space o2-space o1-space o0-space" {
		t.Error(got)
	}
	if r.Get("pagination", "previous", "href") == nil || a.Must(200, "admin", "GET /v3/spaces?page=99", nil).Get("pagination", "total_results") != 7.0 {
		t.Error(r.Text)
	}
}

func TestIncludes(t *testing.T) {
	a := spaces(t)
	a.World("acme")
	a.World("other")
	a.Role("dev", access.SpaceDeveloper, "acme") // without organization_user: the organization is not visible
	a.Role("boss", access.OrgManager, "acme")
	l := a.Must(200, "boss", "GET /v3/spaces?include=organization", nil)
	if l.Get("included", "organizations", 0, "name") != "acme" || l.Get("included", "organizations", 1) != nil {
		t.Error(l.Text)
	}
	if s := a.Must(200, "dev", "GET /v3/spaces/acme-space?include=organization", nil); s.Get("included", "organizations", 0, "guid") != nil &&
		s.Get("included", "organizations", 0, "guid") != "acme" {
		t.Error(s.Text)
	}
	two := a.Must(200, "boss", "GET /v3/spaces?fields[organization]=name&fields[organization.spaces]=guid", nil)
	if o, _ := two.Get("included", "organizations", 0).(map[string]any); len(o) != 1 || o["name"] != "acme" ||
		two.Get("included", "spaces", 0, "guid") != "acme-space" || two.Get("included", "spaces", 1) != nil {
		t.Error(two.Text)
	}
	if many := a.Must(200, "admin", "GET /v3/spaces?fields[organization]=name", nil); many.Get("included", "organizations", 1, "name") != "other" {
		t.Error(many.Text)
	}
	f := a.Must(200, "boss", "GET /v3/spaces?fields[organization]=guid,relationships.quota", nil)
	in, _ := f.Get("included", "organizations", 0).(map[string]any)
	rel, _ := in["relationships"].(map[string]any)
	if len(in) != 2 || in["guid"] != "acme" || len(rel) != 1 {
		t.Error(f.Text)
	}
	if r := a.Do("boss", "GET /v3/spaces/acme-space?x=1", nil); r.Status != 400 {
		t.Error(r.Text)
	}
}

func TestDoor(t *testing.T) {
	a := spaces(t)
	for user, want := range map[string]string{"": "401 CF-NotAuthenticated", "expired": "401 CF-InvalidAuthToken", "forged": "401 CF-InvalidAuthToken",
		"nothing": "403 CF-NotAuthorized", "joe": "200 "} {
		r := a.Do(user, "GET /v3/spaces", nil)
		title, _ := r.Get("errors", 0, "title").(string)
		if got := fmt.Sprintf("%d %s", r.Status, title); got != want {
			t.Errorf("%q: %s, want %s", user, got, want)
		}
		if r.Header.Get("X-Vcap-Request-Id") == "" {
			t.Error("no request id")
		}
		a.Must(200, user, "GET /open", nil)
	}
	a.Must(403, "global_auditor", "POST /v3/bodies", "{}")
	for _, line := range []string{"GET /", "GET /v3/nope", "PUT /v3/spaces", "POST /v3/spaces", "DELETE /v3/spaces/x", "GET /v3/spaces/x/y"} {
		for _, user := range []string{"", "admin"} {
			if r := a.Do(user, line, nil); r.Status != 404 || r.Detail() != "Unknown request" {
				t.Errorf("%s as %q: %d %s", line, user, r.Status, r.Text)
			}
		}
	}
	a.Must(200, "admin", "GET /v3/spaces/", nil)
	for _, path := range []string{"/v3/panics", "/v3/bug"} {
		if r := a.Do("admin", "GET "+path, nil); r.Status != 500 || r.Detail() != "An unknown error occurred." {
			t.Errorf("%s: %d %s", path, r.Status, r.Text)
		}
	}
	if w := a.Must(204, "admin", "GET /v3/warns", nil).Header.Get("X-Cf-Warnings"); w != "a%2C+b" {
		t.Error(w)
	}
}

// TestOneGUIDTwoKinds: a client that has the guid of a user does not get the user's roles.
func TestOneGUIDTwoKinds(t *testing.T) {
	a := spaces(t)
	if err := access.Ensure(t.Context(), a.DB, access.NewCaller(cf.Identity{UserID: "x"})); err != nil {
		t.Fatal(err)
	}
	err := access.Ensure(t.Context(), a.DB, access.NewCaller(cf.Identity{Client: "x"}))
	if !cf.IsKind(err, cf.KindUnauthenticated) {
		t.Errorf("a client with the guid of a user: %v", err)
	}
}
