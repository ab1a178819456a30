package quota

import (
	"testing"

	"ingot/rest/fault"
)

// TestRules: Cloud Controller's codes and words, in its order; the expected texts are those of its policies and errors/v2.yml.
func TestRules(t *testing.T) {
	one, limits := 1, Limits{}
	limits.Apps = Apps{Memory: &one, ProcessMemory: &one, Instances: &one, Tasks: &one, LogRate: &one}
	limits.Services = Services{Instances: &one, Keys: &one}
	limits.Routes, limits.Domains = Routes{Total: &one, Ports: &one}, Domains{Total: &one}
	org := &Held{Org: Place{Name: "o", Limits: limits}, Space: Place{Limits: Limits{Services: Services{Paid: true}}}}
	space := &Held{Org: Place{Limits: Limits{Services: Services{Paid: true}}}, Space: Place{Name: "s", Limits: limits}}
	u := func(n int) Usage {
		return Usage{StartedInstances: n, MemoryMB: n, Routes: n, ServiceInstances: n, ReservedPorts: n, Domains: n, AppTasks: n, ServiceKeys: n, LogRate: n}
	}
	size := func(n int64) Size { return Size{MemoryMB: int(n), LogRate: n} }
	for _, c := range []struct {
		name string
		err  error
		code int
		want string
	}{
		{"just fits", org.Process(size(1), u(1), u(1)), 0, ""},
		{"no quota", (&Held{}).Process(size(9), u(9), u(9)), 0, ""},
		{"process", org.Process(size(2), u(2), u(2)), 10008, "memory quota_exceeded, memory instance_memory_limit_exceeded, " +
			"app_instance_limit app_instance_limit_exceeded, log_rate_limit exceeds organization log rate quota"},
		{"process in a space", space.Process(size(2), u(2), u(2)), 10008, "memory space_quota_exceeded, memory space_instance_memory_limit_exceeded, " +
			"app_instance_limit space_app_instance_limit_exceeded, log_rate_limit exceeds space log rate quota"},
		{"unlimited logs", space.Process(Size{LogRate: -1}, u(0), u(0)), 10008, "log_rate_limit cannot be unlimited in space 's'."},
		{"task", org.Task(size(2), u(2), u(2)), 10008, "memory_in_mb exceeds organization memory quota, memory_in_mb exceeds organization instance memory quota, " +
			"log_rate_limit exceeds organization log rate quota, app_task_limit quota exceeded"},
		{"task in a space", space.Task(size(2), u(2), u(2)), 10008, "memory_in_mb exceeds space memory quota, memory_in_mb exceeds space instance memory quota, " +
			"log_rate_limit exceeds space log rate quota, app_task_limit quota exceeded"},
		{"task that fits", org.Task(size(1), u(1), u(1)), 0, ""},
		{"staging", org.Staging(size(1), 1, u(1), u(1)), 10008, "organization's memory limit exceeded: staging requires 1M memory"},
		{"staging in a space", space.Staging(size(1), 1, u(1), u(1)), 10008, "space's memory limit exceeded: staging requires 1M memory"},
		{"staging that fits", org.Staging(size(1), 1, u(0), u(0)), 0, ""},
		{"staging with the least", org.Staging(Size{MemoryMB: 1, LogRate: 0}, 2, u(1), u(1)), 0, ""},
		{"logs of a staging", org.Staging(Size{LogRate: 1}, 2, u(1), u(1)), 10008, "organization's log rate limit exceeded: staging requires 1 bytes per second"},
		{"logs of a staging in a space", space.Staging(Size{LogRate: 1}, 2, u(1), u(1)), 10008, "space's log rate limit exceeded: staging requires 1 bytes per second"},
		{"unlimited logs of a staging", space.Staging(Size{LogRate: -1}, 2, u(1), u(1)), 0, ""},
		{"route", org.Route(false, u(2), u(2)), 10008, "Routes quota exceeded for organization 'o'."},
		{"route in a space", space.Route(true, u(2), u(2)), 10008, "Routes quota exceeded for space 's'."},
		{"port", org.Route(true, Usage{Routes: 1, ReservedPorts: 2}, u(0)), 10008, "Reserved route ports quota exceeded for organization 'o'."},
		{"port in a space", space.Route(true, u(0), Usage{Routes: 1, ReservedPorts: 2}), 10008, "Reserved route ports quota exceeded for space 's'."},
		{"no port", space.Route(false, u(0), Usage{Routes: 1, ReservedPorts: 2}), 0, ""},
		{"domain", org.Domain(u(2)), 10008, `The number of private domains exceeds the quota for organization "o"`},
		{"instance", org.ServiceInstance(false, u(2), u(2)), 60005, "You have exceeded your organization's services limit."},
		{"instance in a space", space.ServiceInstance(false, u(2), u(2)), 60012, "You have exceeded your space's services limit."},
		{"paid", org.ServiceInstance(true, u(1), u(1)), 60007, "The service instance cannot be created because paid service plans are not allowed."},
		{"paid in a space", space.ServiceInstance(true, u(1), u(1)), 60013,
			"The service instance cannot be created because paid service plans are not allowed for your space."},
		{"free", org.ServiceInstance(false, u(1), u(1)), 0, ""},
		{"key", org.ServiceKey(u(2), u(2)), 10008, "You have exceeded your organization's limit for service binding of type key."},
		{"key in a space", space.ServiceKey(u(2), u(2)), 10008, "You have exceeded your space's limit for service binding of type key."},
	} {
		if c.err == nil {
			if c.code != 0 {
				t.Errorf("%s: it is let through", c.name)
			}
			continue
		}
		if _, f := fault.Describe(c.err); f[0].Code != c.code || f[0].Detail != c.want {
			t.Errorf("%s\n got: %d %s\nwant: %d %s", c.name, f[0].Code, f[0].Detail, c.code, c.want)
		}
	}
}
