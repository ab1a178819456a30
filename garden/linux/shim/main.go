// Shim is the process that stands by each container: containerd's own for runc, which outlives this engine, holds the
// container's pipes and keeps its exit code.
//
// It differs from the original in two things. It is silent: what goes wrong is answered to the engine, and what is left (an
// event for an engine that is away, a watch that ends) would only fill our log, to which containerd copies it. And it drops
// output of the container's program that nobody takes, so that the program need not wait (package valve).
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	shimtask "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/log"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"github.com/containerd/ttrpc"

	"ingot/garden/linux/valve"
)

func main() {
	if err := log.SetLevel("fatal"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	registry.Register(&plugin.Registration{Type: plugins.TTRPCPlugin, ID: "task",
		Requires: []plugin.Type{plugins.EventPlugin, plugins.InternalPlugin}, InitFn: open})
	shim.RunShim(context.Background(), manager.NewShimManager("io.containerd.runc.v2"))
}

// open makes containerd's service, with valves on the pipes.
func open(c *plugin.InitContext) (any, error) {
	publisher, err := c.GetByID(plugins.EventPlugin, "publisher")
	if err != nil {
		return nil, err
	}
	end, err := c.GetByID(plugins.InternalPlugin, "shutdown")
	if err != nil {
		return nil, err
	}
	s, err := shimtask.NewTaskService(c.Context, publisher.(shim.Publisher), end.(shutdown.Service))
	return &service{s}, err
}

type service struct{ task.TTRPCTaskService }

var _ shim.TTRPCService = (*service)(nil)

// RegisterTTRPC is how the shim's server finds the service.
func (s *service) RegisterTTRPC(server *ttrpc.Server) error {
	task.RegisterTTRPCTaskService(server, s)
	return nil
}

// Create makes the container; its pipes are open then.
func (s *service) Create(ctx context.Context, r *task.CreateTaskRequest) (*task.CreateTaskResponse, error) {
	made, err := s.TTRPCTaskService.Create(ctx, r)
	if err == nil {
		for _, pipe := range []string{r.Stdout, r.Stderr} {
			if v, err := valve.New(pipe); err == nil { // without one the program waits
				go v.Watch()
			}
		}
	}
	return made, err
}
