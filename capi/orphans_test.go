package capi_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/uptrace/bun"
)

// references are the columns that name a row of another table by its guid, and that table. "" names none.
var references = map[string]string{
	"rest_organizations.quota_guid": "rest_quotas", "rest_organizations.isolation_segment_guid": "capi_isolation_segments",
	"rest_spaces.org_guid": "rest_organizations", "rest_spaces.quota_guid": "rest_quotas", "rest_spaces.isolation_segment_guid": "capi_isolation_segments",
	"rest_roles.user_guid": "rest_users", "rest_roles.org_guid": "rest_organizations", "rest_roles.space_guid": "rest_spaces",
	"rest_quotas.org_guid":                     "rest_organizations",
	"capi_isolation_entitlements.segment_guid": "capi_isolation_segments", "capi_isolation_entitlements.org_guid": "rest_organizations",
	"route_domains.org_guid": "rest_organizations", "route_shared_domains.domain_guid": "route_domains", "route_shared_domains.org_guid": "rest_organizations",
	"route_routes.domain_guid": "route_domains", "route_routes.space_guid": "rest_spaces",
	"route_shared_routes.route_guid": "route_routes", "route_shared_routes.space_guid": "rest_spaces",
	"route_destinations.route_guid": "route_routes", "route_destinations.app_guid": "app_apps",
	"app_apps.space_guid": "rest_spaces", "app_apps.droplet_guid": "build_droplets",
	"app_processes.app_guid": "app_apps", "app_processes.space_guid": "rest_spaces",
	"app_sidecars.app_guid": "app_apps", "app_sidecars.space_guid": "rest_spaces", "app_sidecar_types.sidecar_guid": "app_sidecars", "app_sidecar_types.app_guid": "app_apps",
	"app_deployments.app_guid": "app_apps", "app_deployments.space_guid": "rest_spaces",
	"app_revisions.app_guid": "app_apps", "app_revisions.space_guid": "rest_spaces",
	"build_packages.app_guid": "app_apps", "build_packages.space_guid": "rest_spaces", "build_builds.app_guid": "app_apps", "build_builds.space_guid": "rest_spaces",
	"build_droplets.app_guid": "app_apps", "build_droplets.space_guid": "rest_spaces",
	"task_tasks.app_guid": "app_apps", "task_tasks.space_guid": "rest_spaces", "task_sequences.app_guid": "app_apps",
	"services_instances.space_guid": "rest_spaces",
	"services_bindings.app_guid":    "app_apps", "services_bindings.instance_guid": "services_instances", "services_bindings.space_guid": "rest_spaces",
}

// remembered are columns that name what may be gone: history, and what packages, droplets and revisions were once made of.
var remembered = regexp.MustCompile(`^rest_(events|jobs|app_usage|service_usage)\.|^rest_labels\.|^capi_security_groups\.|` +
	`^(build_builds|build_droplets)\.(package|build|droplet)_guid$|^(app_processes|app_revisions|app_deployments|task_tasks)\.\w*(droplet|revision|process|deployment|build)\w*_guid$`)

// TestReferences: the table above knows every column of every table that can name a row.
func TestReferences(t *testing.T) {
	seen := map[string]bool{}
	for _, pattern := range []string{"*/migrations/*.sql", "../rest/migrations/*.sql", "../rest/*/migrations/*.sql", "../services/migrations/*.sql"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, table := range regexp.MustCompile(`(?s)CREATE TABLE IF NOT EXISTS (\w+) \((.*?)\) \$options`).FindAllStringSubmatch(string(text), -1) {
				for _, column := range regexp.MustCompile(`(\w+_guid) \$guid`).FindAllStringSubmatch(table[2], -1) {
					seen[table[1]+"."+column[1]] = true
				}
			}
			for _, c := range regexp.MustCompile(`ALTER TABLE (\w+) ADD(?: COLUMN)? (\w+_guid) `).FindAllStringSubmatch(string(text), -1) {
				seen[c[1]+"."+c[2]] = true
			}
		}
	}
	for column := range seen {
		if (references[column] == "") == !remembered.MatchString(column) {
			t.Errorf("%s: what does it name?", column)
		}
	}
	for column := range references {
		if !seen[column] {
			t.Errorf("no table has %s", column)
		}
	}
}

// orphans are the rows that name something that is not there, and the labels of nothing.
func (w *world) orphans() (out []string) {
	w.T.Helper()
	ask := func(what string, q *bun.SelectQuery) {
		var guids []string
		if err := q.Scan(w.T.Context(), &guids); err != nil {
			w.T.Fatalf("%s: %v", what, err)
		}
		for _, g := range guids {
			out = append(out, fmt.Sprintf("%s = %s", what, g))
		}
	}
	tables := map[string]bool{"rest_users": true, "services_bindings": true}
	for column, parent := range references {
		table, name, _ := strings.Cut(column, ".")
		if !strings.HasPrefix(table, "capi_iso") && !strings.HasPrefix(table, "route_shared") && table != "app_sidecar_types" && table != "task_sequences" {
			tables[table] = true
		}
		ask(column, w.DB.Read().NewSelect().TableExpr(table).Column(name).
			Where("? <> '' AND ? NOT IN (SELECT guid FROM ?)", bun.Ident(name), bun.Ident(name), bun.Ident(parent)))
	}
	q := w.DB.Read().NewSelect().TableExpr("rest_labels").Column("resource_guid")
	for _, table := range append(slices.Sorted(maps.Keys(tables)), "capi_stacks", "capi_buildpacks", "capi_isolation_segments") {
		q = q.Where("resource_guid NOT IN (SELECT guid FROM ?)", bun.Ident(table))
	}
	ask("rest_labels", q)
	var twice []string // CF's own rule, which no unique index keeps
	if err := w.DB.Read().NewSelect().TableExpr("rest_roles AS s").ColumnExpr("s.guid").Where("s.space_guid <> ''").
		Where("NOT EXISTS (SELECT 1 FROM rest_roles AS o WHERE o.user_guid = s.user_guid AND o.org_guid = s.org_guid AND o.type = 'organization_user')").
		Scan(w.T.Context(), &twice); err != nil {
		w.T.Fatal(err)
	}
	for _, g := range twice {
		out = append(out, "a role in a space without organization_user: "+g)
	}
	slices.Sort(out)
	return out
}
