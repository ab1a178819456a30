package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/web"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/job"
	"ingot/rest/row"
)

func (f *Family) packages() *rest.Resource[Package] {
	return &rest.Resource[Package]{
		Kind: "package", Path: "/v3/packages", Visible: access.InSpaces("space_guid"),
		Filters: []rest.Filter{
			{Param: "states", Where: "state IN (?)"},
			{Param: "types", Where: "type IN (?)"},
			{Param: "app_guids", Where: "app_guid IN (?)"},
			{Param: "space_guids", Where: "space_guid IN (?)"},
			{Param: "organization_guids", Where: "space_guid IN (SELECT guid FROM rest_spaces WHERE org_guid IN (?))"},
		},
		Subs: []rest.Sub{{Path: "/v3/apps/{guid}/packages", Parent: "app", Where: "app_guid = ?"}},
		View: func(c *rest.Call, p *Package) rest.Object {
			sum := rest.Object{"type": "sha256", "value": nil}
			if p.SHA256 != "" {
				sum["value"] = p.SHA256
			}
			data := rest.Object{"error": nil, "checksum": sum}
			if p.Error != "" {
				data["error"] = p.Error
			}
			return rest.Object{
				"type": p.Type, "state": p.State, "data": data, "relationships": rest.Object{"app": rest.ToOne(p.AppGUID)},
				"links": rest.Object{
					"upload":   c.Action("/v3/packages/%s/upload", p.GUID),
					"download": rest.Object{"href": c.URL("/v3/packages/%s/download", p.GUID), "method": "GET"},
					"app":      c.Link("/v3/apps/%s", p.AppGUID),
				},
			}
		},
		Create: f.createPackage,
		Update: updatePackage,
		Delete: func(c *rest.Call, p *Package) error { return c.MayWriteSpace(p.SpaceGUID, access.SpaceWriters...) },
		Remove: f.removePackage,
	}
}

func (f *Family) packageRoutes() []rest.Route {
	return []rest.Route{
		{Pattern: "POST /v3/packages/{guid}/upload", Handle: f.upload},
		{Pattern: "GET /v3/packages/{guid}/download", Handle: f.downloadPackage},
	}
}

type packageBody struct {
	kind, app rest.Opt[string]
	copies    bool
	meta      row.Patch
}

func (t *packageBody) Take(b *rest.Body) {
	b.Metadata(&t.meta)
	b.String("type", &t.kind)
	b.Relationships(false, func(b *rest.Body) { b.ToOne("app", &t.app, rest.Required) })
	if data := b.Raw("data"); data != nil && string(data) != "{}" && string(data) != "null" && t.kind.V != "docker" {
		b.Fault("Data must be empty if provided for bits packages")
	}
	if !t.copies && t.kind.V != "bits" && t.kind.V != "docker" {
		b.Wrong("type", "must be one of 'bits, docker'")
	}
}

func (f *Family) createPackage(c *rest.Call) (*Package, error) {
	source := c.R.URL.Query().Get("source_guid")
	t := packageBody{copies: source != ""}
	if err := rest.Take(c, &t); err != nil {
		return nil, err
	}
	if seen, err := c.Ref("app", t.app.V); err != nil {
		return nil, err
	} else if !seen {
		return nil, rest.Unprocessable("App is invalid. Ensure it exists and you have access to it.")
	}
	a, err := f.App(c.Ctx(), c.DB(), t.app.V)
	if err != nil {
		return nil, err
	}
	if err := c.MayWriteSpace(a.Space, access.SpaceWriters...); err != nil {
		return nil, err
	}
	if t.kind.V == "docker" {
		return nil, &cf.Error{Kind: cf.KindInvalid, Code: "DockerDisabled"}
	}
	p := &Package{AppGUID: a.GUID, SpaceGUID: a.Space, Type: "bits", State: AwaitingUpload}
	if source != "" {
		if err := f.copyPackage(c, source, p); err != nil {
			return nil, err
		}
	}
	if err := t.meta.Apply(p.Meta()); err != nil {
		return nil, err
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		if err := row.Insert(ctx, tx, p); err != nil {
			return err
		}
		data := event.Request(c.Body)
		data["package_guid"] = p.GUID
		return f.record(ctx, tx, "audit.app.package.create", a.GUID, data)
	})
	if cf.IsKind(err, cf.KindNotFound) { // the app was deleted since
		return nil, rest.Unprocessable("App is invalid. Ensure it exists and you have access to it.")
	}
	if err != nil {
		return nil, err
	}
	f.Gate.Step("package created")
	f.say(a.GUID, "Adding app package for app with guid %s", a.GUID)
	return p, nil
}

