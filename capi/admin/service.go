package admin

import (
	"github.com/uptrace/bun"

	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/row"
)

// serviceInstance is a row of service instances. Nobody can make any yet; what lists them, such as cf space, is told so.
type serviceInstance struct {
	bun.BaseModel `bun:"table:capi_service_instances"`
	row.Labelled
	Name      string `bun:"name"`
	SpaceGUID string `bun:"space_guid"`
}

func serviceInstances() rest.Noun {
	return &rest.Resource[serviceInstance]{
		Kind: "service_instance", Path: "/v3/service_instances", Visible: access.InSpaces("space_guid"),
		Filters: []rest.Filter{
			{Param: "names", Where: "name IN (?)"},
			{Param: "space_guids", Where: "space_guid IN (?)"},
			{Param: "organization_guids", Where: "space_guid IN (SELECT guid FROM rest_spaces WHERE org_guid IN (?))"},
		},
		Orders: []string{"name"},
		View:   func(_ *rest.Call, s *serviceInstance) rest.Object { return rest.Object{"name": s.Name} },
		Create: func(*rest.Call) (*serviceInstance, error) {
			return nil, rest.Unprocessable("Services are not available on this platform yet.")
		},
	}
}
