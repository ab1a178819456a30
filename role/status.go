package role

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"ingot/kit/lock"
	"ingot/kit/web"
)

// status is what a running Ingot says of itself.
type status struct {
	Ready     bool      `json:"ready"`
	Version   string    `json:"version"`
	PID       int       `json:"pid"`    // of the parent, which stays the same over restarts and upgrades
	Worker    int       `json:"worker"` // the process that does everything
	API       string    `json:"api"`
	Data      string    `json:"data"`
	Started   time.Time `json:"started_at"`
	Instances int       `json:"running_instances"`
}

func statusCommand(c *Config) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status", Short: "Tell whether Ingot runs", Example: "  ingot status --json", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := askStatus(cmd.Context(), *c)
			if pid := lock.Holder(c.Data); err != nil && pid != 0 {
				return fmt.Errorf("pid %d holds %s but does not answer: %w", pid, c.Data, err)
			}
			if err != nil {
				return errNotRunning
			}
			if asJSON {
				return printJSON(cmd, s)
			}
			return printf(cmd, "ingot %s, pid %d, ready %t, since %s, %d running instances\napi %s\n",
				s.Version, s.PID, s.Ready, s.Started.Format(time.RFC3339), s.Instances, s.API)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

// adminClient talks to the running Ingot's socket.
func adminClient(c Config) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", c.adminSocket())
		},
	}}
}

func askStatus(ctx context.Context, c Config) (s status, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://ingot/status", nil)
	if err != nil {
		return s, err
	}
	res, err := adminClient(c).Do(req)
	if err != nil {
		return s, err
	}
	defer func() { _ = res.Body.Close() }()
	return s, json.NewDecoder(res.Body).Decode(&s)
}

// operator serves the operator of the machine: health and metrics on a loopback address, control and pprof on a 0600 socket.
type operator struct {
	Config  Config
	Status  func() status
	Healthy func(context.Context) error
	Stop    func()
	Metrics *prometheus.Registry
	Keys    http.Handler
	stop    context.CancelFunc
}

func (a *operator) Start(context.Context) error {
	tcp, err := listenAdmin(a.Config)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(a.Config.runFolder(), 0o711); err != nil { // the root of a container passes through
		return err
	}
	if err := os.Remove(a.Config.adminSocket()); err != nil && !errors.Is(err, os.ErrNotExist) { // a killed Ingot's
		return err
	}
	sock, err := net.Listen("unix", a.Config.adminSocket())
	if err != nil {
		return err
	}
	if err := os.Chmod(a.Config.adminSocket(), 0o600); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.stop = cancel
	go serve(ctx, tcp, a.public())
	go serve(ctx, sock, a.private())
	return nil
}

// Close takes the socket away. Its folder stays: running apps have theirs in it.
func (a *operator) Close(context.Context) error {
	a.stop()
	return os.Remove(a.Config.adminSocket())
}

func (a *operator) public() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	m.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := a.ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	m.Handle("GET /metrics", promhttp.HandlerFor(a.Metrics, promhttp.HandlerOpts{}))
	return m
}

func (a *operator) ready(ctx context.Context) error {
	if !a.Status().Ready {
		return errors.New("starting")
	}
	return a.Healthy(ctx)
}

func (a *operator) private() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		_ = web.JSON(w, http.StatusOK, a.Status()) // the asker went away
	})
	m.HandleFunc("POST /stop", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		a.Stop()
	})
	m.Handle("/keys", a.Keys)
	m.HandleFunc("/debug/pprof/", pprof.Index)
	m.HandleFunc("/debug/pprof/profile", pprof.Profile)
	m.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return m
}
