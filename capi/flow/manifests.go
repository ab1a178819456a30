package flow

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"ingot/capi/admin"
	"ingot/capi/app"
	"ingot/capi/flow/manifest"
	"ingot/capi/route"
	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/fault"
	"ingot/rest/job"
)

// readManifest is what both manifest endpoints begin with: the space, the right to write it, the checked manifest.
func (f *Flow) readManifest(c *rest.Call) (*access.Space, *manifest.Document, []manifest.App, error) {
	s, err := rest.Find[access.Space](c, "space", c.Arg("guid"))
	if err != nil {
		return nil, nil, nil, err
	}
	kind, _, err := mime.ParseMediaType(c.R.Header.Get("Content-Type"))
	if err != nil || !strings.HasSuffix(kind, "yaml") {
		return nil, nil, nil, cf.Errorf(cf.KindInvalid, "BadRequest", "Content-Type must be yaml")
	}
	if err := access.MayWriteSpace(c.Ctx(), c.DB(), s, access.SpaceWriters...); err != nil {
		return nil, nil, nil, err
	}
	d, err := manifest.Parse(c.R.Body)
	if err != nil {
		return nil, nil, nil, err
	}
	apps, err := d.Check(f.flags(c.Ctx()))
	return s, d, apps, err
}

func (f *Flow) flags(ctx context.Context) func(string) error {
	return func(flag string) error {
		err := access.Enabled(ctx, f.DB.Read(), flag)
		var e *cf.Error
		if errors.As(err, &e) {
			return errors.New(fault.Words(e))
		}
		if err == nil && flag != "hash_based_routing" {
			return errors.New("The " + strings.TrimPrefix(flag, "diego_") + " lifecycle is not available on this platform yet.")
		}
		return err
	}
}

// applying is the payload of the job: the manifest, and the app of each entry.
type applying struct {
	YAML string   `json:"yaml"`
	Apps []string `json:"apps"`
}

// applyManifest makes the apps that are missing, and a job for everything else.
func (f *Flow) applyManifest(c *rest.Call) error {
	s, d, apps, err := f.readManifest(c)
	if err != nil {
		return err
	}
	for i := range apps {
		if err := f.fitting(c, &apps[i]); err != nil {
			return named(apps[i].Name, err)
		}
	}
	j, p, made, err := f.begin(c, s, d, apps)
	if err != nil {
		return err
	}
	for _, a := range made {
		f.Gate.Step("app created")
		f.App.Say(a.GUID, "Created app with guid %s", a.GUID)
		f.App.Say(a.GUID, "Added process: %q", app.Web)
	}
	for i, m := range apps {
		f.App.Say(p.Apps[i], "Applied manifest to app with guid %s (%s)", p.Apps[i], m.Audit)
	}
	return c.Accepted(j)
}

// begin writes the apps that are missing and the job, in one commit.
func (f *Flow) begin(c *rest.Call, s *access.Space, d *manifest.Document, apps []manifest.App) (j *job.Job, p applying, made []*app.App, err error) {
	for range 3 {
		err = c.Write(func(ctx context.Context, tx bun.Tx) (err error) {
			p = applying{YAML: string(d.YAML)}
			made, err = f.prepare(ctx, tx, s, apps, &p)
			if err == nil {
				j, err = job.Enqueue(ctx, tx, job.Work{Operation: "space.apply_manifest", Kind: "space", GUID: s.GUID, Payload: p})
			}
			return err
		})
		var e *cf.Error
		if !errors.As(err, &e) || e.Code != "UniquenessError" {
			break
		} // else another push made the app meanwhile: now it is found
	}
	return j, p, made, err
}

