package app

import (
	"context"

	"github.com/uptrace/bun"

	"ingot/rest/quota"
)

// Count adds what started processes use.
func Count(ctx context.Context, db bun.IDB, where quota.Within, u *quota.Usage) error {
	var sum struct{ Instances, Memory, LogRate int }
	err := where.Spaces(db.NewSelect().Model((*Process)(nil))).
		ColumnExpr("COALESCE(SUM(instances), 0) AS instances, COALESCE(SUM(instances * memory_mb), 0) AS memory").
		ColumnExpr("COALESCE(SUM(CASE WHEN log_rate > 0 THEN instances * log_rate ELSE 0 END), 0) AS log_rate").
		Where("app_guid IN (SELECT guid FROM app_apps WHERE state = ?)", Started).Scan(ctx, &sum)
	if err != nil {
		return err
	}
	u.StartedInstances, u.MemoryMB, u.LogRate = u.StartedInstances+sum.Instances, u.MemoryMB+sum.Memory, u.LogRate+sum.LogRate
	n, err := where.Spaces(db.NewSelect().Model((*Process)(nil))).Where("log_rate < 0").Count(ctx)
	u.Unlimited += int(n)
	return err
}

// Fits refuses, in CF's words, a disk that no app may have, and what a started app is about to use when the quota of its
// space or organization has no room for it. It comes after the rows of the app and its processes ps were written; h was held before that.
func (f *Family) Fits(ctx context.Context, tx bun.Tx, h *quota.Held, a *App, ps ...*Process) error {
	var org, space quota.Usage
	var err error
	if a.State != Started {
		h = new(quota.Held)
	} else if org, space, err = h.Used(ctx, tx, f.Counters...); err != nil {
		return err
	}
	for _, p := range ps {
		if err := h.Process(quota.Size{MemoryMB: p.MemoryMB, LogRate: p.LogRate, DiskMB: p.DiskMB, MaxDiskMB: f.MaxDiskMB}, org, space); err != nil {
			return err
		}
	}
	return nil
}
