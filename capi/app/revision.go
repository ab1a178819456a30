package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/row"
)

// Revision is a row of revisions: what an app ran, or runs, to come back to.
type Revision struct {
	bun.BaseModel `bun:"table:app_revisions"`
	row.Labelled
	AppGUID     string                        `bun:"app_guid"`
	SpaceGUID   string                        `bun:"space_guid"`
	Version     int                           `bun:"version"` // 1 to 9999, then 1 again
	Droplet     string                        `bun:"droplet_guid"`
	Description string                        `bun:"description"`
	Env         sql.Sealed[map[string]string] `bun:"env"`
	Commands    sql.JSON[map[string]string]   `bun:"commands"` // by type of process; "" = the droplet's
	Sidecars    sql.JSON[[]Beside]            `bun:"sidecars"` // by name

	deployable bool
}

func (r *Revision) secrets() sql.Secrets {
	return sql.Secrets{Table: "app_revisions", GUID: r.GUID, Columns: []sql.Secret{{Column: "env", Value: &r.Env}}}
}

// BeforeAppendModel encrypts the environment.
func (r *Revision) BeforeAppendModel(ctx context.Context, q bun.Query) error {
	return r.secrets().Seal(ctx, q)
}

// AfterScanRow decrypts it.
func (r *Revision) AfterScanRow(ctx context.Context) error { return r.secrets().Open(ctx) }

// Beside is a sidecar as a revision keeps and shows it.
type Beside struct {
	Name     string   `json:"name"`
	Command  string   `json:"command"`
	MemoryMB *int     `json:"memory_in_mb"`
	Types    []string `json:"process_types"`
	Origin   string   `json:"origin,omitempty"` // kept, not shown; "" = user
}

// ErrSame says that a rollback would change nothing.
const ErrSame = "Unable to rollback. The code and configuration you are rolling back to is the same as the deployed revision."

const (
	keptRevisions = 100 // of an app, as in CF
	maxVersion    = 9999
)

func (f *Family) revisions() *rest.Resource[Revision] {
	return &rest.Resource[Revision]{
		Kind: "revision", Path: "/v3/revisions", Visible: access.InSpaces("space_guid"), NoList: true,
		Filters: []rest.Filter{{Param: "versions", By: func(_ *rest.Call, q *bun.SelectQuery, v []string) (*bun.SelectQuery, error) {
			versions := []int{0} // none
			for _, s := range v {
				if n, err := strconv.Atoi(s); err == nil {
					versions = append(versions, n)
				}
			}
			return q.Where("version IN (?)", bun.List(versions)), nil
		}}},
		Subs: []rest.Sub{
			{Path: "/v3/apps/{guid}/revisions", Parent: "app", Where: "app_guid = ?"},
			{Path: "/v3/apps/{guid}/revisions/deployed", Parent: "app", Where: "guid IN (SELECT p.revision_guid FROM app_processes p " +
				"JOIN app_apps a ON a.guid = p.app_guid WHERE a.guid = ? AND a.state = 'STARTED')"},
		},
		Fill: f.fillRevisions, View: revisionView,
		Update: func(c *rest.Call, r *Revision) error { return relabel(c, r, r.SpaceGUID) },
	}
}

func (f *Family) fillRevisions(c *rest.Call, rs []*Revision) error {
	var droplets []string
	for _, r := range rs {
		droplets = append(droplets, r.Droplet)
	}
	staged, err := f.Staged(c.Ctx(), c.DB(), droplets)
	for _, r := range rs {
		r.deployable = slices.Contains(staged, r.Droplet)
	}
	return err
}

func revisionView(c *rest.Call, r *Revision) rest.Object {
	processes := rest.Object{}
	for kind, command := range r.Commands.V {
		processes[kind] = rest.Object{"command": orNil(command)}
	}
	sidecars := append([]Beside{}, r.Sidecars.V...)
	for i := range sidecars {
		sidecars[i].Origin = ""
	}
	return rest.Object{
		"version": r.Version, "droplet": rest.Object{"guid": r.Droplet}, "processes": processes, "sidecars": sidecars,
		"description": r.Description, "deployable": r.deployable, "relationships": rest.Object{"app": rest.ToOne(r.AppGUID)},
		"links": rest.Object{"app": c.Link("/v3/apps/%s", r.AppGUID),
			"environment_variables": c.Link("/v3/revisions/%s/environment_variables", r.GUID)},
	}
}

func (f *Family) revisionEnv(c *rest.Call) error {
	r, err := f.Revisions.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	ok, err := c.ReadsSecrets(r.SpaceGUID, access.SecretReaders...)
	if err == nil && !ok {
		err = access.Forbidden()
	}
	if err != nil {
		return err
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		a, err := ByGUID(ctx, tx, r.AppGUID)
		if err != nil {
			return err
		}
		return r.record(ctx, tx, "audit.app.revision.environment_variables.show", a)
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, rest.Object{"var": orEmpty(r.Env.V), "links": rest.Object{
		"self":     c.Link("/v3/revisions/%s/environment_variables", r.GUID),
		"revision": c.Link("/v3/revisions/%s", r.GUID), "app": c.Link("/v3/apps/%s", r.AppGUID),
	}})
}

