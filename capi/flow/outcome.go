package flow

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/uptrace/bun"

	"ingot/capi/app"
	"ingot/capi/build"
	"ingot/capi/flow/recipe"
	"ingot/capi/flow/used"
	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest/event"
	"ingot/rest/row"
	"ingot/rest/usage"
)

var _ cf.Outcomes = (*Flow)(nil)

// TaskCompleted takes the outcome of a staging or a task. What is gone or final already takes none.
func (f *Flow) TaskCompleted(ctx context.Context, t cf.Task) error {
	if t.Staging == nil {
		return f.errands.Ended(ctx, t)
	}
	b := &build.Build{}
	b.GUID = string(t.ID)
	var d *build.Droplet
	took := false
	err := f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		err := row.Lock(ctx, f.DB, tx, b)
		if errors.Is(err, sql.ErrNoRows) || err == nil && b.State != build.Staging {
			return nil
		}
		if err != nil {
			return err
		}
		took = true
		if t.Failed || t.Result == nil {
			id, text := recipe.Failure(t.Reason)
			return failBuild(ctx, tx, b, id, text)
		}
		d, err = f.keepDroplet(ctx, tx, b, t)
		return err
	})
	if err != nil {
		return fmt.Errorf("outcome of build %s: %w", t.ID, err)
	}
	switch {
	case !took:
		return f.discard(ctx, t)
	case d != nil:
		f.Gate.Step("droplet stored")
		f.App.Say(b.AppGUID, "Creating droplet for app with guid %s", b.AppGUID)
		f.App.Say(b.AppGUID, "Staging complete for build %s", b.GUID)
	default:
		f.failed(b)
	}
	f.Build.Ended()
	return nil
}

// discard gives back the droplet of a staging that nobody waits for any more.
func (f *Flow) discard(ctx context.Context, t cf.Task) error {
	if t.Result == nil || t.Result.Droplet == "" {
		return nil
	}
	return f.Build.Release(ctx, t.Result.Droplet)
}

func (f *Flow) failed(b *build.Build) {
	f.App.Say(b.AppGUID, "Staging failed for build %s", b.GUID)
	f.Logs.Emit(cf.AppLine(cf.AppID(b.AppGUID), cf.SourceAPI, "0", "Failed to stage build: staging failed", true))
}

func failBuild(ctx context.Context, tx bun.Tx, b *build.Build, id, text string) error {
	b.State, b.ErrorID, b.ErrorText = build.Failed, id, text
	if err := row.Update(ctx, tx, b); err != nil {
		return err
	}
	if err := used.Build(ctx, tx, b, usage.StagingStopped, nil); err != nil {
		return err
	}
	return recordBuild(ctx, tx, "audit.app.build.failed", b, map[string]any{"error_id": id, "error_message": text})
}

// keepDroplet writes the droplet of a staging. One that nothing could start is a failure (nil).
func (f *Flow) keepDroplet(ctx context.Context, tx bun.Tx, b *build.Build, t cf.Task) (*build.Droplet, error) {
	ps, err := app.ProcessesOf(ctx, tx, b.AppGUID)
	if err != nil {
		return nil, err
	}
	command := ""
	for _, p := range ps {
		if p.Type == app.Web {
			command = p.Command
		}
	}
	if len(t.Result.ProcessTypes) == 0 && command == "" {
		return nil, failBuild(ctx, tx, b, "StagingError", "Staging error: Start command not specified")
	}
	d := &build.Droplet{AppGUID: b.AppGUID, SpaceGUID: b.SpaceGUID, PackageGUID: b.PackageGUID, BuildGUID: b.GUID, State: build.Staged,
		Blob: t.Result.Droplet, SHA256: t.Result.SHA256, Size: t.Result.Size, Stack: b.Stack, Execution: t.Result.Metadata}
	d.ProcessTypes.V, d.Buildpacks.V = t.Result.ProcessTypes, t.Result.Buildpacks
	if err := row.Insert(ctx, tx, d); err != nil {
		return nil, err
	}
	b.State, b.DropletGUID = build.Staged, d.GUID
	if err := row.Update(ctx, tx, b); err != nil {
		return nil, err
	}
	for _, state := range []string{usage.StagingStopped, usage.BuildpackSet} {
		if err := used.Build(ctx, tx, b, state, d); err != nil {
			return nil, err
		}
	}
	packs := []map[string]any{}
	for _, p := range t.Result.Buildpacks {
		packs = append(packs, map[string]any{"name": cf.PublicBuildpack(p.Key), "buildpack_name": p.Name, "version": p.Version})
	}
	err = recordBuild(ctx, tx, "audit.app.droplet.create", b, map[string]any{"droplet_guid": d.GUID})
	if err != nil {
		return nil, err
	}
	err = recordBuild(ctx, tx, "audit.app.build.staged", b, map[string]any{"droplet_guid": d.GUID, "buildpacks": packs})
	if err != nil {
		return nil, err
	}
	a, err := app.ByGUID(ctx, tx, b.AppGUID)
	if err != nil {
		return nil, err
	}
	var runs []string // other droplets that run, or that a cancelled deployment returns to
	for _, p := range ps {
		runs = append(runs, p.Droplet)
	}
	going, err := active(ctx, tx, a.GUID)
	if err != nil {
		return nil, err
	}
	if going != nil {
		runs = append(runs, going.Previous)
	}
	return d, build.Expire(ctx, tx, a.GUID, a.Droplet, runs...)
}

