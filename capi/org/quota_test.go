package org

import (
	"context"
	"fmt"
	"testing"

	"github.com/uptrace/bun"

	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/quota"
	"ingot/rest/resttest"
)

const quotaHolders = `,"relationships":{"organization":{"data":{"guid":"acme"}}`

// TestQuotaWords: what is wrong with a quota, in CF's words.
func TestQuotaWords(t *testing.T) {
	a := newAPI(t)
	a.World("acme")
	a.World("other")
	a.Role("boss", access.OrgManager, "acme")
	const orgs, spaces = "POST /v3/organization_quotas", "POST /v3/space_quotas"
	o := a.Must(201, "admin", orgs, `{"name":"small","apps":{"total_memory_in_mb":0},"routes":{"total_reserved_ports":5}}`)
	if o.Get("apps", "total_memory_in_mb") != 0.0 || o.Get("apps", "total_instances") != nil || o.Get("services", "paid_services_allowed") != true {
		t.Error(o.Text)
	}
	for body, want := range map[string]string{
		`{"name":"SMALL"}`:      "Organization Quota 'SMALL' already exists.",
		`{}`:                    "Name can't be blank",
		`{"name":5}`:            "Name must be a string",
		`{"name":"x","apps":5}`: "Apps must be an object",
		`{"name":"x","apps":{"total_instances":-1}}`:                                "Apps Total instances must be greater than or equal to 0",
		`{"name":"x","apps":{"total_instances":2147483648}}`:                        "Apps Total instances must be less than or equal to 2147483647",
		`{"name":"x","apps":{"total_instances":"a"}}`:                               "Apps Total instances is not a number",
		`{"name":"x","apps":{"total_instances":1.5}}`:                               "Apps Total instances must be an integer",
		`{"name":"x","apps":{"bread":1}}`:                                           "Apps Unknown field(s): 'bread'",
		`{"name":"x","services":{"paid_services_allowed":"yes"}}`:                   "Services Paid services allowed must be a boolean",
		`{"name":"x","routes":{"total_routes":1,"total_reserved_ports":2}}`:         "Total reserved ports must be -1, 0, or a positive integer, and must be less than or equal to total routes.",
		`{"name":"x","relationships":{"organizations":{"data":[{"guid":"nope"}]}}}`: `Organizations with guids ["nope"] do not exist, or you do not have access to them.`,
		`{"name":"x","relationships":{"organizations":{"data":"nope"}}}`:            `Relationships Organizations must be structured like this: "organizations: {"data": [{"guid": "valid-guid"},{"guid": "valid-guid"}]}"`,
	} {
		refused(t, a, 422, "admin", orgs, body, want)
	}
	refused(t, a, 422, "admin", "PATCH /v3/organization_quotas/"+o.GUID(), `{"name":"default"}`, "Organization Quota 'default' already exists.")
	apply := "POST /v3/organization_quotas/" + o.GUID() + "/relationships/organizations"
	refused(t, a, 422, "admin", apply, `{"data":[{"guid":"nope"}]}`, `Organizations with guids ["nope"] do not exist`)
	refused(t, a, 422, "admin", apply, `{"data":[{"guid":5}]}`, "Invalid data type: Data[0] guid should be a string.")
	refused(t, a, 422, "admin", apply, `{}`, "Data can't be blank, Data must be an array")
	a.Must(200, "admin", apply, `{"data":[{"guid":"acme"}]}`)
	refused(t, a, 422, "admin", "DELETE /v3/organization_quotas/"+o.GUID(), "",
		"This quota is applied to one or more organizations. Apply different quotas to those organizations before deleting.")

	s := a.Must(201, "boss", spaces, `{"name":"small"`+quotaHolders+`,"spaces":{"data":[{"guid":"acme-space"}]}}}`)
	for body, want := range map[string]string{
		`{"name":"small"` + quotaHolders + `}}`: "Space Quota 'small' already exists.",
		`{"name":"x"}`:                          "Relationships 'relationships' is not an object",
		`{"name":"x","relationships":{"organization":{"data":{"guid":"none"}}}}`:       "Organization with guid 'none' does not exist, or you do not have access to it.",
		`{"name":"x"` + quotaHolders + `,"spaces":{"data":[{"guid":"other-space"}]}}}`: `Spaces with guids ["other-space"] do not exist within the organization specified, or you do not have access to them.`,
		`{"name":"x","routes":{"total_reserved_ports":6}` + quotaHolders + `}}`: "Total reserved ports must be -1, 0, or a positive integer, must be less than or equal to total routes, " +
			"and must be less than or equal to total reserved ports for the organization quota.",
	} {
		refused(t, a, 422, "boss", spaces, body, want)
	}
	refused(t, a, 403, "boss", spaces, `{"name":"x","relationships":{"organization":{"data":{"guid":"other"}}}}`, "You are not authorized to perform the requested action") // SpaceQuotasController
	path := "/v3/space_quotas/" + s.GUID()
	refused(t, a, 422, "boss", "POST "+path+"/relationships/spaces", `{"data":[{"guid":"other-space"}]}`,
		`Spaces with guids ["other-space"] do not exist, or you do not have access to them.`)
	refused(t, a, 422, "admin", "POST "+path+"/relationships/spaces", `{"data":[{"guid":"other-space"}]}`,
		"Space quotas cannot be applied outside of their owning organization.")
	refused(t, a, 422, "boss", "DELETE "+path, "", "This quota is applied to one or more spaces. Remove this quota from all spaces before deleting.")
	refused(t, a, 422, "boss", "DELETE "+path+"/relationships/spaces/nope", "",
		"Unable to remove quota from space with guid 'nope'. Ensure the space quota is applied to this space.")
	// a role in a space shows the quota of that space, and of no other
	a.Role("dev", access.SpaceDeveloper, "acme")
	a.Must(201, "boss", spaces, `{"name":"unseen"`+quotaHolders+`}}`)
	if got := a.Must(200, "dev", "GET /v3/space_quotas", nil).Names("name"); len(got) != 1 || got[0] != "small" {
		t.Error("a developer sees", got)
	}
	a.Job(a.Must(202, "admin", "DELETE /v3/organizations/acme", nil))
	a.Must(404, "admin", "GET "+path, nil)
	a.Job(a.Must(202, "admin", "DELETE /v3/organization_quotas/"+o.GUID(), nil))
}

