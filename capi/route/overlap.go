package route

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/quota"
	"ingot/rest/row"
)

// insertDomain writes a new domain, if its name is free and the quota has room. Domains are made one after the other, since names
// overlap without having a row in common.
func (f *Family) insertDomain(ctx context.Context, tx bun.Tx, d *Domain, t *domainBody) error {
	if err := f.DB.LockRow(ctx, tx, "rest_feature_flags", "private_domain_creation"); err != nil {
		return err
	}
	if err := f.holdOrgs(ctx, tx, append(t.sharedWith.V, d.OrgGUID)); err != nil {
		return err
	}
	if err := f.holdAbove(ctx, tx, d.Name); err != nil {
		return err
	}
	if name, other, err := f.overlap(ctx, tx, d); err != nil {
		return err
	} else if other != "" {
		return rest.Unprocessable(`The domain name "%s" cannot be created because "%s" is already reserved by %s`, t.name.V, name, other)
	}
	if err := row.Insert(ctx, tx, d); err != nil {
		return err
	}
	if !d.Shared() {
		h, err := quota.HoldOrg(ctx, f.DB, tx, d.OrgGUID)
		if err != nil {
			return err
		}
		if err := domainFits(ctx, tx, h); err != nil {
			return err
		}
	}
	return addOrgs(ctx, tx, d, t.sharedWith.V)
}

// holdAbove holds the domains above a name, as whoever makes a route in them.
func (f *Family) holdAbove(ctx context.Context, tx bun.Tx, name string) error {
	var above, guids []string
	for strings.Contains(name, ".") {
		_, name, _ = strings.Cut(name, ".")
		above = append(above, name)
	}
	return f.DB.ForUpdate(tx.NewSelect().Model((*Domain)(nil)).Column("guid").Where("name IN (?)", bun.List(above)).OrderExpr("id")).Scan(ctx, &guids)
}

// overlap finds what has the domain's name, a name above it, or, if it is private, one below: the system, a route, or a
// domain of others.
func (f *Family) overlap(ctx context.Context, tx bun.Tx, d *Domain) (name, what string, err error) {
	if host, parent, _ := strings.Cut(d.Name, "."); parent == f.Domain && slices.Contains(SystemHosts, host) {
		return d.Name, "the system", nil
	}
	for name = d.Name; strings.Contains(name, "."); _, name, _ = strings.Cut(name, ".") {
		host, parent, _ := strings.Cut(name, ".")
		if ok, err := tx.NewSelect().Model((*Route)(nil)).Where("host_key = ? AND domain_name = ?", host, parent).Exists(ctx); err != nil || ok {
			return name, "a route", err
		}
		if name == d.Name {
			continue // the unique index tells
		}
		other := tx.NewSelect().Model((*Domain)(nil)).Where("name = ? AND org_guid <> '' AND org_guid <> ?", name, d.OrgGUID)
		if ok, err := other.Exists(ctx); err != nil || ok {
			return name, "another domain", err
		}
	}
	if d.Shared() {
		return "", "", nil
	}
	below := new(Domain)
	err = tx.NewSelect().Model(below).Where("name LIKE ? AND org_guid <> ?", "%."+d.Name, d.OrgGUID).Limit(1).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return "", "", nil
	}
	return below.Name, "another domain", err
}
