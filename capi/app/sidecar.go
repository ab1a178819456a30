package app

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/row"
)

// OfBuildpack is the origin of sidecars that come and go with the droplet.
const OfBuildpack = "buildpack"

// Sidecar is a row of sidecars: a second program beside processes of an app, from their next start on.
type Sidecar struct {
	bun.BaseModel `bun:"table:app_sidecars"`
	row.Row
	AppGUID      string             `bun:"app_guid"`
	SpaceGUID    string             `bun:"space_guid"`
	Name         string             `bun:"name"`
	Command      string             `bun:"command"`
	ProcessTypes sql.JSON[[]string] `bun:"process_types"` // sorted; the table of types has them too, for searching
	MemoryMB     int                `bun:"memory_mb"`     // of the process's own; 0 = not told
	Origin       string             `bun:"origin"`        // user, or buildpack
}

func (f *Family) sidecars() *rest.Resource[Sidecar] {
	f.Sidecars = &rest.Resource[Sidecar]{
		Kind: "sidecar", Path: "/v3/sidecars", Visible: access.InSpaces("space_guid"), NoList: true,
		Subs: []rest.Sub{
			{Path: "/v3/apps/{guid}/sidecars", Parent: "app", Where: "app_guid = ?"},
			{Path: "/v3/processes/{guid}/sidecars", Parent: "process", Where: "guid IN (SELECT t.sidecar_guid FROM app_sidecar_types t " +
				"JOIN app_processes p ON p.app_guid = t.app_guid AND p.type = t.type WHERE p.guid = ?)"},
		},
		View: func(_ *rest.Call, s *Sidecar) rest.Object {
			return rest.Object{"name": s.Name, "command": s.Command, "process_types": nonNil(s.ProcessTypes.V),
				"memory_in_mb": orNil(s.MemoryMB), "origin": s.Origin, "relationships": rest.Object{"app": rest.ToOne(s.AppGUID)}, "links": rest.Absent}
		},
		Update: updateSidecar,
		Delete: func(c *rest.Call, s *Sidecar) error {
			if err := c.MayWriteSpace(s.SpaceGUID, access.SpaceWriters...); err != nil {
				return err
			}
			return c.Write(func(ctx context.Context, tx bun.Tx) error { return DropSidecar(ctx, tx, s) })
		},
	}
	return f.Sidecars
}

type sidecarBody struct {
	create        bool
	name, command rest.Opt[string]
	types         rest.Opt[[]string]
	memory        rest.Opt[int]
}

func (t *sidecarBody) Take(b *rest.Body) {
	for _, o := range []struct {
		key string
		o   *rest.Opt[string]
	}{{"name", &t.name}, {"command", &t.command}} {
		b.String(o.key, o.o)
		if t.create || b.Has(o.key) {
			rest.Required(b, o.key, o.o)
		}
	}
	b.Strings("process_types", &t.types, "must be an array")
	if (t.create || b.Has("process_types")) && len(t.types.V) == 0 {
		if !t.types.Given() && b.Sound("process_types") {
			b.Wrong("process_types", "must be an array")
		}
		b.Wrong("process_types", "must have at least 1 process_type")
	}
	Number(b, "memory_in_mb", b.Raw("memory_in_mb"), &t.memory, 1)
}

// apply puts what the body says into the row.
func (t *sidecarBody) apply(s *Sidecar) {
	s.Name, s.Command = t.name.Or(s.Name), t.command.Or(s.Command)
	if t.types.Given() {
		s.ProcessTypes.V = t.types.V
	}
	if t.memory.Set {
		s.MemoryMB = t.memory.V
	}
}

