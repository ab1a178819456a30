package org

import (
	"context"
	"fmt"
	"math"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/quota"
	"ingot/rest/row"
)

// defaultQuota is the name of the quota that new organizations get.
const defaultQuota = "default"

// ensureQuota makes the quota of organizations that name none, with the limits of cf-deployment: 100 GB of memory, 1000
// routes, 100 service instances.
func (f *Family) ensureQuota(ctx context.Context) error {
	err := f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		ok, err := tx.NewSelect().Model((*quota.OfOrg)(nil)).Where("org_guid = '' AND name_key = ?", defaultQuota).Exists(ctx)
		if ok || err != nil {
			return err
		}
		q := &quota.OfOrg{Quota: quota.Quota{Name: defaultQuota, NameKey: defaultQuota}}
		memory, routes, services := 102400, 1000, 100
		q.Limits.V.Apps.Memory, q.Limits.V.Routes.Total = &memory, &routes
		q.Limits.V.Services = quota.Services{Paid: true, Instances: &services}
		return row.Insert(ctx, tx, q)
	})
	if err != nil && !sql.IsUnique(err) { // else another process was faster
		return fmt.Errorf("default quota: %w", err)
	}
	return nil
}

// quotaView shows what both kinds of quota have in common.
func quotaView(q *quota.Quota) rest.Object {
	l := q.Limits.V
	return rest.Object{"name": q.Name, "apps": l.Apps, "services": l.Services, "routes": l.Routes}
}

type quotaBody struct {
	new, ofSpace bool
	name         rest.Opt[string]
	org          rest.Opt[string]   // of a space quota
	holders      rest.Opt[[]string] // organizations or spaces
	paid         rest.Opt[bool]
	limits       []limitIn
}

// limitIn is a limit that a body gives; its value is Null where it takes the limit away.
type limitIn struct {
	rest.Opt[int]
	of func(l *quota.Limits) **int
}

func (t *quotaBody) Take(b *rest.Body) {
	b.String("name", &t.name, rest.Length(1, 250))
	if b.Has("name") && !t.new {
		rest.Required(b, "name", &t.name)
	}
	b.Nested("apps", func(b *rest.Body) {
		t.limit(b, "total_memory_in_mb", math.MaxInt32, func(l *quota.Limits) **int { return &l.Apps.Memory })
		t.limit(b, "per_process_memory_in_mb", math.MaxInt32, func(l *quota.Limits) **int { return &l.Apps.ProcessMemory })
		t.limit(b, "total_instances", math.MaxInt32, func(l *quota.Limits) **int { return &l.Apps.Instances })
		t.limit(b, "per_app_tasks", math.MaxInt32, func(l *quota.Limits) **int { return &l.Apps.Tasks })
		t.limit(b, "log_rate_limit_in_bytes_per_second", math.MaxInt64, func(l *quota.Limits) **int { return &l.Apps.LogRate })
	})
	b.Nested("services", func(b *rest.Body) {
		t.limit(b, "total_service_keys", math.MaxInt32, func(l *quota.Limits) **int { return &l.Services.Keys })
		t.limit(b, "total_service_instances", math.MaxInt32, func(l *quota.Limits) **int { return &l.Services.Instances })
		b.Bool("paid_services_allowed", &t.paid)
	})
	b.Nested("routes", func(b *rest.Body) {
		t.limit(b, "total_routes", math.MaxInt32, func(l *quota.Limits) **int { return &l.Routes.Total })
		t.limit(b, "total_reserved_ports", math.MaxInt32, func(l *quota.Limits) **int { return &l.Routes.Ports })
	})
	if !t.ofSpace {
		b.Nested("domains", func(b *rest.Body) {
			t.limit(b, "total_domains", math.MaxInt32, func(l *quota.Limits) **int { return &l.Domains.Total })
		})
	}
	if !t.new {
		return
	}
	b.Relationships(!t.ofSpace, func(b *rest.Body) {
		if !t.ofSpace {
			b.ToMany("organizations", &t.holders)
			return
		}
		b.ToOne("organization", &t.org, rest.Required)
		b.ToMany("spaces", &t.holders)
	})
	rest.Required(b, "name", &t.name)
}

func (t *quotaBody) limit(b *rest.Body, key string, most int, of func(l *quota.Limits) **int) {
	in := limitIn{of: of}
	if b.Int(key, &in.Opt, math.MinInt, most, fmt.Sprintf("must be less than or equal to %d", most)); in.V < 0 {
		b.Wrong(key, "must be greater than or equal to 0")
	}
	if in.Set {
		t.limits = append(t.limits, in)
	}
}

// apply puts what the body says into a quota.
func (t *quotaBody) apply(q *quota.Quota) {
	q.Name = t.name.Or(q.Name)
	if q.NameKey = q.Name; q.OrgGUID == "" { // names of space quotas are case-sensitive
		q.NameKey = access.Fold(q.Name)
	}
	l := &q.Limits.V
	if t.new {
		l.Services.Paid = true
	}
	if t.paid.Set {
		l.Services.Paid = t.paid.Or(true)
	}
	for _, in := range t.limits {
		if *in.of(l) = nil; in.Given() {
			*in.of(l) = &in.V
		}
	}
}

// limitsLogs tells whether the body sets a limit of the log rate.
func (t *quotaBody) limitsLogs() bool {
	var l quota.Limits
	for _, in := range t.limits {
		if in.Given() {
			*in.of(&l) = &in.V
		}
	}
	return l.Apps.LogRate != nil
}

// above tells whether more is allowed than the limit, nil being without end, allows.
func above(more, limit *int) bool { return limit != nil && more != nil && *more > *limit }