// TestLogRateOfQuotas: a quota that limits the log rate is not for those whose processes have no limit.
func TestLogRateOfQuotas(t *testing.T) {
	db := resttest.Open(t)
	f := &Family{DB: db, Directory: &resttest.Users{}}
	f.Usages = []quota.Counter{func(_ context.Context, _ bun.IDB, _ quota.Within, u *quota.Usage) error {
		u.Unlimited++
		return nil
	}}
	if err := f.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := resttest.New(t, db, rest.Server{Nouns: f.Nouns(), Routes: f.Routes()})
	a.World("a")
	q := a.Must(201, "admin", "POST /v3/organization_quotas", `{"name":"q","apps":{"log_rate_limit_in_bytes_per_second":9}}`).GUID()
	give := "POST /v3/organization_quotas/" + q + "/relationships/organizations"
	refused(t, a, 422, "admin", give, `{"data":[{"guid":"a"}]}`,
		"Current usage exceeds new quota values. The org(s) being assigned this quota contain apps running with an unlimited log rate limit.")
	limit := "PATCH /v3/organization_quotas/" + q
	a.Must(200, "admin", limit, `{"apps":{"log_rate_limit_in_bytes_per_second":null}}`)
	const words = "Current usage exceeds new quota values. This quota is applied to "
	for _, c := range []struct{ org, want string }{
		{"a", "org 'a' which contains apps running with an unlimited log rate limit."},
		{"b", "orgs 'a', 'b' which contain apps running with an unlimited log rate limit."},
		{"c", "orgs 'a', 'b' and 1 other orgs which contain apps running with an unlimited log rate limit."},
	} {
		if c.org != "a" {
			a.World(c.org)
		}
		a.Must(200, "admin", give, `{"data":[{"guid":"`+c.org+`"}]}`)
		refused(t, a, 422, "admin", limit, `{"apps":{"log_rate_limit_in_bytes_per_second":9}}`, words+c.want)
	}
	s := a.Must(201, "admin", "POST /v3/space_quotas", `{"name":"q","relationships":{"organization":{"data":{"guid":"a"}},"spaces":{"data":[{"guid":"a-space"}]}}}`).GUID()
	refused(t, a, 422, "admin", "PATCH /v3/space_quotas/"+s, `{"apps":{"log_rate_limit_in_bytes_per_second":9}}`,
		words+"space 'a-space' which contains apps running with an unlimited log rate limit.")
}

// TestQuotaDeletionRace: a quota that is given while its deletion waits stays, and no organization has one that is gone.
func TestQuotaDeletionRace(t *testing.T) {
	a := newAPI(t)
	a.World("acme")
	for n := range 5 {
		q := a.Must(201, "admin", "POST /v3/organization_quotas", fmt.Sprintf(`{"name":"q%d"}`, n)).GUID()
		together(6, func(i int) resttest.Answer {
			if i%2 == 0 {
				return a.Do("admin", "DELETE /v3/organization_quotas/"+q, nil)
			}
			return a.Do("admin", "POST /v3/organization_quotas/"+q+"/relationships/organizations", `{"data":[{"guid":"acme"}]}`)
		})
		if r := a.Do("admin", "DELETE /v3/organization_quotas/"+q, nil); r.Status == 202 {
			a.Job(r)
		}
		has, _ := a.Must(200, "admin", "GET /v3/organizations/acme", nil).Get("relationships", "quota", "data", "guid").(string)
		if a.Do("admin", "GET /v3/organization_quotas/"+q, nil).Status == 404 && has == q {
			t.Fatal("the organization has a quota that is gone")
		}
		other := a.Must(200, "admin", "GET /v3/organization_quotas?names=default", nil).Get("resources", 0, "guid").(string)
		a.Must(200, "admin", "POST /v3/organization_quotas/"+other+"/relationships/organizations", `{"data":[{"guid":"acme"}]}`)
	}
}

