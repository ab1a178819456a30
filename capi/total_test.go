package capi_test

import (
	"context"
	"slices"
	"testing"

	"github.com/uptrace/bun"
)

// TestTotals: what is seen for two reasons is counted and listed once, on whatever page.
func TestTotals(t *testing.T) {
	w := quiet(t, size{orgs: 10, spaces: 20, apps: 40, routes: 40, events: 400})
	err := w.DB.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		for _, route := range []string{"r1", "r2", "r3"} { // of the spaces s1 to s3; s11 is of o1 as s1 is
			if _, err := tx.ExecContext(ctx, "INSERT INTO route_shared_routes (route_guid, space_guid) VALUES (?, 's11')", route); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		user, list string
		want       int
	}{
		{"admin", "audit_events?", 400},
		{"dev", "audit_events?", 200},                       // of s0 to s9
		{"auditor", "audit_events?", 100 + 20},              // of s0 to s4, of which s1 is in o1 too, and of s11
		{"auditor", "audit_events?types=audit.app.11&", 20}, // all of s11
		{"auditor", "audit_events?types=audit.app.1&", 20},  // all of s1
		{"auditor", "audit_events?types=audit.app.9&", 0},
		{"one", "audit_events?", 20},
		{"boss", "audit_events?", 0},
		{"boss", "routes?", 4 + 2}, // of s1 and s11, of which s11 was given one that is seen already
		{"auditor", "routes?", 10 + 2},
		{"dev", "routes?", 20},
		{"boss", "domains?", 2 + 2}, // of o1, and the two that all may use
		{"boss", "roles?", 8 + 7},   // in o1: of four users, dev, one, boss and auditor; in s1 and s11: of four users, and of dev, one and auditor
	} {
		for _, order := range []string{"id", "created_at", "-created_at"} {
			path := "/v3/" + c.list + "per_page=7"
			if order != "id" {
				path += "&order_by=" + order
			}
			var guids []string
			for next := path; next != ""; {
				a := w.Must(200, c.user, "GET "+next, nil)
				if total := a.Get("pagination", "total_results"); total != float64(c.want) {
					t.Errorf("%s as %s: %v, want %d", next, c.user, total, c.want)
				}
				guids = append(guids, a.Names("guid")...)
				next, _ = a.Get("pagination", "next", "href").(string)
			}
			slices.Sort(guids)
			if n := len(guids); n != c.want || len(slices.Compact(guids)) != n {
				t.Errorf("%s as %s: %d guids, %d different", path, c.user, n, len(slices.Compact(guids)))
			}
		}
	}
}
