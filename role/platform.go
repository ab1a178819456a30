package role

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"ingot/kit/file"
	"ingot/kit/lock"
	"ingot/kit/run"
)

// platform is one process with everything in it: the rooms of all.go between what every role has, such as the lock of
// the data folder, health and metrics.
type platform struct {
	Config Config

	members run.Group
	rooms   rooms
	lock    *lock.Held
	ready   atomic.Bool
	started time.Time
}

func newPlatform(c Config, cancel context.CancelFunc) (*platform, error) {
	p := &platform{Config: c, started: time.Now()}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var gate *run.Gate
	if c.TraceFD >= 0 {
		f := os.NewFile(uintptr(c.TraceFD), "trace")
		if _, err := f.Stat(); err != nil {
			return nil, fmt.Errorf("--trace-fd %d is not open: %w", c.TraceFD, err)
		}
		gate = run.NewGate(f)
	}
	p.rooms = rooms{c: c, gate: gate, metrics: reg}
	a := &operator{Config: c, Metrics: reg, Status: p.status, Healthy: p.rooms.healthy, Stop: cancel, Keys: &p.rooms.keys}
	p.members.Members = append([]run.Member{
		{Name: "data folder", Start: p.takeFolder, Stop: p.leaveFolder},
		{Name: "admin", Start: a.Start, Stop: a.Close},
	}, p.rooms.members()...)
	return p, nil
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
	s := status{Ready: p.ready.Load(), Version: Version, PID: os.Getpid(), API: p.Config.api(), Data: p.Config.Data, Started: p.started}
	if s.Ready {
		s.Instances = p.rooms.runningInstances(context.Background())
	}
	return s
}

func (p *platform) takeFolder(context.Context) error {
	if err := makeDataFolder(p.Config); err != nil {
		return err
	}
	for _, d := range []string{"db", "ca", "keys", "garden"} {
		if err := os.MkdirAll(p.Config.path(d), 0o700); err != nil {
			return err
		}
	}
	held, err := lock.Folder(p.Config.Data)
	if err != nil {
		var busy *lock.Busy
		if errors.As(err, &busy) {
			return fmt.Errorf("%w; `ingot status` tells of it, --data chooses another folder", err)
		}
		return err
	}
	p.lock = held
	return nil
}

func (p *platform) leaveFolder(context.Context) error {
	return p.lock.Release()
}

// makeCredentials reads the admin's credentials or makes them. The file is written before the user exists, so a
// password that somebody could have read is never lost.
func makeCredentials(c Config) (credentials, error) {
	k, err := readCredentials(c)
	switch {
	case errors.Is(err, errNoCredentials):
		k = credentials{Username: "admin", Password: rand.Text()}
	case err != nil || k.API == c.api():
		return k, err
	}
	k.API = c.api() // --domain may have changed
	b, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return k, err
	}
	return k, file.Replace(c.path("credentials.json"), b, 0o600)
}
