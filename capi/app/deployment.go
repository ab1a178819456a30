package app

import (
	"context"
	"slices"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/row"
)

// DeploymentState is where a deployment stands; the status that clients see follows from it.
type DeploymentState string

// The states, as in Cloud Controller.
const (
	Deploying DeploymentState = "DEPLOYING"
	Prepaused DeploymentState = "PREPAUSED" // on its way to a canary step
	Paused    DeploymentState = "PAUSED"    // at a canary step
	Canceling DeploymentState = "CANCELING"
	Deployed  DeploymentState = "DEPLOYED"
	Canceled  DeploymentState = "CANCELED"
)

// What clients see of it.
const (
	Active     = "ACTIVE"
	finalized  = "FINALIZED"
	superseded = "SUPERSEDED"
)

// The strategies.
const (
	Rolling = "rolling"
	Canary  = "canary"
)

// Deployment is a row of deployments: one passage of an app's web process to another droplet, environment or size,
// without a moment in which nothing answers.
type Deployment struct {
	bun.BaseModel `bun:"table:app_deployments"`
	row.Labelled
	AppGUID   string                      `bun:"app_guid"`
	SpaceGUID string                      `bun:"space_guid"`
	State     DeploymentState             `bun:"state"`
	Value     string                      `bun:"status_value"`
	Reason    string                      `bun:"status_reason"`
	Changed   sql.Time                    `bun:"status_changed_at"` // of Value or Reason
	Healthy   sql.Time                    `bun:"healthy_at"`        // the last step forward
	Error     string                      `bun:"error"`             // why the last try to go on failed, or ""
	Strategy  string                      `bun:"strategy"`
	Options   sql.JSON[DeploymentOptions] `bun:"options"`
	Step      int                         `bun:"canary_step"`        // from 1; 0 = no canary
	Original  int                         `bun:"original_instances"` // of web before the deployment
	Droplet   string                      `bun:"droplet_guid"`
	Previous  string                      `bun:"previous_droplet_guid"` // the app's before, or ""
	Revision  string                      `bun:"revision_guid"`
	Version   int                         `bun:"revision_version"`
	Process   string                      `bun:"process_guid"` // the new web process; "" when the app was merely started

	revised bool // the app has revisions
}

// DeploymentOptions are the options as clients give them and see them.
type DeploymentOptions struct {
	MaxInFlight int           `json:"max_in_flight"`
	Instances   *int          `json:"web_instances,omitempty"`
	MemoryMB    *int          `json:"memory_in_mb,omitempty"`
	DiskMB      *int          `json:"disk_in_mb,omitempty"`
	LogRate     *int          `json:"log_rate_limit_in_bytes_per_second,omitempty"`
	Canary      *CanaryOption `json:"canary,omitempty"` // nil: one step of one instance
}

// CanaryOption are the steps of a canary deployment.
type CanaryOption struct {
	Steps []CanaryStep `json:"steps"`
}

// CanaryStep is the share of instances, in percent, that a step makes new.
type CanaryStep struct {
	Weight int `json:"instance_weight"`
}

// Steps is how many canary steps there are.
func (o DeploymentOptions) Steps() int {
	if o.Canary == nil {
		return 1
	}
	return len(o.Canary.Steps)
}

// Target is how many instances the web process has when the deployment is through.
func (d *Deployment) Target() int {
	if n := d.Options.V.Instances; n != nil {
		return *n
	}
	return d.Original
}

// Turn brings the deployment into a state, with the status that belongs to it.
func (d *Deployment) Turn(to DeploymentState) {
	reason := string(to)
	if to == Prepaused {
		reason = string(Deploying)
	}
	d.turn(to, reason)
}

// Supersede ends a deployment because a newer one takes over.
func (d *Deployment) Supersede() {
	if d.State == Deploying {
		d.turn(Deployed, superseded)
	} else {
		d.turn(Canceled, superseded)
	}
}

func (d *Deployment) turn(to DeploymentState, reason string) {
	value := Active
	if to == Deployed || to == Canceled {
		value = finalized
	}
	if d.State = to; d.Value != value || d.Reason != reason {
		d.Value, d.Reason, d.Changed = value, reason, sql.Now()
	}
}

// Superseded tells whether a newer deployment took over.
func (d *Deployment) Superseded() bool { return d.Reason == superseded }

// progressing are the states in which the web processes belong to the deployment.
var progressing = []DeploymentState{Deploying, Prepaused, Paused}

// InFlight tells whether a deployment of the app is going on; one that is being cancelled is none, as in CF.
func InFlight(ctx context.Context, db bun.IDB, app string) (bool, error) {
	return db.NewSelect().Model((*Deployment)(nil)).Where("app_guid = ? AND state IN (?)", app, bun.List(progressing)).Exists(ctx)
}

// keptDeployments is how many deployments of an app are kept, as in CF.
const keptDeployments = 100

