package capi_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest/access"
	"ingot/rest/resttest"
)

// size is how much a database is seeded with.
type size struct{ orgs, spaces, apps, routes, events int }

// platform is a large installation; handful is enough for plans: somebody walks through
// each list (rest.walkAbove), and the rest does not depend on how much there is.
var (
	platform = size{orgs: 10, spaces: 1000, apps: 10_000, routes: 20_000, events: 200_000}
	handful  = size{orgs: 10, spaces: 1200, apps: 4000, routes: 4000, events: 4000}
)

// seed fills the database by SQL that makes its rows itself: object i lies in space s<i % spaces>, and space i in
// organization o<i % orgs>. User "dev" develops in half of the spaces, "one" in a single one, "boss" manages organization o1,
// "auditor" audits it and develops in spaces of others.
func seed(t testing.TB, a *resttest.API, n size) {
	t.Helper()
	const base = "guid, created_at, updated_at"
	run := func(text string, args ...any) {
		t.Helper()
		err := a.DB.Write(context.Background(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.NewRaw(text, args...).Exec(ctx)
			return err
		})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	run("CREATE TABLE seed_n (i BIGINT PRIMARY KEY)")
	run("INSERT INTO seed_n VALUES (0)")
	for m := 1; m < max(n.events, n.apps, n.routes); m *= 2 {
		run("INSERT INTO seed_n SELECT i + ? FROM seed_n", m)
	}
	// rows makes count rows; the values of "at" are the row's number times a second, in microseconds.
	rows := func(count int, table, columns, values string, args ...any) {
		t.Helper()
		run(fmt.Sprintf("INSERT INTO %s (%s, %s) SELECT %s FROM seed_n WHERE i < %d ORDER BY i", table, base, columns, values, count), args...)
	}
	began := sql.At(time.Now().Add(-72 * time.Hour)) // what is older than a month may be swept away
	at := fmt.Sprintf(", %d + i * 1000000, %d + i * 1000000, ", began, began)
	space := fmt.Sprintf("CONCAT('s', i %% %d)", n.spaces)
	org := fmt.Sprintf("CONCAT('o', i %% %d)", n.orgs)
	orgOfSpace := fmt.Sprintf("CONCAT('o', (i %% %d) %% %d)", n.spaces, n.orgs)
	app := fmt.Sprintf("CONCAT('a', i %% %d)", n.apps)
	rows(n.orgs, "rest_organizations", "name, name_key, status, deleting, quota_guid, isolation_segment_guid",
		"CONCAT('o', i)"+at+"CONCAT('o', i), CONCAT('o', i), 'active', ?, '', ''", false)
	rows(n.spaces, "rest_spaces", "name, name_key, org_guid, status, deleting, allow_ssh, quota_guid, isolation_segment_guid",
		"CONCAT('s', i)"+at+"CONCAT('s', i), CONCAT('s', i), "+org+", 'active', ?, ?, '', ''", false, true)
	rows(n.spaces, "rest_quotas", "name, name_key, org_guid, limits", "CONCAT('q', i)"+at+"CONCAT('q', i), CONCAT('q', i), "+org+", '{}'")
	rows(n.spaces*2, "rest_users", "type", "CONCAT('u', i)"+at+"'user'")
	rows(n.spaces*2, "rest_roles", "type, user_guid, org_guid, space_guid", "CONCAT('ou', i)"+at+"'organization_user', CONCAT('u', i), "+org+", ''")
	rows(n.spaces*2, "rest_roles", "type, user_guid, org_guid, space_guid", "CONCAT('su', i)"+at+"'space_developer', CONCAT('u', i), "+orgOfSpace+", "+space)
	rows(n.orgs, "rest_roles", "type, user_guid, org_guid, space_guid", "CONCAT('odev', i)"+at+"'organization_user', 'dev-guid', "+org+", ''")
	rows(n.spaces/2, "rest_roles", "type, user_guid, org_guid, space_guid", "CONCAT('sdev', i)"+at+"'space_developer', 'dev-guid', "+org+", "+space)
	rows(n.spaces/4, "rest_roles", "type, user_guid, org_guid, space_guid", "CONCAT('saud', i)"+at+"'space_developer', 'auditor-guid', "+org+", "+space)
	rows(n.spaces, "route_domains", "name, internal, org_guid", "CONCAT('d', i)"+at+"CONCAT('d', i, '.example.com'), ?, "+org, false)
	rows(n.apps, "app_apps", "name, name_key, space_guid, state, lifecycle, stack, droplet_guid, ssh_enabled, revisions_enabled, metadata",
		"CONCAT('a', i)"+at+"CONCAT('a', i), CONCAT('a', i), "+space+", 'STOPPED', 'buildpack', 'cflinuxfs4', '', ?, ?, '{\"labels\":{\"env\":\"prod\"}}'", true, true)
	run(fmt.Sprintf("INSERT INTO rest_labels (resource_guid, key_prefix, key_name, value) SELECT CONCAT('a', i), '', 'env', CONCAT('v', i %% 100) FROM seed_n WHERE i < %d", n.apps))
	rows(n.apps, "app_processes", "app_guid, space_guid, type, version, run_user, instances, memory_mb, disk_mb, log_rate, health_type, health_endpoint, "+
		"health_timeout, health_invocation, health_interval, readiness_type, readiness_endpoint, readiness_invocation, readiness_interval",
		"CONCAT('a', i)"+at+"CONCAT('a', i), "+space+", 'web', 'v', '', 1, 64, 64, -1, 'port', '', 0, 0, 0, 'process', '', 0, 0")
	rows(n.routes, "route_routes", "host, host_key, path, port, domain_guid, domain_name, space_guid",
		"CONCAT('r', i)"+at+"CONCAT('r', i), CONCAT('r', i), '', 0, 'd0', 'd0.example.com', "+space)
	rows(n.routes, "route_destinations", "route_guid, app_guid, process_type, port, protocol, weight",
		"CONCAT('t', i)"+at+"CONCAT('r', i), "+app+", 'web', 8080, 'http1', 0")
	rows(n.events, "rest_events", "type, actor_guid, actor_type, actor_name, target_guid, target_type, target_name, org_guid, space_guid, data",
		"CONCAT('e', i)"+at+"CONCAT('audit.app.', i % 20), 'u1', 'user', 'u1', "+app+", 'app', "+app+", "+orgOfSpace+", "+space+`, '{"request":{"name":"x"}}'`)
	run("DROP TABLE seed_n")
	// As the servers do by themselves some seconds or a minute later; SQLite's plans need no statistics.
	statistics := map[sql.Engine]string{sql.Postgres: "VACUUM ANALYZE", sql.MySQL: "ANALYZE TABLE rest_spaces, rest_users, rest_roles, rest_labels, " +
		"route_domains, app_apps, app_processes, route_routes, route_destinations, rest_events"}[a.DB.Engine]
	if _, err := a.DB.Read().ExecContext(t.Context(), statistics); statistics != "" && err != nil {
		t.Fatal(err)
	}
	a.Insert(&access.RoleRow{Type: access.SpaceDeveloper, UserGUID: "one-guid", OrgGUID: "o1", SpaceGUID: "s1"},
		&access.RoleRow{Type: access.OrgUser, UserGUID: "one-guid", OrgGUID: "o1"},
		&access.RoleRow{Type: access.OrgManager, UserGUID: "boss-guid", OrgGUID: "o1"},
		&access.RoleRow{Type: access.OrgAuditor, UserGUID: "auditor-guid", OrgGUID: "o1"})
}