// recordBuild writes an event of who asked for the build.
func recordBuild(ctx context.Context, tx bun.Tx, kind string, b *build.Build, data map[string]any) error {
	t, err := target(ctx, tx, b.AppGUID)
	if err != nil {
		return err
	}
	by := event.Actor{GUID: b.CreatedBy.V.GUID, Type: "user", Name: b.CreatedBy.V.Name}
	data["build_guid"], data["package_guid"] = b.GUID, b.PackageGUID
	return event.Record(event.By(ctx, by), tx, kind, t, data)
}

// InstanceCrashed records a crash under both types that CF uses. An instance crashes once, so a second telling is
// known by the instance's guid.
func (f *Flow) InstanceCrashed(ctx context.Context, c cf.Crash) error {
	var p *app.Process
	known := false
	err := f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
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
		f.App.Say(p.AppGUID, "App instance exited with guid %s payload: {\"instance\"=>%q, \"index\"=>%d, \"cell_id\"=>%q, \"reason\"=>\"CRASHED\", \"exit_description\"=>%q, \"crash_count\"=>%d, \"crash_timestamp\"=>%d}",
			p.AppGUID, c.Instance, c.Index, c.Cell, c.Text, c.Crashes, c.At.UnixNano())
		f.App.Say(p.AppGUID, "Process has crashed with type: %q", p.Type)
	}
	return nil
}

// InstanceReadiness records that an instance became ready, or is ready no more. The two follow each other, so that the
// same twice is one telling repeated.
func (f *Flow) InstanceReadiness(ctx context.Context, a cf.ActualLRP) error {
	kind, words := "audit.app.process.ready", "ready"
	if !a.Ready {
		kind, words = "audit.app.process.not-ready", "not ready"
	}
	data := map[string]any{"instance": string(a.Instance), "index": a.Index, "cell_id": string(a.Cell), "ready": a.Ready, "version": version(a)}
	var p *app.Process
	known := false
	err := f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		if p, err = processOf(ctx, tx, a); err != nil || p == nil {
			return err
		}
		last := new(event.Event)
		err = tx.NewSelect().Model(last).Where("target_guid = ? AND type IN (?, ?) AND data LIKE ?",
			p.AppGUID, "audit.app.process.ready", "audit.app.process.not-ready", `%"instance":"`+string(a.Instance)+`"%`).Order("id DESC").Limit(1).Scan(ctx)
		if known = err == nil && last.Type == kind; known || err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		t, err := target(ctx, tx, p.AppGUID)
		if err != nil {
			return err
		}
		return event.Record(event.By(ctx, event.Actor{GUID: p.GUID, Type: "process", Name: p.Type}), tx, kind, t, data)
	})
	if err != nil {
		return fmt.Errorf("readiness of %s: %w", a.LRP, err)
	}
	if p != nil && !known {
		f.App.Say(p.AppGUID, "Process became %s with guid %s payload: {\"instance\"=>%q, \"index\"=>%d, \"cell_id\"=>%q, \"ready\"=>%t, \"version\"=>%q}",
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
	t, err := target(ctx, tx, p.AppGUID)
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
