package build

import (
	"context"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest/row"
)

// States of a package.
const (
	AwaitingUpload = "AWAITING_UPLOAD" // until the bits are stored: there is no state in between to be stuck in
	Ready          = "READY"
	Failed         = "FAILED"  // also of builds
	Expired        = "EXPIRED" // also of droplets: the bits were given up for newer ones
)

// States of a build; STAGED also of a droplet, as is AWAITING_UPLOAD.
const (
	Staging = "STAGING"
	Staged  = "STAGED"
)

// ProcessingUpload is a droplet whose bits came; the job droplet.upload ends it.
const ProcessingUpload = "PROCESSING_UPLOAD"

// Package is a row of packages: the files of an app as they were uploaded.
type Package struct {
	bun.BaseModel `bun:"table:build_packages"`
	row.Labelled
	AppGUID   string `bun:"app_guid"`
	SpaceGUID string `bun:"space_guid"`
	Type      string `bun:"type"`
	State     string `bun:"state"`
	Error     string `bun:"error"`
	Blob      string `bun:"blob_key"` // blob key, once READY
	SHA256    string `bun:"sha256"`
	Size      int64  `bun:"size"`
}

// Build is a row of builds: one staging of a package.
type Build struct {
	bun.BaseModel `bun:"table:build_builds"`
	row.Labelled
	AppGUID     string                  `bun:"app_guid"`
	SpaceGUID   string                  `bun:"space_guid"`
	PackageGUID string                  `bun:"package_guid"`
	State       string                  `bun:"state"`
	ErrorID     string                  `bun:"error_id"`
	ErrorText   string                  `bun:"error_text"`
	DropletGUID string                  `bun:"droplet_guid"`
	Lifecycle   string                  `bun:"lifecycle"`
	Buildpacks  sql.Sealed[[]string]    `bun:"buildpacks"` // a URL may hold a password
	Stack       string                  `bun:"stack"`
	MemoryMB    int                     `bun:"memory_mb"`
	DiskMB      int                     `bun:"disk_mb"`
	LogRate     int64                   `bun:"log_rate"`
	CreatedBy   sql.JSON[CreatedByUser] `bun:"created_by"`
}

func (b *Build) secrets() sql.Secrets {
	return sql.Secrets{Table: "build_builds", GUID: b.GUID, Columns: []sql.Secret{{Column: "buildpacks", Value: &b.Buildpacks}}}
}

// BeforeAppendModel encrypts the buildpacks.
func (b *Build) BeforeAppendModel(ctx context.Context, q bun.Query) error {
	return b.secrets().Seal(ctx, q)
}

// AfterScanRow decrypts them.
func (b *Build) AfterScanRow(ctx context.Context) error { return b.secrets().Open(ctx) }

// CreatedByUser is who asked for a build.
type CreatedByUser struct {
	GUID  string `json:"guid"`
	Name  string `json:"name"`
	Email string `json:"email"`
}

// Droplet is a row of droplets: a staged app, ready to run.
type Droplet struct {
	bun.BaseModel `bun:"table:build_droplets"`
	row.Labelled
	AppGUID      string                           `bun:"app_guid"`
	SpaceGUID    string                           `bun:"space_guid"`
	PackageGUID  string                           `bun:"package_guid"`
	BuildGUID    string                           `bun:"build_guid"`
	State        string                           `bun:"state"`
	Error        string                           `bun:"error"`
	Blob         string                           `bun:"blob_key"`
	SHA256       string                           `bun:"sha256"`
	Size         int64                            `bun:"size"`
	Stack        string                           `bun:"stack"`
	ProcessTypes sql.JSON[map[string]string]      `bun:"process_types"`
	Buildpacks   sql.JSON[[]cf.DetectedBuildpack] `bun:"buildpacks"`
	Sidecars     sql.JSON[[]cf.StagedSidecar]     `bun:"sidecars"` // that its buildpacks declare
	Execution    string                           `bun:"execution_metadata"`

	hide string // stands for secrets in the answer; "" = they are shown
}
