package services

import (
	"cmp"
	"context"
	"encoding/json"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest/row"
)

// userProvided is the type of all service instances, and their label in VCAP_SERVICES.
const userProvided = "user-provided"

// Instance is a row of service instances, all of them user-provided.
type Instance struct {
	bun.BaseModel `bun:"table:services_instances"`
	row.Labelled
	Name        string              `bun:"name"` // unique in the space
	SpaceGUID   string              `bun:"space_guid"`
	Tags        sql.JSON[[]string]  `bun:"tags"`
	Credentials sql.Sealed[string]  `bun:"credentials"`       // an object, as it was given; "" = none
	Drain       sql.Sealed[*string] `bun:"syslog_drain_url"`  // URLs may hold passwords
	RouteURL    sql.Sealed[*string] `bun:"route_service_url"` // kept for clients: route services are absent
	Updated     bool                `bun:"updated"`           // the last operation was an update, at UpdatedAt
}

func (i *Instance) secrets() sql.Secrets {
	return sql.Secrets{Table: "services_instances", GUID: i.GUID, Columns: []sql.Secret{
		{Column: "credentials", Value: &i.Credentials}, {Column: "syslog_drain_url", Value: &i.Drain},
		{Column: "route_service_url", Value: &i.RouteURL}}}
}

// BeforeAppendModel encrypts credentials and URLs.
func (i *Instance) BeforeAppendModel(ctx context.Context, q bun.Query) error {
	return i.secrets().Seal(ctx, q)
}

// AfterScanRow decrypts them.
func (i *Instance) AfterScanRow(ctx context.Context) error { return i.secrets().Open(ctx) }

// credentials are an object in any case.
func (i *Instance) credentials() json.RawMessage {
	return json.RawMessage(cmp.Or(i.Credentials.V, "{}"))
}

func (i *Instance) tags() []string {
	if i.Tags.V == nil {
		return []string{}
	}
	return i.Tags.V
}

// Binding is a row of bindings of apps to service instances. Credentials are the instance's.
type Binding struct {
	bun.BaseModel `bun:"table:services_bindings"`
	row.Labelled
	Name         string `bun:"name"` // or ""
	AppGUID      string `bun:"app_guid"`
	InstanceGUID string `bun:"instance_guid"`
	SpaceGUID    string `bun:"space_guid"` // of both
}

// name is nil where the binding has none.
func (b *Binding) name() *string {
	if b.Name == "" {
		return nil
	}
	return &b.Name
}
