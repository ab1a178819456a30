package linux

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/anypb"

	"ingot/cf"
	"ingot/garden/linux/network"
	"ingot/garden/linux/output"
)

// record is what containerd keeps of a container for us, written in one transaction with the container itself.
type record struct {
	Spec   cf.ContainerSpec `json:"spec"`
	Lease  network.Lease    `json:"lease"`
	Lowers []string         `json:"lowers"` // references of the image and layers in use
}

const (
	extension  = "ingot"
	recordType = "ingot/container"
)

func (r record) extensions() (map[string]typeurl.Any, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return map[string]typeurl.Any{extension: &anypb.Any{TypeUrl: recordType, Value: b}}, nil
}

func readRecord(ext map[string]typeurl.Any) (record, error) {
	any, ok := ext[extension]
	if !ok {
		return record{}, fmt.Errorf("container without our record")
	}
	var r record
	err := json.Unmarshal(any.GetValue(), &r)
	return r, err
}

func (r record) endpoint() network.Endpoint {
	return network.Endpoint{Lease: r.Lease, Egress: r.Spec.Egress}
}

// container is one container in the books of this process. What is not guarded is set before made, and only read after.
type container struct {
	record
	task client.Task // nil: its program ended before this process began
	out  *output.Output
	done chan struct{} // closed when its program has ended
	exit cf.Exit       // valid once done is closed

	made    bool // Create is done; guarded by the books' lock
	started atomic.Bool
	mu      sync.Mutex // one of Create, Start, Attach, Delete at a time
	gone    bool       // deleted; guarded by mu
}

func newContainer(r record) *container {
	return &container{record: r, out: output.New(), done: make(chan struct{})}
}

func (c *container) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *container) info() cf.ContainerInfo {
	return cf.ContainerInfo{Spec: c.Spec, Address: c.Lease.Address.String(), Ports: c.Lease.Ports, Started: c.started.Load(), Exited: c.ended()}
}

// watch waits for the end of the program; the task itself is the truth, for events may be lost. Whatever it wrote is
// handed on before the end is told, unless a reader is stuck.
func (e *Engine) watch(c *container, end <-chan client.ExitStatus) {
	defer close(c.done)
	s := <-end
	code, at, err := s.Result()
	if err != nil { // the shim died, and with it the container; or we stop
		code, at = 255, time.Now()
		if e.ctx.Err() == nil {
			e.Log.Warn("container lost its shim", "handle", c.Spec.Handle, "error", err)
		}
	}
	c.exit = cf.Exit{Code: int(code), OOM: e.host.Cgroups.OOM(c.Spec.Handle), At: at}
	c.out.Drain(5 * time.Second)
}