// copyPackage takes the bits of another package, which the caller must be able to write.
func (f *Family) copyPackage(c *rest.Call, source string, p *Package) error {
	s, err := f.Packages.Find(c, source)
	if cf.IsKind(err, cf.KindNotFound) {
		return rest.Unprocessable("Source package is invalid. Ensure it exists and you have access to it.")
	}
	if err != nil {
		return err
	}
	if err := c.MayWriteSpace(s.SpaceGUID, access.SpaceWriters...); err != nil {
		return err
	}
	if s.AppGUID == p.AppGUID {
		return rest.Unprocessable("Source and destination app cannot be the same")
	}
	p.State, p.Blob, p.SHA256, p.Size = s.State, s.Blob, s.SHA256, s.Size
	return nil
}

type packagePatch struct {
	user, password rest.Opt[string]
	metadataBody
}

func (t *packagePatch) Take(b *rest.Body) {
	t.metadataBody.Take(b)
	b.String("username", &t.user)
	b.String("password", &t.password)
}

func updatePackage(c *rest.Call, p *Package) error {
	var t packagePatch
	if err := rest.Take(c, &t); err != nil {
		return err
	}
	if t.user.Given() || t.password.Given() {
		return rest.Unprocessable("Cannot update Docker credentials for a buildpack app.")
	}
	if err := c.MayWriteSpace(p.SpaceGUID, access.SpaceWriters...); err != nil {
		return err
	}
	return c.Change(p, func(context.Context, bun.Tx) error { return t.meta.Apply(p.Meta()) })
}

// removePackage is the job package.delete.
func (f *Family) removePackage(ctx context.Context, j *job.Job) error {
	return f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		p := new(Package)
		if gone, err := find(ctx, tx, p, j.ResourceGUID); gone || err != nil {
			return err
		}
		if err := row.Delete(ctx, tx, p); err != nil {
			return err
		}
		if err := f.record(ctx, tx, "audit.app.package.delete", p.AppGUID, map[string]any{"package_guid": p.GUID}); err != nil {
			return err
		}
		return release(ctx, tx, p.Blob)
	})
}

// linkTime is how long the address of a download works.
const linkTime = time.Hour

func (f *Family) downloadPackage(c *rest.Call) error {
	p, err := f.Packages.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	if err := mayRead(c, p.SpaceGUID, c.Caller.Admin(), access.SecretReaders); err != nil {
		return err
	}
	if p.State != Ready {
		return rest.Unprocessable("Package has no bits to download.")
	}
	return f.download(c, "package", p.AppGUID, p.GUID, p.Blob)
}

// download sends the client to the blob.
func (f *Family) download(c *rest.Call, what, app, guid, blob string) error {
	err := c.Write(func(ctx context.Context, tx bun.Tx) error {
		return f.record(ctx, tx, "audit.app."+what+".download", app, map[string]any{what + "_guid": guid})
	})
	if err != nil {
		return err
	}
	http.Redirect(c.W, c.R, f.Blobs.SignURL(blob, time.Now().Add(linkTime)), http.StatusFound)
	return nil
}

// mayRead answers nil for those who read everything and for the roles.
func mayRead(c *rest.Call, space string, all bool, roles access.Roles) error {
	if all {
		return nil
	}
	s, err := access.SpaceByGUID(c.Ctx(), c.DB(), space)
	if err != nil {
		return err
	}
	if ok, err := access.HasInSpace(c.Ctx(), c.DB(), c.Caller, s, roles...); err != nil || ok {
		return err
	}
	return access.Forbidden()
}

