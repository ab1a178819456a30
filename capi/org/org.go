// Package org is the family of nouns about who works where: organizations, spaces, roles, users and organization
// quotas.
//
// It promises that deleting an organization or a space deletes everything in it, as a job that goes on after a crash:
// the families that keep something in spaces say how, in Cascade. It will not decide who sees what: that is
// rest/access, which owns the rows.
package org

import (
	"context"
	"embed"
	"io/fs"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/job"
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
}

// Migrate brings the family's tables up to date and makes the default quota.
func (f *Family) Migrate(ctx context.Context) error {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	if err := f.DB.Migrate(ctx, sub, "capi_org_schema"); err != nil {
		return err
	}
	return f.ensureQuota(ctx)
}

// Nouns are the family's rows.
func (f *Family) Nouns() []rest.Noun {
	return []rest.Noun{f.organizations()}
}
