// Shim is the process that stands by each container: containerd's own for runc, which outlives this engine, holds the
// container's pipes and keeps its exit code.
//
// It differs from the original in being silent: what goes wrong is answered to the engine, and what is left (an event
// for an engine that is away, a watch that ends) would only fill our log, to which containerd copies it.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task/plugin"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/log"
)

func main() {
	if err := log.SetLevel("fatal"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	shim.RunShim(context.Background(), manager.NewShimManager("io.containerd.runc.v2"))
}
