// Package capi is the Cloud Controller: the v3 API of everything but services, as families of nouns on the engine of
// package rest.
//
// It promises that every family's nouns are served by one handler, with one list of what answers can include. It will
// not hold a noun itself, and the families do not know each other: capi/flow does.
package capi

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"ingot/capi/admin"
	"ingot/capi/app"
	"ingot/capi/build"
	"ingot/capi/flow"
	"ingot/capi/org"
	"ingot/capi/route"
	"ingot/capi/task"
	"ingot/cf"
	"ingot/kit/run"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/job"
	"ingot/rest/limit"
	"ingot/rest/retain"
	"ingot/rest/usage"
)

// API is the Cloud Controller. Set the fields, then Start.
type API struct {
	DB        *sql.DB // the store cc
	Tokens    cf.Tokens
	Directory cf.Directory
	URL       string // its own address, such as https://api.ingot.test
	Holder    string // names this process over restarts: its jobs are taken up at once
	Info      admin.Info
	Domain    string // the platform's, such as ingot.test; apps live under apps.<domain>
	Scheduler cf.Scheduler
	Blobs     cf.Blobs
	Logs      cf.Logs
	Services  Room            // the nouns of services, on the same server
	Bindings  cf.Bindings     // what apps are bound to: the same room
	Gate      *run.Gate       // stops a push at its steps; nil in life
	Followers cf.LogFollowers // see build.Family
	Staging   time.Duration   // see flow.Flow
	MaxDisk   int             // MB that an instance of an app may have; 0 = 2048, as in Cloud Controller
	Limits    *limit.Requests // of requests an hour; nil = the platform's

	Org   *org.Family   // made by Start
	Admin *admin.Family // made by Start

	flow   *flow.Flow
	server *rest.Server
	jobs   *job.Pool
	sweep  *retain.Sweep
}

// Room is a room beside Cloud Controller whose nouns the same server answers: same store, same access, same jobs.
type Room interface {
	Migrate(ctx context.Context) error
	Nouns() []rest.Noun
	Routes() []rest.Route
}

// Start brings the tables up to date, starts the jobs that an earlier process left, and begins to converge.
func (a *API) Start(ctx context.Context) error {
	if a.Limits == nil {
		a.Limits = &limit.Requests{}
	}
	a.Info.Hourly = a.Limits.Hourly()
	a.Org = &org.Family{DB: a.DB, Directory: a.Directory}
	a.Admin = &admin.Family{DB: a.DB, Blobs: a.Blobs, Info: a.Info}
	apps := &app.Family{Logs: a.Logs, Scheduler: a.Scheduler, MaxDiskMB: cmp.Or(a.MaxDisk, 2048)}
	builds := &build.Family{DB: a.DB, Blobs: a.Blobs, Logs: a.Logs, Gate: a.Gate, Followers: a.Followers}
	routes := &route.Family{DB: a.DB, Domain: a.Domain}
	tasks := &task.Family{}
	a.flow = &flow.Flow{DB: a.DB, Scheduler: a.Scheduler, Blobs: a.Blobs, Logs: a.Logs, Gate: a.Gate, URL: a.URL,
		Bindings: a.Bindings, Staging: a.Staging, Domain: "apps." + a.Domain, App: apps, Build: builds, Route: routes, Task: tasks, Org: a.Org, Admin: a.Admin}
	a.flow.Join()
	if err := a.migrate(ctx); err != nil {
		return err
	}
	a.jobs = &job.Pool{DB: a.DB, Holder: a.Holder, Kinds: slices.Concat(a.flow.Jobs(), a.Admin.Jobs(), builds.Jobs(), routes.Jobs())}
	a.server = &rest.Server{DB: a.DB, Tokens: a.Tokens, Jobs: a.jobs, URL: a.URL, Includes: Includes(), Limits: a.Limits,
		Nouns:  slices.Concat(a.Org.Nouns(), a.Admin.Nouns(), apps.Nouns(), builds.Nouns(), routes.Nouns(), tasks.Nouns(), a.Services.Nouns()),
		Routes: slices.Concat(a.Org.Routes(), a.Admin.Routes(), apps.Routes(), builds.Routes(), routes.Routes(), a.flow.Routes(), a.Services.Routes())}
	if err := a.server.Start(ctx); err != nil {
		return err
	}
	if err := a.jobs.Start(ctx); err != nil {
		return err
	}
	if err := a.flow.Start(ctx); err != nil {
		return err
	}
	a.sweep = &retain.Sweep{DB: a.DB, Rules: Retention()}
	return a.sweep.Start(ctx)
}