func (f *Family) createSidecar(c *rest.Call) error {
	a, err := f.Apps.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	if err := c.MayWriteSpace(a.SpaceGUID, access.SpaceWriters...); err != nil {
		return err
	}
	t := sidecarBody{create: true}
	if err := rest.Take(c, &t); err != nil {
		return err
	}
	s := &Sidecar{AppGUID: a.GUID, SpaceGUID: a.SpaceGUID, Origin: "user"}
	t.apply(s)
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		if err := access.HoldSpace(ctx, c.Store(), tx, a.SpaceGUID); err != nil {
			return err
		}
		if err := row.Lock(ctx, c.Store(), tx, a); err != nil {
			return rest.NotFound("app")
		}
		return PutSidecar(ctx, tx, s)
	})
	if err != nil {
		return err
	}
	return f.Sidecars.Show(c, http.StatusCreated, s)
}

func updateSidecar(c *rest.Call, s *Sidecar) error {
	if err := c.MayWriteSpace(s.SpaceGUID, access.SpaceWriters...); err != nil {
		return err
	}
	var t sidecarBody
	if err := rest.Take(c, &t); err != nil {
		return err
	}
	return c.Write(func(ctx context.Context, tx bun.Tx) error {
		if err := row.Lock(ctx, c.Store(), tx, s); err != nil {
			return rest.NotFound("sidecar")
		}
		t.apply(s)
		return PutSidecar(ctx, tx, s)
	})
}

// DropSidecar deletes a sidecar.
func DropSidecar(ctx context.Context, tx bun.Tx, s *Sidecar) error {
	if _, err := tx.NewDelete().TableExpr("app_sidecar_types").Where("sidecar_guid = ?", s.GUID).Exec(ctx); err != nil {
		return err
	}
	return row.Delete(ctx, tx, s)
}

// PutBeside makes or changes the app's sidecar of that name.
func PutBeside(ctx context.Context, tx bun.Tx, a *App, b Beside) error {
	all, err := SidecarsOf(ctx, tx, a.GUID)
	if err != nil {
		return err
	}
	s := &Sidecar{AppGUID: a.GUID, SpaceGUID: a.SpaceGUID, Name: b.Name, Origin: cmp.Or(b.Origin, "user")}
	if i := slices.IndexFunc(all, func(o *Sidecar) bool { return o.Name == b.Name }); i >= 0 {
		s = all[i]
	}
	s.Command, s.ProcessTypes.V = b.Command, b.Types
	put(&s.MemoryMB, b.MemoryMB)
	return PutSidecar(ctx, tx, s)
}

// SidecarsOf reads the sidecars of an app, by name.
func SidecarsOf(ctx context.Context, db bun.IDB, app string) ([]*Sidecar, error) {
	var all []*Sidecar
	err := db.NewSelect().Model(&all).Where("app_guid = ?", app).OrderExpr("name, id").Scan(ctx)
	return all, err
}

// PutSidecar writes a new or changed sidecar. It refuses in CF's words what is too long, a name that another has, and
// memory that leaves none to the process.
func PutSidecar(ctx context.Context, tx bun.Tx, s *Sidecar) error {
	switch {
	case utf8.RuneCountInString(s.Name) > 255:
		return rest.Unprocessable("Name is too long (maximum is 255 characters)")
	case utf8.RuneCountInString(s.Command) > 4096:
		return rest.Unprocessable("Command is too long (maximum is 4096 characters)")
	}
	slices.Sort(s.ProcessTypes.V)
	s.ProcessTypes.V = slices.Compact(s.ProcessTypes.V)
	write := row.Update
	if s.ID == 0 {
		write = row.Insert
	}
	err := write(ctx, tx, s)
	if sql.IsUnique(err) {
		return rest.Unprocessable("Sidecar with name '%s' already exists for given app", s.Name)
	}
	if err != nil {
		return err
	}
	if _, err := tx.NewDelete().TableExpr("app_sidecar_types").Where("sidecar_guid = ?", s.GUID).Exec(ctx); err != nil {
		return err
	}
	for _, kind := range s.ProcessTypes.V {
		_, err := tx.NewRaw("INSERT INTO app_sidecar_types (sidecar_guid, app_guid, type) VALUES (?, ?, ?)", s.GUID, s.AppGUID, kind).Exec(ctx)
		if err != nil {
			return fmt.Errorf("process type of sidecar %s: %w", s.GUID, err)
		}
	}
	ps, err := ProcessesOf(ctx, tx, s.AppGUID)
	if err != nil {
		return err
	}
	ps = slices.DeleteFunc(ps, func(p *Process) bool { return !slices.Contains(s.ProcessTypes.V, p.Type) })
	kind, err := tooLittle(ctx, tx, s.AppGUID, ps...)
	if err == nil && kind != "" {
		err = rest.Unprocessable("The memory allocation defined is too large to run with the dependent %q process", kind)
	}
	return err
}

