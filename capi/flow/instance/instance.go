// Package instance writes down what instances did by themselves: audit events and log lines of crashes and of changes of
// readiness, in Cloud Controller's words.
//
// It promises that each is there once, however often the scheduler tells of it. It changes nothing else.
package instance

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/uptrace/bun"

	"ingot/capi/app"
	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest/event"
)

// Crashed records a crash under both types that CF uses. An instance crashes once, so a second telling is
// known by the instance's guid.
func Crashed(ctx context.Context, db *sql.DB, apps *app.Family, c cf.Crash) error {
	var p *app.Process
	known := false
	err := db.Write(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		if p, err = processOf(ctx, tx, c.ActualLRP); err != nil || p == nil {
			return err
		}
		known, err = tx.NewSelect().Model((*event.Event)(nil)).Where("target_guid = ? AND type = ? AND data LIKE ?",
			p.AppGUID, "app.crash", `%"instance":"`+string(c.Instance)+`"%`).Exists(ctx)
		if err != nil || known {
			return err
		}
		return recordCrash(ctx, tx, p, c)
	})
	if err != nil {
		return fmt.Errorf("crash of %s: %w", c.LRP, err)
	}
	if p != nil && !known {
		apps.Say(p.AppGUID, "App instance exited with guid %s payload: {\"instance\"=>%q, \"index\"=>%d, \"cell_id\"=>%q, \"reason\"=>\"CRASHED\", \"exit_description\"=>%q, \"crash_count\"=>%d, \"crash_timestamp\"=>%d}",
			p.AppGUID, c.Instance, c.Index, c.Cell, c.Text, c.Crashes, c.At.UnixNano())
		apps.Say(p.AppGUID, "Process has crashed with type: %q", p.Type)
	}
	return nil
}

// Readiness records that an instance became ready, or is ready no more. The two follow each other, so that the
// same twice is one telling repeated.
func Readiness(ctx context.Context, db *sql.DB, apps *app.Family, a cf.ActualLRP) error {
	kind, words := "audit.app.process.ready", "ready"
	if !a.Ready {
		kind, words = "audit.app.process.not-ready", "not ready"
	}
	data := map[string]any{"instance": string(a.Instance), "index": a.Index, "cell_id": string(a.Cell), "ready": a.Ready, "version": version(a)}
	var p *app.Process
	known := false
	err := db.Write(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		if p, err = processOf(ctx, tx, a); err != nil || p == nil {
			return err
		}
		last := new(event.Event)
		err = tx.NewSelect().Model(last).Where("target_guid = ? AND type IN (?, ?) AND data LIKE ?",
			p.AppGUID, "audit.app.process.ready", "audit.app.process.not-ready", `%"instance":"`+string(a.Instance)+`"%`).Order("id DESC").Limit(1).Scan(ctx)
		if known = err == nil && last.Type == kind; known || err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		t, err := target(ctx, tx, p)
		if err != nil {
			return err
		}
		return event.Record(event.By(ctx, event.Actor{GUID: p.GUID, Type: "process", Name: p.Type}), tx, kind, t, data)
	})
	if err != nil {
		return fmt.Errorf("readiness of %s: %w", a.LRP, err)
	}
	if p != nil && !known {
		apps.Say(p.AppGUID, "Process became %s with guid %s payload: {\"instance\"=>%q, \"index\"=>%d, \"cell_id\"=>%q, \"ready\"=>%t, \"version\"=>%q}",
			words, p.GUID, a.Instance, a.Index, a.Cell, a.Ready, version(a))
	}
	return nil
}

// processOf reads the process of an instance; nil when it is gone.
func processOf(ctx context.Context, tx bun.Tx, a cf.ActualLRP) (*app.Process, error) {
	p := new(app.Process)
	err := tx.NewSelect().Model(p).Where("guid = ?", a.Process).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // as said above
	}
	return p, err
}

// version of the process that an instance runs (see Process.LRP).
func version(a cf.ActualLRP) string { return strings.TrimPrefix(string(a.LRP), a.Process+"-") }

func recordCrash(ctx context.Context, tx bun.Tx, p *app.Process, c cf.Crash) error {
	t, err := target(ctx, tx, p)
	if err != nil {
		return err
	}
	data := func() map[string]any {
		return map[string]any{"instance": string(c.Instance), "index": c.Index, "cell_id": string(c.Cell), "reason": "CRASHED",
			"exit_status": c.ExitCode, "exit_description": c.Text}
	}
	whole := data()
	whole["crash_count"], whole["crash_timestamp"], whole["version"] = c.Crashes, c.At.UnixNano(), version(c.ActualLRP)
	by := event.Actor{GUID: p.GUID, Type: "process", Name: p.Type}
	if err := event.Record(event.By(ctx, by), tx, "audit.app.process.crash", t, whole); err != nil {
		return err
	}
	return event.Record(event.By(ctx, event.Actor{GUID: p.AppGUID, Type: "app", Name: t.Name}), tx, "app.crash", t, data())
}

// target names the app of a process for audit events.
func target(ctx context.Context, tx bun.Tx, p *app.Process) (event.Target, error) {
	a, err := app.ByGUID(ctx, tx, p.AppGUID)
	if err != nil {
		return event.Target{}, err
	}
	return app.Target(ctx, tx, a)
}
