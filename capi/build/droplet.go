package build

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/job"
	"ingot/rest/row"
)

// What stands for commands and the like where CF hides them.
const (
	hidden        = "[PRIVATE DATA HIDDEN]"
	hiddenInLists = "[PRIVATE DATA HIDDEN IN LISTS]"
)

func (f *Family) droplets() *rest.Resource[Droplet] {
	return &rest.Resource[Droplet]{
		Kind: "droplet", Path: "/v3/droplets", Visible: access.InSpaces("space_guid"),
		Filters: []rest.Filter{
			{Param: "app_guids", Where: "app_guid IN (?)"},
			{Param: "current", By: f.current, One: true, Check: func(v []string) string {
				if v[0] != "true" {
					return "Current only accepts the value 'true'"
				}
				return ""
			}},
			{Param: "organization_guids", Where: "space_guid IN (SELECT guid FROM rest_spaces WHERE org_guid IN (?))"},
			{Param: "space_guids", Where: "space_guid IN (?)"},
			{Param: "states", Where: "state IN (?)"},
		},
		Subs: []rest.Sub{
			{Path: "/v3/apps/{guid}/droplets", Parent: "app", Where: "app_guid = ?"},
			{Path: "/v3/packages/{guid}/droplets", Parent: "package", Where: "package_guid = ?"},
		},
		Fill: fillDroplets, View: dropletView,
		Create: f.createDroplet, Update: updateDroplet,
		Delete: f.mayDeleteDroplet, Remove: f.removeDroplet,
	}
}

// current is the filter current=true of an app's droplets.
func (f *Family) current(c *rest.Call, q *bun.SelectQuery, _ []string) (*bun.SelectQuery, error) {
	guid, err := f.Current(c.Ctx(), c.DB(), c.Arg("guid"))
	return q.Where("guid = ?", guid), err
}

// fillDroplets says what of each droplet is shown: all of a single one to those who may read secrets.
func fillDroplets(c *rest.Call, ds []*Droplet) error {
	if c.R.Method == http.MethodGet && strings.HasSuffix(c.R.Pattern, "/droplets") {
		for _, d := range ds {
			d.hide = hiddenInLists
		}
		return nil
	}
	err := mayRead(c, ds[0].SpaceGUID, c.Caller.ReadsSecrets(), access.SecretReaders)
	if err != nil {
		ds[0].hide = hidden
	}
	return nil
}

func dropletView(c *rest.Call, d *Droplet) rest.Object {
	packs := []rest.Object{}
	for _, b := range d.Buildpacks.V {
		packs = append(packs, rest.Object{"name": cf.PublicBuildpack(b.Key), "detect_output": text(b.DetectOutput),
			"buildpack_name": text(b.Name), "version": text(b.Version)})
	}
	var execution, types any = d.Execution, d.ProcessTypes.V
	if d.hide != "" {
		execution, types = d.hide, rest.Object{"redacted_message": d.hide}
	}
	o := rest.Object{
		"state": d.State, "error": nil, "lifecycle": rest.Object{"type": "buildpack", "data": rest.Object{}},
		"checksum": nil, "buildpacks": packs, "stack": text(d.Stack), "image": nil,
		"execution_metadata": execution, "process_types": types, "relationships": rest.Object{"app": rest.ToOne(d.AppGUID)},
	}
	if d.Error != "" {
		o["error"] = d.Error
	}
	if d.SHA256 != "" && d.State != ProcessingUpload {
		o["checksum"] = rest.Object{"type": "sha256", "value": d.SHA256}
	}
	links := rest.Object{
		"app":                    c.Link("/v3/apps/%s", d.AppGUID),
		"assign_current_droplet": rest.Object{"href": c.URL("/v3/apps/%s/relationships/current_droplet", d.AppGUID), "method": "PATCH"},
	}
	if d.PackageGUID != "" {
		links["package"] = c.Link("/v3/packages/%s", d.PackageGUID)
	}
	if d.State == AwaitingUpload {
		links["upload"] = c.Action("/v3/droplets/%s/upload", d.GUID)
	}
	if d.State == Staged {
		links["download"] = c.Link("/v3/droplets/%s/download", d.GUID)
	}
	o["links"] = links
	return o
}

