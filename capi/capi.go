// Package capi is the Cloud Controller: the v3 API of everything but services, as families of nouns on the engine of
// package rest.
//
// It promises that every family's nouns are served by one handler, with one list of what answers can include. It will
// not hold a noun itself, and the families do not know each other: capi/flow does.
package capi

import (
	"context"
	"net/http"

	"ingot/capi/admin"
	"ingot/capi/org"
	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/job"
)

// API is the Cloud Controller. Set the fields, then Start.
type API struct {
	DB        *sql.DB // the store cc
	Tokens    cf.Tokens
	Directory cf.Directory
	URL       string // its own address, such as https://api.ingot.test
	Holder    string // names this process over restarts: its jobs are taken up at once
	Info      admin.Info

	Org   *org.Family   // made by Start
	Admin *admin.Family // made by Start

	server *rest.Server
	jobs   *job.Pool
}

// Start brings the tables up to date, and starts the jobs that an earlier process left.
func (a *API) Start(ctx context.Context) error {
	a.Org = &org.Family{DB: a.DB, Directory: a.Directory}
	a.Admin = &admin.Family{DB: a.DB, Info: a.Info}
	migrations := []func(context.Context) error{
		func(ctx context.Context) error { return rest.Migrate(ctx, a.DB) },
		a.Org.Migrate, a.Admin.Migrate,
	}
	for _, migrate := range migrations {
		if err := migrate(ctx); err != nil {
			return err
		}
	}
	a.jobs = &job.Pool{DB: a.DB, Holder: a.Holder}
	a.server = &rest.Server{DB: a.DB, Tokens: a.Tokens, Jobs: a.jobs, URL: a.URL, Includes: Includes()}
	a.server.Nouns = append(a.Org.Nouns(), a.Admin.Nouns()...)
	a.server.Routes = append(a.Org.Routes(), a.Admin.Routes()...)
	if err := a.server.Start(ctx); err != nil {
		return err
	}
	return a.jobs.Start(ctx)
}

// Stop lets running jobs end until ctx's deadline.
func (a *API) Stop(ctx context.Context) error { return a.jobs.Stop(ctx) }

// Handler serves the API; Start comes first.
func (a *API) Handler() http.Handler { return a.server.Handler() }

// Includes is what ?include= and ?fields[]= can bring along, for all nouns.
func Includes() []rest.Include {
	const (
		orgOfSpace = "guid IN (SELECT org_guid FROM rest_spaces WHERE guid IN (?))"
		ofRole     = " FROM rest_roles WHERE guid IN (?))"
	)
	return []rest.Include{
		{Of: "space", Param: "org", Kind: "organization", Key: "organizations", Where: orgOfSpace},
		{Of: "space", Param: "organization", Kind: "organization", Key: "organizations", Where: orgOfSpace},
		{Of: "role", Param: "user", Kind: "user", Key: "users", Where: "guid IN (SELECT user_guid" + ofRole},
		{Of: "role", Param: "organization", Kind: "organization", Key: "organizations",
			Where: "guid IN (SELECT CASE space_guid WHEN '' THEN org_guid END" + ofRole},
		{Of: "role", Param: "space", Kind: "space", Key: "spaces", Where: "guid IN (SELECT space_guid" + ofRole},
	}
}
