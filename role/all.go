package role

import (
	"context"
	"net/http"

	natsgo "github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"ingot/capi"
	"ingot/capi/admin"
	"ingot/garden/linux"
	"ingot/kit/mtls"
	"ingot/kit/nats"
	"ingot/kit/run"
	"ingot/kit/sql"
	"ingot/networking/dns"
	"ingot/routing/emit"
	"ingot/routing/router"
	"ingot/uaa"
)

// rooms is "everything in one process". Each door is filled with the room itself.
type rooms struct {
	c        Config
	gate     *run.Gate
	metrics  *prometheus.Registry
	stopApps bool

	ca     *mtls.CA
	stores map[string]*sql.DB
	uaa    *uaa.Server
	garden *linux.Engine
	nats   *nats.Server
	conn   *natsgo.Conn
	emit   *emit.Emitter
	router *router.Router
	capi   *capi.API
	names  *dns.Server
	host   *dns.Host
}

// members are the rooms in the order of their start. Whoever is called during a start stands before its caller.
func (r *rooms) members() []run.Member {
	return []run.Member{
		{Name: "ports", Start: r.probePorts},
		{Name: "certificates", Start: r.loadCA},
		{Name: "databases", Start: r.openStores, Stop: r.closeStores},
		{Name: "uaa", Start: r.startUAA},
		{Name: "containers", Start: r.startGarden, Stop: r.stopGarden},
		{Name: "stack", Start: r.importStack},
		{Name: "names", Start: r.startNames, Stop: r.stopNames},
		{Name: "nats", Start: r.startNATS, Stop: r.stopNATS},
		{Name: "cloud controller", Start: r.startController, Stop: r.stopController},
		{Name: "router", Start: r.startRouter, Stop: r.stopRouter},
		{Name: "host names", Start: r.takeNames, Stop: r.giveNamesBack},
	}
}

func (r *rooms) healthy(ctx context.Context) error {
	for _, db := range r.stores {
		if err := db.Read().PingContext(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r *rooms) runningInstances() int { return 0 }

func (r *rooms) startController(ctx context.Context) error {
	r.capi = &capi.API{
		DB: r.stores["cc"], Tokens: r.uaa, Directory: r.uaa, URL: r.c.api(), Holder: "ingot",
		Info: admin.Info{
			UAA: "https://" + r.c.host("uaa"), Login: "https://" + r.c.host("login"), LogCache: "https://" + r.c.host("log-cache"),
			Name: "Ingot", Build: Version, Description: "Cloud Foundry in one binary",
		},
	}
	return r.capi.Start(ctx)
}

func (r *rooms) stopController(ctx context.Context) error { return r.capi.Stop(ctx) }

func (r *rooms) startRouter(ctx context.Context) error {
	tls, err := r.tlsConfig()
	if err != nil {
		return err
	}
	r.router = &router.Router{NATS: r.conn, TLS: tls, Metrics: r.metrics, System: map[string]http.Handler{
		r.c.host("api"):   r.capi.Handler(),
		r.c.host("uaa"):   r.uaa.Handler(),
		r.c.host("login"): r.uaa.Handler(),
	}}
	if r.router.HTTPS, err = listenAll(r.addresses(), "443"); err != nil {
		return err
	}
	if r.router.HTTP, err = listenAll(r.addresses(), "80"); err != nil {
		return err
	}
	return r.router.Start(ctx)
}

func (r *rooms) stopRouter(ctx context.Context) error { return r.router.Stop(ctx) }