// TestSegments: rules of isolation segments in CF's words.
func TestSegments(t *testing.T) {
	a := newAPI(t)
	a.World("acme")
	a.Role("boss", access.OrgManager, "acme")
	const post = "POST /v3/isolation_segments"
	s := a.Must(201, "admin", post, `{"name":"iso","metadata":{"labels":{"a":"b"}}}`).GUID()
	path := "/v3/isolation_segments/" + s
	refused(t, a, 422, "admin", post, `{"name":"ISO"}`, "Isolation Segment names are case insensitive and must be unique")
	refused(t, a, 422, "admin", post, `{"name":" "}`, "Name can't be blank")
	refused(t, a, 422, "admin", post, `{"name":"a\tb"}`, "Isolation Segment names can only contain non-blank unicode characters")
	refused(t, a, 422, "admin", "PATCH /v3/isolation_segments/"+sharedSegment, `{"name":"x"}`, "Cannot update the shared Isolation Segment")
	refused(t, a, 422, "admin", "DELETE /v3/isolation_segments/"+sharedSegment, "", "Cannot delete the shared Isolation Segment")
	refused(t, a, 422, "boss", "PATCH /v3/organizations/acme/relationships/default_isolation_segment", `{"data":{"guid":"`+s+`"}}`,
		"Unable to assign isolation segment with guid '"+s+"'. Ensure it has been entitled to the organization.")
	refused(t, a, 422, "boss", "PATCH /v3/spaces/acme-space/relationships/isolation_segment", `{"data":{"guid":"`+s+`"}}`,
		"Unable to assign isolation segment with guid '"+s+"'. Ensure it has been entitled to the organization that this space belongs to.")
	refused(t, a, 404, "boss", "GET "+path, "", "Isolation segment not found")
	refused(t, a, 422, "admin", "POST "+path+"/relationships/organizations", `{"data":[{"guid":"nope"},{"guid":"acme"}]}`,
		"Unable to entitle organizations ['nope'] for the isolation segment. Ensure the organizations exist.")
	refused(t, a, 422, "admin", "POST "+path+"/relationships/organizations", `{"data":[{"guid":5}]}`, "Data 5 not a string")
	a.Must(200, "admin", "POST "+path+"/relationships/organizations", `{"data":[{"guid":"acme"}]}`)
	a.Must(200, "admin", "POST "+path+"/relationships/organizations", `{"data":[{"guid":"acme"}]}`) // again
	a.Must(200, "boss", "GET "+path, nil)
	refused(t, a, 422, "admin", "DELETE "+path, "", "Revoke the Organization entitlements for your Isolation Segment.")
	a.Must(200, "boss", "PATCH /v3/spaces/acme-space/relationships/isolation_segment", `{"data":{"guid":"`+s+`"}}`)
	refused(t, a, 422, "admin", "PATCH "+path, `{"name":"x"}`, "Cannot update Isolation Segments that are assigned as the default for an Organization or Space.")
	refused(t, a, 422, "admin", "DELETE "+path+"/relationships/organizations/acme", "",
		"Cannot remove the entitlement while this Isolation Segment is assigned to any Spaces. Currently assigned to: 'acme-space'")
	a.Must(200, "boss", "PATCH /v3/spaces/acme-space/relationships/isolation_segment", `{"data":null}`)
	a.Must(200, "boss", "PATCH /v3/organizations/acme/relationships/default_isolation_segment", `{"data":{"guid":"`+s+`"}}`)
	sp, err := access.SpaceByGUID(t.Context(), a.DB.Read(), "acme-space")
	if err != nil {
		t.Fatal(err)
	}
	o, err := access.OrgByGUID(t.Context(), a.DB.Read(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	if name, err := SegmentOf(t.Context(), a.DB.Read(), sp, o); err != nil || name != "iso" {
		t.Error(name, err)
	}
	a.Must(200, "admin", "POST /v3/isolation_segments/"+sharedSegment+"/relationships/organizations", `{"data":[{"guid":"acme"}]}`)
	a.Job(a.Must(202, "admin", "DELETE /v3/organizations/acme", nil))
	a.Must(204, "admin", "DELETE "+path, nil)
}