func (f *Family) upload(c *rest.Call) error {
	if err := access.Enabled(c.Ctx(), c.DB(), "app_bits_upload"); err != nil {
		return err
	}
	p, err := f.Packages.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	if err := c.MayWriteSpace(p.SpaceGUID, access.SpaceWriters...); err != nil {
		return err
	}
	if p.State != AwaitingUpload {
		return &cf.Error{Kind: cf.KindInvalid, Code: "PackageBitsAlreadyUploaded"}
	}
	f.say(p.AppGUID, "Uploading app package for app with guid %s", p.AppGUID)
	blob, err := f.receive(c)
	if cf.KindOf(err) == cf.KindInvalid && blob.refused {
		return errors.Join(err, f.refuse(c, p, err))
	}
	if err != nil {
		return err // the package still waits: the client may try again
	}
	f.Gate.Step("bits uploaded")
	err = c.Change(p, func(ctx context.Context, tx bun.Tx) error {
		if p.State != AwaitingUpload { // another upload was faster
			return &cf.Error{Kind: cf.KindInvalid, Code: "PackageBitsAlreadyUploaded"}
		}
		p.State, p.Blob, p.SHA256, p.Size = Ready, blob.Key, blob.SHA256, blob.Size
		return f.record(ctx, tx, "audit.app.package.upload", p.AppGUID, map[string]any{"package_guid": p.GUID})
	})
	if err != nil {
		return err
	}
	f.Gate.Step("package stored")
	return f.Packages.Show(c, http.StatusOK, p)
}

// refuse marks a package FAILED whose bits came whole and are no app.
func (f *Family) refuse(c *rest.Call, p *Package, why error) error {
	var e *cf.Error
	errors.As(why, &e)
	return c.Change(p, func(context.Context, bun.Tx) error {
		if p.State == AwaitingUpload {
			p.State, p.Error = Failed, e.Public
		}
		return nil
	})
}

// received is a package as it came in. refused tells that it came whole.
type received struct {
	cf.Blob
	refused bool
}

// maxUpload bounds an upload, in bytes.
const maxUpload = 2 << 30

// maxResources bounds the part that names matched files: about 100,000 of them.
const maxResources = 32 << 20

// receive streams the parts of an upload into the blob store: resources (JSON), then bits (a zip); one may be absent.
func (f *Family) receive(c *rest.Call) (received, error) {
	parts, err := web.NewUpload(c.W, c.R, maxUpload)
	if err != nil {
		return received{}, rest.Unprocessable("Upload must include either resources or bits")
	}
	var rs []cf.Resource
	for {
		part, err := parts.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return received{}, cutOff(err)
		}
		switch part.FormName() {
		case "resources":
			if rs, err = readResources(part); err != nil {
				return received{}, err
			}
		case "bits":
			return f.pack(c, part, rs)
		}
	}
	if len(rs) == 0 {
		return received{}, rest.Unprocessable("Upload must include either resources or bits")
	}
	return f.pack(c, nil, rs)
}

func (f *Family) pack(c *rest.Call, part *web.Part, rs []cf.Resource) (received, error) {
	var zip io.Reader
	if part != nil {
		zip = part
	}
	b, err := f.Blobs.Package(c.Ctx(), c.Caller.GUID, zip, rs)
	if part != nil && part.Broken != nil {
		return received{}, cutOff(part.Broken)
	}
	return received{b, err != nil}, err
}

func cutOff(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return cf.Wrap(cf.KindInvalid, "AppPackageInvalid", fmt.Sprintf("The app package is invalid: Package may not be larger than %d bytes", large.Limit), err)
	}
	return cf.Wrap(cf.KindInvalid, "AppBitsUploadInvalid", "The app upload is invalid: the upload was cut off", err)
}

func readResources(r io.Reader) ([]cf.Resource, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxResources+1))
	if err != nil {
		return nil, cutOff(err)
	}
	if len(b) > maxResources {
		return nil, rest.Unprocessable("Resources are too many.")
	}
	if len(strings.TrimSpace(string(b))) == 0 {
		return nil, nil
	}
	var list []resource
	if json.Unmarshal(b, &list) != nil {
		return nil, rest.Unprocessable("Resources must be valid JSON.")
	}
	var out []cf.Resource
	for _, r := range list {
		out = append(out, r.stored())
	}
	return out, nil
}
