// Package services holds the v3 service nouns outside Cloud Controller: user-provided service instances and their bindings
// to apps, and the catalog of brokers, offerings and plans, in which there is nothing yet.
//
// It promises that credentials rest sealed, that a binding shows what its instance says now, and that of several bindings of
// an app to one instance the newest is what the app is told (VCAP_SERVICES). It will not stage or restart anything: a
// change reaches an app with its next start, as in Cloud Foundry. Service brokers are absent.
//
// Its tables lie in the store cc beside Cloud Controller's. Of those it reads one, app_apps, with three columns (see app.go).
package services

import (
	"context"
	"embed"

	"ingot/kit/sql"
	"ingot/rest"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Services is the room. Set its fields, then Migrate, then take its Nouns and Routes. It is cf.Bindings.
type Services struct {
	DB *sql.DB // the store cc

	instances *rest.Resource[Instance]
	bindings  *rest.Resource[Binding]
}

// Migrate brings the room's tables up to date.
func (s *Services) Migrate(ctx context.Context) error {
	return s.DB.Migrate(ctx, migrations, "services_schema", new(Instance).secrets())
}

// Nouns makes the room's nouns.
func (s *Services) Nouns() []rest.Noun {
	s.instances, s.bindings = s.newInstances(), s.newBindings()
	return append(catalog(), s.instances, s.bindings)
}

// Routes are the endpoints that are no list, get, create, update or delete of a noun.
func (s *Services) Routes() []rest.Route {
	const instance, binding = "/v3/service_instances/{guid}", "/v3/service_credential_bindings/{guid}"
	const shared = instance + "/relationships/shared_spaces"
	return []rest.Route{
		{Pattern: "GET " + instance + "/credentials", Handle: s.showCredentials},
		{Pattern: "GET " + instance + "/parameters", Handle: s.noInstanceParameters},
		{Pattern: "GET " + instance + "/permissions", Handle: s.showPermissions},
		{Pattern: "GET " + shared, Handle: s.listShared},
		{Pattern: "POST " + shared, Handle: s.share},
		{Pattern: "DELETE " + shared + "/{space_guid}", Handle: s.unshare},
		{Pattern: "GET " + shared + "/usage_summary", Handle: s.sharedUsage},
		{Pattern: "GET " + binding + "/details", Handle: s.showDetails},
		{Pattern: "GET " + binding + "/parameters", Handle: s.noBindingParameters},
	}
}