func (r *Revision) record(ctx context.Context, tx bun.Tx, kind string, a *App) error {
	return Record(ctx, tx, kind, a, map[string]any{"revision_guid": r.GUID, "revision_version": r.Version})
}

// RevisionByGUID reads a revision without asking who may see it; nil when there is none.
func RevisionByGUID(ctx context.Context, db bun.IDB, guid string) (*Revision, error) {
	return oneRevision(ctx, db.NewSelect().Where("guid = ?", guid))
}

// Latest is the newest revision of the app; nil when it has none or no use for them.
func Latest(ctx context.Context, db bun.IDB, a *App) (*Revision, error) {
	if !a.Revisions {
		return nil, nil
	}
	return oneRevision(ctx, db.NewSelect().Where("app_guid = ?", a.GUID).OrderExpr("id DESC").Limit(1))
}

func oneRevision(ctx context.Context, q *bun.SelectQuery) (*Revision, error) {
	r := new(Revision)
	err := q.Model(r).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("revision: %w", err)
	}
	return r, nil
}

// Revise gives the revision that the app is about to run, and whether it is new: the latest one if nothing changed
// since. back is a revision that the app returns to, whose values it has taken over already, or nil.
func Revise(ctx context.Context, tx bun.Tx, a *App, back *Revision) (r *Revision, made bool, err error) {
	if !a.Revisions || a.Droplet == "" {
		return nil, false, nil
	}
	latest, err := Latest(ctx, tx, a)
	if err != nil {
		return nil, false, err
	}
	next, err := present(ctx, tx, a)
	if err != nil {
		return nil, false, err
	}
	if back != nil {
		next.Commands = back.Commands
	}
	next.Version, next.Description = 1, "Initial revision."
	if latest != nil {
		why := reasons(latest, next)
		switch {
		case len(why) == 0 && back != nil:
			return nil, false, rest.Unprocessable(ErrSame)
		case len(why) == 0:
			return latest, false, nil
		case back != nil:
			why = append(why, fmt.Sprintf("Rolled back to revision %d.", back.Version))
		}
		next.Version, next.Description = latest.Version%maxVersion+1, strings.Join(why, " ")
	}
	if err := prune(ctx, tx, next); err != nil {
		return nil, false, err
	}
	if err := row.Insert(ctx, tx, next); err != nil {
		return nil, false, err
	}
	return next, true, next.record(ctx, tx, "audit.app.revision.create", a)
}

// present is what the app would run now.
func present(ctx context.Context, db bun.IDB, a *App) (*Revision, error) {
	r := &Revision{AppGUID: a.GUID, SpaceGUID: a.SpaceGUID, Droplet: a.Droplet}
	r.Env.V = a.Env.V
	ps, err := ProcessesOf(ctx, db, a.GUID)
	if err != nil {
		return nil, err
	}
	r.Commands.V = map[string]string{}
	for _, p := range ps { // of two web processes the newer
		r.Commands.V[p.Type] = p.Command
	}
	r.Sidecars.V, err = besides(ctx, db, a.GUID)
	return r, err
}

// prune makes room for a revision: none has its version, and only the newest are kept, with those that run.
func prune(ctx context.Context, tx bun.Tx, r *Revision) error {
	var old []string
	err := tx.NewSelect().Model((*Revision)(nil)).Column("guid").OrderExpr("id DESC").Offset(keptRevisions-1).Limit(1000).
		Where("app_guid = ? AND guid NOT IN (SELECT revision_guid FROM app_processes WHERE app_guid = ?)", r.AppGUID, r.AppGUID).Scan(ctx, &old)
	if err == nil && len(old) > 0 {
		err = row.DeleteWhere(ctx, tx, "app_revisions", "guid IN (?)", bun.List(old))
	}
	if err != nil {
		return err
	}
	return row.DeleteWhere(ctx, tx, "app_revisions", "app_guid = ? AND version = ?", r.AppGUID, r.Version)
}

// reasons says in CF's words what differs between two revisions, in CF's order.
func reasons(was, is *Revision) []string {
	var out []string
	if was.Droplet != is.Droplet {
		out = append(out, "New droplet deployed.")
	}
	if !maps.Equal(was.Env.V, is.Env.V) {
		out = append(out, "New environment variables deployed.")
	}
	for kind, command := range is.Commands.V {
		before, had := was.Commands.V[kind]
		switch {
		case !had:
			out = append(out, fmt.Sprintf("New process type '%s' added.", kind))
		case before == command:
		case before == "":
			out = append(out, fmt.Sprintf("Custom start command added for '%s' process.", kind))
		case command == "":
			out = append(out, fmt.Sprintf("Custom start command removed for '%s' process.", kind))
		default:
			out = append(out, fmt.Sprintf("Custom start command updated for '%s' process.", kind))
		}
	}
	for kind := range was.Commands.V {
		if _, has := is.Commands.V[kind]; !has {
			out = append(out, fmt.Sprintf("Process type '%s' removed.", kind))
		}
	}
	if len(was.Sidecars.V)+len(is.Sidecars.V) > 0 && !reflect.DeepEqual(was.Sidecars.V, is.Sidecars.V) {
		out = append(out, "Sidecars updated.")
	}
	slices.Sort(out)
	return out
}
