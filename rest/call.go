package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/kit/web"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/job"
)

// Call is one request on its way through a noun's function.
type Call struct {
	W      http.ResponseWriter
	R      *http.Request
	Caller access.Caller
	Body   json.RawMessage // as Take read it: for audit events

	s     *Server
	query *query // of a list or of a get with includes; nil elsewhere
}

// Ctx is the request's context; the caller is in it.
func (c *Call) Ctx() context.Context { return c.R.Context() }

// DB is the pool for reads.
func (c *Call) DB() bun.IDB { return c.s.DB.Read() }

// Store is the whole database.
func (c *Call) Store() *sql.DB { return c.s.DB }

// Write runs fn in a transaction, as sql.DB.Write does: nothing but SQL in it.
func (c *Call) Write(fn func(ctx context.Context, tx bun.Tx) error) error {
	return c.s.DB.Write(c.Ctx(), fn)
}

// Arg is a part of the path: Arg("guid").
func (c *Call) Arg(name string) string { return c.R.PathValue(name) }

// Has tells whether the query has the parameter.
func (c *Call) Has(name string) bool { return c.R.URL.Query().Has(name) }

// Allows tells whether the query's parameter lists the value, or is absent.
func (c *Call) Allows(name, value string) bool {
	return !c.Has(name) || slices.Contains(param{text: c.R.URL.Query().Get(name)}.list(), value)
}

// URL makes an absolute link of a path: URL("/v3/apps/%s", guid).
func (c *Call) URL(format string, args ...any) string {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = url.PathEscape(s)
		}
	}
	return c.s.URL + fmt.Sprintf(format, args...)
}

// Link is a link object.
func (c *Call) Link(format string, args ...any) Object { return Object{"href": c.URL(format, args...)} }

// Action is a link object with the method POST.
func (c *Call) Action(format string, args ...any) Object {
	return Object{"href": c.URL(format, args...), "method": "POST"}
}

// JSON answers v.
func (c *Call) JSON(status int, v any) error { return web.JSON(c.W, status, v) }

// NoContent answers 204.
func (c *Call) NoContent() error {
	c.W.WriteHeader(http.StatusNoContent)
	return nil
}

// Accepted answers 202 with the job's address, and starts the job. It comes after the commit that wrote it.
func (c *Call) Accepted(j *job.Job) error {
	c.Locate(j)
	c.W.WriteHeader(http.StatusAccepted)
	return nil
}

// Locate is Accepted for an answer that has a body, which follows.
func (c *Call) Locate(j *job.Job) {
	c.W.Header().Set("Location", c.URL("/v3/jobs/%s", j.GUID))
	c.s.Jobs.Wake()
}

// Warn adds a warning to the answer, which the CLI prints; "" is none.
func (c *Call) Warn(text string) {
	if text != "" {
		c.W.Header().Add("X-Cf-Warnings", url.QueryEscape(text))
	}
}

// readBody reads the bounded body, once.
func (c *Call) readBody() error {
	if c.Body != nil {
		return nil
	}
	b, err := io.ReadAll(http.MaxBytesReader(c.W, c.R.Body, maxBody))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return &cf.Error{Kind: cf.KindTooLarge, Code: "RequestTooLarge", Cause: err}
	}
	if err != nil {
		return &cf.Error{Kind: cf.KindInvalid, Code: "MessageParseError", Public: "invalid request body", Cause: err}
	}
	c.Body = append(json.RawMessage{}, b...)
	return nil
}

// Event records an audit event of the request; its data is the body of the request.
func (c *Call) Event(ctx context.Context, tx bun.Tx, kind string, t event.Target) error {
	return event.Record(ctx, tx, kind, t, event.Request(c.Body))
}

// Ref tells whether an object of that kind exists and is visible to the caller. Any noun that names another uses it.
func (c *Call) Ref(kind, guid string) (bool, error) {
	n := c.s.nouns[kind]
	if n == nil {
		return false, fmt.Errorf("no noun is called %q", kind)
	}
	return n.visible(c, guid)
}

// Find reads an object of that kind, if the caller sees it; else "<Kind> not found". T must be the noun's row.
func Find[T any](c *Call, kind, guid string) (*T, error) {
	r, ok := c.s.nouns[kind].(*Resource[T])
	if !ok {
		return nil, fmt.Errorf("no noun with these rows is called %q", kind)
	}
	return r.Find(c, guid)
}

// MayWriteSpace answers nil when the caller has one of the roles there and nothing is suspended.
func (c *Call) MayWriteSpace(space string, roles ...access.Role) error {
	s, err := access.SpaceByGUID(c.Ctx(), c.DB(), space)
	if cf.IsKind(err, cf.KindNotFound) { // deleted since the caller saw it
		return access.NoSpace()
	}
	if err != nil {
		return err
	}
	return access.MayWriteSpace(c.Ctx(), c.DB(), s, roles...)
}

// ReadsSecrets tells whether the caller may read the secrets of a space: by scope, or by one of the roles.
func (c *Call) ReadsSecrets(space string, roles ...access.Role) (bool, error) {
	if c.Caller.ReadsSecrets() {
		return true, nil
	}
	s, err := access.SpaceByGUID(c.Ctx(), c.DB(), space)
	if err != nil {
		return false, err
	}
	return access.HasInSpace(c.Ctx(), c.DB(), c.Caller, s, roles...)
}

// Admins answers nil for admins.
func (c *Call) Admins() error {
	if c.Caller.Admin() {
		return nil
	}
	return access.Forbidden()
}

// hold is how long a request for a job that is PROCESSING waits for its end. The CLI asks again only every 3 s.
const hold = 2 * time.Second

func showJob(c *Call) error {
	j, err := c.s.Jobs.Await(c.Ctx(), c.Arg("guid"), hold)
	if errors.Is(err, sql.ErrNoRows) {
		return NotFound("job")
	}
	if err != nil {
		return err
	}
	warnings := []Object{}
	for _, w := range j.Warnings.V {
		warnings = append(warnings, Object{"detail": w})
	}
	links := Object{"self": c.Link("/v3/jobs/%s", j.GUID)}
	if n, ok := c.s.nouns[j.ResourceType]; ok {
		if seen, err := n.visible(c, j.ResourceGUID); err != nil {
			return err
		} else if seen {
			links[j.ResourceType] = c.Link(n.path()+"/%s", j.ResourceGUID)
		}
	}
	return c.JSON(http.StatusOK, Object{
		"guid": j.GUID, "created_at": Stamp(j.CreatedAt), "updated_at": Stamp(j.UpdatedAt), "operation": j.Operation,
		"state": j.State, "errors": jobFaults(j), "warnings": warnings, "links": links,
	})
}
