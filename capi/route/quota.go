package route

import (
	"context"

	"github.com/uptrace/bun"

	"ingot/rest/quota"
)

// Count adds the routes, and in organizations the private domains.
func Count(ctx context.Context, db bun.IDB, where quota.Within, u *quota.Usage) error {
	routes, err := where.Spaces(db.NewSelect().Model((*Route)(nil))).Count(ctx)
	if err != nil {
		return err
	}
	ports, err := where.Spaces(db.NewSelect().Model((*Route)(nil))).Where("port > 0").Count(ctx)
	if u.Routes, u.ReservedPorts = u.Routes+int(routes), u.ReservedPorts+int(ports); err != nil || where.Space != "" {
		return err
	}
	q := db.NewSelect().Model((*Domain)(nil)).Where("org_guid <> ''")
	if where.Org != "" {
		q = q.Where("org_guid = ?", where.Org)
	}
	domains, err := q.Count(ctx)
	u.Domains += int(domains)
	return err
}

// fits refuses a route that was written when the quota of its space or organization, which h holds, has no room for it.
func fits(ctx context.Context, tx bun.Tx, h *quota.Held, r *Route) error {
	org, space, err := h.Used(ctx, tx, Count)
	if err != nil {
		return err
	}
	return h.Route(r.Port > 0, org, space)
}

// domainFits is fits for a private domain.
func domainFits(ctx context.Context, tx bun.Tx, h *quota.Held) error {
	org, _, err := h.Used(ctx, tx, Count)
	if err != nil {
		return err
	}
	return h.Domain(org)
}
