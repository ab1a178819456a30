// Package usage records what is billed: how long which process, task or staging held how much memory, and which service
// instance was there.
//
// It promises that an event is written in the transaction of the change that it tells of, with the names of that moment,
// so that a reader needs no object that may be gone. It will not list events: that is a noun of capi/admin.
package usage

import (
	"context"
	"embed"
	"fmt"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest/access"
	"ingot/rest/row"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the tables up to date.
func Migrate(ctx context.Context, db *sql.DB) error {
	return db.Migrate(ctx, migrations, "rest_usage_schema")
}

// States of events beside those of apps, STARTED and STOPPED.
const (
	TaskStarted    = "TASK_STARTED"
	TaskStopped    = "TASK_STOPPED"
	StagingStarted = "STAGING_STARTED"
	StagingStopped = "STAGING_STOPPED"
	BuildpackSet   = "BUILDPACK_SET"
)

// App is a row of app usage events. What does not concern it is "": an event of a task has no process.
type App struct {
	bun.BaseModel `bun:"table:rest_app_usage"`
	row.Row
	State        string `bun:"state"`
	WasState     string `bun:"was_state"`
	AppGUID      string `bun:"app_guid"`
	AppName      string `bun:"app_name"`
	ProcessGUID  string `bun:"process_guid"`
	ProcessType  string `bun:"process_type"`
	TaskGUID     string `bun:"task_guid"`
	TaskName     string `bun:"task_name"`
	OrgGUID      string `bun:"org_guid"` // set by Record, as the name of the space
	SpaceGUID    string `bun:"space_guid"`
	SpaceName    string `bun:"space_name"`
	PackGUID     string `bun:"buildpack_guid"`
	PackName     string `bun:"buildpack_name"`
	Instances    int    `bun:"instances"`
	WasInstances int    `bun:"was_instances"`
	MemoryMB     int    `bun:"memory_mb"` // of one instance
	WasMemoryMB  int    `bun:"was_memory_mb"`
}

// Service is a row of service usage events.
type Service struct {
	bun.BaseModel `bun:"table:rest_service_usage"`
	row.Row
	State        string `bun:"state"` // CREATED, UPDATED or DELETED
	OrgGUID      string `bun:"org_guid"`
	SpaceGUID    string `bun:"space_guid"`
	SpaceName    string `bun:"space_name"`
	InstanceGUID string `bun:"instance_guid"`
	InstanceName string `bun:"instance_name"`
	InstanceType string `bun:"instance_type"` // managed_service_instance or user_provided_service_instance
	PlanGUID     string `bun:"plan_guid"`
	PlanName     string `bun:"plan_name"`
	OfferingGUID string `bun:"offering_guid"`
	OfferingName string `bun:"offering_name"`
	BrokerGUID   string `bun:"broker_guid"`
	BrokerName   string `bun:"broker_name"`
}

// Once makes an event of what runs as one instance and keeps its size: a task or a staging.
func Once(state, was string, memoryMB int) *App {
	return &App{State: state, WasState: was, Instances: 1, WasInstances: 1, MemoryMB: memoryMB, WasMemoryMB: memoryMB}
}

// Record writes an event; its space's name and organization are read.
func Record(ctx context.Context, tx bun.Tx, e *App) error {
	s, err := access.SpaceByGUID(ctx, tx, e.SpaceGUID)
	if err != nil {
		return fmt.Errorf("space of a usage event: %w", err)
	}
	e.OrgGUID, e.SpaceName = s.OrgGUID, s.Name
	if err := row.Insert(ctx, tx, e); err != nil {
		return fmt.Errorf("usage event %s: %w", e.State, err)
	}
	return nil
}

// OfTask tells whether there is an event with that state of the task.
func OfTask(ctx context.Context, db bun.IDB, task, state string) (bool, error) {
	return db.NewSelect().Model((*App)(nil)).Where("task_guid = ? AND state = ?", task, state).Exists(ctx)
}
