package role

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ingot/kit/lock"
)

// stopTime bounds an orderly stop.
const stopTime = 30 * time.Second

func upCommand(c *Config) *cobra.Command {
	cmd := &cobra.Command{
		Use: "up", Short: "Run Cloud Foundry on this machine",
		Long: `Runs everything in one process: API, login server, scheduler, cell, router, logs.
It listens on loopback and towards its containers only, unless --listen says more.`,
		Example: "  ingot up\n  ingot up --detach --data /srv/ingot --domain cf.example.com --listen 0.0.0.0", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.Validate(); err != nil {
				return err
			}
			if os.Geteuid() != 0 {
				return errors.New("`ingot up` needs root, to make containers and listen on 443, 80 and 53; run it with sudo")
			}
			for _, w := range c.warnings() {
				slog.Warn(w)
			}
			if c.Detach {
				return upDetached(cmd.Context(), *c, cmd.OutOrStdout())
			}
			return upHere(cmd.Context(), *c, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.Domain, "domain", c.Domain, "system domain; apps live under apps.DOMAIN")
	f.StringSliceVar(&c.Listen, "listen", nil, "addresses to listen on besides loopback and the containers' gateway")
	f.StringVar(&c.Network, "network", c.Network, "address range of containers")
	f.StringVar(&c.Cache, "cache", c.Cache, "folder of the stack and the buildpacks, built once")
	f.StringVar(&c.Admin, "admin", c.Admin, "loopback address of /livez, /readyz and /metrics")
	f.StringVar(&c.DNS, "dns", c.DNS, "how this machine learns our names: auto (systemd-resolved or resolv.conf) or none")
	f.IntVar(&c.Memory, "memory", 0, "MB of memory for apps (default: the machine's less a reserve)")
	f.IntVar(&c.Disk, "disk", 0, "MB of disk for apps (default: the free disk less a reserve)")
	f.BoolVar(&c.Detach, "detach", false, "go on in the background once ready")
	f.IntVar(&c.TraceFD, "trace-fd", -1, "file descriptor of a step gate, for tests")
	_ = f.MarkHidden("trace-fd") // fails only for an unknown flag
	return cmd
}

// upHere runs until ctx ends or somebody asks to stop, then stops in order.
func upHere(ctx context.Context, c Config, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if os.Getenv("GOGC") == "" { // memory is dearer than processor time on a laptop; docs/performance.md has the figures
		debug.SetGCPercent(50)
	}
	p, err := newPlatform(c, cancel)
	if err != nil {
		return err
	}
	begin := time.Now()
	err = p.Start(ctx)
	if err == nil {
		slog.Info("ready", "api", c.api(), "seconds", time.Since(begin).Seconds())
		_, _ = fmt.Fprintf(out, "ingot is ready: %s\n", c.api())
		<-ctx.Done()
		slog.Info("stopping", "apps", p.StopApps.Load())
	}
	late, cancelLate := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancelLate()
	return errors.Join(err, p.Stop(late))
}

// upDetached starts this program again in a session of its own and returns when it is ready. An Ingot that already runs
// is left alone.
func upDetached(ctx context.Context, c Config, out io.Writer) error {
	if pid := lock.Holder(c.Data); pid != 0 {
		_, err := fmt.Fprintf(out, "ingot is already running as pid %d: %s\n", pid, c.api())
		return err
	}
	if err := makeDataFolder(c); err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(c.path("ingot.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	from, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	child := exec.Command(exe, c.flags()...)
	child.Stdout, child.Stderr = log, log
	child.Dir = "/"
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return fmt.Errorf("ingot did not start: %s (%w; the whole log: %s)", lastLine(log.Name(), from), err, log.Name())
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if s, err := askStatus(ctx, c); err == nil && s.Ready {
				_, err := fmt.Fprintf(out, "ingot is ready as pid %d: %s\n", child.Process.Pid, c.api())
				return err
			}
		}
	}
}

// flags gives the command line that means c.
func (c Config) flags() []string {
	a := []string{"up", "--data", c.Data, "--domain", c.Domain, "--network", c.Network, "--cache", c.Cache, "--admin", c.Admin,
		"--dns", c.DNS, "--memory", fmt.Sprint(c.Memory), "--disk", fmt.Sprint(c.Disk)}
	for _, l := range c.Listen {
		a = append(a, "--listen", l)
	}
	if c.File != "" {
		a = append(a, "--config", c.File)
	}
	return a
}

func makeDataFolder(c Config) error {
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("data folder: %w; choose another with --data", err)
	}
	probe, err := os.CreateTemp(c.Data, ".writable-")
	if err != nil {
		return fmt.Errorf("data folder %s cannot be written: %w; choose another with --data", c.Data, err)
	}
	_ = probe.Close()
	return os.Remove(probe.Name())
}

// lastLine is the last line that was written to the log after from.
func lastLine(path string, from int64) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return err.Error()
	}
	last := "no output"
	for s := bufio.NewScanner(f); s.Scan(); {
		if s.Text() != "" {
			last = s.Text()
		}
	}
	return last
}
