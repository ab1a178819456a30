package admin

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/job"
	"ingot/rest/row"
)

// Buildpack is a row of buildpacks.
type Buildpack struct {
	bun.BaseModel `bun:"table:capi_buildpacks"`
	row.Labelled
	Name      string `bun:"name"`
	Stack     string `bun:"stack"` // "" = any
	Lifecycle string `bun:"lifecycle"`
	Position  int    `bun:"position"` // from 1: the order of detection
	Enabled   bool   `bun:"enabled"`
	Locked    bool   `bun:"locked"`
	Filename  string `bun:"filename"`
	Blob      string `bun:"blob_key"`
	SHA256    string `bun:"sha256"`
}

const lifecycleBuildpack = "buildpack"

func (f *Family) buildpacks() *rest.Resource[Buildpack] {
	return &rest.Resource[Buildpack]{
		Kind: "buildpack", Path: "/v3/buildpacks",
		Visible: access.Everyone,
		Filters: []rest.Filter{
			{Param: "stacks", Where: "stack IN (?)"}, // '' is none, as in the table
			{Param: "names", Where: "name IN (?)"},
			{Param: "lifecycle", Where: "lifecycle = ?", One: true, Check: oneLifecycle},
		},
		Orders: []string{"position", "lifecycle"}, Order: "lifecycle position",
		Create: f.createBuildpack, Update: f.updateBuildpack,
		Delete: func(c *rest.Call, _ *Buildpack) error { return c.Admins() },
		Remove: job.Removal(f.DB, f.buildpackRemoved),
		Routes: []rest.Route{{Pattern: "POST /v3/buildpacks/{guid}/upload", Handle: f.uploadBuildpack}},
		Jobs:   []job.Kind{{Operation: "buildpack.upload", Run: f.takeUpload}, {Operation: "buildpack_bits.delete", Run: f.removeBits}},
		View: func(c *rest.Call, b *Buildpack) rest.Object {
			state := "READY"
			if b.Filename == "" {
				state = "AWAITING_UPLOAD"
			}
			return rest.Object{
				"name": b.Name, "stack": text(b.Stack), "state": state, "lifecycle": b.Lifecycle, "filename": text(b.Filename),
				"position": b.Position, "enabled": b.Enabled, "locked": b.Locked,
				"links": rest.Object{"upload": c.Action("/v3/buildpacks/%s/upload", b.GUID)},
			}
		},
	}
}

func oneLifecycle(v []string) string {
	if v[0] != lifecycleBuildpack && v[0] != "cnb" {
		return `Lifecycle must be either "buildpack" or "cnb"`
	}
	return ""
}

// EnsureBuildpack makes or renews a buildpack that comes with the platform: b names name, stack, position, file name,
// blob and digest. What an operator changed (position, enabled, locked) stays; a locked one is left alone.
func (f *Family) EnsureBuildpack(ctx context.Context, b Buildpack) error {
	b.Lifecycle = lifecycleBuildpack
	err := f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		has := new(Buildpack)
		err := f.DB.ForUpdate(tx.NewSelect().Model(has).
			Where("name = ? AND stack = ? AND lifecycle = ?", b.Name, b.Stack, b.Lifecycle)).Scan(ctx)
		switch {
		case none(err):
			b.Enabled = true
			if err := row.Insert(ctx, tx, &b); err != nil {
				return err
			}
			return f.move(ctx, tx, &b, b.Position)
		case err != nil || has.Locked || has.Blob == b.Blob && has.SHA256 == b.SHA256 && has.Filename == b.Filename:
			return err
		}
		old := has.Blob
		has.Blob, has.SHA256, has.Filename = b.Blob, b.SHA256, b.Filename
		if err := row.Update(ctx, tx, has); err != nil {
			return err
		}
		return release(ctx, tx, old)
	})
	if err != nil {
		return fmt.Errorf("buildpack %s: %w", b.Name, err)
	}
	return nil
}

// Usable are the buildpacks that were uploaded for the stack or for any, in the order of detection; of a name, the one of
// the stack comes before the one of any. Disabled ones are among them.
func Usable(ctx context.Context, db bun.IDB, stack string) (rows []Buildpack, err error) {
	err = db.NewSelect().Model(&rows).
		Where("blob_key <> '' AND lifecycle = ? AND stack IN (?, '')", lifecycleBuildpack, stack).
		OrderExpr("position, id").Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("buildpacks of %s: %w", stack, err)
	}
	return rows, nil
}

// Ref names the buildpack to a staging.
func (b *Buildpack) Ref() cf.BuildpackRef {
	return cf.BuildpackRef{Name: b.Name, Blob: b.Blob, Digest: b.SHA256}
}
