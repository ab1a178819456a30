package admin

import (
	"context"
	"fmt"
	"regexp"
	"slices"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/event"
	"ingot/rest/job"
	"ingot/rest/row"
)

type buildpackBody struct {
	new                    bool
	name, stack, lifecycle rest.Opt[string]
	position               rest.Opt[int]
	enabled, locked        rest.Opt[bool]
	meta                   row.Patch
}

var buildpackName = regexp.MustCompile(`^[-\w]+$`)

func (t *buildpackBody) Take(b *rest.Body) {
	b.Metadata(&t.meta)
	rules := []rest.Rule{rest.Length(0, 250), rest.Pattern(buildpackName, "is invalid")}
	if t.new {
		rules = slices.Insert(rules, 0, rest.Rule(rest.Required))
	}
	b.String("name", &t.name, rules...)
	b.String("stack", &t.stack, rest.Length(0, 250))
	b.Int("position", &t.position, 1, 1<<31-1, "must be greater than or equal to 1")
	b.Bool("enabled", &t.enabled)
	b.Bool("locked", &t.locked)
	if t.new {
		b.String("lifecycle", &t.lifecycle, rest.Among(`must be either "buildpack" or "cnb"`, lifecycleBuildpack, "cnb"))
		return
	}
	if t.position.Null {
		b.Wrong("position", "is not a number")
	}
	if t.enabled.Null {
		b.Wrong("enabled", "must be a boolean")
	}
	if t.locked.Null {
		b.Wrong("locked", "must be a boolean")
	}
}

func buildpackTarget(b *Buildpack) event.Target {
	return event.Target{GUID: b.GUID, Type: "buildpack", Name: b.Name}
}

func (f *Family) createBuildpack(c *rest.Call) (*Buildpack, error) {
	if err := c.Admins(); err != nil {
		return nil, err
	}
	t := buildpackBody{new: true}
	if err := rest.Take(c, &t); err != nil {
		return nil, err
	}
	if t.lifecycle.V == "cnb" {
		return nil, &cf.Error{Kind: cf.KindInvalid, Code: "CNBDisabled"}
	}
	b := &Buildpack{Name: t.name.V, Stack: t.stack.V, Lifecycle: lifecycleBuildpack, Enabled: t.enabled.Or(true), Locked: t.locked.V}
	if err := t.meta.Apply(b.Meta()); err != nil {
		return nil, err
	}
	err := c.Write(func(ctx context.Context, tx bun.Tx) error {
		if err := stackExists(ctx, tx, b.Stack); err != nil {
			return err
		}
		if err := row.Insert(ctx, tx, b); err != nil {
			return err
		}
		if err := f.move(ctx, tx, b, t.position.Or(1)); err != nil {
			return err
		}
		return c.Event(ctx, tx, "audit.buildpack.create", buildpackTarget(b))
	})
	return b, b.taken(err)
}

func (f *Family) updateBuildpack(c *rest.Call, b *Buildpack) error {
	if err := c.Admins(); err != nil {
		return err
	}
	var t buildpackBody
	if err := rest.Take(c, &t); err != nil {
		return err
	}
	err := c.Change(b, func(ctx context.Context, tx bun.Tx) error {
		if t.stack.Set && t.stack.V != b.Stack {
			if b.Stack != "" {
				return rest.Unprocessable("Buildpack stack cannot be changed")
			}
			if err := stackExists(ctx, tx, t.stack.V); err != nil {
				return err
			}
			b.Stack = t.stack.V
		}
		b.Name, b.Enabled, b.Locked = t.name.Or(b.Name), t.enabled.Or(b.Enabled), t.locked.Or(b.Locked)
		if err := t.meta.Apply(b.Meta()); err != nil {
			return err
		}
		if t.position.Given() {
			if err := f.move(ctx, tx, b, t.position.V); err != nil {
				return err
			}
		}
		return c.Event(ctx, tx, "audit.buildpack.update", buildpackTarget(b))
	})
	return b.taken(err)
}

// taken puts CF's words where the database says that there is such a buildpack already.
func (b *Buildpack) taken(err error) error {
	switch {
	case !sql.IsUnique(err):
		return err
	case b.Stack == "":
		return rest.Unprocessable("Buildpack with name '%s' and an unassigned stack already exists", b.Name)
	}
	return rest.Unprocessable("Buildpack with name '%s', stack '%s' and lifecycle '%s' already exists", b.Name, b.Stack, b.Lifecycle)
}

func stackExists(ctx context.Context, db bun.IDB, name string) error {
	if name == "" {
		return nil
	}
	known, err := db.NewSelect().Model((*Stack)(nil)).Where("name = ?", name).Exists(ctx)
	if err == nil && !known {
		err = rest.Unprocessable("Stack '%s' does not exist", name)
	}
	return err
}

// move puts b, which is in the table, at a position, and the others of its lifecycle around it, so that positions count
// from 1 without a gap.
func (f *Family) move(ctx context.Context, tx bun.Tx, b *Buildpack, to int) error {
	var all []*Buildpack
	err := f.DB.ForUpdate(tx.NewSelect().Model(&all).Where("lifecycle = ?", b.Lifecycle).OrderExpr("position, id")).Scan(ctx)
	if err != nil {
		return fmt.Errorf("positions of buildpacks: %w", err)
	}
	all = slices.DeleteFunc(all, func(o *Buildpack) bool { return o.GUID == b.GUID })
	if to > 0 {
		all = slices.Insert(all, min(to-1, len(all)), b)
	}
	for i, o := range all {
		if o.Position == i+1 && o != b {
			continue
		}
		o.Position = i + 1
		if _, err := tx.NewUpdate().Model(o).Column("position").Where("guid = ?", o.GUID).Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// buildpackRemoved is what goes with the deletion of a buildpack.
func (f *Family) buildpackRemoved(ctx context.Context, tx bun.Tx, b *Buildpack) error {
	if err := f.move(ctx, tx, b, 0); err != nil {
		return err
	}
	if err := event.Record(ctx, tx, "audit.buildpack.delete", buildpackTarget(b), nil); err != nil {
		return err
	}
	return release(ctx, tx, b.Blob)
}

// BuildpackInUse tells whether a buildpack refers to the blob.
func BuildpackInUse(ctx context.Context, db bun.IDB, blob string) (bool, error) {
	return db.NewSelect().Model((*Buildpack)(nil)).Where("blob_key = ?", blob).Exists(ctx)
}

// release enqueues the deletion of a blob, if nothing refers to it.
func release(ctx context.Context, tx bun.Tx, blob string) error {
	if used, err := BuildpackInUse(ctx, tx, blob); err != nil || used || blob == "" {
		return err
	}
	_, err := job.Enqueue(ctx, tx, job.Work{Operation: "buildpack_bits.delete", Kind: "buildpack_bits", GUID: blob})
	return err
}

// removeBits is the job buildpack_bits.delete. A staging that runs has its zip still: blobs go after a grace.
func (f *Family) removeBits(ctx context.Context, j *job.Job) error {
	if used, err := BuildpackInUse(ctx, f.DB.Read(), j.ResourceGUID); err != nil || used {
		return err
	}
	if err := f.Blobs.Delete(ctx, j.ResourceGUID); err != nil && !cf.IsKind(err, cf.KindNotFound) {
		return err
	}
	return nil
}
