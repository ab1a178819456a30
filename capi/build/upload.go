package build

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/web"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/job"
	"ingot/rest/row"
)

// Droplets come from stagings, from a client that made one elsewhere (create, then upload), and from other droplets.

type dropletBody struct {
	app    rest.Opt[string]
	types  map[string]string
	copies bool
}

func (t *dropletBody) Take(b *rest.Body) {
	b.Relationships(false, func(b *rest.Body) { b.ToOne("app", &t.app, rest.Required) })
	if t.types = map[string]string{"web": ""}; t.copies {
		return
	}
	var given rest.Opt[map[string]json.RawMessage]
	if b.Object("process_types", &given); !given.Given() {
		return
	}
	t.types = map[string]string{}
	key, value := false, false
	for kind, raw := range given.V {
		var command *string
		wrong := json.Unmarshal(raw, &command) != nil || command == nil
		if key, value = key || kind == "", value || wrong; !wrong {
			t.types[kind] = *command
		}
	}
	if key {
		b.Wrong("process_types", "key must not be empty")
	}
	if value {
		b.Wrong("process_types", "value must be a string")
	}
}

// createDroplet makes a droplet that awaits its bits, or a copy of another.
func (f *Family) createDroplet(c *rest.Call) (*Droplet, error) {
	t := dropletBody{copies: c.Has("source_guid")}
	if err := rest.Take(c, &t); err != nil {
		return nil, err
	}
	absent := rest.Unprocessable(`App with guid "%s" does not exist, or you do not have access to it.`, t.app.V)
	source := ""
	if t.copies {
		s, err := f.Droplets.Find(c, c.R.URL.Query().Get("source_guid"))
		if err != nil {
			return nil, err
		}
		source, absent = s.GUID, rest.NotFound("app")
	}
	if seen, err := c.Ref("app", t.app.V); err != nil || !seen {
		return nil, errors.Join(err, absent)
	}
	a, err := f.App(c.Ctx(), c.DB(), t.app.V)
	if err == nil {
		err = c.MayWriteSpace(a.Space, access.SpaceWriters...)
	}
	if err != nil {
		return nil, err
	}
	d := &Droplet{AppGUID: a.GUID, SpaceGUID: a.Space, State: AwaitingUpload}
	d.ProcessTypes.V = t.types
	err = c.Write(func(ctx context.Context, tx bun.Tx) error { return f.insertDroplet(ctx, tx, d, source) })
	if cf.IsKind(err, cf.KindNotFound) { // the app or the source was deleted since
		return nil, absent
	}
	if err != nil {
		return nil, err
	}
	f.say(a.GUID, "Creating droplet for app with guid %s", a.GUID)
	return d, nil
}

// insertDroplet writes a new droplet. A copy shares its source's blob: there are no bits to move, so it is whole at once.
func (f *Family) insertDroplet(ctx context.Context, tx bun.Tx, d *Droplet, source string) error {
	if err := f.DB.LockRow(ctx, tx, "app_apps", d.AppGUID); err != nil {
		return err
	}
	var data map[string]any
	if source != "" {
		s := new(Droplet)
		if gone, err := find(ctx, tx, s, source); err != nil || gone {
			return errors.Join(err, rest.NotFound("droplet"))
		}
		if s.State != Staged {
			return rest.Unprocessable("source droplet is not staged")
		}
		d.State, d.Blob, d.SHA256, d.Size, d.Stack = Staged, s.Blob, s.SHA256, s.Size, s.Stack
		d.ProcessTypes, d.Sidecars, d.Buildpacks, d.Execution = s.ProcessTypes, s.Sidecars, s.Buildpacks, s.Execution
		data = map[string]any{"request": map[string]any{"source_droplet_guid": source}}
	} else {
		stack, err := f.Stack(ctx, tx, d.AppGUID)
		if err != nil {
			return err
		}
		d.Stack, data = stack, map[string]any{}
	}
	if err := row.Insert(ctx, tx, d); err != nil {
		return err
	}
	data["droplet_guid"] = d.GUID
	return f.record(ctx, tx, "audit.app.droplet.create", d.AppGUID, data)
}

func uploadedOnce() error {
	return rest.Unprocessable("Droplet may be uploaded only once. Create a new droplet to upload bits.")
}

