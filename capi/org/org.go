// Package org is the family of nouns about who works where: organizations, spaces, roles, users, quotas and isolation
// segments.
//
// It promises that deleting an organization or a space deletes everything in it, as a job that goes on after a crash:
// the families that keep something in spaces say how (SpaceContents, OrgContents). It will not decide who sees what: that is
// rest/access, which owns the rows.
package org

import (
	"context"
	"embed"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/job"
	"ingot/rest/quota"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Family is the nouns of this package.
type Family struct {
	DB        *sql.DB
	Directory cf.Directory
	// SpaceContents delete what other families keep in a space, in order; OrgContents the same in an organization,
	// after its spaces. Each is idempotent; an error ends the job.
	SpaceContents []func(ctx context.Context, j *job.Job, space string) error
	OrgContents   []func(ctx context.Context, j *job.Job, org string) error
	// Usages add what other families count to a usage summary.
	Usages []quota.Counter
}

// Migrate brings the family's tables up to date and makes what is always there: the default quota and the
// shared segment.
func (f *Family) Migrate(ctx context.Context) error {
	if err := quota.Migrate(ctx, f.DB); err != nil {
		return err
	}
	if err := f.DB.Migrate(ctx, migrations, "capi_org_schema"); err != nil {
		return err
	}
	for _, ensure := range []func(context.Context) error{f.ensureQuota, f.ensureShared} {
		if err := ensure(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Nouns are the family's rows.
func (f *Family) Nouns() []rest.Noun {
	return []rest.Noun{f.organizations(), f.spaces(), f.roles(), f.users(), f.orgQuotas(), f.spaceQuotas(), f.segments()}
}

// Routes are the endpoints that are no list, get, create, update or delete of a noun.
func (f *Family) Routes() []rest.Route {
	return []rest.Route{
		{Pattern: "GET /v3/spaces/{guid}/features", Handle: spaceFeatures},
		{Pattern: "GET /v3/spaces/{guid}/features/{name}", Handle: spaceFeature},
		{Pattern: "PATCH /v3/spaces/{guid}/features/{name}", Handle: updateSpaceFeature},
		{Pattern: "GET /v3/organizations/{guid}/usage_summary", Handle: f.orgUsage},
		{Pattern: "GET /v3/spaces/{guid}/usage_summary", Handle: f.spaceUsage},
		{Pattern: "GET /v3/info/usage_summary", Handle: f.usage},
		{Pattern: "GET /v3/organizations/{guid}/relationships/default_isolation_segment", Handle: orgIsolation},
		{Pattern: "PATCH /v3/organizations/{guid}/relationships/default_isolation_segment", Handle: f.setOrgIsolation},
		{Pattern: "GET /v3/spaces/{guid}/relationships/isolation_segment", Handle: spaceIsolation},
		{Pattern: "PATCH /v3/spaces/{guid}/relationships/isolation_segment", Handle: f.setSpaceIsolation},
	}
}
