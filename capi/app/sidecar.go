package app

import (
	"context"
	"slices"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/row"
)

// Sidecar is a row of sidecars: a second program beside processes of an app. Nothing makes one yet.
type Sidecar struct {
	bun.BaseModel `bun:"table:app_sidecars"`
	row.Row
	AppGUID      string             `bun:"app_guid"`
	SpaceGUID    string             `bun:"space_guid"`
	Name         string             `bun:"name"`
	Command      string             `bun:"command"`
	ProcessTypes sql.JSON[[]string] `bun:"process_types"`
	MemoryMB     int                `bun:"memory_mb"`
	Origin       string             `bun:"origin"`
}

func sidecars() *rest.Resource[Sidecar] {
	return &rest.Resource[Sidecar]{
		Kind: "sidecar", Path: "/v3/sidecars", Visible: access.InSpaces("space_guid"), NoList: true,
		Subs: []rest.Sub{
			{Path: "/v3/apps/{guid}/sidecars", Parent: "app", Where: "app_guid = ?"},
			{Path: "/v3/processes/{guid}/sidecars", Parent: "process", Where: "app_guid IN (SELECT app_guid FROM app_processes WHERE guid = ?)"},
		},
		View: func(_ *rest.Call, s *Sidecar) rest.Object {
			return rest.Object{"name": s.Name, "command": s.Command, "process_types": nonNil(s.ProcessTypes.V),
				"memory_in_mb": orNil(s.MemoryMB), "origin": s.Origin, "relationships": rest.Object{"app": rest.ToOne(s.AppGUID)}}
		},
	}
}

// besides are the sidecars of the app as a revision keeps them, by name.
func besides(ctx context.Context, db bun.IDB, app string) ([]Beside, error) {
	var all []*Sidecar
	err := db.NewSelect().Model(&all).Where("app_guid = ?", app).OrderExpr("name").Scan(ctx)
	var out []Beside
	for _, s := range all {
		b := Beside{Name: s.Name, Command: s.Command, Types: slices.Sorted(slices.Values(s.ProcessTypes.V))}
		if s.MemoryMB > 0 {
			b.MemoryMB = &s.MemoryMB
		}
		out = append(out, b)
	}
	return out, err
}

// Return gives the app the environment and the sidecars of a revision.
func (r *Revision) Return(ctx context.Context, tx bun.Tx, a *App) error {
	a.Env.V = r.Env.V
	if err := row.DeleteWhere(ctx, tx, "app_sidecars", "app_guid = ?", a.GUID); err != nil {
		return err
	}
	for _, b := range r.Sidecars.V {
		s := &Sidecar{AppGUID: a.GUID, SpaceGUID: a.SpaceGUID, Name: b.Name, Command: b.Command, Origin: "user"}
		if s.ProcessTypes.V = b.Types; b.MemoryMB != nil {
			s.MemoryMB = *b.MemoryMB
		}
		if err := row.Insert(ctx, tx, s); err != nil {
			return err
		}
	}
	return nil
}