// Retention is how long, or how many, Cloud Controller keeps (config/cloud_controller.yml of cloud_controller_ng, and its
// clock's jobs). Builds that wait too long for their end are flow's to fail; packages and droplets beyond those that an
// app keeps expire when a droplet is set (build.Expire), and their rows go here. Deployments and revisions are their makers' to count.
func Retention() []retain.Rule {
	return []retain.Rule{
		{Table: "rest_events", Age: 31 * retain.Day},                                      // audit_events
		{Table: "rest_jobs", Where: "state <> 'PROCESSING'", Age: 90 * retain.Day},        // pollable_jobs
		{Table: "build_builds", Where: "state <> 'STAGING'", Newest: 100, Of: "app_guid"}, // max_retained_builds_per_app
		{Table: "build_droplets", Where: "state = 'EXPIRED' AND blob_key = ''"},           // expired_resource_cleanup
		{Table: "build_packages", Where: "state = 'EXPIRED' AND blob_key = ''"},
		{Table: "task_tasks", Where: "state IN ('SUCCEEDED', 'FAILED')", Age: 31 * retain.Day, By: "updated_at"},    // completed_tasks
		{Table: "rest_app_usage", Where: "id < (SELECT MAX(id) FROM rest_app_usage)", Age: 31 * retain.Day},         // app_usage_events; one stays
		{Table: "rest_service_usage", Where: "id < (SELECT MAX(id) FROM rest_service_usage)", Age: 31 * retain.Day}, // service_usage_events
	}
}

