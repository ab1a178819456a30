package recipe

import (
	"strings"
	"time"

	"ingot/capi/app"
	"ingot/capi/build"
	"ingot/capi/task"
	"ingot/cf"
)

// What a staging gets.
const (
	MinMemoryMB = 1024
	MinDiskMB   = 4096
	Timeout     = 15 * time.Minute
)

// Staging says how to build the droplet of a build. The task's id is the build's guid.
func Staging(a *app.App, p *build.Package, b *build.Build, packs []cf.BuildpackRef, at Place) cf.Task {
	vcap := vcapApplication(a, at, []string{})
	version := cf.NewGUID()
	vcap["version"], vcap["application_version"] = version, version
	vcap["limits"] = map[string]any{"fds": app.FileDescriptors, "mem": b.MemoryMB, "disk": b.DiskMB}
	return cf.Task{
		ID: cf.TaskID(b.GUID), AppID: cf.AppID(a.GUID), Segment: at.Segment, Stack: b.Stack,
		Env:        environment(at.Services, at.Group, a.Env.V, map[string]string{"CF_STACK": b.Stack}),
		Limits:     cf.Limits{MemoryMB: b.MemoryMB, DiskMB: b.DiskMB, LogBytesPerSec: b.LogRate, FileDescriptors: app.FileDescriptors},
		Egress:     egress,
		MetricTags: appTags(a, at),
		SourceType: cf.SourceStage,
		VCAPApp:    vcap,
		Timeout:    Timeout,
		Staging:    &cf.Staging{Package: p.Blob, Buildpacks: packs, Cache: a.GUID + "-" + b.Stack},
	}
}

// reasons are the ids that the error of a failed build may begin with, and CF's words for them.
var reasons = map[string]string{
	"NoAppDetectedError":     "An app was not successfully detected by any available buildpack",
	"BuildpackCompileFailed": "App staging failed in the buildpack compile phase",
	"BuildpackReleaseFailed": "App staging failed in the buildpack release phase",
	"InsufficientResources":  "Insufficient resources",
	"NoCompatibleCell":       "Found no compatible cell",
}

// exits are the codes with which the builder ends (CF's lifecycle contract).
var exits = map[string]string{"222": "NoAppDetectedError", "223": "BuildpackCompileFailed", "224": "BuildpackReleaseFailed"}

// Failure turns a task's failure reason into a build's error: id and words.
func Failure(reason string) (id, text string) {
	for name, words := range reasons {
		if strings.Contains(reason, name) || strings.EqualFold(reason, words) {
			return name, words
		}
	}
	for code, name := range exits {
		if strings.HasSuffix(reason, code) {
			return name, reasons[name]
		}
	}
	lower := strings.ToLower(reason)
	switch {
	case strings.HasPrefix(lower, "insufficient resources"):
		return "InsufficientResources", reasons["InsufficientResources"]
	case strings.HasPrefix(lower, "found no compatible cell"):
		return "NoCompatibleCell", reasons["NoCompatibleCell"]
	case strings.Contains(lower, "uploading failed"): // says why, in public words
		return "StagingError", "Staging error: " + reason
	case strings.Contains(lower, "timeout"), strings.Contains(lower, "timed out"), strings.Contains(lower, "exceeded"):
		return "StagingTimeExpired", "Staging time expired: " + reason
	}
	return "StagingError", "Staging error: staging failed"
}

// Task says how to run a task in its droplet. The task's id is the guid of its row. uris are those of the app.
func Task(a *app.App, t *task.Task, d *build.Droplet, uris []string, at Place) cf.Task {
	vcap := vcapApplication(a, at, uris)
	version := cf.NewGUID()
	vcap["version"], vcap["application_version"] = version, version
	vcap["limits"] = map[string]any{"fds": app.FileDescriptors, "mem": t.MemoryMB, "disk": t.DiskMB}
	return cf.Task{
		ID: cf.TaskID(t.GUID), AppID: cf.AppID(a.GUID), Segment: at.Segment, Stack: d.Stack, Droplet: d.Blob, Start: t.Command.V,
		Env:        environment(at.Services, at.Group, a.Env.V),
		Limits:     cf.Limits{MemoryMB: t.MemoryMB, DiskMB: t.DiskMB, LogBytesPerSec: t.LogRate, FileDescriptors: app.FileDescriptors},
		Egress:     egress,
		MetricTags: appTags(a, at),
		SourceType: cf.SourceApp + "/TASK/" + t.Name,
		VCAPApp:    vcap,
	}
}
