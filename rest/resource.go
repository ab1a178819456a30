package rest

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest/access"
	"ingot/rest/job"
	"ingot/rest/row"
)

// Object is a JSON object.
type Object map[string]any

// Resource is a noun of the API: one value says all that is particular to it. T is its row, a struct that embeds
// row.Row or row.Labelled.
//
// A nil function means that the noun has no such endpoint.
type Resource[T any] struct {
	Kind    string       // the noun's name in words and jobs: "feature_flag" makes "Feature flag not found"
	Path    string       // of its list: "/v3/organizations"
	Visible access.Scope // who sees which rows

	Filters []Filter // in CF's order, beside page, per_page, order_by, created_ats, updated_ats and guids
	Orders  []string // beside created_at and updated_at; "name" may be "name:name_key", the column it sorts by
	Order   string   // columns when the request names none: "lifecycle position"; "" = in order of creation
	Refuse  []string // of created_ats and updated_ats (filters), created_at and updated_at (orders): those that CF refuses
	// Unprocessable: a bad query is answered 422, as some of CF's controllers do, not 400.
	Unprocessable bool
	Subs          []Sub // lists of this noun below others

	// Fill completes the rows of an answer with what lies in other tables, for all of them at once.
	Fill func(c *Call, rows []*T) error
	// View gives a row's own fields. The engine adds guid, created_at, updated_at, metadata and links.self.
	View func(c *Call, row *T) Object

	Create func(c *Call) (*T, error)             // POST Path: 201
	Update func(c *Call, row *T) error           // PATCH Path/guid: 200; row is as the caller sees it
	Delete func(c *Call, row *T) error           // DELETE Path/guid: may the caller; 204 when there is no Remove
	Remove func(context.Context, *job.Job) error // the job <kind>.delete, idempotent; then DELETE answers 202

	NoList, NoGet bool
	Maturity      string // as a Route's

	s *Server
}

// Sub is a list below another noun: {"/v3/apps/{guid}/processes", "app", "app_guid = ?"}.
type Sub struct {
	Path   string
	Parent string // the kind of the noun above
	Where  string // its ? is the parent's guid
	// Everyone who sees the noun above sees the whole list, whatever Visible says.
	Everyone bool
}

func (r *Resource[T]) kind() string        { return r.Kind }
func (r *Resource[T]) path() string        { return r.Path }
func (r *Resource[T]) attach(s *Server)    { r.s = s }
func (r *Resource[T]) operation() string   { return r.Kind + ".delete" }
func (r *Resource[T]) has(n row.Noun) bool { _, ok := any(n).(*T); return ok }

func (r *Resource[T]) work() []job.Kind {
	if r.Remove == nil {
		return nil
	}
	return []job.Kind{{Operation: r.operation(), Run: r.Remove}}
}

func (r *Resource[T]) routes() []Route {
	var out []Route
	add := func(served bool, act Act, pattern string, h Handler) {
		if served {
			out = append(out, Route{Pattern: pattern, Handle: h, Maturity: r.Maturity, about: r.about(act, "")})
		}
	}
	one := r.Path + "/{guid}"
	add(!r.NoList, Lists, "GET "+r.Path, r.list)
	add(!r.NoGet, Shows, "GET "+one, r.get)
	add(r.Create != nil, Creates, "POST "+r.Path, r.create)
	add(r.Update != nil, Updates, "PATCH "+one, r.update)
	add(r.Delete != nil, Deletes, "DELETE "+one, r.delete)
	for _, s := range r.Subs {
		below := func(c *Call) error {
			if ok, err := c.Ref(s.Parent, c.Arg("guid")); err != nil {
				return err
			} else if !ok {
				return NotFound(s.Parent)
			}
			visible := r.Visible
			if s.Everyone {
				visible = access.Everyone
			}
			return r.ListOf(c, visible, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where(s.Where, c.Arg("guid")) })
		}
		out = append(out, Route{Pattern: "GET " + s.Path, Handle: below, Maturity: r.Maturity, about: r.about(Lists, s.Parent)})
	}
	return out
}

// Find reads the row that has the guid, if the caller sees it; else "<Kind> not found".
func (r *Resource[T]) Find(c *Call, guid string) (*T, error) {
	return r.FindWhere(c, "guid = ?", guid)
}

// FindWhere reads the one visible row that meets the condition.
func (r *Resource[T]) FindWhere(c *Call, where string, args ...any) (*T, error) {
	if slices.ContainsFunc(args, null) {
		return nil, NotFound(r.Kind)
	}
	v := new(T)
	q := r.Visible.Narrow(c.Caller, c.DB().NewSelect().Model(v).Where(where, args...)).Limit(1)
	err := q.Scan(c.Ctx())
	if errors.Is(err, sql.ErrNoRows) {
		return nil, NotFound(r.Kind)
	}
	return v, err
}