// tooLittle is the type of the first of the processes whose memory its sidecars leave nothing of, or "".
func tooLittle(ctx context.Context, tx bun.Tx, app string, ps ...*Process) (string, error) {
	all, err := SidecarsOf(ctx, tx, app)
	if err != nil {
		return "", err
	}
	for _, p := range ps {
		sum := 0
		for _, s := range all {
			if slices.Contains(s.ProcessTypes.V, p.Type) {
				sum += s.MemoryMB
			}
		}
		if sum > 0 && sum >= p.MemoryMB {
			return p.Type, nil
		}
	}
	return "", nil
}

// Bears refuses a process whose memory its sidecars leave nothing of. It comes after the process was written.
func Bears(ctx context.Context, tx bun.Tx, p *Process) error {
	kind, err := tooLittle(ctx, tx, p.AppGUID, p)
	if err == nil && kind != "" {
		err = rest.Unprocessable("The requested memory allocation is not large enough to run all of your sidecar processes")
	}
	return err
}

// besides are the sidecars of the app as a revision keeps them, by name.
func besides(ctx context.Context, db bun.IDB, app string) ([]Beside, error) {
	all, err := SidecarsOf(ctx, db, app)
	var out []Beside
	for _, s := range all {
		b := Beside{Name: s.Name, Command: s.Command, Types: s.ProcessTypes.V}
		if s.MemoryMB > 0 {
			b.MemoryMB = &s.MemoryMB
		}
		if s.Origin == OfBuildpack {
			b.Origin = s.Origin
		}
		out = append(out, b)
	}
	return out, err
}

// With is the process as it runs with its sidecars: those of its revision r, or the app's own for nil.
func (p *Process) With(ctx context.Context, db bun.IDB, r *Revision) (*Process, error) {
	var all []Beside
	var err error
	if r != nil {
		all = r.Sidecars.V
	} else if all, err = besides(ctx, db, p.AppGUID); err != nil {
		return nil, fmt.Errorf("sidecars of process %s: %w", p.GUID, err)
	}
	with := *p
	with.Sidecars = nil
	for _, s := range all {
		if !slices.Contains(s.Types, p.Type) {
			continue
		}
		one := cf.Sidecar{Name: s.Name, Start: s.Command}
		put(&one.MemoryMB, s.MemoryMB)
		with.Sidecars = append(with.Sidecars, one)
	}
	return &with, nil
}

// purgeSidecars deletes the sidecars of an app.
func purgeSidecars(ctx context.Context, tx bun.Tx, app string) error {
	if _, err := tx.NewDelete().TableExpr("app_sidecar_types").Where("app_guid = ?", app).Exec(ctx); err != nil {
		return err
	}
	return row.DeleteWhere(ctx, tx, "app_sidecars", "app_guid = ?", app)
}

// Return gives the app the environment and the sidecars of a revision.
func (r *Revision) Return(ctx context.Context, tx bun.Tx, a *App) error {
	a.Env.V = r.Env.V
	if err := purgeSidecars(ctx, tx, a.GUID); err != nil {
		return err
	}
	for _, b := range r.Sidecars.V {
		if err := PutBeside(ctx, tx, a, b); err != nil {
			return err
		}
	}
	return nil
}
