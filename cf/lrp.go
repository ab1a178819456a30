package cf

import (
	"context"
	"strings"
	"time"
)

// LRPState is the state of one instance of a long-running process, in Diego's words.
type LRPState string

// States of an ActualLRP.
const (
	LRPUnclaimed LRPState = "UNCLAIMED" // waits for a cell
	LRPClaimed   LRPState = "CLAIMED"   // a cell is creating it
	LRPRunning   LRPState = "RUNNING"   // healthy
	LRPCrashed   LRPState = "CRASHED"   // waits for its back-off to pass
)

// HealthCheck says how a cell decides that a process is healthy.
type HealthCheck struct {
	Type              string        `json:"type"` // port, http or process
	Endpoint          string        `json:"endpoint,omitempty"`
	Timeout           time.Duration `json:"timeout"`            // to become healthy first; 0 = 60 s
	InvocationTimeout time.Duration `json:"invocation_timeout"` // of one try; 0 = 1 s
	Interval          time.Duration `json:"interval"`           // between tries once healthy; 0 = 30 s
}

// Asks tells whether there is anything to ask: a process check is passed by being alive.
func (h HealthCheck) Asks() bool { return h.Type == "port" || h.Type == "http" }

// Limits of one container.
type Limits struct {
	MemoryMB        int   `json:"memory_mb"`
	DiskMB          int   `json:"disk_mb"`
	LogBytesPerSec  int64 `json:"log_bytes_per_sec"` // -1 = unlimited
	Pids            int   `json:"pids"`              // 0 = the cell's default, 1024
	FileDescriptors int   `json:"file_descriptors"`  // 0 = 16384
}

// LRPRoute is one HTTP route of a process.
type LRPRoute struct {
	URI      string            `json:"uri"`      // host.domain[/path], lower case
	Port     int               `json:"port"`     // the container's port
	Protocol string            `json:"protocol"` // http1 or http2
	Weight   int               `json:"weight,omitempty"`
	Options  map[string]string `json:"options,omitempty"` // loadbalancing, ...
}

// EgressRule allows traffic out of a container, as an application security group rule does.
type EgressRule struct {
	Protocol     string   `json:"protocol"` // all, tcp, udp, icmp
	Destinations []string `json:"destinations"`
	Ports        string   `json:"ports,omitempty"` // "53", "8080-8090,443"; empty = all
}

// Program is one process to run in a container as user vcap.
type Program struct {
	Args []string `json:"args"`
	Env  []string `json:"env,omitempty"`  // KEY=VALUE; the room that runs it adds its own before these
	Dir  string   `json:"dir,omitempty"`  // default /home/vcap
	User string   `json:"user,omitempty"` // vcap (default, 2000:2000) or root (of the user namespace)
}

// Sidecar is another program beside the process, in the same container: it starts with the process, and the end of either
// ends the instance.
type Sidecar struct {
	Name     string `json:"name"`
	Start    string `json:"start"`               // run by the launcher, as the process is
	MemoryMB int    `json:"memory_mb,omitempty"` // of the container's Limits.MemoryMB, not added to it; 0 = not told
}

// DesiredLRP is what should run: Instances copies of one process of one app version.
// (Guid, Updated) decides between two writes of the same LRP: an older one is ignored.
type DesiredLRP struct {
	ID         ProcessID         `json:"id"`
	AppID      AppID             `json:"app_id"`
	Process    string            `json:"process_guid"` // the CC process guid
	Type       string            `json:"process_type"`
	Instances  int               `json:"instances"`
	Segment    string            `json:"segment,omitempty"` // isolation segment; "" = the shared one
	Stack      string            `json:"stack"`             // rootfs image, such as cflinuxfs4
	Droplet    string            `json:"droplet"`           // blob key of the droplet, unpacked as a layer under /home/vcap
	Start      string            `json:"start"`             // start command; run by the launcher through bash
	Sidecars   []Sidecar         `json:"sidecars,omitempty"`
	Env        []string          `json:"env"` // KEY=VALUE, without the per-instance variables that the cell adds
	Limits     Limits            `json:"limits"`
	Ports      []int             `json:"ports"`
	Routes     []LRPRoute        `json:"routes"`
	Health     HealthCheck       `json:"health"`
	Readiness  HealthCheck       `json:"readiness"`
	Egress     []EgressRule      `json:"egress"`
	MetricTags map[string]string `json:"metric_tags"`      // CF's tags of each envelope: app_id, app_name, space_id, ... (systems.md §11.0b)
	VCAPApp    map[string]any    `json:"vcap_application"` // the cell adds instance_id, instance_index, host, port
	Updated    time.Time         `json:"updated"`
}

