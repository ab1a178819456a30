package app

import (
	"context"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/row"
)

// State of an app, as its owner wants it.
type State string

// The states.
const (
	Started State = "STARTED"
	Stopped State = "STOPPED"
)

// Buildpack is the only lifecycle of apps so far.
const Buildpack = "buildpack"

// App is a row of apps.
type App struct {
	bun.BaseModel `bun:"table:app_apps"`
	row.Labelled
	Name       string                        `bun:"name"`
	NameKey    string                        `bun:"name_key"` // folded, unique in the space
	SpaceGUID  string                        `bun:"space_guid"`
	State      State                         `bun:"state"`
	Lifecycle  string                        `bun:"lifecycle"`
	Buildpacks sql.Sealed[[]string]          `bun:"buildpacks"` // a URL may hold a password
	Stack      string                        `bun:"stack"`
	Env        sql.Sealed[map[string]string] `bun:"env"`
	Droplet    string                        `bun:"droplet_guid"` // the current droplet, or ""
	SSH        bool                          `bun:"ssh_enabled"`
	Revisions  bool                          `bun:"revisions_enabled"`
}

func (a *App) secrets() sql.Secrets {
	return sql.Secrets{Table: "app_apps", GUID: a.GUID, Columns: []sql.Secret{{Column: "env", Value: &a.Env}, {Column: "buildpacks", Value: &a.Buildpacks}}}
}

// BeforeAppendModel encrypts the environment and the buildpacks.
func (a *App) BeforeAppendModel(ctx context.Context, q bun.Query) error {
	return a.secrets().Seal(ctx, q)
}

// AfterScanRow decrypts them.
func (a *App) AfterScanRow(ctx context.Context) error { return a.secrets().Open(ctx) }

// Process is a row of processes: one type of process of an app. Its guid is the app's for web.
type Process struct {
	bun.BaseModel `bun:"table:app_processes"`
	row.Labelled
	AppGUID   string `bun:"app_guid"`
	SpaceGUID string `bun:"space_guid"`
	Type      string `bun:"type"`
	Version   string `bun:"version"`          // new at every start: a part of the LRP's id
	Command   string `bun:"command"`          // "" = the droplet's
	Detected  string `bun:"detected_command"` // the current droplet's for this type
	User      string `bun:"run_user"`
	Instances int    `bun:"instances"`
	MemoryMB  int    `bun:"memory_mb"`
	DiskMB    int    `bun:"disk_mb"`
	LogRate   int64  `bun:"log_rate"`      // bytes a second, -1 = unlimited
	Droplet   string `bun:"droplet_guid"`  // what this version runs; "" = the app's current one
	Revision  string `bun:"revision_guid"` // of which this version is, or ""

	HealthType          string `bun:"health_type"`
	HealthEndpoint      string `bun:"health_endpoint"`
	HealthTimeout       int    `bun:"health_timeout"` // seconds; 0 = the platform's default, here and below
	HealthInvocation    int    `bun:"health_invocation"`
	HealthInterval      int    `bun:"health_interval"`
	ReadinessType       string `bun:"readiness_type"`
	ReadinessEndpoint   string `bun:"readiness_endpoint"`
	ReadinessInvocation int    `bun:"readiness_invocation"`
	ReadinessInterval   int    `bun:"readiness_interval"`

	Used     Used         `bun:"embed:used_"`
	Sidecars []cf.Sidecar `bun:"-"` // set by With

	shown    string        // the command as the answer shows it
	embedded []rest.Object // its instances, if the answer shall carry them
}

// Used is what the last usage event of a process said of it.
type Used struct {
	State     State `bun:"state"` // "" = there was none
	Instances int   `bun:"instances"`
	MemoryMB  int   `bun:"memory_mb"`
}

// What a new process gets.
const (
	DefaultMemoryMB = 1024
	DefaultDiskMB   = 1024
	FileDescriptors = 16384
)
