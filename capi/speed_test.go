package capi_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/resttest"
	"ingot/rest/row"
)

// seed fills the database: 1,000 spaces in 10 organizations and 200,000 events; "dev" develops in 500 of the spaces.
func seed(b *testing.B, a *resttest.API) {
	b.Helper()
	dev := "dev-guid"
	for o := range 10 {
		org := fmt.Sprintf("org%d", o)
		a.World(org)
		a.Role("dev"+org, access.OrgUser, org)
		a.Insert(&access.RoleRow{Type: access.OrgUser, UserGUID: dev, OrgGUID: org})
		var rows []row.Noun
		for s := range 100 {
			guid := fmt.Sprintf("%s-s%d", org, s)
			rows = append(rows, &access.Space{Labelled: row.Labelled{Row: base(guid)}, Name: guid, NameKey: guid, OrgGUID: org, Status: access.Active})
			if s < 50 {
				rows = append(rows, &access.RoleRow{Type: access.SpaceDeveloper, UserGUID: dev, OrgGUID: org, SpaceGUID: guid})
			}
		}
		a.Insert(rows...)
	}
	for part := range 100 {
		events := make([]event.Event, 2000)
		for i := range events {
			n := part*2000 + i
			e := &events[i]
			e.GUID, e.Type, e.CreatedAt, e.UpdatedAt = fmt.Sprint("e", n), "audit.app.update", sql.Time(n), sql.Time(n)
			e.TargetGUID, e.TargetType = fmt.Sprint("app", n%10000), "app"
			e.OrgGUID = fmt.Sprintf("org%d", n%10)
			e.SpaceGUID = fmt.Sprintf("%s-s%d", e.OrgGUID, n/10%100)
		}
		err := a.DB.Write(context.Background(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.NewInsert().Model(&events).Exec(ctx)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLists is the first page of each list as an admin and as a user with 500 spaces.
func BenchmarkLists(b *testing.B) {
	slog.SetLogLoggerLevel(slog.LevelWarn)
	a := start(b)
	seed(b, a)
	for _, line := range []string{"/v3/organizations", "/v3/spaces", "/v3/roles", "/v3/users", "/v3/audit_events", "/v3/audit_events?target_guids=app7&order_by=-created_at&page=1",
		"/v3/spaces?names=org1-s1&organization_guids=org1", "/v3/spaces/org1-s1"} {
		for _, user := range []string{"admin", "dev"} {
			b.Run(user+" "+line, func(b *testing.B) {
				for b.Loop() {
					a.Must(200, user, "GET "+line, nil)
				}
			})
		}
	}
}