// ActualLRP is one instance as the cells report it.
type ActualLRP struct {
	LRP       ProcessID     `json:"lrp"`
	AppID     AppID         `json:"app_id"`
	Process   string        `json:"process_guid"`
	Index     int           `json:"index"`
	Instance  InstanceID    `json:"instance_guid"` // new at every claim
	Cell      CellID        `json:"cell"`
	State     LRPState      `json:"state"`
	Since     time.Time     `json:"since"`   // of State
	Host      string        `json:"host"`    // the cell's address
	Address   string        `json:"address"` // the container's own IP
	Ports     []PortMapping `json:"ports"`
	Routable  bool          `json:"routable"` // its registration was applied by the router, or it has no routes
	Ready     bool          `json:"ready"`    // its readiness check passes (true where it has none)
	Crashes   int           `json:"crash_count"`
	Reason    string        `json:"crash_reason,omitempty"`
	Placement string        `json:"placement_error,omitempty"` // why no cell has it
	Version   int64         `json:"version"`                   // grows with every change; the newer of two wins
}

// PortMapping is a container port and where the host offers it (0 = nowhere).
type PortMapping struct {
	Container int `json:"container"`
	Host      int `json:"host"`
}

// Crash is one crash of one instance.
type Crash struct {
	ActualLRP
	ExitCode int       `json:"exit_status"`
	Text     string    `json:"exit_description"` // such as "APP/PROC/WEB: Exited with status 1"
	At       time.Time `json:"crash_timestamp"`
}

// InstanceStats is one reading of an instance's use.
type InstanceStats struct {
	CPU            float64 // of one core: 1 = a whole core
	CPUEntitlement float64 // used / entitled (systems.md §8.1)
	MemoryBytes    uint64
	DiskBytes      uint64
	LogRate        uint64 // bytes a second
	At             time.Time
}

// TaskState is the state of a task, in Diego's words.
type TaskState string

// States of a Task.
const (
	TaskPending   TaskState = "PENDING"
	TaskRunning   TaskState = "RUNNING"
	TaskCompleted TaskState = "COMPLETED"
)

// Task runs once. A task with Staging set builds a droplet; otherwise Start runs in the droplet.
type Task struct {
	ID         TaskID            `json:"id"`
	AppID      AppID             `json:"app_id"`
	Segment    string            `json:"segment,omitempty"` // as in DesiredLRP
	Stack      string            `json:"stack"`
	Droplet    string            `json:"droplet,omitempty"`
	Start      string            `json:"start,omitempty"`
	Env        []string          `json:"env"`
	Limits     Limits            `json:"limits"`
	Egress     []EgressRule      `json:"egress"`
	MetricTags map[string]string `json:"metric_tags"`
	SourceType string            `json:"source_type"` // STG, or APP/TASK/<name>
	VCAPApp    map[string]any    `json:"vcap_application"`
	Timeout    time.Duration     `json:"timeout"` // 0 = none
	Staging    *Staging          `json:"staging,omitempty"`

	// What became of it; set by the scheduler.
	State     TaskState      `json:"state"`
	Cell      CellID         `json:"cell,omitempty"`
	Failed    bool           `json:"failed"`
	Reason    string         `json:"failure_reason,omitempty"`
	Result    *StagingResult `json:"result,omitempty"`
	Created   time.Time      `json:"created_at"`
	Completed time.Time      `json:"completed_at,omitzero"`
}

// BuildpackRef names one buildpack that a staging may use.
type BuildpackRef struct {
	Name       string `json:"name"`   // CF's name, such as nodejs_buildpack; or the URL of a custom one
	Blob       string `json:"blob"`   // blob key of its zip; "" where Name is a URL, which the build downloads
	Digest     string `json:"digest"` // sha256 of the zip
	SkipDetect bool   `json:"skip_detect"`
}

// Staging says what to build.
type Staging struct {
	Package    string         `json:"package"`         // blob key of the package zip
	Buildpacks []BuildpackRef `json:"buildpacks"`      // in order of detection; with SkipDetect: all are used, in order, the last one final
	Cache      string         `json:"cache,omitempty"` // name of the build cache: <app guid>-<stack>
	AppDiskMB  int            `json:"app_disk_mb"`     // of the process that probably starts with the droplet; 0 = not known
}

