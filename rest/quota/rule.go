package quota

import (
	"context"
	"fmt"
	"strings"

	"github.com/uptrace/bun"

	"ingot/cf"
)

// Used counts what the space and its organization use now, in the transaction that holds them.
func (h *Held) Used(ctx context.Context, tx bun.Tx, counters ...Counter) (org, space Usage, err error) {
	for _, count := range counters {
		if err := count(ctx, tx, Within{Org: h.Org.GUID}, &org); err != nil {
			return org, space, fmt.Errorf("usage of the organization %s: %w", h.Org.GUID, err)
		}
		if h.Space.GUID == "" {
			continue
		}
		if err := count(ctx, tx, Within{Org: h.Org.GUID, Space: h.Space.GUID}, &space); err != nil {
			return org, space, fmt.Errorf("usage of the space %s: %w", h.Space.GUID, err)
		}
	}
	return org, space, nil
}

// Size is what one instance of a process, or one task, wants.
type Size struct {
	MemoryMB          int
	LogRate           int64 // bytes a second; -1 = unlimited
	DiskMB, MaxDiskMB int   // of processes: the platform's limit, whatever the quotas say
}

// faults are Sequel's messages of a row that Cloud Controller's policies refuse.
type faults []string

func (f *faults) over(used int, limit *int, words string) {
	if limit != nil && used > *limit {
		*f = append(*f, words)
	}
}

func (f *faults) rate(s Size, used int, p Place, kind, words string) {
	if p.Apps.LogRate != nil && s.LogRate < 0 {
		*f = append(*f, fmt.Sprintf("log_rate_limit cannot be unlimited in %s '%s'.", kind, p.Name))
	}
	f.over(used, p.Apps.LogRate, words)
}

func (f faults) err() error {
	if len(f) == 0 {
		return nil
	}
	return unprocessable("%s", strings.Join(f, ", "))
}

func unprocessable(format string, args ...any) error {
	return cf.Errorf(cf.KindUnprocessable, "UnprocessableEntity", format, args...)
}

// Process answers whether a started process of that size may stay as it is, with org and space used after its change. Of one
// that is stopped, a Held without quotas answers.
// The words are those of Cloud Controller's policies of processes, which no client sees translated.
func (h *Held) Process(s Size, org, space Usage) error {
	var f faults
	f.over(s.DiskMB, &s.MaxDiskMB, fmt.Sprintf("disk_quota too much disk requested (requested %d MB - must be less than %d MB)", s.DiskMB, s.MaxDiskMB))
	f.over(space.MemoryMB, h.Space.Apps.Memory, "memory space_quota_exceeded")
	f.over(org.MemoryMB, h.Org.Apps.Memory, "memory quota_exceeded")
	f.over(s.MemoryMB, h.Org.Apps.ProcessMemory, "memory instance_memory_limit_exceeded")
	f.over(s.MemoryMB, h.Space.Apps.ProcessMemory, "memory space_instance_memory_limit_exceeded")
	f.over(org.StartedInstances, h.Org.Apps.Instances, "app_instance_limit app_instance_limit_exceeded")
	f.over(space.StartedInstances, h.Space.Apps.Instances, "app_instance_limit space_app_instance_limit_exceeded")
	f.rate(s, space.LogRate, h.Space, "space", "log_rate_limit exceeds space log rate quota")
	f.rate(s, org.LogRate, h.Org, "organization", "log_rate_limit exceeds organization log rate quota")
	return f.err()
}

// Task is Process for a task that was added.
func (h *Held) Task(s Size, org, space Usage) error {
	var f faults
	f.over(org.MemoryMB, h.Org.Apps.Memory, "memory_in_mb exceeds organization memory quota")
	f.over(s.MemoryMB, h.Org.Apps.ProcessMemory, "memory_in_mb exceeds organization instance memory quota")
	f.over(space.MemoryMB, h.Space.Apps.Memory, "memory_in_mb exceeds space memory quota")
	f.over(s.MemoryMB, h.Space.Apps.ProcessMemory, "memory_in_mb exceeds space instance memory quota")
	f.rate(s, org.LogRate, h.Org, "organization", "log_rate_limit exceeds organization log rate quota")
	f.rate(s, space.LogRate, h.Space, "space", "log_rate_limit exceeds space log rate quota")
	f.over(org.AppTasks, h.Org.Apps.Tasks, "app_task_limit quota exceeded")
	f.over(space.AppTasks, h.Space.Apps.Tasks, "app_task_limit quota exceeded")
	return f.err()
}

