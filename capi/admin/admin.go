// Package admin is the family of nouns that operators look after: stacks, buildpacks, feature flags, environment
// variable groups, security groups, audit events, and the documents that tell about the platform.
//
// It promises that a fresh database has CF's feature flags, the default stack and security groups and nothing else. It will not stage:
// Usable and EnvGroup tell capi/flow what to stage with.
package admin

import (
	"context"
	"embed"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/job"
	"ingot/rest/row"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Family is the nouns of this package.
type Family struct {
	DB    *sql.DB
	Blobs cf.Blobs
	Info  Info
	// StackUsed tells whether apps use the stack of that name; set by who keeps apps. Without it no stack can be deleted.
	StackUsed func(ctx context.Context, db bun.IDB, name string) (bool, error)
	// ReseedApps and ReseedServices write a usage event for each process or service instance that is in use now, after all
	// events were purged; set by who keeps them, before Routes. nil: there are none.
	ReseedApps, ReseedServices func(ctx context.Context, tx bun.Tx) error

	groups *rest.Resource[SecurityGroup]
	packs  *rest.Resource[Buildpack]
}

// DefaultStack is the stack of apps that name none.
const DefaultStack = "cflinuxfs4"

// Migrate brings the family's tables up to date, and makes the default stack, the two environment variable groups and the
// two security groups.
func (f *Family) Migrate(ctx context.Context) error {
	if err := f.DB.Migrate(ctx, migrations, "capi_admin_schema", new(envGroup).secrets()); err != nil {
		return err
	}
	return f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		s := &Stack{Name: DefaultStack, Description: f.Info.Stack, State: stackActive, Default: true}
		if err := ensure(ctx, tx.NewSelect().Model((*Stack)(nil)).Where("is_default = ?", true), tx, s); err != nil {
			return fmt.Errorf("default stack: %w", err)
		}
		for _, name := range envGroups {
			g := &envGroup{Row: row.Row{GUID: name}}
			if err := ensure(ctx, tx.NewSelect().Model((*envGroup)(nil)).Where("guid = ?", name), tx, g); err != nil {
				return fmt.Errorf("environment variable group %s: %w", name, err)
			}
		}
		for _, g := range defaultGroups() {
			if err := ensure(ctx, tx.NewSelect().Model((*SecurityGroup)(nil)).Where("name = ?", g.Name), tx, &g); err != nil {
				return fmt.Errorf("security group %s: %w", g.Name, err)
			}
		}
		return nil
	})
}

// ensure inserts the row unless there is one.
func ensure(ctx context.Context, one *bun.SelectQuery, tx bun.Tx, n row.Noun) error {
	ok, err := one.Exists(ctx)
	if err != nil || ok {
		return err
	}
	return row.Insert(ctx, tx, n)
}

// Nouns are the family's rows.
func (f *Family) Nouns() []rest.Noun {
	f.packs = f.buildpacks()
	f.groups = securityGroups()
	return []rest.Noun{f.stacks(), f.packs, flags(), events(), f.groups, appUsage(), serviceUsage()}
}

// Jobs are the family's jobs beside those of its nouns.
func (f *Family) Jobs() []job.Kind {
	return []job.Kind{
		{Operation: "admin.clear_buildpack_cache", Run: f.dropCaches},
	}
}

// Routes are the endpoints that are no list, get, create, update or delete of a noun.
func (f *Family) Routes() []rest.Route {
	return append(f.usageRoutes(), []rest.Route{
		{Pattern: "POST /v3/admin/actions/clear_buildpack_cache", Handle: f.clearCaches},
		{Pattern: "GET /v3/environment_variable_groups/{name}", Handle: showEnvGroup},
		{Pattern: "PATCH /v3/environment_variable_groups/{name}", Handle: updateEnvGroup},
		{Pattern: "GET /v3/spaces/{guid}/running_security_groups", Handle: f.groupsOf("running")},
		{Pattern: "GET /v3/spaces/{guid}/staging_security_groups", Handle: f.groupsOf("staging")},
		{Pattern: "GET /{$}", Handle: f.Info.root, Open: true},
		{Pattern: "GET /v3", Handle: f.Info.v3, Open: true},
		{Pattern: "GET /v3/info", Handle: f.Info.v3Info, Open: true},
		{Pattern: "GET /v2/info", Handle: f.Info.v2Info, Open: true},
	}...)
}

func none(err error) bool { return errors.Is(err, sql.ErrNoRows) }