// text is a string, or null when it is empty.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

type dropletPatch struct {
	image rest.Opt[string]
	metadataBody
}

func (t *dropletPatch) Take(b *rest.Body) {
	t.metadataBody.Take(b)
	b.String("image", &t.image)
}

// updateDroplet changes metadata. Only images of docker droplets can be changed, by those who may stage for others.
func updateDroplet(c *rest.Call, d *Droplet) error {
	var t dropletPatch
	if err := takeFor(c, d.SpaceGUID, &t, &t.image); err != nil {
		return err
	}
	return c.Change(d, func(context.Context, bun.Tx) error {
		switch {
		case t.image.Set && d.State != Staged:
			return rest.Unprocessable("Droplet image can only be updated on staged droplets")
		case t.image.Set:
			return rest.Unprocessable("Images can only be updated for docker droplets")
		}
		return t.meta.Apply(d.Meta())
	})
}

func (f *Family) mayDeleteDroplet(c *rest.Call, d *Droplet) error {
	if err := c.MayWriteSpace(d.SpaceGUID, access.SpaceWriters...); err != nil {
		return err
	}
	current, err := f.Current(c.Ctx(), c.DB(), d.AppGUID)
	if err == nil && current == d.GUID {
		err = inUse(d)
	}
	return err
}

func inUse(d *Droplet) error {
	return rest.Unprocessable("The droplet is currently used by app with guid \"%s\".", d.AppGUID)
}

// removeDroplet is the job droplet.delete.
func (f *Family) removeDroplet(ctx context.Context, j *job.Job) error {
	return f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		d := new(Droplet)
		if gone, err := find(ctx, tx, d, j.ResourceGUID); gone || err != nil {
			return err
		}
		if err := f.DB.LockRow(ctx, tx, "app_apps", d.AppGUID); err != nil { // as whoever makes it the current one
			return err
		}
		if gone, err := find(ctx, tx, d, d.GUID); gone || err != nil { // with its app
			return err
		}
		if current, err := f.Current(ctx, tx, d.AppGUID); err != nil || current == d.GUID {
			return errors.Join(err, inUse(d)) // it became current since
		}
		if err := row.Delete(ctx, tx, d); err != nil {
			return err
		}
		if err := f.record(ctx, tx, "audit.app.droplet.delete", d.AppGUID, map[string]any{"droplet_guid": d.GUID}); err != nil {
			return err
		}
		return release(ctx, tx, d.Blob)
	})
}

// find reads a row that may be gone.
func find(ctx context.Context, db bun.IDB, n row.Noun, guid string) (gone bool, err error) {
	err = db.NewSelect().Model(n).Where("guid = ?", guid).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return true, nil
	}
	return false, err
}

// DropletByGUID reads a droplet without asking who may see it; nil when there is none.
func DropletByGUID(ctx context.Context, db bun.IDB, guid string) (*Droplet, error) {
	d := new(Droplet)
	if gone, err := find(ctx, db, d, guid); gone || err != nil {
		return nil, err
	}
	return d, nil
}

// StagedAmong tells which of the droplets can be run.
func StagedAmong(ctx context.Context, db bun.IDB, guids []string) (out []string, err error) {
	err = db.NewSelect().Model((*Droplet)(nil)).Column("guid").Where("guid IN (?) AND state = ?", bun.List(guids), Staged).Scan(ctx, &out)
	return out, err
}

func (f *Family) downloadDroplet(c *rest.Call) error {
	d, err := f.Droplets.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	if err := mayRead(c, d.SpaceGUID, c.Caller.ReadsAll(), access.DropletReaders); err != nil {
		return err
	}
	if d.State != Staged {
		return rest.Unprocessable("Only staged droplets can be downloaded.")
	}
	return f.download(c, "droplet", d.AppGUID, d.GUID, d.Blob)
}
