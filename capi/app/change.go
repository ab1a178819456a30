package app

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/job"
	"ingot/rest/row"
)

// Hidden stands in audit events and log lines where secrets were.
const Hidden = "[PRIVATE DATA HIDDEN]"

type body struct {
	create    bool
	name      rest.Opt[string]
	env       rest.Opt[map[string]json.RawMessage]
	space     rest.Opt[string]
	lifecycle Lifecycle
	meta      row.Patch
}

// Lifecycle is the part of a body that says how an app, or one build, is staged.
type Lifecycle struct {
	Set        bool
	Type       rest.Opt[string]
	Buildpacks rest.Opt[[]string]
	Stack      rest.Opt[string]
}

// Take declares it.
func (l *Lifecycle) Take(b *rest.Body) {
	l.Set = b.Has("lifecycle")
	b.Nested("lifecycle", func(in *rest.Body) {
		in.String("type", &l.Type)
		if kind := l.Type.Or(Buildpack); kind != Buildpack && kind != "docker" && kind != "cnb" {
			b.Wrong("lifecycle_type", "is not included in the list: buildpack, docker, cnb")
		}
		if !in.Has("data") {
			b.Wrong("lifecycle_data", "must be an object")
		}
		in.Nested("data", func(d *rest.Body) {
			d.String("stack", &l.Stack)
			if n := len(l.Stack.V); l.Stack.Given() && (n < 1 || n > 4096) {
				in.Wrong("stack", "must be between 1 and 4096 characters")
			}
			l.takeBuildpacks(in, d.Raw("buildpacks"))
		})
	})
}

func (l *Lifecycle) takeBuildpacks(b *rest.Body, raw json.RawMessage) {
	if raw == nil {
		return
	}
	var list []any
	if json.Unmarshal(raw, &list) != nil {
		b.Wrong("buildpacks", "must be an array")
		return
	}
	l.Buildpacks.Set, l.Buildpacks.Null, l.Buildpacks.V = true, list == nil, []string{}
	texts, length := true, true
	for _, v := range list {
		s, ok := v.(string)
		texts = texts && ok
		length = length && (!ok || strings.TrimSpace(s) != "" && len(s) <= 4096)
		l.Buildpacks.V = append(l.Buildpacks.V, s)
	}
	if !texts {
		b.Wrong("buildpacks", "can only contain strings")
	}
	if !length {
		b.Wrong("buildpacks", "entries must be between 1 and 4096 characters")
	}
}

// Check refuses lifecycles that are not there.
func (l *Lifecycle) Check(ctx context.Context, db bun.IDB) error {
	flag := map[string]string{"docker": "diego_docker", "cnb": "diego_cnb"}[l.Type.Or(Buildpack)]
	if flag == "" {
		return nil
	}
	if err := access.Enabled(ctx, db, flag); err != nil {
		return err
	}
	return rest.Unprocessable("The %s lifecycle is not available on this platform yet.", l.Type.V)
}

func (t *body) Take(b *rest.Body) {
	b.Metadata(&t.meta)
	if t.create {
		b.Relationships(false, func(b *rest.Body) { b.ToOne("space", &t.space, rest.Required) })
	}
	t.lifecycle.Take(b)
	b.String("name", &t.name, rest.Length(0, 255))
	if t.create && !t.name.Given() && !b.Has("name") {
		b.Wrong("name", "must be a string")
	}
	if t.create {
		b.Object("environment_variables", &t.env)
	}
}

func (f *Family) create(c *rest.Call) (*App, error) {
	t := body{create: true}
	if err := rest.Take(c, &t); err != nil {
		return nil, err
	}
	if seen, err := c.Ref("space", t.space.V); err != nil {
		return nil, err
	} else if !seen {
		return nil, access.NoSpace()
	}
	if err := c.MayWriteSpace(t.space.V, access.SpaceWriters...); err != nil {
		return nil, err
	}
	a := &App{Name: t.name.V, SpaceGUID: t.space.V, Lifecycle: Buildpack}
	if fault := CheckName(a.Name); fault != "" {
		return nil, rest.Unprocessable("%s", fault)
	}
	if err := t.meta.Apply(a.Meta()); err != nil {
		return nil, err
	}
	for k, v := range t.env.V { // numbers and booleans count as their text here, as in Cloud Controller
		if v[0] != '"' && v[0] != '{' && v[0] != '[' && string(v) != "null" {
			t.env.V[k] = json.RawMessage(strconv.Quote(string(v)))
		}
	}
	env, err := Variables("Environment variables", t.env.V)
	if err != nil {
		return nil, err
	}
	a.Env.V = texts(env)
	if err := f.apply(c, a, t.lifecycle); err != nil {
		return nil, err
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error { return Insert(ctx, c.Store(), tx, a, censored(c.Body)) })
	if err != nil {
		return nil, err
	}
	f.Say(a.GUID, "Created app with guid %s", a.GUID)
	f.Say(a.GUID, "Added process: %q", Web)
	return a, nil
}

