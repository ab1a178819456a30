package role

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"ingot/bits"
	"ingot/buildpacks/stack"
	"ingot/capi"
	"ingot/capi/admin"
	"ingot/cf"
	"ingot/diego/auction"
	"ingot/diego/bbs"
	"ingot/diego/cell"
	"ingot/garden/linux"
	"ingot/kit/mtls"
	"ingot/kit/nats"
	"ingot/kit/run"
	"ingot/kit/sql"
	"ingot/loggregator/agent"
	"ingot/loggregator/logcache"
	"ingot/loggregator/rlp"
	"ingot/networking/dns"
	"ingot/routing/emit"
	"ingot/routing/router"
	"ingot/services"
	"ingot/uaa"
)

// rooms is "everything in one process". Each door is filled with the room itself.
type rooms struct {
	c       Config
	held    held
	open    chan struct{} // closed when the router may take connections: it knows all routes, and the rooms behind it are there
	gate    *run.Gate
	metrics *prometheus.Registry

	ca       *mtls.CA
	stores   map[string]*sql.DB
	keys     keyring
	cache    *logcache.API
	stream   *rlp.Hub
	logs     *agent.Agent
	uaa      *uaa.Server
	bits     *bits.Bits
	garden   *linux.Engine
	names    *dns.Server
	host     *dns.Host
	nats     *nats.Server
	conn     *natsgo.Conn
	bbs      *bbs.BBS
	cell     *cell.Cell
	services *services.Services
	capi     *capi.API
	router   *router.Router
	emit     *emit.Emitter
}

// members are the rooms in the order of their start. Whoever is called during a start stands before its caller.
func (r *rooms) members() []run.Member {
	r.connect()
	r.open = make(chan struct{})
	return []run.Member{
		{Name: "certificates", Start: r.loadCA},
		{Name: "databases", Start: r.openStores, Stop: r.closeStores},
		{Name: "logs", Start: r.logs.Start, Stop: r.logs.Stop},
		{Name: "uaa", Start: r.startUAA},
		{Name: "bits", Start: r.startBits, Stop: r.bits.Stop},
		{Name: "containers", Start: r.garden.Open, Stop: r.garden.Close},
		{Name: "stack", Start: r.importStack},
		{Name: "names", Start: r.startNames, Stop: r.stopNames},
		{Name: "nats", Start: r.startNATS, Stop: r.stopNATS},
		{Name: "scheduler", Start: r.startScheduler, Stop: r.bbs.Stop},
		{Name: "cloud controller", Start: r.startController, Stop: r.capi.Stop},
		{Name: "keys", Start: r.keys.Start, Stop: r.keys.Stop},
		{Name: "buildpacks", Start: r.installBuildpacks},
		{Name: "router", Start: r.startRouter, Stop: r.stopRouter},
		{Name: "route emitter", Start: r.startEmitter, Stop: r.stopEmitter},
		{Name: "cell", Start: r.cell.Start, Stop: r.cell.Stop},
		{Name: "host names", Start: r.takeNames},
		{Name: "front", Start: r.openFront},
	}
}

// connect makes the rooms and puts them into each other's doors. What needs a database, a key or a port is made at the
// start.
func (r *rooms) connect() {
	c := r.c
	r.cache, r.stream = &logcache.API{Store: &logcache.Store{}}, &rlp.Hub{}
	r.logs = &agent.Agent{Sinks: []agent.Sink{r.cache.Store, r.stream}, Metrics: r.metrics}
	r.uaa = &uaa.Server{KeyFile: c.path("keys", "uaa.json"), URL: "https://" + c.host("uaa"), LoginURL: "https://" + c.host("login")}
	r.bits = &bits.Bits{Dir: c.path("blobs"), Endpoint: c.api()}
	r.garden = newGarden(c)
	r.host = newHost(c)
	r.bbs = &bbs.BBS{Auction: auction.Place}
	r.services = &services.Services{}
	r.capi = &capi.API{
		Services: r.services, Bindings: r.services,
		Tokens: r.uaa, Directory: r.uaa, Scheduler: r.bbs, Blobs: r.bits, Logs: r.logs, Gate: r.gate,
		URL: c.api(), Domain: c.Domain, Holder: "ingot", Followers: r.cache, Staging: c.Staging, MaxDisk: c.MaxDisk,
		Info: admin.Info{
			UAA: r.uaa.URL, Login: r.uaa.LoginURL, LogCache: "https://" + c.host("log-cache"), LogStream: "https://" + c.host("log-stream"),
			Doppler: "wss://" + c.host("doppler") + ":443", Routing: c.api() + "/routing",
			Name: "Ingot", Build: Version, Description: "Cloud Foundry in one binary", Stack: stack.Description,
		},
	}
	r.cell = &cell.Cell{
		ID: "cell-0", Zone: "z1", Address: r.garden.HostAddress.String(), Data: c.path("cell"), Limit: cf.Resources{MemoryMB: c.Memory, DiskMB: c.Disk},
		Containers: r.garden, Board: r.bbs, Blobs: r.bits, Logs: r.logs, Gate: r.gate,
	}
	r.bbs.Cells, r.bbs.Outcomes = r.cell, r.capi
}

