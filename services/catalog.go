package services

import (
	"github.com/uptrace/bun"

	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/row"
)

// The rows of nouns of which there is nothing: their lists are honest, as no query finds a row. The engine tells nouns apart
// by these types.
type (
	broker struct {
		bun.BaseModel `bun:"table:services_instances"`
		row.Labelled
	}
	offering struct {
		bun.BaseModel `bun:"table:services_instances"`
		row.Labelled
	}
	plan struct {
		bun.BaseModel `bun:"table:services_instances"`
		row.Labelled
	}
	routeBinding struct {
		bun.BaseModel `bun:"table:services_instances"`
		row.Labelled
	}
)

// nobody sees anything, and without finds nothing: there is nothing.
func nobody(access.Caller) access.Reasons { return access.Any() }

func without(_ *rest.Call, q *bun.SelectQuery, _ []string) (*bun.SelectQuery, error) {
	return q.Where("1 = 0"), nil
}

// catalog are the nouns of service brokers, which are absent, and of route services.
func catalog() []rest.Noun {
	return []rest.Noun{
		absent[broker]("service_broker", []string{"name"}, "Service brokers are not available on this platform yet.", "space_guids", "names"),
		absent[offering]("service_offering", []string{"name"}, "", "available", "broker_catalog_ids", "service_broker_guids", "service_broker_names",
			"names", "space_guids", "organization_guids"),
		absent[plan]("service_plan", []string{"name"}, "", "available", "broker_catalog_ids", "names", "organization_guids", "service_broker_guids",
			"service_broker_names", "service_instance_guids", "service_offering_guids", "service_offering_names", "space_guids"),
		// Cloud Controller's words where route services are off.
		absent[routeBinding]("service_route_binding", nil, "Support for route services is disabled", "service_instance_guids",
			"service_instance_names", "route_guids"),
	}
}

// absent is a noun of which there is nothing; who may make one is answered why not.
func absent[T any](kind string, orders []string, why string, filters ...string) rest.Noun {
	r := &rest.Resource[T]{Kind: kind, Path: "/v3/" + kind + "s", Visible: nobody, Orders: orders,
		View: func(*rest.Call, *T) rest.Object { return rest.Object{} }}
	for _, f := range filters {
		r.Filters = append(r.Filters, rest.Filter{Param: f, By: without, Bool: f == "available"})
	}
	if why != "" {
		r.Create = func(c *rest.Call) (*T, error) { return nil, rest.Unprocessable("%s", why) }
	}
	return r
}
