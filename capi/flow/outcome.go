package flow

import (
	"context"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"ingot/capi/app"
	"ingot/capi/build"
	"ingot/capi/flow/instance"
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
	d.ProcessTypes.V, d.Buildpacks.V, d.Sidecars.V = t.Result.ProcessTypes, t.Result.Buildpacks, t.Result.Sidecars
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

// InstanceCrashed implements cf.Outcomes; see capi/flow/instance.
func (f *Flow) InstanceCrashed(ctx context.Context, c cf.Crash) error {
	return instance.Crashed(ctx, f.DB, f.App, c)
}

// InstanceReadiness: see InstanceCrashed.
func (f *Flow) InstanceReadiness(ctx context.Context, a cf.ActualLRP) error {
	return instance.Readiness(ctx, f.DB, f.App, a)
}
