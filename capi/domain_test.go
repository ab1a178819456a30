package capi_test

import (
	"fmt"
	"testing"

	"ingot/rest/access"
)

// TestPrivateDomains: who may make a domain of an organization, in the order of Cloud Controller's DomainsController#create and
// #check_create_private_domain_permissions!.
func TestPrivateDomains(t *testing.T) {
	w := pushWorld(t)
	w.World("other")
	for _, r := range []access.Role{access.OrgManager, access.OrgAuditor, access.OrgBillingManager, access.OrgUser} {
		w.Role(string(r), r, "own")
	}
	n := 0
	asked := func(user, org, want string) {
		t.Helper()
		n++
		body := fmt.Sprintf(`{"name":"d%d.example.com","relationships":{"organization":{"data":{"guid":%q}}}}`, n, org)
		if got := told(w.Do(user, "POST /v3/domains", body)); got != want {
			t.Errorf("%s in %s: %s, want %s", user, org, got, want)
		}
	}
	const forbidden, disabled, suspended = "403 You are not authorized to perform the requested action", "403 Feature Disabled: private_domain_creation", "403 The organization is suspended"
	const none = "422 Organization with guid 'none' does not exist or you do not have access to it."
	for _, user := range []string{"admin", "organization_manager", "organization_auditor", "stranger"} {
		asked(user, "none", none)
	}
	for _, user := range []string{"organization_manager", "stranger"} { // also of one that the caller does not see
		asked(user, "other", forbidden)
	}
	for _, user := range []string{"organization_auditor", "organization_billing_manager", "organization_user", "admin_read_only", "global_auditor"} {
		asked(user, "own", forbidden)
	}
	asked("organization_manager", "own", "201")
	w.SetFlag("private_domain_creation", false)
	asked("organization_manager", "own", disabled)
	asked("organization_manager", "none", none)
	asked("organization_auditor", "own", forbidden)
	asked("admin", "own", "201")
	w.Must(200, "admin", "PATCH /v3/organizations/own", `{"suspended":true}`)
	asked("organization_manager", "own", suspended) // said before the flag
	asked("organization_auditor", "own", forbidden)
	asked("admin", "own", "201")
}
