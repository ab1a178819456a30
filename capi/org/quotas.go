package org

import (
	"context"

	"github.com/uptrace/bun"

	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/job"
	"ingot/rest/quota"
	"ingot/rest/row"
)

// quotas says in what quotas of organizations and of spaces differ.
type quotas struct {
	kind, word, table string // of the quota; of who holds it, in CF's words and in the database
	used              string // why one that is held is not deleted
	visible           access.Scope
	within            string // column of the holder's organization
}

var (
	ofOrgs = quotas{"organization_quota", "org", "rest_organizations",
		"This quota is applied to one or more organizations. Apply different quotas to those organizations before deleting.", access.InOrgs("guid"), "guid"}
	ofSpaces = quotas{"space_quota", "space", "rest_spaces",
		"This quota is applied to one or more spaces. Remove this quota from all spaces before deleting.", access.InSpaces("guid"), "org_guid"}
)

// some is a *quota.OfOrg or *quota.OfSpace.
type some interface {
	row.Noun
	Common() *quota.Quota
}

// fill reads who holds the quotas, as far as the caller sees it.
func fill[T some](c *rest.Call, k quotas, qs []T) error {
	byGUID := map[string]*quota.Quota{}
	var guids []string
	for _, n := range qs {
		q := n.Common()
		byGUID[q.GUID] = q
		guids = append(guids, q.GUID)
	}
	var held []struct {
		GUID  string `bun:"guid"`
		Quota string `bun:"quota_guid"`
	}
	q := c.DB().NewSelect().TableExpr(k.table).Column("guid", "quota_guid").Where("quota_guid IN (?)", bun.List(guids)).OrderExpr("id")
	if err := k.visible.Narrow(c.Caller, q).Scan(c.Ctx(), &held); err != nil {
		return err
	}
	for _, h := range held {
		byGUID[h.Quota].Holders = append(byGUID[h.Quota].Holders, h.GUID)
	}
	return nil
}

func (k quotas) unused(ctx context.Context, db bun.IDB, guid string) error {
	used, err := db.NewSelect().TableExpr(k.table).ColumnExpr("1").Where("quota_guid = ?", guid).Exists(ctx)
	if err == nil && used {
		return rest.Unprocessable("%s", k.used)
	}
	return err
}

func (k quotas) target(n some) event.Target {
	q := n.Common()
	return event.Target{GUID: q.GUID, Type: k.kind, Name: q.Name, Org: q.OrgGUID}
}

// remove is the job of deleting a quota, which goes into the row n.
func (k quotas) remove(ctx context.Context, f *Family, j *job.Job, n some) error {
	n.Base().GUID = j.ResourceGUID
	return f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := row.Lock(ctx, f.DB, tx, n); err != nil {
			return gone(err)
		}
		if err := k.unused(ctx, tx, j.ResourceGUID); err != nil {
			return err
		}
		if err := row.Delete(ctx, tx, n); err != nil {
			return err
		}
		return event.Record(ctx, tx, "audit."+k.kind+".delete", k.target(n), nil)
	})
}

// unlimited holds the organizations or spaces that meet a condition, and names those with processes without a limit of their log rate.
func (k quotas) unlimited(ctx context.Context, f *Family, tx bun.Tx, where string, arg any) (names []string, err error) {
	var rows []struct {
		GUID string `bun:"guid"`
		Name string `bun:"name"`
		Org  string `bun:"org"`
	}
	q := tx.NewSelect().TableExpr(k.table).Column("guid", "name").ColumnExpr("? AS org", bun.Ident(k.within)).Where(where, arg).OrderExpr("name")
	if err := f.DB.ForUpdate(q).Scan(ctx, &rows); err != nil {
		return nil, err
	}
	for _, r := range rows {
		in, u := quota.Within{Org: r.Org}, quota.Usage{}
		if r.GUID != r.Org {
			in.Space = r.GUID
		}
		for _, count := range f.Usages {
			if err := count(ctx, tx, in, &u); err != nil {
				return nil, err
			}
		}
		if u.Unlimited > 0 {
			names = append(names, r.Name)
		}
	}
	return names, nil
}

const noLogLimit = "apps running with an unlimited log rate limit."

// mayLimit refuses, in CF's words, a limit of the log rate that those who have the quota exceed.
func (k quotas) mayLimit(ctx context.Context, f *Family, tx bun.Tx, guid string) error {
	names, err := k.unlimited(ctx, f, tx, "quota_guid = ?", guid)
	if err != nil || names == nil {
		return err
	}
	const words = "Current usage exceeds new quota values. This quota is applied to "
	switch n := len(names); n {
	case 1:
		return rest.Unprocessable(words+"%s '%s' which contains %s", k.word, names[0], noLogLimit)
	case 2:
		return rest.Unprocessable(words+"%ss '%s', '%s' which contain %s", k.word, names[0], names[1], noLogLimit)
	default:
		return rest.Unprocessable(words+"%ss '%s', '%s' and %d other %ss which contain %s", k.word, names[0], names[1], n-2, k.word, noLogLimit)
	}
}

// mayGive is mayLimit for those that shall get a quota.
func (k quotas) mayGive(ctx context.Context, f *Family, tx bun.Tx, n some, guids []string) error {
	if n.Common().Limits.V.Apps.LogRate == nil {
		return nil
	}
	names, err := k.unlimited(ctx, f, tx, "guid IN (?)", bun.List(guids))
	if err == nil && names != nil {
		return rest.Unprocessable("Current usage exceeds new quota values. The %s(s) being assigned this quota contain %s", k.word, noLogLimit)
	}
	return err
}
