// Package app is the family of nouns of an app and its processes: apps, environment variables, features, processes,
// their statistics and instances.
//
// It promises that a change of an app and its audit event share a transaction, and that whoever runs processes hears
// of each change that concerns running instances (Family.Changed) after its commit. It will not start, stage or delete
// anything: verbs that cross families are in capi/flow.
package app

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/job"
	"ingot/rest/quota"
	"ingot/rest/row"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the family's tables up to date.
func Migrate(ctx context.Context, db *sql.DB) error {
	return db.Migrate(ctx, migrations, "app_schema", new(App).secrets(), new(Revision).secrets())
}

// Family holds the family. Set its fields, then take its Nouns and Routes.
type Family struct {
	Logs      cf.Logs
	Scheduler cf.Scheduler // asked for instances

	// Changed is told, after the commit, of an app whose change concerns running instances.
	Changed func(ctx context.Context, app string)
	// Fit says what is wrong with buildpacks and a stack that an app shall use, in CF's words, or "".
	Fit func(ctx context.Context, db bun.IDB, buildpacks []string, stack string) (fault string, err error)
	// StackState says what the state of the stack that an app ("": a new one) shall use means for it: a warning, or CF's error.
	StackState func(ctx context.Context, db bun.IDB, stack, app string) (warning string, err error)
	// Remove deletes an app with all that belongs to it: the job app.delete.
	Remove func(ctx context.Context, j *job.Job) error
	// Deploy is POST /v3/deployments.
	Deploy func(c *rest.Call) (*Deployment, error)
	// Staged tells which of the droplets can be run.
	Staged func(ctx context.Context, db bun.IDB, droplets []string) ([]string, error)
	// Account writes the usage events of processes whose rows were changed.
	Account func(ctx context.Context, tx bun.Tx, a *App, ps ...*Process) error
	// Counters count what a quota of memory and instances is compared with.
	Counters  []quota.Counter
	Stack     string // what apps get that name none
	MaxDiskMB int    // the most disk of an instance

	Apps        *rest.Resource[App]
	Processes   *rest.Resource[Process]
	Deployments *rest.Resource[Deployment]
	Revisions   *rest.Resource[Revision]
	Sidecars    *rest.Resource[Sidecar]
}

// Nouns makes the family's nouns.
func (f *Family) Nouns() []rest.Noun {
	f.Apps = &rest.Resource[App]{
		Kind: "app", Path: "/v3/apps", Visible: access.InSpaces("space_guid"),
		Filters: []rest.Filter{
			{Param: "names", Where: "name_key IN (?)", Fold: true},
			{Param: "organization_guids", Where: "space_guid IN (SELECT guid FROM rest_spaces WHERE org_guid IN (?))"},
			{Param: "space_guids", Where: "space_guid IN (?)"},
			{Param: "stacks", Where: "stack IN (?)"},
			{Param: "lifecycle_type", Where: "lifecycle IN (?)", Check: rest.OneOf("lifecycle_type", "buildpack", "docker", "cnb")},
		},
		Orders: []string{"name:name_key", "state"},
		View:   view, Create: f.create, Update: f.update, Delete: f.mayDelete, Remove: f.Remove,
	}
	f.Processes, f.Deployments, f.Revisions = f.processes(), f.deployments(), f.revisions()
	return []rest.Noun{f.Apps, f.Processes, f.sidecars(), f.Deployments, f.Revisions}
}

// Routes are the family's other endpoints.
func (f *Family) Routes() []rest.Route {
	return append(slices.Concat(f.envRoutes(), f.featureRoutes(), f.processRoutes()),
		rest.Route{Pattern: "POST /v3/apps/{guid}/sidecars", Handle: f.createSidecar},
		rest.Route{Pattern: "GET /v3/revisions/{guid}/environment_variables", Handle: f.revisionEnv})
}

func view(c *rest.Call, a *App) rest.Object {
	link := func(what string) rest.Object { return c.Link("/v3/apps/%s/"+what, a.GUID) }
	return rest.Object{
		"name": a.Name, "state": a.State,
		"lifecycle": rest.Object{"type": a.Lifecycle, "data": rest.Object{"buildpacks": cf.PublicBuildpacks(a.Buildpacks.V), "stack": a.Stack}},
		"relationships": rest.Object{
			"space": rest.ToOne(a.SpaceGUID), "current_droplet": rest.ToOne(a.Droplet),
		},
		"links": rest.Object{
			"environment_variables": link("environment_variables"), "space": c.Link("/v3/spaces/%s", a.SpaceGUID),
			"processes": link("processes"), "packages": link("packages"), "current_droplet": link("droplets/current"),
			"droplets": link("droplets"), "tasks": link("tasks"), "start": c.Action("/v3/apps/%s/actions/start", a.GUID),
			"stop": c.Action("/v3/apps/%s/actions/stop", a.GUID), "revisions": link("revisions"),
			"deployed_revisions": link("revisions/deployed"), "features": link("features"),
		},
	}
}

func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// Target is an app as audit events name it.
func Target(ctx context.Context, db bun.IDB, a *App) (event.Target, error) {
	s, err := access.SpaceByGUID(ctx, db, a.SpaceGUID)
	if err != nil {
		return event.Target{}, fmt.Errorf("space of app %s: %w", a.GUID, err)
	}
	return event.Target{GUID: a.GUID, Type: "app", Name: a.Name, Org: s.OrgGUID, Space: a.SpaceGUID}, nil
}

// Record writes an audit event about the app.
func Record(ctx context.Context, tx bun.Tx, kind string, a *App, data map[string]any) error {
	t, err := Target(ctx, tx, a)
	if err != nil {
		return err
	}
	return event.Record(ctx, tx, kind, t, data)
}

// ByGUID reads an app without asking who may see it.
func ByGUID(ctx context.Context, db bun.IDB, guid string) (*App, error) {
	a := new(App)
	err := db.NewSelect().Model(a).Where("guid = ?", guid).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, rest.NotFound("app")
	}
	return a, err
}

// Insert makes an app with its web process and their events. data is the create event's.
func Insert(ctx context.Context, db *sql.DB, tx bun.Tx, a *App, data map[string]any) error {
	if err := access.HoldSpace(ctx, db, tx, a.SpaceGUID); err != nil {
		return err
	}
	a.NameKey = access.Fold(a.Name)
	a.SSH, a.Revisions = true, true
	if a.State == "" {
		a.State = Stopped
	}
	err := row.Insert(ctx, tx, a)
	if sql.IsUnique(err) {
		return nameTaken(a.Name)
	}
	if err != nil {
		return err
	}
	if err := Record(ctx, tx, "audit.app.create", a, data); err != nil {
		return err
	}
	_, err = AddProcess(ctx, tx, a, Web)
	return err
}

// CheckName says what is wrong with the name of an app, in CF's words, or "".
func CheckName(name string) string {
	switch {
	case strings.TrimSpace(name) == "":
		return "name presence"
	case len([]rune(name)) > 255:
		return "Name is too long (maximum is 255 characters)"
	case strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return "name format"
	}
	return ""
}

func nameTaken(name string) error {
	return cf.Errorf(cf.KindUnprocessable, "UniquenessError", "App with the name '%s' already exists.", name)
}

// Say writes a line of the API into the app's log.
func (f *Family) Say(app, format string, args ...any) {
	f.Logs.Emit(cf.AppLine(cf.AppID(app), cf.SourceAPI, "0", fmt.Sprintf(format, args...), false))
}
