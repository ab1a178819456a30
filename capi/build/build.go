// Package build is the family of nouns between an app's files and what runs: packages, builds, droplets, and the
// matching of files that are stored already.
//
// It promises that an upload never sits in memory and leaves nothing behind that a repeated upload would trip over,
// that whoever waits for a build is told at once when it ends, and that a blob is deleted only when no row refers to it.
// It will not run stagings: that is capi/flow.
package build

import (
	"context"
	"embed"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/run"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/job"
	"ingot/rest/row"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the family's tables up to date.
func Migrate(ctx context.Context, db *sql.DB) error {
	return db.Migrate(ctx, migrations, "capi_build_schema", new(Build).secrets())
}

// Family holds the nouns. Set its fields, then take its Nouns, Routes and Jobs.
type Family struct {
	DB    *sql.DB
	Blobs cf.Blobs
	Logs  cf.Logs
	Gate  *run.Gate
	// Followers lets a build be shown as ended only when its client has the log up to there; nil = at once. The CLI prints
	// lines once they are 2 s old, and reads no more when it knows that a build has ended: told at once, it would keep the
	// last lines of a staging to itself, and of a quick or failed one all of them.
	Followers cf.LogFollowers
	// App is an app as events name it; KindNotFound when there is none. It does not ask who sees it.
	App func(ctx context.Context, db bun.IDB, app string) (event.Target, error)
	// Current is the guid of the app's current droplet, or "".
	Current func(ctx context.Context, db bun.IDB, app string) (string, error)
	// Stack is the name of the app's stack; KindNotFound when there is no such app.
	Stack func(ctx context.Context, db bun.IDB, app string) (string, error)
	// Abandon ends a build that is STAGING as FAILED, with CF's words for it, and the work for it.
	Abandon func(ctx context.Context, b *Build, why string) error

	Packages *rest.Resource[Package]
	Builds   *rest.Resource[Build]
	Droplets *rest.Resource[Droplet]

	ended run.Bell // of a staging
}

// Nouns makes the family's nouns.
func (f *Family) Nouns() []rest.Noun {
	f.Packages = f.packages()
	f.Droplets = f.droplets()
	f.Builds = &rest.Resource[Build]{
		Kind: "build", Path: "/v3/builds", Visible: access.InSpaces("space_guid"), NoGet: true,
		Filters: []rest.Filter{
			{Param: "app_guids", Where: "app_guid IN (?)"},
			{Param: "package_guids", Where: "package_guid IN (?)"},
			{Param: "states", Where: "state IN (?)"},
		},
		Subs: []rest.Sub{{Path: "/v3/apps/{guid}/builds", Parent: "app", Where: "app_guid = ?"}},
		View: buildView, Update: f.updateBuild,
	}
	return []rest.Noun{f.Packages, f.Builds, f.Droplets}
}

// Routes are the family's other endpoints.
func (f *Family) Routes() []rest.Route {
	return slices.Concat(f.packageRoutes(), []rest.Route{
		{Pattern: "GET /v3/builds/{guid}", Handle: f.showBuild},
		{Pattern: "GET /v3/droplets/{guid}/download", Handle: f.downloadDroplet},
		{Pattern: "POST /v3/droplets/{guid}/upload", Handle: f.uploadDroplet},
		{Pattern: "POST /v3/resource_matches", Handle: f.match},
	})
}

// Jobs are the family's other jobs.
func (f *Family) Jobs() []job.Kind {
	return []job.Kind{{Operation: "blob.delete", Run: f.removeBlobs}, {Operation: "droplet.upload", Run: f.finishUpload}}
}

func buildView(c *rest.Call, b *Build) rest.Object {
	o := rest.Object{
		"state": b.State, "error": nil, "droplet": nil, "package": rest.Object{"guid": b.PackageGUID},
		"staging_memory_in_mb": b.MemoryMB, "staging_disk_in_mb": b.DiskMB, "staging_log_rate_limit_bytes_per_second": b.LogRate,
		"lifecycle":     rest.Object{"type": b.Lifecycle, "data": rest.Object{"buildpacks": cf.PublicBuildpacks(b.Buildpacks.V), "stack": b.Stack}},
		"created_by":    b.CreatedBy.V,
		"relationships": rest.Object{"app": rest.ToOne(b.AppGUID)},
	}
	links := rest.Object{"app": c.Link("/v3/apps/%s", b.AppGUID)}
	if b.DropletGUID != "" {
		o["droplet"], links["droplet"] = rest.Object{"guid": b.DropletGUID}, c.Link("/v3/droplets/%s", b.DropletGUID)
	}
	if b.ErrorID != "" {
		o["error"] = b.ErrorID + " - " + b.ErrorText
	}
	o["links"] = links
	return o
}

// hold is how long a request for a build that is STAGING waits for its end. The CLI asks again only every 3 s.
const hold = 10 * time.Second

func (f *Family) showBuild(c *rest.Call) error {
	var b *Build
	err := f.ended.Await(c.Ctx(), hold, func() (done bool, err error) {
		if b, err = f.Builds.Find(c, c.Arg("guid")); err != nil {
			return false, err
		}
		return b.State != Staging, nil
	})
	if err != nil {
		return err
	}
	f.linger(c, b)
	return f.Builds.Show(c, http.StatusOK, b)
}

// Bounds of the wait for a client's log.
const (
	begins = time.Second     // after a build's creation: until then its client has begun to follow the log
	linger = 4 * time.Second // after a build's end
)

// linger waits until the caller's clients have the build's log.
func (f *Family) linger(c *rest.Call, b *Build) {
	ended := b.UpdatedAt.Time()
	left := time.Until(ended.Add(linger))
	if f.Followers == nil || b.State == Staging || left <= 0 {
		return
	}
	select {
	case <-time.After(time.Until(b.CreatedAt.Time().Add(begins))):
		f.Followers.CatchUp(c.Ctx(), b.AppGUID, c.Caller.Identity, ended, left)
	case <-c.Ctx().Done():
	}
}

// Ended wakes those who wait for a build; it comes after the commit.
func (f *Family) Ended() { f.ended.Ring() }

type metadataBody struct{ meta row.Patch }

func (t *metadataBody) Take(b *rest.Body) { b.Metadata(&t.meta) }

// stateUpdater is the scope of those who stage for Cloud Controller from outside.
const stateUpdater = "cloud_controller.update_build_state"

// takeFor reads a body and answers nil for the space's developers, and, where the body has something that is kept for
// them, only for those who may change the state of builds. Who may not learns nothing of faults in the body.
func takeFor(c *rest.Call, space string, t rest.Taker, kept *rest.Opt[string]) error {
	faults, may := rest.Take(c, t), access.Forbidden()
	if !kept.Set {
		may = c.MayWriteSpace(space, access.SpaceWriters...)
	} else if c.Caller.Admin() || c.Caller.Has(stateUpdater) {
		may = nil
	}
	if may != nil {
		return may
	}
	return faults
}

type buildPatch struct {
	state, why rest.Opt[string]
	metadataBody
}

func (t *buildPatch) Take(b *rest.Body) {
	t.metadataBody.Take(b)
	if b.String("state", &t.state); b.Has("state") && t.state.V != Failed && t.state.V != Staged {
		b.Wrong("state", "'%s' is not a valid state", t.state.V)
	}
	life := b.Raw("lifecycle")
	if t.state.V == Staged && (life == nil || slices.Contains([]string{"null", "{}"}, string(life))) {
		b.Wrong("lifecycle", "'STAGED' builds require lifecycle data")
	}
	b.String("error", &t.why)
}

// updateBuild changes metadata, and ends a build on demand. Buildpack builds become STAGED by their own staging alone.
func (f *Family) updateBuild(c *rest.Call, b *Build) error {
	var t buildPatch
	if err := takeFor(c, b.SpaceGUID, &t, &t.state); err != nil {
		return err
	}
	switch {
	case t.state.V == Staged:
		return rest.Unprocessable("Images can only be updated for docker droplets")
	case t.state.V == Failed && b.State != Staging:
		return rest.Unprocessable("Build has ended with state '%s'.", b.State)
	}
	err := c.Change(b, func(context.Context, bun.Tx) error { return t.meta.Apply(b.Meta()) })
	if err != nil || t.state.V != Failed {
		return err
	}
	return f.Abandon(c.Ctx(), b, t.why.V)
}

// record writes an event about something of an app.
func (f *Family) record(ctx context.Context, tx bun.Tx, kind, app string, data map[string]any) error {
	t, err := f.App(ctx, tx, app)
	if err != nil {
		return err
	}
	return event.Record(ctx, tx, kind, t, data)
}

func (f *Family) say(app, format string, args ...any) {
	f.Logs.Emit(cf.AppLine(cf.AppID(app), cf.SourceAPI, "0", fmt.Sprintf(format, args...), false))
}

// Purge deletes the family's rows of an app, and enqueues the deletion of blobs that nothing refers to then.
func Purge(ctx context.Context, tx bun.Tx, app string) error {
	var blobs []string
	for _, table := range []string{"build_packages", "build_droplets"} {
		var some []string
		if err := tx.NewSelect().TableExpr(table).Column("blob_key").Where("app_guid = ? AND blob_key <> ''", app).Scan(ctx, &some); err != nil {
			return err
		}
		blobs = append(blobs, some...)
	}
	for _, table := range []string{"build_builds", "build_droplets", "build_packages"} {
		if err := row.DeleteWhere(ctx, tx, table, "app_guid = ?", app); err != nil {
			return err
		}
	}
	return release(ctx, tx, blobs...)
}

// kept is how many packages and droplets of an app stay whole beside the current ones, as in CF.
const kept = 5

// Expire takes the bits of packages and droplets that an app has no use for any more: all but the newest few, and
// never those of the current droplet or of the other ones that are spared.
func Expire(ctx context.Context, tx bun.Tx, app, current string, spared ...string) error {
	d := new(Droplet)
	if _, err := find(ctx, tx, d, current); err != nil {
		return err
	}
	for _, t := range []struct {
		table, state string
		spared       []string
	}{{"build_droplets", Staged, append(spared, current)}, {"build_packages", Ready, []string{d.PackageGUID}}} {
		var old []struct {
			GUID string
			Blob string `bun:"blob_key"`
		}
		err := tx.NewSelect().TableExpr(t.table).Column("guid", "blob_key").Where("app_guid = ? AND state = ? AND guid NOT IN (?)", app, t.state, bun.List(t.spared)).
			OrderExpr("id DESC").Limit(1000).Offset(kept).Scan(ctx, &old)
		if err != nil {
			return fmt.Errorf("old rows of %s: %w", t.table, err)
		}
		for _, o := range old {
			_, err := tx.NewUpdate().TableExpr(t.table).Set("state = ?, blob_key = ''", Expired).Where("guid = ?", o.GUID).Exec(ctx)
			if err != nil {
				return err
			}
			if err := release(ctx, tx, o.Blob); err != nil {
				return err
			}
		}
	}
	return nil
}

// Release enqueues the deletion of a blob, if nothing refers to it.
func (f *Family) Release(ctx context.Context, blob string) error {
	return f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error { return release(ctx, tx, blob) })
}