// apply puts a lifecycle into the row, if what it names is there.
func (f *Family) apply(c *rest.Call, a *App, l Lifecycle) error {
	if err := l.Check(c.Ctx(), c.DB()); err != nil {
		return err
	}
	if l.Buildpacks.Set {
		a.Buildpacks.V = l.Buildpacks.V
	}
	chosen := l.Stack.Set || a.Stack == ""
	if chosen {
		a.Stack = l.Stack.Or(f.Stack)
	}
	fault, err := f.Fit(c.Ctx(), c.DB(), a.Buildpacks.V, a.Stack)
	if err == nil && fault != "" {
		err = rest.Unprocessable("%s", fault)
	}
	if err != nil || !chosen {
		return err
	}
	warning, err := f.StackState(c.Ctx(), c.DB(), a.Stack, a.GUID)
	c.Warn(warning)
	return err
}

func (f *Family) update(c *rest.Call, a *App) error {
	var t body
	if err := rest.Take(c, &t); err != nil {
		return err
	}
	if err := c.MayWriteSpace(a.SpaceGUID, access.SpaceWriters...); err != nil {
		return err
	}
	if fault := CheckName(t.name.V); t.name.Given() && fault != "" {
		return rest.Unprocessable("%s", fault)
	}
	if kind := t.lifecycle.Type.Or(a.Lifecycle); kind != a.Lifecycle {
		return rest.Unprocessable("Lifecycle type cannot be changed from %s to %s", a.Lifecycle, kind)
	}
	if t.lifecycle.Set {
		if err := f.apply(c, a, t.lifecycle); err != nil {
			return err
		}
	}
	packs, stack := a.Buildpacks, a.Stack
	err := c.Change(a, func(ctx context.Context, tx bun.Tx) error {
		if err := t.meta.Apply(a.Meta()); err != nil {
			return err
		}
		a.Buildpacks, a.Stack = packs, stack
		if t.name.Given() {
			a.Name, a.NameKey = t.name.V, access.Fold(t.name.V)
		}
		return Record(ctx, tx, "audit.app.update", a, event.Request(c.Body))
	})
	if sql.IsUnique(err) {
		return nameTaken(t.name.V)
	}
	if err != nil {
		return err
	}
	f.Say(a.GUID, "Updated app with guid %s (%s)", a.GUID, Ruby(c.Body))
	if t.name.Given() {
		f.Changed(c.Ctx(), a.GUID)
	}
	return nil
}

func (f *Family) mayDelete(c *rest.Call, a *App) error {
	if err := c.MayWriteSpace(a.SpaceGUID, access.SpaceWriters...); err != nil {
		return err
	}
	f.Say(a.GUID, "Enqueued job to delete app with guid %s", a.GUID)
	return nil
}

// Purge deletes the family's rows of an app and tells of it. An app that is gone already is no error.
func Purge(ctx context.Context, tx bun.Tx, j *job.Job, guid string) error {
	a, err := ByGUID(ctx, tx, guid)
	if cf.IsKind(err, cf.KindNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if a.State == Started {
		err = Record(ctx, tx, "audit.app.stop", a, map[string]any{"delete_triggered": true, "reason": "stopped as part of app deletion"})
		if err != nil {
			return err
		}
	}
	if err := Record(ctx, tx, "audit.app.delete-request", a, nil); err != nil {
		return fmt.Errorf("job %s: %w", j.GUID, err)
	}
	if err := purgeSidecars(ctx, tx, guid); err != nil {
		return err
	}
	for _, table := range []string{"app_processes", "app_deployments", "app_revisions"} {
		if err := row.DeleteWhere(ctx, tx, table, "app_guid = ?", guid); err != nil {
			return err
		}
	}
	return row.Delete(ctx, tx, a)
}

// censored is the data of an event of a request, without environment variables and commands.
func censored(raw json.RawMessage) map[string]any {
	data := event.Request(raw)
	if m, ok := data["request"].(map[string]any); ok {
		for _, k := range []string{"environment_variables", "command"} {
			if _, has := m[k]; has {
				m[k] = Hidden
			}
		}
	}
	return data
}

// Ruby writes a JSON object as Cloud Controller's log lines show it: {"state"=>"STARTED"}. What is no object is shown
// as it is.
func Ruby(raw json.RawMessage) string {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return string(raw)
	}
	var b strings.Builder
	ruby(&b, v)
	return b.String()
}

func ruby(b *strings.Builder, v any) {
	switch v := v.(type) {
	case nil:
		b.WriteString("nil")
	case map[string]any:
		b.WriteByte('{')
		for i, k := range sorted(v) {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(b, "%q=>", k)
			ruby(b, v[k])
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, x := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			ruby(b, x)
		}
		b.WriteByte(']')
	case string:
		fmt.Fprintf(b, "%q", v)
	default:
		fmt.Fprint(b, v)
	}
}