func (r *rooms) startScheduler(ctx context.Context) error {
	r.bbs.DB = r.stores["bbs"]
	return r.bbs.Start(ctx)
}

func (r *rooms) startController(ctx context.Context) error {
	r.capi.DB, r.services.DB = r.stores["cc"], r.stores["cc"]
	return r.capi.Start(ctx)
}

func (r *rooms) startRouter(ctx context.Context) error {
	tls, err := r.tlsConfig()
	if err != nil {
		return err
	}
	r.cache.Tokens, r.cache.MayRead = r.uaa, r.capi.MayReadLogs
	streams := &rlp.API{Hub: r.stream, Tokens: r.uaa, MayRead: r.capi.MayReadLogs}
	api := http.NewServeMux()
	api.Handle(bits.Prefix, r.bits.Handler())
	api.HandleFunc("/networking/", noPolicies)
	api.Handle("/", r.capi.Handler())
	r.router = &router.Router{NATS: r.conn, Logs: r.logs, TLS: tls, Metrics: r.metrics, Open: r.open, System: map[string]http.Handler{
		r.c.host("api"):        api,
		r.c.host("uaa"):        r.uaa.Handler(),
		r.c.host("login"):      r.uaa.Handler(),
		r.c.host("log-cache"):  r.cache.Handler(),
		r.c.host("log-stream"): streams.Gateway(),
		r.c.host("doppler"):    streams.TrafficController(),
	}}
	if r.router.HTTPS, err = r.held.listeners(r.c.addresses(), "443"); err != nil {
		return err
	}
	if r.router.HTTP, err = r.held.listeners(r.c.addresses(), "80"); err != nil {
		return err
	}
	return r.router.Start(ctx)
}

// noPolicies answers for the policy server, which is absent, in its words.
func noPolicies(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusNotImplemented)
	_, _ = io.WriteString(w, `{"error":"Container-to-container networking is absent: there are no network policies."}`)
}

// drainTime is what requests get that run when Ingot stops: new ones may be waiting for the next worker.
const drainTime = 1500 * time.Millisecond

func (r *rooms) stopRouter(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	return r.router.Stop(ctx)
}

func (r *rooms) startEmitter(ctx context.Context) error {
	r.emit = &emit.Emitter{Feed: r.bbs, NATS: r.conn, Gate: r.gate}
	return r.emit.Start(ctx)
}

// openFront waits for the routes of what runs, but not for ever: a router that lacks one is better than none.
func (r *rooms) openFront(ctx context.Context) error {
	defer close(r.open)
	select {
	case <-r.emit.Settled():
	case <-time.After(3 * time.Second):
		slog.Warn("not all routes are known yet")
	case <-ctx.Done():
	}
	return nil
}

func (r *rooms) stopEmitter(ctx context.Context) error { return r.emit.Stop(ctx) }

func (r *rooms) healthy(ctx context.Context) error {
	for _, db := range r.stores {
		if err := db.Read().PingContext(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r *rooms) runningInstances(ctx context.Context) (n int) {
	desired, err := r.bbs.Desired(ctx, "")
	if err != nil {
		return 0
	}
	var apps []cf.AppID
	for _, d := range desired {
		apps = append(apps, d.AppID)
	}
	slices.Sort(apps)
	all, err := r.bbs.Instances(ctx, slices.Compact(apps)...)
	if err != nil {
		return 0
	}
	for _, a := range all {
		if a.State == cf.LRPRunning {
			n++
		}
	}
	return n
}
