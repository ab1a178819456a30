package cf

import (
	"context"
	"io"
	"time"
)

// ContainerSpec says what container to make. All of it is kept with the container and survives a restart of Ingot.
type ContainerSpec struct {
	Handle     string            `json:"handle"` // [a-z0-9-], at most 64
	Image      string            `json:"image"`  // stack name, such as cflinuxfs4
	Layers     []Layer           `json:"layers"` // on top of the image, lowest first; each was added by AddLayer before
	Mounts     []BindMount       `json:"mounts"`
	Program    Program           `json:"program"` // runs under the container's init (pid 1, which reaps)
	Limits     Limits            `json:"limits"`
	CPUShares  uint64            `json:"cpu_shares"`
	Ports      []int             `json:"ports"`
	Egress     []EgressRule      `json:"egress"`
	Properties map[string]string `json:"properties"` // the cell's own words: kind, instance guid, JSON of the LRP, ...
}

// Layer is a gzipped or plain tar that is laid over an image under Prefix, owned by vcap.
type Layer struct {
	Digest string `json:"digest"` // sha256 of the tar(.gz) as stored, in hex
	Prefix string `json:"prefix"` // such as home/vcap
	Limit  int64  `json:"-"`      // bytes that whoever asks for it may have unpacked; 0 = no limit but the engine's
}

// BindMount shows a folder or file of the host, read only.
type BindMount struct {
	Source string `json:"source"`
	Target string `json:"target"`
}

// ContainerInfo is a container as it stands.
type ContainerInfo struct {
	Spec    ContainerSpec
	Address string        // its own IPv4 address
	Ports   []PortMapping // host side included
	Started bool
	Exited  bool
}

// Exit is how a container's program ended.
type Exit struct {
	Code int
	OOM  bool
	At   time.Time
}

// Streams of a program. A nil writer discards. Writers get whole reads as they come, not lines. A writer that is slow holds
// up the program it was given to Exec for; of a container's own program what is oldest is dropped, and Lost told, if not nil.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Lost     func(bytes uint64)
}

// ContainerStats is one reading.
type ContainerStats struct {
	CPU         time.Duration // used since the start
	Age         time.Duration
	MemoryBytes uint64 // without the page cache that can be given back
	DiskBytes   uint64 // in the container's own upper layer
	Pids        int
}

// Containers is the door to the containers of one host.
// Calls on an unknown handle answer KindNotFound; Delete of one is no error.
type Containers interface {
	// Reserve leases the address and host ports for a handle before its environment is made; Delete gives them back.
	Reserve(ctx context.Context, handle string, ports []int) (ContainerInfo, error)
	// Create makes the container with its network and limits; its program does not run yet.
	Create(ctx context.Context, s ContainerSpec) (ContainerInfo, error)
	// Start runs the program. Its output goes to the writers until it ends.
	Start(ctx context.Context, handle string, s Streams) error
	// Attach takes up the output of a container that an earlier Ingot started; of one that has ended, its last, to the end.
	Attach(ctx context.Context, handle string, s Streams) error
	// Exec runs another program in the container and returns when it ended. Ending ctx kills it with its children.
	Exec(ctx context.Context, handle string, p Program, s Streams) (Exit, error)
	// Wait returns when the container's program has ended.
	Wait(ctx context.Context, handle string) (Exit, error)
	// Kill sends a signal number to the program (through init, so to its process group); 9 ends everything in the container.
	Kill(ctx context.Context, handle string, signal int) error
	// Delete ends the container and leaves nothing of it.
	Delete(ctx context.Context, handle string) error
	// Stats reads use.
	Stats(ctx context.Context, handle string) (ContainerStats, error)
	// List returns all containers, those of an earlier Ingot too.
	List(ctx context.Context) ([]ContainerInfo, error)
	// HasLayer tells whether the layer is unpacked on the image.
	HasLayer(ctx context.Context, image string, l Layer) (bool, error)
	// AddLayer unpacks r as the layer; its bytes must hash to l.Digest. Adding twice is no error.
	AddLayer(ctx context.Context, image string, l Layer, r io.Reader) error
	// Images names the stack images that containers can be made of.
	Images(ctx context.Context) ([]string, error)
	// Capacity of the host, for apps.
	Capacity(ctx context.Context) (Resources, error)
}
