// Package containerd runs containerd inside this process: metadata, snapshots, leases, garbage collection and tasks with
// one runc shim each, without CRI and without a gRPC socket.
//
// It promises that a part that cannot start is an error of Start, never a warning. It will not lock the data folder (its
// owner does that before) and it can be started once in a process: containerd keeps its database open until the end.
package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	runtime "github.com/containerd/containerd/v2/core/runtime/v2"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/gc"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/timeout"
	"github.com/containerd/containerd/v2/plugins"
	_ "github.com/containerd/containerd/v2/plugins/content/local/plugin"
	_ "github.com/containerd/containerd/v2/plugins/events"
	_ "github.com/containerd/containerd/v2/plugins/gc"
	_ "github.com/containerd/containerd/v2/plugins/leases"
	_ "github.com/containerd/containerd/v2/plugins/metadata"
	_ "github.com/containerd/containerd/v2/plugins/server/ttrpc"
	"github.com/containerd/containerd/v2/plugins/services"
	_ "github.com/containerd/containerd/v2/plugins/services/containers"
	_ "github.com/containerd/containerd/v2/plugins/services/events"
	_ "github.com/containerd/containerd/v2/plugins/services/namespaces"
	_ "github.com/containerd/containerd/v2/plugins/services/snapshots"
	_ "github.com/containerd/containerd/v2/plugins/services/tasks"
	_ "github.com/containerd/containerd/v2/plugins/services/warning"
	_ "github.com/containerd/containerd/v2/plugins/snapshots/overlay/plugin"
	"github.com/containerd/log"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"github.com/sirupsen/logrus"
)

// Namespace is containerd's namespace of all our objects.
const Namespace = "ingot"

// boltWait bounds the wait for the database of a second process that escaped the lock of the data folder.
const boltWait = 5 * time.Second

// Snapshotter is the snapshotter in use.
const Snapshotter = "overlayfs"

// Server is containerd in this process.
type Server struct {
	Root  string // lasting state
	State string // bundles; readable by mapped users, so not under a 0700 folder
	Run   string // sockets; short, for their paths may have 108 bytes
	Log   *slog.Logger

	Client *client.Client // set by Start
	loaded []*plugin.Plugin
	once   sync.Once
	logger *logrus.Logger
}

// Bundles is the folder that holds a folder for each task.
func (s *Server) Bundles() string {
	return filepath.Join(s.State, string(plugins.RuntimePluginV2)+".task", Namespace)
}

// Work is the folder that containerd keeps for tasks beside their bundles.
func (s *Server) Work() string {
	return filepath.Join(s.Root, string(plugins.RuntimePluginV2)+".task", Namespace)
}

// Temp is where shims mount things for a moment.
func (s *Server) Temp() string { return filepath.Join(s.Run, "t") }

// Context gives ctx our namespace and log.
func (s *Server) Context(ctx context.Context) context.Context {
	s.once.Do(func() {
		s.logger = logrus.New()
		s.logger.SetOutput(io.Discard)
		s.logger.SetLevel(logrus.WarnLevel)
		s.logger.AddHook(toSlog{s.Log})
		log.L = s.logger.WithContext(context.Background()) // for what containerd says without a context
	})
	return log.WithLogger(namespaces.WithNamespace(ctx, Namespace), s.logger.WithContext(ctx))
}

// Start brings containerd up. It loads the shims that an earlier process left; those that have no process any more are
// cleaned up by containerd on the way.
func (s *Server) Start(ctx context.Context) (err error) {
	ctx = s.Context(context.WithoutCancel(ctx))
	if err := log.SetLevel("fatal"); err != nil { // the shims inherit it, and they write to our stderr
		return err
	}
	for _, dir := range []struct {
		path string
		mode os.FileMode
	}{{s.Root, 0o700}, {s.State, 0o711}, {s.Run, 0o711}, {s.Temp(), 0o700}} {
		if err := os.MkdirAll(dir.path, dir.mode); err != nil {
			return err
		}
	}
	timeout.Set("io.containerd.timeout.bolt.open", boltWait)
	set := plugin.NewPluginSet()
	for _, r := range registry.Graph(func(*plugin.Registration) bool { return false }) {
		if err := s.load(ctx, set, r); err != nil {
			s.Stop()
			return err
		}
	}
	if s.Client, err = connect(plugin.NewContext(ctx, set, nil)); err != nil {
		s.Stop()
		return err
	}
	for _, p := range s.loaded {
		i, _ := p.Instance() // load has looked at the error
		if server, ok := i.(interface{ Start(context.Context) error }); ok {
			if err := server.Start(ctx); err != nil {
				s.Stop()
				return fmt.Errorf("containerd %s: %w", p.Registration.URI(), err)
			}
		}
	}
	return nil
}