// null tells whether an argument is a text with a null character, which no column holds and no database takes.
func null(arg any) bool {
	s, ok := arg.(string)
	return ok && strings.ContainsRune(s, 0)
}

func (r *Resource[T]) visible(c *Call, guid string) (bool, error) {
	if null(guid) {
		return false, nil
	}
	return r.Visible.Narrow(c.Caller, c.DB().NewSelect().Model((*T)(nil)).Where("guid = ?", guid)).Exists(c.Ctx())
}

func (r *Resource[T]) get(c *Call) error {
	q, err := r.showQuery(c)
	if err != nil {
		return err
	}
	c.query = q
	v, err := r.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	return r.Show(c, http.StatusOK, v)
}

func (r *Resource[T]) create(c *Call) error {
	v, err := r.Create(c)
	if err != nil {
		return err
	}
	return r.Show(c, http.StatusCreated, v)
}

func (r *Resource[T]) update(c *Call) error {
	v, err := r.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	if err := r.Update(c, v); err != nil {
		return err
	}
	return r.Show(c, http.StatusOK, v)
}

func (r *Resource[T]) delete(c *Call) error {
	v, err := r.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	if err := r.Delete(c, v); err != nil {
		return err
	}
	if r.Remove == nil {
		return c.NoContent()
	}
	n := any(v).(row.Noun)
	var j *job.Job
	err = c.Write(func(ctx context.Context, tx bun.Tx) (err error) {
		if err = row.Lock(ctx, c.s.DB, tx, n); err != nil { // an earlier job may have ended since
			return err
		}
		if j, err = job.Pending(ctx, tx, r.operation(), n.Base().GUID); j == nil && err == nil {
			j, err = job.Enqueue(ctx, tx, job.Work{Operation: r.operation(), Kind: r.Kind, GUID: n.Base().GUID})
		}
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		return NotFound(r.Kind)
	}
	if err != nil {
		return err
	}
	return c.Accepted(j)
}

// Change reads the row again inside a transaction, lets fn change it, and writes it with its labels.
func (c *Call) Change(n row.Noun, fn func(ctx context.Context, tx bun.Tx) error) error {
	err := c.Write(func(ctx context.Context, tx bun.Tx) error {
		if err := c.Lock(ctx, tx, n); err != nil {
			return err
		}
		if err := fn(ctx, tx); err != nil {
			return err
		}
		return row.Update(ctx, tx, n)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return NotFound(c.s.kindOf(n))
	}
	return err
}

// Lock is row.Lock; what is gone is not found.
func (c *Call) Lock(ctx context.Context, tx bun.Tx, n row.Noun) error {
	err := row.Lock(ctx, c.s.DB, tx, n)
	if errors.Is(err, sql.ErrNoRows) {
		return NotFound(c.s.kindOf(n))
	}
	return err
}

// Show answers one row with what it includes.
func (r *Resource[T]) Show(c *Call, status int, v *T) error {
	out, err := r.Present(c, []*T{v})
	if err != nil {
		return err
	}
	inc, err := r.includes(c, []*T{v})
	if err != nil {
		return err
	}
	if inc != nil {
		out[0]["included"] = inc
	}
	return c.JSON(status, out[0])
}

// ShowJob answers 202 with a row and the address of the job that goes on with it, and starts the job.
func (r *Resource[T]) ShowJob(c *Call, v *T, j *job.Job) error {
	c.W.Header().Set("Location", c.URL("/v3/jobs/%s", j.GUID))
	c.s.Jobs.Wake()
	return r.Show(c, http.StatusAccepted, v)
}

// Present makes the objects of rows as answers show them.
func (r *Resource[T]) Present(c *Call, rows []*T) ([]Object, error) {
	if r.Fill != nil && len(rows) > 0 {
		if err := r.Fill(c, rows); err != nil {
			return nil, err
		}
	}
	out := make([]Object, len(rows))
	for i, v := range rows {
		o := r.View(c, v)
		n := any(v).(row.Noun)
		b := n.Base()
		set(o, "guid", b.GUID)
		set(o, "created_at", Stamp(b.CreatedAt))
		set(o, "updated_at", Stamp(b.UpdatedAt))
		if l, ok := n.(row.WithLabels); ok {
			set(o, "metadata", Metadata(l.Meta()))
		}
		set(o, "links", Object{})
		if links, ok := o["links"].(Object); ok {
			set(links, "self", c.Link(r.Path+"/%s", b.GUID))
		}
		for k, v := range o {
			if v == Absent {
				delete(o, k)
			}
		}
		out[i] = o
	}
	return out, nil
}
