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
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ingot/kit/conf"
	"ingot/kit/lock"
	"ingot/kit/sql"
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
			if err := hidePassword(*c); err != nil {
				return err
			}
			for _, w := range c.warnings() {
				slog.Warn(w)
			}
			if c.Detach {
				return upDetached(cmd.Context(), *c, cmd.OutOrStdout())
			}
			if c.Worker {
				return upHere(cmd.Context(), *c, cmd.OutOrStdout())
			}
			return upParent(cmd.Context(), *c)
		},
	}
	settings(cmd.Flags(), c)
	cmd.Flags().BoolVar(&c.Detach, "detach", false, "go on in the background once ready")
	cmd.Flags().BoolVar(&c.Worker, "worker", false, "be the worker that `ingot up` starts")
	cmd.Flags().IntVar(&c.TraceFD, "trace-fd", -1, "file descriptor of a step gate, for tests")
	_ = errors.Join(cmd.Flags().MarkHidden("worker"), cmd.Flags().MarkHidden("trace-fd")) // fails only for an unknown flag
	return cmd
}

// settings are the flags that say what Ingot is to be; the configuration file may hold them too.
func settings(f *pflag.FlagSet, c *Config) {
	f.StringVar(&c.Domain, "domain", c.Domain, "system domain; apps live under apps.DOMAIN")
	f.StringSliceVar(&c.Listen, "listen", c.Listen, "addresses to listen on besides loopback and the containers' gateway")
	f.StringVar(&c.Network, "network", c.Network, "address range of containers")
	f.StringVar(&c.Cache, "cache", c.Cache, "folder of the stack and the buildpacks, built once")
	f.StringVar(&c.Admin, "admin", c.Admin, "loopback address of /livez, /readyz and /metrics")
	f.StringVar(&c.Database, "database", c.Database, "address of a PostgreSQL or MySQL database for all state (default: SQLite files in DATA/db); INGOT_DATABASE hides it from others of this machine")
	f.StringVar(&c.KeyFile, "key-file", c.KeyFile, "file of the keys that encrypt secrets in the databases (default DATA/keys/seal.json)")
	f.StringVar(&c.DNS, "dns", c.DNS, "how this machine learns our names: auto (systemd-resolved or resolv.conf) or none")
	f.DurationVar(&c.Staging, "staging-timeout", c.Staging, "the most that a staging may take")
	f.IntVar(&c.Memory, "memory", c.Memory, "MB of memory for apps (default: the machine's less a reserve)")
	f.IntVar(&c.Disk, "disk", c.Disk, "MB of disk for apps (default: the free disk less a reserve)")
	f.IntVar(&c.MaxDisk, "max-app-disk", c.MaxDisk, "MB of disk that one instance of an app may have")
}

// upHere is the worker: it runs until ctx ends, somebody asks to stop, or the parent is gone, then stops in order.
func upHere(ctx context.Context, c Config, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if os.Getenv("GOGC") == "" { // memory is dearer than processor time on a laptop; docs/performance.md has the figures
		debug.SetGCPercent(50)
	}
	held, err := adopt()
	if err != nil {
		return err
	}
	life := held["life"]
	if life == nil {
		return errors.New("--worker is for `ingot up` itself")
	}
	go func() {
		_, _ = life.Read(make([]byte, 1)) // nothing ever comes but the end
		cancel()
	}()
	p := newPlatform(c, held, cancel)
	go boundLog(ctx, c.path("ingot.log"))
	begin := time.Now()
	err = p.Start(ctx)
	switch {
	case err == nil:
		slog.Info("ready", "api", c.api(), "seconds", time.Since(begin).Seconds())
		_, _ = fmt.Fprintf(out, "ingot is ready: %s\n", c.api())
		_, _ = life.Write([]byte{1}) // a parent that is gone ends us anyway
		<-ctx.Done()
		slog.Info("stopping")
	case ctx.Err() != nil: // as asked
		slog.Info("stopping during the start", "error", err)
		err = nil
	}
	late, cancelLate := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancelLate()
	return errors.Join(err, p.Stop(late))
}

// upDetached starts this program again in a session of its own, unless Ingot runs already, and returns when it is ready.
func upDetached(ctx context.Context, c Config, out io.Writer) error {
	if err := makeDataFolder(c); err != nil {
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
	var child *exec.Cmd
	ended := make(chan struct{})
	if lock.Holder(c.Data) == 0 {
		if child, err = spawn(c, log); err != nil {
			return err
		}
		go func() {
			_ = child.Wait() // its state says how it ended
			close(ended)
		}()
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			if lock.Holder(c.Data) == 0 { // else another `ingot up` was faster
				return fmt.Errorf("ingot did not start: %s (%s; the whole log: %s)", lastLine(log.Name(), from), child.ProcessState, log.Name())
			}
			child, ended = nil, nil
		case <-ctx.Done():
			if child != nil { // it stops in order, by itself
				_ = child.Process.Signal(syscall.SIGTERM)
			}
			return ctx.Err()
		case <-tick.C:
			if child == nil && lock.Holder(c.Data) == 0 {
				return errors.New("the Ingot that was starting has ended; start it again")
			}
			if s, err := askStatus(ctx, c); err == nil && s.Ready {
				_, err := fmt.Fprintf(out, "ingot is ready as pid %d: %s\n", s.PID, s.API)
				return err
			}
		}
	}
}

// spawn starts Ingot in a session of its own.
func spawn(c Config, log *os.File) (*exec.Cmd, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	child := exec.Command(exe, c.flags()...)
	child.Stdout, child.Stderr = log, log
	child.Dir, child.Env = "/", c.environ()
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return child, child.Start()
}

// flags gives the command line that means c.
func (c Config) flags() []string {
	a := []string{"up", "--data", c.Data, "--domain", c.Domain, "--network", c.Network, "--cache", c.Cache, "--admin", c.Admin,
		"--dns", c.DNS, "--memory", fmt.Sprint(c.Memory), "--disk", fmt.Sprint(c.Disk), "--max-app-disk", fmt.Sprint(c.MaxDisk), "--staging-timeout", c.Staging.String()}
	for _, l := range c.Listen {
		a = append(a, "--listen", l)
	}
	if c.KeyFile != "" {
		a = append(a, "--key-file", c.KeyFile)
	}
	if c.File != "" {
		a = append(a, "--config", c.File)
	}
	return a
}

// databaseVariable carries what --database says past `ps`.
const databaseVariable = conf.Prefix + "DATABASE"

// environ is the environment for a child that is Ingot itself.
func (c Config) environ() []string {
	if c.Database == "" {
		return os.Environ()
	}
	return append(os.Environ(), databaseVariable+"="+c.Database)
}

// withoutDatabase is a command line less --database, whose password everybody of this machine could read.
func withoutDatabase(args []string) (rest []string) {
	for i := 0; i < len(args); i++ {
		if args[i] == "--database" {
			i++
		} else if !strings.HasPrefix(args[i], "--database=") {
			rest = append(rest, args[i])
		}
	}
	return rest
}

// hidePassword becomes the same process again where the command line holds the database's password.
func hidePassword(c Config) error {
	rest := withoutDatabase(os.Args)
	if len(rest) == len(os.Args) || sql.Password(c.Database) == "" {
		return os.Unsetenv(databaseVariable) // no child needs it
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(exe, rest, c.environ())
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