// InsertDeployment writes a deployment and forgets the oldest ones that are over.
func InsertDeployment(ctx context.Context, tx bun.Tx, d *Deployment) error {
	var old []string
	err := tx.NewSelect().Model((*Deployment)(nil)).Column("guid").Where("app_guid = ?", d.AppGUID).
		OrderExpr("id DESC").Offset(keptDeployments-1).Limit(1000).Scan(ctx, &old)
	if err == nil && len(old) > 0 {
		err = row.DeleteWhere(ctx, tx, "app_deployments", "guid IN (?) AND status_value <> ?", bun.List(old), Active)
	}
	if err != nil {
		return err
	}
	return row.Insert(ctx, tx, d)
}

func (f *Family) deployments() *rest.Resource[Deployment] {
	return &rest.Resource[Deployment]{
		Kind: "deployment", Path: "/v3/deployments", Visible: access.InSpaces("space_guid"), NoGet: true,
		Filters: []rest.Filter{
			{Param: "app_guids", Where: "app_guid IN (?)"},
			{Param: "states", Where: "state IN (?)"},
			{Param: "status_reasons", Where: "status_reason IN (?)"},
			{Param: "status_values", Where: "status_value IN (?)"},
		},
		Fill: fillDeployments, View: deploymentView, Create: f.Deploy,
		Update: func(c *rest.Call, d *Deployment) error { return relabel(c, d, d.SpaceGUID) },
	}
}

// relabel changes nothing but labels and annotations.
func relabel(c *rest.Call, n row.WithLabels, space string) error {
	if err := c.MayWriteSpace(space, access.SpaceWriters...); err != nil {
		return err
	}
	var t metaBody
	if err := rest.Take(c, &t); err != nil {
		return err
	}
	return c.Change(n, func(context.Context, bun.Tx) error { return t.Apply(n.Meta()) })
}

type metaBody struct{ row.Patch }

func (t *metaBody) Take(b *rest.Body) { b.Metadata(&t.Patch) }

func fillDeployments(c *rest.Call, ds []*Deployment) error {
	var apps, with []string
	for _, d := range ds {
		apps = append(apps, d.AppGUID)
	}
	err := c.DB().NewSelect().Model((*App)(nil)).Column("guid").
		Where("guid IN (?) AND revisions_enabled = ?", bun.List(apps), true).Scan(c.Ctx(), &with)
	for _, d := range ds {
		d.revised = slices.Contains(with, d.AppGUID)
	}
	return err
}

func deploymentView(c *rest.Call, d *Deployment) rest.Object {
	status := rest.Object{"value": d.Value, "reason": d.Reason, "details": rest.Object{
		"last_successful_healthcheck": rest.Stamp(d.Healthy), "last_status_change": rest.Stamp(d.Changed)}}
	if d.Error != "" {
		status["details"].(rest.Object)["error"] = d.Error
	}
	if d.Strategy == Canary {
		status["canary"] = rest.Object{"steps": rest.Object{"current": d.Step, "total": d.Options.V.Steps()}}
	}
	links := rest.Object{"app": c.Link("/v3/apps/%s", d.AppGUID)}
	if d.Value == Active {
		links["cancel"] = c.Action("/v3/deployments/%s/actions/cancel", d.GUID)
	}
	if d.State == Paused {
		links["continue"] = c.Action("/v3/deployments/%s/actions/continue", d.GUID)
	}
	processes := []rest.Object{}
	if d.Process != "" {
		processes = append(processes, rest.Object{"guid": d.Process, "type": Web})
	}
	o := rest.Object{
		"status": status, "strategy": d.Strategy, "options": d.Options.V,
		"droplet": rest.Object{"guid": orNil(d.Droplet)}, "previous_droplet": rest.Object{"guid": orNil(d.Previous)},
		"new_processes": processes, "revision": nil, "relationships": rest.Object{"app": rest.ToOne(d.AppGUID)}, "links": links,
	}
	if d.revised && d.Revision != "" {
		o["revision"] = rest.Object{"guid": d.Revision, "version": d.Version}
	}
	return o
}

// Settled refuses changes of a web process of which a deployment is going on; what is "scale" or "update".
func Settled(ctx context.Context, db bun.IDB, p *Process, what string) error {
	if p.Type != Web {
		return nil
	}
	busy, err := InFlight(ctx, db, p.AppGUID)
	if err == nil && busy {
		err = rest.Unprocessable("Cannot %s this process while a deployment is in flight.", what)
	}
	return err
}

// DeploymentOf finds the deployment of a request that the caller may steer; to others it is not there, as in CF.
func (f *Family) DeploymentOf(c *rest.Call) (*Deployment, error) {
	d, err := f.Deployments.Find(c, c.Arg("guid"))
	if err != nil {
		return nil, err
	}
	if err = c.MayWriteSpace(d.SpaceGUID, access.AppManagers...); cf.IsKind(err, cf.KindForbidden) {
		err = rest.NotFound("deployment")
	}
	return d, err
}
