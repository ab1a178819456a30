package role

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"ingot/kit/lock"
)

func downCommand(c *Config) *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Stop Ingot and its apps; the data stays",
		Long: `Stops the platform and the apps' containers and restores name resolution. The next "ingot up" starts the apps again.
(To restart Ingot alone, with apps running on, send it SIGTERM.)`,
		Example: "  ingot down", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			pid := lock.Holder(c.Data)
			if pid == 0 {
				if err := sweep(cmd.Context(), *c); err != nil {
					return err
				}
				return printf(cmd, "ingot is not running\n")
			}
			if err := stopRunning(cmd.Context(), *c, pid); err != nil {
				return err
			}
			return printf(cmd, "ingot is down\n")
		},
	}
}

// stopRunning asks the Ingot of this data folder to stop with its apps and waits until it is gone.
func stopRunning(ctx context.Context, c Config, pid int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://ingot/stop?apps=true", nil)
	if err != nil {
		return err
	}
	res, err := adminClient(c).Do(req)
	if err != nil {
		return fmt.Errorf("pid %d holds %s but does not answer: %w", pid, c.Data, err)
	}
	_ = res.Body.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*stopTime)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for lock.Holder(c.Data) != 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("pid %d is still stopping after %s; `ingot logs` tells why", pid, 2*stopTime)
		case <-tick.C:
		}
	}
	return nil
}

func uninstallCommand(c *Config) *cobra.Command {
	var purge bool
	cmd := &cobra.Command{
		Use: "uninstall", Short: "Leave this machine as it was",
		Long:    `Stops Ingot, ends all its containers and removes its links, rules, cgroups and mounts; with --purge its data and cache too.`,
		Example: "  ingot uninstall --purge", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return errors.New("`ingot uninstall` needs root; run it with sudo")
			}
			if pid := lock.Holder(c.Data); pid != 0 {
				if err := stopRunning(cmd.Context(), *c, pid); err != nil {
					return err
				}
			}
			if err := sweep(cmd.Context(), *c); err != nil {
				return err
			}
			if purge {
				for _, folder := range []string{c.Data, c.Cache} {
					if err := os.RemoveAll(folder); err != nil {
						return err
					}
				}
			}
			return printf(cmd, "ingot left this machine\n")
		},
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "remove the data folder and the cache of stack and buildpacks")
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
	garden := newGarden(c)
	if err := garden.Open(ctx); err != nil { // takes up what is there, to remove it
		return errors.Join(err, newHost(c).Restore(ctx), c.removeRunFolder())
	}
	return errors.Join(garden.Uninstall(ctx), newHost(c).Restore(ctx), c.removeRunFolder())
}