// uploadDroplet is POST /v3/droplets/:guid/upload. What is refused or cut off leaves the droplet waiting.
func (f *Family) uploadDroplet(c *rest.Call) error {
	d, err := f.Droplets.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	if err := c.MayWriteSpace(d.SpaceGUID, access.SpaceWriters...); err != nil {
		return err
	}
	if d.State != AwaitingUpload {
		return uploadedOnce()
	}
	blob, err := f.receiveDroplet(c)
	if err != nil {
		return err
	}
	f.Gate.Step("bits uploaded")
	var j *job.Job
	err = c.Change(d, func(ctx context.Context, tx bun.Tx) (err error) {
		if d.State != AwaitingUpload { // another upload was faster
			return uploadedOnce()
		}
		d.State, d.Blob, d.SHA256, d.Size = ProcessingUpload, blob.Key, blob.SHA256, blob.Size
		if err := f.record(ctx, tx, "audit.app.droplet.upload", d.AppGUID, map[string]any{"droplet_guid": d.GUID}); err != nil {
			return err
		}
		j, err = job.Enqueue(ctx, tx, job.Work{Operation: "droplet.upload", Kind: "droplet", GUID: d.GUID})
		return err
	})
	if err != nil {
		return err
	}
	f.say(d.AppGUID, "Uploading droplet for app with guid %s", d.AppGUID)
	c.Locate(j)
	return f.Droplets.Show(c, http.StatusAccepted, d)
}

// receiveDroplet streams the part called bits into the blob store.
func (f *Family) receiveDroplet(c *rest.Call) (cf.Blob, error) {
	invalid := func(format string, args ...any) error {
		return rest.Unprocessable("Uploaded droplet file is invalid: "+format, args...)
	}
	parts, err := web.NewUpload(c.W, c.R, maxUpload)
	if err != nil {
		return cf.Blob{}, invalid("A droplet tgz file must be uploaded as 'bits'")
	}
	for {
		part, err := parts.Next()
		switch {
		case errors.Is(err, io.EOF):
			return cf.Blob{}, invalid("A droplet tgz file must be uploaded as 'bits'")
		case err != nil:
			return cf.Blob{}, cutDroplet(err)
		case part.FormName() != "bits":
			continue
		case part.FileName() == "":
			return cf.Blob{}, invalid("A droplet tgz file must be uploaded as 'bits'")
		case !strings.HasSuffix(part.FileName(), ".tgz") && !strings.HasSuffix(part.FileName(), ".tar.gz"):
			return cf.Blob{}, invalid("%s is not a tgz", part.FileName())
		}
		return f.keepUpload(c, part)
	}
}

func (f *Family) keepUpload(c *rest.Call, part *web.Part) (cf.Blob, error) {
	b, err := f.Blobs.Droplet(c.Ctx(), part)
	switch {
	case part.Broken != nil:
		return cf.Blob{}, cutDroplet(part.Broken)
	case part.Count == 0 && cf.IsKind(err, cf.KindInvalid):
		return cf.Blob{}, rest.Unprocessable("Uploaded droplet file is invalid: %s cannot be empty", part.FileName())
	case cf.IsKind(err, cf.KindTooLarge):
		return cf.Blob{}, cutDroplet(&http.MaxBytesError{Limit: maxUpload})
	}
	return b, err
}

func cutDroplet(err error) error {
	why := "the upload was cut off"
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		why = "the droplet is too large"
	}
	return cf.Wrap(cf.KindInvalid, "DropletUploadInvalid", "The droplet upload is invalid: "+why, err)
}

// finishUpload is the job droplet.upload: the droplet is STAGED once its bits are known to be kept.
func (f *Family) finishUpload(ctx context.Context, j *job.Job) error {
	d, err := DropletByGUID(ctx, f.DB.Read(), j.ResourceGUID)
	if err != nil || d == nil || d.State != ProcessingUpload {
		return err
	}
	r, _, lost := f.Blobs.Open(ctx, d.Blob)
	if lost == nil {
		lost = r.Close()
	}
	if lost != nil && !cf.IsKind(lost, cf.KindNotFound) {
		return job.Again(10 * time.Second) // the store is away
	}
	err = f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		gone, err := find(ctx, tx, d, j.ResourceGUID)
		if err != nil || gone || d.State != ProcessingUpload {
			return err
		}
		if d.State = Staged; lost != nil {
			d.State, d.Blob, d.Error = Failed, "", "the uploaded bits are gone"
		}
		return row.Update(ctx, tx, d)
	})
	return errors.Join(err, lost)
}
