package role

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ingot/kit/lock"
)

func downCommand(c *Config) *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Stop Ingot and its apps; the data stays",
		Long: `Stops the platform and the apps' containers and restores name resolution. The next "ingot up" starts the apps again.
(To stop Ingot alone, with its apps running on, send it SIGTERM.)`,
		Example: "  ingot down", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			word := "ingot is not running\n"
			if lock.Holder(c.Data) != 0 {
				word = "ingot is down\n"
			}
			if err := end(cmd.Context(), *c); err != nil {
				return err
			}
			return printf(cmd, "%s", word)
		},
	}
}

// end stops the Ingot of this data folder, if one runs, and then its apps and all that it has outside the folder: the
// same way for one that runs, was killed, or is just starting.
func end(ctx context.Context, c Config) error {
	if err := stopProcess(ctx, c); err != nil {
		return err
	}
	return sweep(ctx, c)
}

// stopProcess asks the Ingot of this data folder to stop and waits until it is gone.
func stopProcess(ctx context.Context, c Config) error {
	ctx, cancel := context.WithTimeout(ctx, 2*stopTime)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	err := errors.New("not asked")
	for {
		pid := lock.Holder(c.Data)
		if pid == 0 {
			return nil
		}
		if err != nil { // one that has just begun cannot be asked yet
			err = askStop(ctx, c)
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("pid %d does not stop; `ingot logs` tells why. `kill -9 %d` and then this command again end it, and lose nothing", pid, pid), err)
		case <-tick.C:
		}
	}
}

func askStop(ctx context.Context, c Config) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://ingot/stop", nil)
	if err != nil {
		return err
	}
	res, err := adminClient(c).Do(req)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

func uninstallCommand(c *Config) *cobra.Command {
	var purges bool
	cmd := &cobra.Command{
		Use: "uninstall", Short: "Leave this machine as it was",
		Long:    `Stops Ingot, ends all its containers and removes its links, rules, cgroups and mounts; with --purge its data and cache too.`,
		Example: "  ingot uninstall --purge", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return errors.New("`ingot uninstall` needs root; run it with sudo")
			}
			if err := end(cmd.Context(), *c); err != nil {
				return err
			}
			if purges {
				if err := errors.Join(purge(c.Data, ownData), purge(c.Cache, ownCache)); err != nil {
					return err
				}
			}
			return printf(cmd, "ingot left this machine\n")
		},
	}
	cmd.Flags().BoolVar(&purges, "purge", false, "remove the data folder and the cache of stack and buildpacks")
	cmd.Flags().StringVar(&c.Cache, "cache", c.Cache, "folder of the stack and the buildpacks")
	return cmd
}

// sweep cleans up outside the data folder after an Ingot that no longer runs: name resolution, containers, links,
// rules, cgroups, mounts and sockets.
func sweep(ctx context.Context, c Config) error {
	if _, err := os.Stat(c.path("garden")); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	held, err := lock.Folder(c.Data)
	if err != nil {
		return err
	}
	defer func() { _ = held.Release() }()
	return errors.Join(newGarden(c).Uninstall(ctx), newHost(c).Restore(ctx), c.removeRunFolder())
}

// What Ingot makes in its two folders.
var (
	ownData = []string{"blobs", "ca", "cell", "credentials.json", "credentials.json.new", "db", "garden", "ingot.log", "ingot.log.old",
		"ingot.pid", "ingot.yml", "keys", "resolv.conf", "resolv.conf.new"}
	ownCache = []string{"buildpacks", "stack", "test", "tools"}
)

// purge removes what is ours in a folder, and the folder where nothing else is in it.
func purge(folder string, ours []string) error {
	var errs []error
	for _, name := range ours {
		errs = append(errs, os.RemoveAll(filepath.Join(folder, name)))
	}
	err := os.Remove(folder)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EBUSY) { // a mount point
		err = nil
	}
	return errors.Join(append(errs, err)...)
}