func (a *API) migrate(ctx context.Context) error {
	of := func(migrate func(context.Context, *sql.DB) error) func(context.Context) error {
		return func(ctx context.Context) error { return migrate(ctx, a.DB) }
	}
	for _, migrate := range []func(context.Context) error{
		of(rest.Migrate), of(usage.Migrate), a.Org.Migrate, a.Admin.Migrate, of(app.Migrate), of(build.Migrate), of(route.Migrate),
		of(task.Migrate), a.Services.Migrate,
	} {
		if err := migrate(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends convergence and lets running jobs end until ctx's deadline.
func (a *API) Stop(ctx context.Context) error {
	var err error
	if a.sweep != nil {
		err = a.sweep.Stop(ctx)
	}
	return errors.Join(err, a.flow.Stop(ctx), a.jobs.Stop(ctx))
}

// TaskCompleted and InstanceCrashed take the scheduler's outcomes: the API is cf.Outcomes once it was started.
func (a *API) TaskCompleted(ctx context.Context, t cf.Task) error {
	if a.flow == nil {
		return errNotStarted
	}
	return a.flow.TaskCompleted(ctx, t)
}

// InstanceCrashed: see TaskCompleted.
func (a *API) InstanceCrashed(ctx context.Context, c cf.Crash) error {
	if a.flow == nil {
		return errNotStarted
	}
	return a.flow.InstanceCrashed(ctx, c)
}

// InstanceReadiness does so for the readiness of instances.
func (a *API) InstanceReadiness(ctx context.Context, i cf.ActualLRP) error {
	if a.flow == nil {
		return errNotStarted
	}
	return a.flow.InstanceReadiness(ctx, i)
}

var errNotStarted = cf.Errorf(cf.KindUnavailable, "", "the API has not started yet")

// Handler serves the API; Start comes first.
func (a *API) Handler() http.Handler { return a.server.Handler() }

// Endpoints are all that is served; Start comes first.
func (a *API) Endpoints() []rest.Endpoint { return a.server.Endpoints() }

// Includes is what ?include= and ?fields[]= can bring along, for all nouns.
func Includes() []rest.Include {
	const (
		orgOfSpace = "guid IN (SELECT org_guid FROM rest_spaces WHERE guid IN (?))"
		ofRole     = " FROM rest_roles WHERE guid IN (?))"
		ofApp      = " FROM app_apps WHERE guid IN (?))"
		ofRoute    = " FROM route_routes WHERE guid IN (?))"
		ofInstance = " FROM services_instances WHERE guid IN (?))"
		ofBinding  = " FROM services_bindings WHERE guid IN (?))"
		nothing    = "guid IN (?) AND 1 = 0" // of service brokers and route services nothing is there
		orgOf      = "guid IN (SELECT org_guid FROM rest_spaces WHERE guid IN (SELECT space_guid"
	)
	return []rest.Include{
		{Of: "space", Param: "org", Kind: "organization", Key: "organizations", Where: orgOfSpace},
		{Of: "space", Param: "organization", Kind: "organization", Key: "organizations", Where: orgOfSpace},
		{Of: "role", Param: "user", Kind: "user", Key: "users", Where: "guid IN (SELECT user_guid" + ofRole},
		{Of: "role", Param: "organization", Kind: "organization", Key: "organizations",
			Where: "guid IN (SELECT CASE space_guid WHEN '' THEN org_guid END" + ofRole},
		{Of: "role", Param: "space", Kind: "space", Key: "spaces", Where: "guid IN (SELECT space_guid" + ofRole},
		{Of: "app", Param: "space", Kind: "space", Key: "spaces", Where: "guid IN (SELECT space_guid" + ofApp},
		{Of: "app", Param: "org", Kind: "organization", Key: "organizations", Where: orgOf + ofApp + ")"},
		{Of: "app", Param: "space.organization", Kind: "space", Key: "spaces", Where: "guid IN (SELECT space_guid" + ofApp},
		{Of: "app", Param: "space.organization", Kind: "organization", Key: "organizations", Where: orgOf + ofApp + ")"},
		{Of: "route", Param: "domain", Kind: "domain", Key: "domains", Where: "guid IN (SELECT domain_guid" + ofRoute},
		{Of: "route", Param: "space", Kind: "space", Key: "spaces", Where: "guid IN (SELECT space_guid" + ofRoute},
		{Of: "route", Param: "space.organization", Kind: "space", Key: "spaces", Where: "guid IN (SELECT space_guid" + ofRoute},
		{Of: "route", Param: "space.organization", Kind: "organization", Key: "organizations", Where: orgOf + ofRoute + ")"},
		{Of: "service_instance", Param: "space", Kind: "space", Key: "spaces", Where: "guid IN (SELECT space_guid" + ofInstance,
			Fields: []string{"guid", "name", "relationships.organization"}},
		{Of: "service_instance", Param: "space.organization", Kind: "organization", Key: "organizations", Where: orgOf + ofInstance + ")",
			Fields: []string{"name", "guid"}},
		{Of: "service_instance", Param: "service_plan", Kind: "service_plan", Key: "service_plans", Where: nothing,
			Fields: []string{"guid", "name", "relationships.service_offering"}},
		{Of: "service_instance", Param: "service_plan.service_offering", Kind: "service_offering", Key: "service_offerings", Where: nothing,
			Fields: []string{"name", "guid", "description", "documentation_url", "tags", "relationships.service_broker"}},
		{Of: "service_instance", Param: "service_plan.service_offering.service_broker", Kind: "service_broker", Key: "service_brokers", Where: nothing,
			Fields: []string{"name", "guid"}},
		{Of: "service_credential_binding", Param: "app", Kind: "app", Key: "apps", Where: "guid IN (SELECT app_guid" + ofBinding},
		{Of: "service_credential_binding", Param: "service_instance", Kind: "service_instance", Key: "service_instances",
			Where: "guid IN (SELECT instance_guid" + ofBinding},
		{Of: "service_offering", Param: "service_broker", Kind: "service_broker", Key: "service_brokers", Where: nothing, Fields: []string{"guid", "name"}},
		{Of: "service_plan", Param: "space.organization", Kind: "organization", Key: "organizations", Where: nothing},
		{Of: "service_plan", Param: "service_offering", Kind: "service_offering", Key: "service_offerings", Where: nothing},
		{Of: "service_plan", Param: "service_offering.service_broker", Kind: "service_broker", Key: "service_brokers", Where: nothing,
			Fields: []string{"guid", "name"}},
		{Of: "service_route_binding", Param: "route", Kind: "route", Key: "routes", Where: nothing},
		{Of: "service_route_binding", Param: "service_instance", Kind: "service_instance", Key: "service_instances", Where: nothing},
	}
}