// prepare finds or makes the app of each entry, and tells of the manifest.
func (f *Flow) prepare(ctx context.Context, tx bun.Tx, s *access.Space, apps []manifest.App, p *applying) (made []*app.App, err error) {
	for _, m := range apps {
		a, isNew, err := f.skeleton(ctx, tx, s, m)
		if err != nil {
			return nil, named(m.Name, err)
		}
		if isNew {
			made = append(made, a)
		}
		p.Apps = append(p.Apps, a.GUID)
		data := map[string]any{"request": map[string]any{"manifest": m.Audit}}
		if err := app.Record(ctx, tx, "audit.app.apply_manifest", a, data); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// fitting checks buildpacks and stack of a manifest's app against what is there.
func (f *Flow) fitting(c *rest.Call, m *manifest.App) error {
	var packs []string
	stack := f.App.Stack
	if m.Buildpacks != nil {
		packs = *m.Buildpacks
	}
	if m.Stack != nil {
		stack = *m.Stack
	}
	fault, err := admin.Fit(c.Ctx(), c.DB(), packs, stack)
	if err == nil && fault == "" {
		fault = app.CheckName(m.Name)
	}
	if err == nil && fault != "" {
		err = rest.Unprocessable("%s", fault)
	}
	return err
}

// skeleton finds the app of that name in the space, or makes it.
func (f *Flow) skeleton(ctx context.Context, tx bun.Tx, s *access.Space, m manifest.App) (a *app.App, isNew bool, err error) {
	a = new(app.App)
	err = tx.NewSelect().Model(a).Where("space_guid = ? AND name_key = ?", s.GUID, access.Fold(m.Name)).Scan(ctx)
	if err == nil || !errors.Is(err, sql.ErrNoRows) {
		return a, false, err
	}
	a = &app.App{Name: m.Name, SpaceGUID: s.GUID, Lifecycle: app.Buildpack, Stack: admin.DefaultStack}
	if m.Stack != nil {
		a.Stack = *m.Stack
	}
	if _, err := f.stackState(ctx, tx, a.Stack, ""); err != nil {
		return nil, false, err
	}
	return a, true, app.Insert(ctx, f.DB, tx, a, map[string]any{"request": map[string]any{"name": m.Name}})
}

// named says of which app an error speaks.
func named(name string, err error) error {
	var e *cf.Error
	if !errors.As(err, &e) || e.Before != "" || strings.HasPrefix(e.Public, "For application '") {
		return err
	}
	about := *e
	about.Before = "For application '" + name + "': "
	return &about
}

// runManifest is the job space.apply_manifest. An app is applied in one commit; after a crash all are applied again.
func (f *Flow) runManifest(ctx context.Context, j *job.Job) error {
	var p applying
	if err := j.Decode(&p); err != nil {
		return err
	}
	d, err := manifest.Parse(strings.NewReader(p.YAML))
	if err != nil {
		return err
	}
	apps, err := d.Check(f.flags(ctx))
	if err != nil {
		return err
	}
	for i, m := range apps {
		if err := f.apply(ctx, p.Apps[i], m); err != nil {
			return named(m.Name, err)
		}
		f.Gate.Step("manifest applied")
	}
	return nil
}

// diffManifest is POST /v3/spaces/:guid/manifest_diff.
func (f *Flow) diffManifest(c *rest.Call) error {
	s, d, _, err := f.readManifest(c)
	if err != nil {
		return err
	}
	now := map[string]manifest.Now{}
	for _, name := range d.Names() {
		a := new(app.App)
		err := c.DB().NewSelect().Model(a).Where("space_guid = ? AND name_key = ?", s.GUID, access.Fold(name)).Scan(c.Ctx())
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return err
		}
		n, err := f.present(c.Ctx(), c.DB(), a)
		if err != nil {
			return err
		}
		n.Name = name // names compare without case
		now[name] = n
	}
	diff, err := d.Diff(now)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, rest.Object{"diff": diff})
}

func (f *Flow) showManifest(c *rest.Call) error {
	a, err := f.App.Apps.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	if ok, err := c.ReadsSecrets(a.SpaceGUID, access.SecretReaders...); err != nil || !ok {
		return errors.Join(err, access.Forbidden())
	}
	n, err := f.present(c.Ctx(), c.DB(), a)
	if err != nil {
		return err
	}
	b, err := n.Write()
	if err != nil {
		return err
	}
	c.W.Header().Set("Content-Type", "application/x-yaml")
	_, _ = c.W.Write(b) // the client went away: nobody is left to tell
	return nil
}

// present is an app as a generated manifest writes it.
func (f *Flow) present(ctx context.Context, db bun.IDB, a *app.App) (manifest.Now, error) {
	n := manifest.Now{Name: a.Name, Env: a.Env.V, Lifecycle: a.Lifecycle, Buildpacks: cf.PublicBuildpacks(a.Buildpacks.V), Stack: a.Stack,
		Features: map[string]bool{}, Metadata: manifest.NowMetadata{Labels: a.Meta().Labels, Annotations: a.Meta().Annotations}}
	for _, s := range app.Features {
		n.Features[s.Name] = *s.Of(a)
	}
	mapped, err := route.OfApp(ctx, db, a.GUID)
	if err != nil {
		return n, err
	}
	for _, m := range mapped {
		n.Routes = append(n.Routes, manifest.NowRoute{Route: m.Route.URL(), Protocol: m.To.Protocol, Options: m.Route.Options.V})
	}
	beside, err := app.SidecarsOf(ctx, db, a.GUID)
	if err != nil {
		return n, err
	}
	for _, s := range beside {
		n.Beside(s.Name, s.Command, s.ProcessTypes.V, s.MemoryMB)
	}
	bound, err := f.Bindings.OfApp(ctx, cf.AppID(a.GUID))
	if err != nil {
		return n, err
	}
	for _, b := range bound {
		n.Services = append(n.Services, b.InstanceName)
	}
	ps, err := app.ProcessesOf(ctx, db, a.GUID)
	for i, p := range ps {
		if slices.ContainsFunc(ps[i+1:], func(o *app.Process) bool { return o.Type == p.Type }) {
			continue // a deployment is replacing it
		}
		n.Processes = append(n.Processes, manifest.NowProcess{
			Type: p.Type, Instances: p.Instances, Memory: manifest.Megabytes(p.MemoryMB), DiskQuota: manifest.Megabytes(p.DiskMB),
			LogRate: manifest.Rate(p.LogRate), Command: p.Command, HealthType: p.HealthType, HealthEndpoint: p.HealthEndpoint,
			HealthInvocation: p.HealthInvocation, HealthInterval: p.HealthInterval, ReadinessType: p.ReadinessType,
			ReadinessEndpoint: p.ReadinessEndpoint, ReadinessInvocation: p.ReadinessInvocation,
			ReadinessInterval: p.ReadinessInterval, Timeout: p.HealthTimeout,
		})
	}
	return n, err
}
