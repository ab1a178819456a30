package role

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"ingot/kit/file"
	"ingot/kit/run"
)

// platform is one process with everything in it: the rooms of all.go between what every role has, such as the lock of
// the data folder, health and metrics.
type platform struct {
	Config Config

	members run.Group
	rooms   rooms
	ready   atomic.Bool
	started time.Time
}

func newPlatform(c Config, h held, cancel context.CancelFunc) *platform {
	p := &platform{Config: c, started: time.Now()}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var gate *run.Gate
	if f := h["trace"]; f != nil {
		gate = run.NewGate(f)
	}
	p.rooms = rooms{c: c, held: h, gate: gate, metrics: reg}
	a := &operator{Config: c, Metrics: reg, Status: p.status, Healthy: p.rooms.healthy, Stop: cancel, Keys: &p.rooms.keys}
	p.members.Members = append([]run.Member{
		{Name: "data folder", Start: p.makeFolders},
		{Name: "admin", Start: a.Start, Stop: a.Close},
	}, p.rooms.members()...)
	return p
}

func (p *platform) Start(ctx context.Context) error {
	if err := p.members.Start(ctx); err != nil {
		return err
	}
	p.ready.Store(true)
	return nil
}

// Stop stops in reverse order of the start. Apps run on.
func (p *platform) Stop(ctx context.Context) error {
	p.ready.Store(false)
	return p.members.Stop(ctx)
}

func (p *platform) status() status {
	s := status{Ready: p.ready.Load(), Version: Version, PID: os.Getppid(), Worker: os.Getpid(), API: p.Config.api(), Data: p.Config.Data, Started: p.started}
	if s.Ready {
		s.Instances = p.rooms.runningInstances(context.Background())
	}
	return s
}

func (p *platform) makeFolders(context.Context) error {
	for _, d := range []string{"db", "ca", "keys", "garden"} {
		if err := os.MkdirAll(p.Config.path(d), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// makeCredentials reads the admin's credentials or makes them. The file is written before the user exists, so a
// password that somebody could have read is never lost.
func makeCredentials(c Config) (credentials, error) {
	k, err := readCredentials(c)
	switch {
	case errors.Is(err, errNoCredentials):
		k = credentials{Username: "admin", Password: rand.Text()}
	case err != nil || k.API == c.api() && k.Client != "":
		return k, err
	}
	if k.Client == "" {
		k.Client = rand.Text()
	}
	k.API = c.api() // --domain may have changed
	b, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return k, err
	}
	return k, file.Replace(c.path("credentials.json"), b, 0o600)
}