// StagingResult is what a successful staging leaves.
type StagingResult struct {
	Droplet      string              `json:"droplet"` // blob key
	SHA256       string              `json:"sha256"`
	Size         int64               `json:"size"`
	ProcessTypes map[string]string   `json:"process_types"`
	Buildpacks   []DetectedBuildpack `json:"buildpacks"`
	Sidecars     []StagedSidecar     `json:"sidecars,omitempty"`
	Metadata     string              `json:"execution_metadata"`
}

// StagedSidecar is a sidecar that a buildpack declares: from launch.yml, as buildpackapplifecycle tells of it.
type StagedSidecar struct {
	Name         string   `json:"name"`
	Command      string   `json:"command"`
	ProcessTypes []string `json:"process_types"` // of the processes that it runs beside
	MemoryMB     int      `json:"memory,omitempty"`
}

// DetectedBuildpack is a buildpack that took part in a staging.
type DetectedBuildpack struct {
	Key          string `json:"key"`  // the admin buildpack's name, or the URL
	Name         string `json:"name"` // its own name, from its config
	Version      string `json:"version"`
	DetectOutput string `json:"detect_output"`
}

// Scheduler is the door to what runs apps (Diego, later Kubernetes). Every call is idempotent.
type Scheduler interface {
	// Desire stores lrp, new or changed; a write with an older Updated is ignored.
	Desire(ctx context.Context, lrp DesiredLRP) error
	// Undesire forgets the LRP; its instances are stopped. Unknown ids are no error.
	Undesire(ctx context.Context, id ProcessID) error
	// Desired returns what is desired for the app, or for all apps when app is empty.
	Desired(ctx context.Context, app AppID) ([]DesiredLRP, error)
	// Instances returns the actual instances of the apps, ordered by process and index.
	Instances(ctx context.Context, apps ...AppID) ([]ActualLRP, error)
	// StopInstance ends one instance; it is started anew while it is desired.
	StopInstance(ctx context.Context, id ProcessID, index int) error
	// Stats returns the newest readings of the app's running instances.
	Stats(ctx context.Context, app AppID) (map[InstanceID]InstanceStats, error)
	// Run stores the task and runs it once. A task with a known id is left alone.
	Run(ctx context.Context, t Task) error
	// Cancel ends a task; its outcome is told as failed, "task was cancelled".
	Cancel(ctx context.Context, id TaskID) error
}

// Outcomes is the door by which the scheduler tells what became of its work. Calls repeat until they
// return nil (at least once), in no promised order.
type Outcomes interface {
	TaskCompleted(ctx context.Context, t Task) error
	InstanceCrashed(ctx context.Context, c Crash) error
	// InstanceReadiness tells that a.Ready changed by its readiness check: once when it became ready first, then with each change.
	InstanceReadiness(ctx context.Context, a ActualLRP) error
}

// LRPEvent is one change of an instance or of the routes of an LRP. Events may be lost; readers compare
// with a full listing now and then.
type LRPEvent struct {
	Desired DesiredLRP // without environment where the change is of an instance
	Actual  *ActualLRP // nil: only the desired side changed
	Gone    bool       // the instance (or, with Actual nil, the LRP) no longer exists or is about to be stopped
}

// LRPFeed is the door of those who follow instances: route emitters and service discovery.
type LRPFeed interface {
	// Follow sends all instances as they are, then a Synced mark (a zero LRPEvent), then every change, until
	// ctx ends or the reader falls too far behind; then the channel is closed and the reader begins anew.
	Follow(ctx context.Context) (<-chan LRPEvent, error)
	// MarkRoutable records that the router applied, or lost, the registration of an instance.
	MarkRoutable(ctx context.Context, id InstanceID, routable bool) error
}

// PublicBuildpack is a buildpack's name for everybody's eyes: an address loses its user and password, as in Cloud
// Controller's UrlSecretObfuscator.
func PublicBuildpack(name string) string {
	scheme, rest, ok := strings.Cut(name, "://")
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	at := strings.LastIndexByte(rest[:end], '@')
	if !ok || at < 0 {
		return name
	}
	return scheme + "://***:***" + rest[at:]
}

// PublicBuildpacks does so for a list, and makes nil an empty one.
func PublicBuildpacks(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = PublicBuildpack(n)
	}
	return out
}
