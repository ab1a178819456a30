package app

import (
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

// Deployment is a row of deployments. Nothing makes one yet: apps are restarted, not rolled.
type Deployment struct {
	bun.BaseModel `bun:"table:app_deployments"`
	row.Labelled
	AppGUID   string `bun:"app_guid"`
	SpaceGUID string `bun:"space_guid"`
	State     string `bun:"state"`
	Value     string `bun:"status_value"`
	Reason    string `bun:"status_reason"`
	Strategy  string `bun:"strategy"`
}

func deployments() *rest.Resource[Deployment] {
	return &rest.Resource[Deployment]{
		Kind: "deployment", Path: "/v3/deployments", Visible: access.InSpaces("space_guid"),
		Filters: []rest.Filter{
			{Param: "app_guids", Where: "app_guid IN (?)"},
			{Param: "states", Where: "state IN (?)"},
			{Param: "status_reasons", Where: "status_reason IN (?)"},
			{Param: "status_values", Where: "status_value IN (?)"},
		},
		View: func(_ *rest.Call, d *Deployment) rest.Object {
			return rest.Object{"strategy": d.Strategy, "status": rest.Object{"value": d.Value, "reason": d.Reason},
				"relationships": rest.Object{"app": rest.ToOne(d.AppGUID)}}
		},
		Create: func(*rest.Call) (*Deployment, error) {
			return nil, rest.Unprocessable("Deployments are not available on this platform yet. Restart the app without a strategy.")
		},
	}
}