// release enqueues the deletion of those of the blobs that nothing refers to.
func release(ctx context.Context, tx bun.Tx, blobs ...string) error {
	for _, key := range blobs {
		if used, err := InUse(ctx, tx, key); err != nil || used || key == "" {
			if err != nil {
				return err
			}
			continue
		}
		if _, err := job.Enqueue(ctx, tx, job.Work{Operation: "blob.delete", Kind: "blob", GUID: key}); err != nil {
			return err
		}
	}
	return nil
}

// InUse tells whether a package or a droplet refers to the blob.
func InUse(ctx context.Context, db bun.IDB, key string) (bool, error) {
	for _, table := range []string{"build_packages", "build_droplets"} {
		used, err := db.NewSelect().TableExpr(table).ColumnExpr("1").Where("blob_key = ?", key).Exists(ctx)
		if err != nil || used {
			return used, err
		}
	}
	return false, nil
}

// removeBlobs is the job blob.delete. Blobs are found by their digest: the same bytes may have been uploaded again
// meanwhile, so it looks first, and bits asks InUse once more before the bytes go.
func (f *Family) removeBlobs(ctx context.Context, j *job.Job) error {
	if used, err := InUse(ctx, f.DB.Read(), j.ResourceGUID); err != nil || used {
		return err
	}
	if err := f.Blobs.Delete(ctx, j.ResourceGUID); err != nil && !cf.IsKind(err, cf.KindNotFound) {
		return err
	}
	return nil
}
