package capi_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
)

// queries gathers the statements that read.
type queries struct {
	mu   sync.Mutex
	seen []string
}

func (q *queries) BeforeQuery(ctx context.Context, e *bun.QueryEvent) context.Context {
	if access.From(ctx).UserID != "" && strings.HasPrefix(e.Query, "SELECT") { // of a request, not of work behind it
		q.mu.Lock()
		q.seen = append(q.seen, e.Query)
		q.mu.Unlock()
	}
	return ctx
}

func (q *queries) AfterQuery(context.Context, *bun.QueryEvent) {}

// of are the statements that a request makes.
func (q *queries) of(request func()) []string {
	take := func() []string {
		q.mu.Lock()
		defer q.mu.Unlock()
		seen := q.seen
		q.seen = nil
		return seen
	}
	take()
	request()
	return take()
}

// small are the tables that hold at most some hundred rows on any platform, and "found", a page's ids.
var small = []string{"rest_organizations", "rest_feature_flags", "capi_stacks", "capi_buildpacks", "capi_env_groups", "capi_security_groups",
	"capi_isolation_segments", "capi_isolation_entitlements", "rest_quotas", "found"}

// scans are the parameters for which a whole large table may be read, in any list, and why that is right.
var scans = map[string]string{
	"updated_ats":         "an index of it would be written at each change, for a filter that no client uses",
	"order_by=updated_at": "the same",
	"order_by=state":      "two states: what is seen is sorted",
	"label_selector=!":    "what lacks a label is nearly everything",
	"lifecycle_type":      "three values: an index would not narrow",
	"type=":               "there is one type only",
	"types":               "some few values: the same",
	"states":              "the same; the unfinished have an index",
	"status_values":       "the same",
	"status_reasons":      "the same",
	"paths":               "compared without case, which MariaDB has no index for; most are empty",
}

// whole is the count of what an admin sees: every row, by the smallest index (200,000 rows in a millisecond).
var whole = regexp.MustCompile(`^SELECT count\(\*\) FROM "\w+" AS "\w+"$`)

var scan = regexp.MustCompile(`^SCAN (\w+)`)

// planOf gives the tables that a statement reads from end to end. Where rows are read in the order of the list until the
// page is full, that is no scan: the statement has a LIMIT and sorts nothing.
func planOf(t *testing.T, db *sql.DB, query string) (bad []string) {
	t.Helper()
	rows, err := db.Read().QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer func() { _ = rows.Close() }()
	type line struct {
		parent int
		text   string
	}
	var lines []line
	for rows.Next() {
		var l line
		var id, unused int
		if err := rows.Scan(&id, &l.parent, &unused, &l.text); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	if whole.MatchString(query) || strings.Contains(query, "(1 = 0)") { // every row; none
		return nil
	}
	sorts := slices.Contains(lines, line{text: "USE TEMP B-TREE FOR ORDER BY"})
	walks := strings.Contains(query, " LIMIT ") && !sorts
	for _, l := range lines {
		m := scan.FindStringSubmatch(l.text)
		if m == nil || m[1] == "CONSTANT" || walks && l.parent == 0 {
			continue
		}
		table := m[1]
		if a := regexp.MustCompile(`"?(\w+)"? AS "?` + m[1] + `"?\b`).FindStringSubmatch(query); a != nil {
			table = a[1]
		}
		if !slices.Contains(small, table) {
			bad = append(bad, table)
		}
	}
	return bad
}

// TestPlans: no documented filter and no order of a list reads a whole table. With INGOT_SPEED=1 the database is a large one.
func TestPlans(t *testing.T) {
	n := handful
	if os.Getenv("INGOT_SPEED") != "" {
		n = platform
	}
	w := quiet(t, n)
	if w.DB.Engine != sql.SQLite {
		return // the plans are SQLite's
	}
	q := &queries{}
	w.DB.Read().AddQueryHook(q) //nolint:staticcheck // the API has the pool already: a copy with the hook would hear nothing
	asked, excused := 0, map[string]bool{}
	for _, e := range w.api.Endpoints() {
		if e.Act != rest.Lists {
			continue
		}
		path := strings.ReplaceAll(strings.ReplaceAll(e.Path, "organizations/{guid}", "organizations/o1"), "spaces/{guid}", "spaces/s1")
		path = strings.NewReplacer("isolation_segments/{guid}", "isolation_segments/933b4c58-120b-499a-b85d-4b6fc9e2903b", "{guid}", "a1").Replace(path)
		for _, p := range planParameters(e) {
			for _, user := range []string{"admin", "dev", "auditor"} {
				var status int
				for _, s := range q.of(func() { status = w.Do(user, "GET "+path+"?"+p, nil).Status }) {
					if asked++; status != 200 {
						break
					}
					bad := planOf(t, w.DB, s)
					if bad == nil {
						continue
					}
					if key := excuse(p); key != "" {
						excused[key] = true
					} else {
						t.Errorf("%s?%s as %s scans %v:\n%s", e.Path, p, user, bad, s)
					}
				}
				if status != 200 && status != 404 && !narrow(e.Path, p) {
					t.Errorf("%s?%s as %s: %d", path, p, user, status)
				}
			}
		}
	}
	for key := range scans {
		if !excused[key] {
			t.Errorf("%s needs no excuse", key)
		}
	}
	t.Logf("%d statements", asked)
}

// narrow tells whether a list refuses what the test asks: a guid that is no event's, and filters of another list of tasks.
func narrow(path, query string) bool {
	name, _, _ := strings.Cut(query, "=")
	switch name {
	case "after_guid":
		return true
	case "sequence_ids":
		return path == "/v3/tasks"
	case "app_guids", "organization_guids", "space_guids":
		return path == "/v3/apps/{guid}/tasks"
	}
	return false
}

// excuse is the key of scans that a query has, or "".
func excuse(query string) string {
	query = strings.Replace(query, "order_by=-", "order_by=", 1)
	for key := range scans {
		if strings.HasPrefix(query, key) {
			return key
		}
	}
	return ""
}

// planParameters are the queries that a list is asked: none, each filter, each order.
func planParameters(e rest.Endpoint) []string {
	out := []string{""}
	for _, p := range e.Query {
		switch {
		case p.Type == "order":
			for _, v := range p.Values {
				out = append(out, "order_by="+v, "order_by=-"+v)
			}
		case p.Type == "times":
			out = append(out, p.Name+"[gt]=2090-01-01T00:00:00Z", p.Name+"=2024-01-01T00:00:00Z")
		case p.Type == "selector":
			out = append(out, "label_selector=env=v7", "label_selector=env", "label_selector=!env")
		case p.Type == "boolean":
			out = append(out, p.Name+"=true")
		case p.Name == "ports":
			out = append(out, "ports=80")
		case p.Type == "list" || p.Type == "text" || p.Type == "include":
			v := "x1,x2"
			if p.Values != nil {
				v = p.Values[0]
			}
			switch p.Name {
			case "type":
				if v = "app"; e.Noun == "service_instance" {
					v = "user-provided"
				}
			case "lifecycle", "lifecycle_type":
				v = "buildpack"
			case "embed":
				v = "process_instances"
			case "current":
				v = "true"
			case "origins":
				v = "uaa&usernames=x"
			}
			out = append(out, fmt.Sprintf("%s=%s", p.Name, v))
		case p.Type == "fields":
			out = append(out, fmt.Sprintf("%s=%s", p.Name, strings.Join(p.Values, ",")))
		}
	}
	return out
}
