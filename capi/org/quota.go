package org

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/row"
)

// quota is a row of organization quotas.
type quota struct {
	bun.BaseModel `bun:"table:capi_organization_quotas"`
	row.Row
	Name    string           `bun:"name"`
	NameKey string           `bun:"name_key"`
	Limits  sql.JSON[limits] `bun:"limits"`
	Orgs    []string         `bun:"-"` // that have it
}

// limits of a quota; nil is unlimited.
type limits struct {
	Apps struct {
		TotalMemory   *int `json:"total_memory_in_mb"`
		ProcessMemory *int `json:"per_process_memory_in_mb"`
		Instances     *int `json:"total_instances"`
		Tasks         *int `json:"per_app_tasks"`
		LogRate       *int `json:"log_rate_limit_in_bytes_per_second"`
	} `json:"apps"`
	Services struct {
		Paid      bool `json:"paid_services_allowed"`
		Instances *int `json:"total_service_instances"`
		Keys      *int `json:"total_service_keys"`
	} `json:"services"`
	Routes struct {
		Total *int `json:"total_routes"`
		Ports *int `json:"total_reserved_ports"`
	} `json:"routes"`
	Domains struct {
		Total *int `json:"total_domains"`
	} `json:"domains"`
}

const defaultQuota = "default"

// ensureQuota makes the quota of organizations that name none, with the limits of cf-deployment.
func (f *Family) ensureQuota(ctx context.Context) error {
	err := f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if ok, err := tx.NewSelect().Model((*quota)(nil)).Where("name_key = ?", defaultQuota).Exists(ctx); ok || err != nil {
			return err
		}
		q := &quota{Name: defaultQuota, NameKey: access.Fold(defaultQuota)}
		memory, routes, services := 102400, 1000, 100
		q.Limits.V.Apps.TotalMemory, q.Limits.V.Routes.Total = &memory, &routes
		q.Limits.V.Services.Instances, q.Limits.V.Services.Paid = &services, true
		return row.Insert(ctx, tx, q)
	})
	if err != nil {
		return fmt.Errorf("default quota: %w", err)
	}
	return nil
}

func (f *Family) quotas() *rest.Resource[quota] {
	return &rest.Resource[quota]{
		Kind: "organization_quota", Path: "/v3/organization_quotas",
		Visible: access.Everyone,
		Filters: []rest.Filter{
			{Param: "names", Where: "name_key IN (?)", Fold: true},
			{Param: "organization_guids", Where: "guid IN (SELECT quota_guid FROM rest_organizations WHERE guid IN (?))"},
		},
		Fill: fillQuotas,
		View: func(c *rest.Call, q *quota) rest.Object {
			l := q.Limits.V
			return rest.Object{
				"name": q.Name, "apps": l.Apps, "services": l.Services, "routes": l.Routes, "domains": l.Domains,
				"relationships": rest.Object{"organizations": rest.ToMany(q.Orgs)},
			}
		},
	}
}

// fillQuotas reads the organizations of quotas, as far as the caller sees them.
func fillQuotas(c *rest.Call, quotas []*quota) error {
	byGUID := map[string]*quota{}
	var guids []string
	for _, q := range quotas {
		byGUID[q.GUID] = q
		guids = append(guids, q.GUID)
	}
	var orgs []access.Organization
	sel := c.DB().NewSelect().Model(&orgs).Column("guid", "quota_guid").Where("quota_guid IN (?)", bun.List(guids)).OrderExpr("id")
	if err := access.InOrgs("guid")(c.Caller, sel).Scan(c.Ctx()); err != nil {
		return err
	}
	for _, o := range orgs {
		q := byGUID[o.QuotaGUID]
		q.Orgs = append(q.Orgs, o.GUID)
	}
	return nil
}
