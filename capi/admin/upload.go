package admin

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"path"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/kit/web"
	"ingot/rest"
	"ingot/rest/event"
	"ingot/rest/job"
	"ingot/rest/row"
)

// maxUpload bounds an upload, in bytes.
const maxUpload = 1<<30 + 1<<20

// uploaded is a buildpack's zip that is stored and not yet the buildpack's.
type uploaded struct {
	Blob     string `json:"blob"`
	SHA256   string `json:"sha256"`
	Filename string `json:"filename"`
	Stack    string `json:"stack"` // in its manifest.yml
}

func badUpload(format string, args ...any) error {
	return rest.Unprocessable("Uploaded buildpack file is invalid: "+format, args...)
}

// uploadBuildpack stores the zip; the job buildpack.upload makes it the buildpack's.
func (f *Family) uploadBuildpack(c *rest.Call) error {
	b, err := f.packs.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	if err := c.Admins(); err != nil {
		return err
	}
	if b.Locked {
		return rest.Unprocessable("Buildpack is locked")
	}
	u, err := f.receive(c, b)
	if err != nil {
		return err
	}
	var j *job.Job
	err = c.Write(func(ctx context.Context, tx bun.Tx) (err error) {
		j, err = job.Enqueue(ctx, tx, job.Work{Operation: "buildpack.upload", Kind: "buildpack", GUID: b.GUID, Payload: u})
		return err
	})
	if err != nil {
		return err
	}
	return f.packs.ShowJob(c, b, j)
}

// receive streams the part "bits" into the blob store.
func (f *Family) receive(c *rest.Call, b *Buildpack) (u uploaded, err error) {
	parts, err := web.NewUpload(c.W, c.R, maxUpload)
	if err != nil {
		return u, badUpload("A buildpack zip file must be uploaded as 'bits'")
	}
	for {
		part, err := parts.Next()
		if errors.Is(err, io.EOF) {
			return u, badUpload("A buildpack zip file must be uploaded as 'bits'")
		}
		if err != nil {
			return u, cutOff(err)
		}
		if part.FormName() == "bits" && part.FileName() != "" {
			return f.keep(c, b, part)
		}
	}
}

func (f *Family) keep(c *rest.Call, b *Buildpack, part *web.Part) (u uploaded, err error) {
	u.Filename = path.Base(part.FileName())
	zip := bufio.NewReader(part)
	head, err := zip.Peek(4)
	switch {
	case part.Broken != nil:
		return u, cutOff(part.Broken)
	case len(head) == 0:
		return u, badUpload("%s cannot be empty", u.Filename)
	case err != nil || string(head) != "PK\x03\x04":
		return u, badUpload(`%s is not a zip file. Buildpacks of lifecycle "%s" must be valid zip files.`, u.Filename, b.Lifecycle)
	}
	blob, stack, err := f.Blobs.Buildpack(c.Ctx(), zip)
	if part.Broken != nil {
		return u, cutOff(part.Broken)
	}
	if cf.IsKind(err, cf.KindTooLarge) {
		return u, cutOff(err)
	}
	u.Blob, u.SHA256, u.Stack = blob.Key, blob.SHA256, stack
	return u, err
}

func cutOff(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) || cf.IsKind(err, cf.KindTooLarge) {
		return cf.Wrap(cf.KindUnprocessable, "UnprocessableEntity", "Uploaded buildpack file is invalid: it is larger than 1 GiB", err)
	}
	return cf.Wrap(cf.KindInvalid, "BuildpackBitsUploadInvalid", "the upload was cut off", err)
}

// takeUpload is the job buildpack.upload.
func (f *Family) takeUpload(ctx context.Context, j *job.Job) error {
	var u uploaded
	if err := j.Decode(&u); err != nil {
		return err
	}
	b := new(Buildpack)
	b.GUID = j.ResourceGUID
	err := f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := row.Lock(ctx, f.DB, tx, b); err != nil {
			return err
		}
		return b.take(ctx, tx, u)
	})
	switch {
	case err == nil:
		return nil
	case sql.IsUnique(err):
		err = cf.Errorf(cf.KindUnprocessable, "BuildpackNameStackLifecycleTaken",
			"The buildpack name %s is already in use for the stack %s and the lifecycle %s", b.Name, u.Stack, b.Lifecycle)
	case none(err): // it was deleted meanwhile
		err = rest.NotFound("buildpack")
	}
	return errors.Join(err, f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error { return release(ctx, tx, u.Blob) }))
}

// take makes an upload the buildpack's.
func (b *Buildpack) take(ctx context.Context, tx bun.Tx, u uploaded) error {
	if b.Locked {
		return &cf.Error{Kind: cf.KindConflict, Code: "BuildpackLocked"}
	}
	if u.Stack != "" && u.Stack != b.Stack {
		if b.Stack != "" {
			return cf.Errorf(cf.KindUnprocessable, "BuildpackStacksDontMatch", "Uploaded buildpack stack (%s) does not match %s", u.Stack, b.Stack)
		}
		known, err := tx.NewSelect().Model((*Stack)(nil)).Where("name = ?", u.Stack).Exists(ctx)
		if err != nil {
			return err
		}
		if !known {
			return cf.Errorf(cf.KindUnprocessable, "BuildpackStackDoesNotExist", "Uploaded buildpack stack (%s) does not exist", u.Stack)
		}
		b.Stack = u.Stack
	}
	old := b.Blob
	b.Blob, b.SHA256, b.Filename = u.Blob, u.SHA256, u.Filename
	if err := row.Update(ctx, tx, b); err != nil {
		return err
	}
	if err := event.Record(ctx, tx, "audit.buildpack.upload", buildpackTarget(b), nil); err != nil {
		return err
	}
	if old == b.Blob {
		return nil
	}
	return release(ctx, tx, old)
}

// clearCaches is POST /v3/admin/actions/clear_buildpack_cache.
func (f *Family) clearCaches(c *rest.Call) error {
	if err := c.Admins(); err != nil {
		return err
	}
	var j *job.Job
	err := c.Write(func(ctx context.Context, tx bun.Tx) (err error) {
		j, err = job.Enqueue(ctx, tx, job.Work{Operation: "admin.clear_buildpack_cache"})
		return err
	})
	if err != nil {
		return err
	}
	return c.Accepted(j)
}

// dropCaches is the job admin.clear_buildpack_cache.
func (f *Family) dropCaches(ctx context.Context, _ *job.Job) error {
	return f.Blobs.DeleteNamed(ctx, cf.BlobCache, "")
}