func (s *Server) load(ctx context.Context, set *plugin.Set, r plugin.Registration) error {
	socket := filepath.Join(s.Run, "c.sock")
	uri := r.URI()
	ic := plugin.NewContext(ctx, set, map[string]string{
		plugins.PropertyRootDir:      filepath.Join(s.Root, uri),
		plugins.PropertyStateDir:     filepath.Join(s.State, uri),
		plugins.PropertyGRPCAddress:  socket, // nobody listens there; it is part of the name of a shim's socket
		plugins.PropertyTTRPCAddress: socket + ".ttrpc",
	})
	ic.RegisterReadiness = func() func() { return func() {} }
	ic.Config = r.Config
	switch c := r.Config.(type) {
	case *runtime.ShimConfig:
		c.SocketDir = filepath.Join(s.Run, "s")
		c.Env = []string{"XDG_RUNTIME_DIR=" + s.Temp()} // where the shim mounts the lower folders for a moment
	case interface{ SetAddress(string) }: // the ttrpc server, to which the shims report
		c.SetAddress(socket + ".ttrpc")
	}
	p := r.Init(ic)
	if err := p.Err(); err != nil && !plugin.IsSkipPlugin(err) {
		return fmt.Errorf("containerd %s: %w", uri, err)
	}
	s.loaded = append(s.loaded, p)
	return set.Add(p)
}

// Stop closes sockets and connections; the shims and their containers go on.
func (s *Server) Stop() {
	for _, p := range slices.Backward(s.loaded) {
		if i, err := p.Instance(); err == nil {
			if c, ok := i.(io.Closer); ok {
				if err := c.Close(); err != nil {
					s.Log.Warn("containerd part did not close", "part", p.Registration.URI(), "error", err)
				}
			}
		}
	}
	s.loaded = nil
}

// connect makes a client of the services themselves, without a socket between.
func connect(ic *plugin.InitContext) (*client.Client, error) {
	svc := func(id string) any {
		i, err := ic.GetByID(plugins.ServicePlugin, id)
		if err != nil {
			return nil
		}
		return i
	}
	lease, err := ic.GetSingle(plugins.LeasePlugin)
	if err != nil {
		return nil, err
	}
	c, ok1 := svc(services.ContainersService).(containersapi.ContainersClient)
	t, ok2 := svc(services.TasksService).(tasksapi.TasksClient)
	n, ok3 := svc(services.NamespacesService).(namespacesapi.NamespacesClient)
	sn, ok4 := svc(services.SnapshotsService).(map[string]snapshots.Snapshotter)
	l, ok5 := lease.(leases.Manager)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 {
		return nil, errors.New("containerd: a service is missing")
	}
	return client.New("", client.WithDefaultNamespace(Namespace), client.WithDefaultRuntime(plugins.RuntimePluginV2.String()),
		client.WithServices(client.WithContainerClient(c), client.WithTaskClient(t), client.WithNamespaceClient(n),
			client.WithSnapshotters(sn), client.WithLeasesService(l)))
}

// Collect frees the disk of removed snapshots now; by itself containerd does so only after a hundred changes.
func (s *Server) Collect(ctx context.Context) error {
	for _, p := range s.loaded {
		if p.Registration.Type != plugins.GCPlugin {
			continue
		}
		i, err := p.Instance()
		if err != nil {
			return err
		}
		if c, ok := i.(interface {
			ScheduleAndWait(context.Context) (gc.Stats, error)
		}); ok {
			_, err := c.ScheduleAndWait(ctx)
			return err
		}
	}
	return errors.New("containerd has no garbage collector")
}

// toSlog passes containerd's log lines on.
type toSlog struct{ to *slog.Logger }

func (toSlog) Levels() []logrus.Level {
	return []logrus.Level{logrus.PanicLevel, logrus.FatalLevel, logrus.ErrorLevel, logrus.WarnLevel}
}

func (h toSlog) Fire(e *logrus.Entry) error {
	args := make([]any, 0, 2*len(e.Data))
	for k, v := range e.Data {
		args = append(args, k, fmt.Sprint(v))
	}
	level := slog.LevelDebug                                        // what containerd warns of is mostly what we left it to clean up
	if e.Level < logrus.WarnLevel && e.Message != "copy shim log" { // that is said at the end of every container
		level = slog.LevelWarn
	}
	h.to.Log(context.Background(), level, "containerd: "+e.Message, args...)
	return nil
}