// Staging answers whether a build may begin that wants s, with org and space used before it: builds are not counted, as in
// Cloud Controller. A build that wants less memory than least has least, whatever the quotas say.
func (h *Held) Staging(s Size, least int, org, space Usage) error {
	over := func(used int, limit *int) bool { return limit != nil && used > *limit }
	const memory, rate = "%s's memory limit exceeded: staging requires %dM memory", "%s's log rate limit exceeded: staging requires %d bytes per second"
	switch checked := s.MemoryMB >= least; {
	case checked && over(space.MemoryMB+s.MemoryMB, h.Space.Apps.Memory):
		return unprocessable(memory, "space", s.MemoryMB)
	case checked && over(org.MemoryMB+s.MemoryMB, h.Org.Apps.Memory):
		return unprocessable(memory, "organization", s.MemoryMB)
	case over(space.LogRate+int(s.LogRate), h.Space.Apps.LogRate):
		return unprocessable(rate, "space", s.LogRate)
	case over(org.LogRate+int(s.LogRate), h.Org.Apps.LogRate):
		return unprocessable(rate, "organization", s.LogRate)
	}
	return nil
}

// Route answers whether a route that was added may stay; port tells whether it reserves one.
func (h *Held) Route(port bool, org, space Usage) error {
	over := func(used int, limit *int) bool { return limit != nil && used > *limit }
	switch {
	case over(space.Routes, h.Space.Routes.Total):
		return unprocessable("Routes quota exceeded for space '%s'.", h.Space.Name)
	case port && over(space.ReservedPorts, h.Space.Routes.Ports):
		return unprocessable("Reserved route ports quota exceeded for space '%s'.", h.Space.Name)
	case over(org.Routes, h.Org.Routes.Total):
		return unprocessable("Routes quota exceeded for organization '%s'.", h.Org.Name)
	case port && over(org.ReservedPorts, h.Org.Routes.Ports):
		return unprocessable("Reserved route ports quota exceeded for organization '%s'.", h.Org.Name)
	}
	return nil
}

// Domain answers whether a private domain that was added may stay.
func (h *Held) Domain(org Usage) error {
	if limit := h.Org.Domains.Total; limit != nil && org.Domains > *limit {
		return unprocessable(`The number of private domains exceeds the quota for organization "%s"`, h.Org.Name)
	}
	return nil
}

// ServiceInstance answers whether a managed service instance that was added may stay; paid tells of its plan.
func (h *Held) ServiceInstance(paid bool, org, space Usage) error {
	over := func(used int, limit *int) bool { return limit != nil && used > *limit }
	code := ""
	switch {
	case over(space.ServiceInstances, h.Space.Services.Instances):
		code = "ServiceInstanceSpaceQuotaExceeded"
	case over(org.ServiceInstances, h.Org.Services.Instances):
		code = "ServiceInstanceQuotaExceeded"
	case paid && !h.Space.Services.Paid:
		code = "ServiceInstanceServicePlanNotAllowedBySpaceQuota"
	case paid && !h.Org.Services.Paid:
		code = "ServiceInstanceServicePlanNotAllowed"
	default:
		return nil
	}
	return &cf.Error{Kind: cf.KindInvalid, Code: code}
}

// ServiceKey answers whether a service key that was added may stay.
func (h *Held) ServiceKey(org, space Usage) error {
	const words = "You have exceeded your %s's limit for service binding of type key."
	if limit := h.Space.Services.Keys; limit != nil && space.ServiceKeys > *limit {
		return unprocessable(words, "space")
	}
	if limit := h.Org.Services.Keys; limit != nil && org.ServiceKeys > *limit {
		return unprocessable(words, "organization")
	}
	return nil
}
