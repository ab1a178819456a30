package capi_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"ingot/cf"
	"ingot/rest/access"
)

// TestStatements tries what the documentation says of the ten nouns beside shapes, roles and parameters (docs/v3 of Cloud
// Controller): who may see which, what a field may be, what stays as it is. Each request is one of "admin" unless it names somebody.
func TestStatements(t *testing.T) {
	w := pushWorld(t)
	freshQuota(w.API, "", "quota")
	w.SetFlag("route_sharing", true)
	w.Users.Known = []cf.User{{ID: "x-guid", Name: "anna", Origin: "uaa"}, {ID: "y", Name: "hanna", Origin: "ldap"}}
	inUse(w, "x")
	for user, r := range map[string]access.Role{"space_manager": access.SpaceManager, "org_auditor": access.OrgAuditor, "org_user": access.OrgUser} {
		w.Role(user, r, "x")
	}
	w.Role("second_auditor", access.SpaceAuditor, "x-second")
	w.Must(200, "admin", "PATCH /v3/space_quotas/x-used", `{"name":"Used","apps":{"total_instances":5},"routes":{"total_routes":9}}`)
	const inX = `"relationships":{"organization":{"data":{"guid":"x"}}}`
	for _, s := range []struct{ request, want string }{
		// space quotas
		{`GET /v3/space_quotas?order_by=name`, "422 Order by can only be: 'created_at', 'updated_at'"},
		{`GET /v3/space_quotas/x-used as space_manager`, `200 "name":"Used"`},
		{`GET /v3/space_quotas/x-free as space_manager`, "404 Space quota not found"},
		{`PATCH /v3/space_quotas/x-used {"apps":{"total_memory_in_mb":7}}`, `200 "total_instances":5`}, // what is not named stays
		{`PATCH /v3/space_quotas/x-used {"apps":{"total_instances":null}}`, `200 "total_routes":9`},
		{`GET /v3/space_quotas/x-used`, `200 "total_instances":null`},
		{`PATCH /v3/space_quotas/x-used {"services":{"total_service_instances":3},"apps":{"per_app_tasks":4,"log_rate_limit_in_bytes_per_second":null}}`, `200 "per_app_tasks":4`},
		{`PATCH /v3/space_quotas/x-used {"routes":{"total_reserved_ports":10}}`, "422 Total reserved ports must be -1, 0, or a positive integer, must be less than or equal to total routes, " +
			"and must be less than or equal to total reserved ports for the organization quota."},
		{`POST /v3/space_quotas {"name":"used",` + inX + `}`, `201 "name":"used"`}, // case-sensitive
		{`POST /v3/space_quotas {"name":"Used",` + inX + `}`, "422 Space Quota 'Used' already exists."},
		{`GET /v3/space_quotas?names=Used`, `200 "total_results":1`},
		{`GET /v3/space_quotas?names=USED`, `200 "total_results":0`},
		{`DELETE /v3/space_quotas/x-used/relationships/spaces/x-space as space_manager`, "403 You are not authorized to perform the requested action"},
		{`GET /v3/space_quotas?per_page=5001`, "422 Per page must be between 1 and 5000"},
		// roles and users
		{`POST /v3/roles {"type":"organization_auditor","relationships":{"user":{"data":{"guid":"never-seen"}},"organization":{"data":{"guid":"x"}}}}`, `201 "type":"organization_auditor"`},
		{`GET /v3/users/never-seen`, `200 "presentation_name":"never-seen"`}, // made by its first role
		{`POST /v3/roles {"type":"space_auditor","relationships":{"user":{"data":{"guid":"never-seen"}},"space":{"data":{"guid":"x-space"}}}}`,
			"422 Users cannot be assigned roles in a space if they do not have a role in that space's organization."},
		{`POST /v3/roles as space_manager {"type":"space_auditor","relationships":{"user":{"data":{"guid":"x-guid"}},"space":{"data":{"guid":"x-space"}}}}`, `422 Users cannot be assigned`}, // sees no such user
		{`GET /v3/roles as org_auditor`, `200 !space_developer`},
		{`GET /v3/users as org_user`, `200 "x-guid"`},
		{`GET /v3/users?per_page=0`, "422 Per page must be a positive integer"},
		{`GET /v3/users?partial_usernames=ann`, `200 "username":"anna"`},
		{`GET /v3/users?usernames=anna&partial_usernames=a`, "422 Usernames filter cannot be provided with both usernames and partial_usernames filter."},
		{`GET /v3/spaces/x-space/users?order_by=-updated_at`, `200 "total_results"`},
		{`GET /v3/spaces/x-space/users?order_by=name`, "Order by can only be: 'created_at', 'updated_at'"},
		// organizations, spaces
		{`GET /v3/organizations/x/relationships/default_isolation_segment`, `200 "data":null`},
		{`PATCH /v3/organizations/x/relationships/default_isolation_segment {"data":{"guid":"933b4c58-120b-499a-b85d-4b6fc9e2903b"}}`,
			"422 Unable to assign isolation segment with guid '933b4c58-120b-499a-b85d-4b6fc9e2903b'. Ensure it has been entitled to the organization."},
		{`GET /v3/spaces?include=organization`, `200 "organizations":[`},
		{`GET /v3/spaces?include=quota`, "400 "},
		// domains
		{`GET /v3/organizations/x/domains as org_auditor`, `200 "apps.ingot.test"`},
		{`GET /v3/organizations/x/domains as org_auditor`, `200 "x.example.com"`},
		{`GET /v3/organizations/x/domains as org_auditor`, `200 !other`},
		{`GET /v3/organizations/x/domains?order_by=-created_at`, `200 "x.example.com"`},
		{`GET /v3/organizations/x/domains?order_by=name`, "Order by can only be: 'created_at', 'updated_at'"},
		{`GET /v3/domains?per_page=9999`, "400 The query parameter is invalid: Per page must be between 1 and 5000"},
		{`POST /v3/domains {"name":"int.example.com","internal":true,` + inX + `}`, "422 Cannot associate an internal domain with an organization"},
		{`POST /v3/domains {"name":"APPS.ingot.test"}`, `422 The domain name "APPS.ingot.test" is already in use`}, // case-insensitive
		{`GET /v3/domains/x/route_reservations?host=X`, `200 "matching_route":true`},
		{`GET /v3/domains/x/route_reservations?host=x&path=/none`, `200 "matching_route":false`},
		// routes
		{`POST /v3/routes {"host":"a b","relationships":{"space":{"data":{"guid":"x-space"}},"domain":{"data":{"guid":"x"}}}}`,
			`422 Host must be either "*" or contain only alphanumeric characters, "_", or "-"`},
		{`PATCH /v3/routes/x/destinations {"destinations":[{"app":{"guid":"x"},"weight":60},{"app":{"guid":"x"},"port":9000}]}`, "422 Destinations cannot contain both weighted and unweighted destinations."},
		{`PATCH /v3/routes/x/destinations {"destinations":[{"app":{"guid":"x"},"weight":60},{"app":{"guid":"x"},"port":9000,"weight":60}]}`, "422 Destinations must have weights that sum to 100."},
		{`PATCH /v3/routes/x/destinations {"destinations":[{"app":{"guid":"x"},"port":9000,"protocol":null}]}`, `200 "protocol":"http1"`},
		{`GET /v3/routes/x/destinations`, `200 !"port":8080`},                                                      // replaced
		{`POST /v3/routes/x/destinations {"destinations":[{"app":{"guid":"x"},"port":9001}]}`, `200 "type":"web"`}, // by default
		{`PATCH /v3/routes/x/destinations/none {"port":1}`, "422 Unknown field(s): 'port'"},                        // only the protocol; said before what is not there
		{`PATCH /v3/routes/x/destinations/none {"protocol":"http2"}`, "422 Unable to unmap route from destination. Ensure the route has a destination with this guid."},
		{`PATCH /v3/routes/none/destinations {"destinations":7}`, "422 Destinations must be an array containing between 0 and 100 destination objects."},
		{`POST /v3/domains/none/relationships/shared_organizations {}`, "422 Data must have the structure"},
		{`POST /v3/routes/x/relationships/shared_spaces as x {"data":[{"guid":"x-second-space"}]}`, "422 Unable to share route x.x.example.com"}, // may not write there
		// apps and processes
		{`PATCH /v3/apps/x/environment_variables {"var":{"A":"1","B":"2"}}`, `200 "B":"2"`},
		{`PATCH /v3/apps/x/environment_variables {"var":{"A":null}}`, `200 !"A"`},
		{`POST /v3/apps {"name":"X","relationships":{"space":{"data":{"guid":"x-space"}}}}`, "422 App with the name 'X' already exists."},
		{`GET /v3/apps/x/processes?order_by=-created_at&per_page=5000`, `200 "total_results":1`},
		{`GET /v3/processes/x/process_instances`, `200 "resources":`},
		{`POST /v3/apps/x-other/actions/start as second_auditor`, "422 Assign a droplet before starting this app."}, // said before who may
		{`POST /v3/apps/x-other/actions/restart as second_auditor`, "422 Assign a droplet before starting this app."},
		{`POST /v3/apps/x-other/actions/stop as second_auditor`, "403 You are not authorized to perform the requested action"},
		{`PATCH /v3/apps/x/features/none {"enabled":true}`, "404 Feature not found"},
		// service instances and bindings
		{`GET /v3/service_instances?per_page=x`, "400 The query parameter is invalid: Per page must be a positive integer"},
		{`GET /v3/service_credential_bindings/x`, `200 "name":null`},
		{`POST /v3/service_instances {"type":"user-provided","name":"X","relationships":{"space":{"data":{"guid":"x-space"}}}}`, `201 "name":"X"`}, // case-sensitive
		{`GET /v3/audit_events?per_page=1`, `200 "updated_at"`},
	} {
		line, body, has := strings.Cut(s.request, " {")
		if has {
			body = "{" + body
		}
		line, user, named := strings.Cut(line, " as ")
		if !named {
			user = "admin"
		}
		r := w.Do(user, line, body)
		status, words, _ := strings.Cut(s.want, " ")
		text, not := strings.CutPrefix(words, "!")
		if fmt.Sprint(r.Status) != status && strings.Trim(status, "0123456789") == "" || strings.Contains(r.Text, text) == not && !strings.Contains(r.Detail(), text) ||
			strings.Trim(status, "0123456789") != "" && !strings.Contains(r.Detail(), s.want) {
			decoded, _ := url.QueryUnescape(s.request)
			t.Errorf("%s\n got %d %.300s\nwant %s", decoded, r.Status, r.Text, s.want)
		}
	}
}
