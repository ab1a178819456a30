package role

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ingot/kit/file"
	"ingot/kit/lock"
)

func upgradeCommand(c *Config) *cobra.Command {
	var limit time.Duration
	cmd := &cobra.Command{
		Use: "upgrade", Short: "Make this binary the one that runs",
		Long: `Puts the binary that you call in the place of the one that runs on this data folder, and makes that one take it.
The ports stay open meanwhile, new connections wait, and apps run on. A binary that does not get ready is taken back.`,
		Example: "  ./ingot-new upgrade", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.Validate(); err != nil {
				return err
			}
			s, err := askStatus(cmd.Context(), *c)
			if err != nil {
				return errors.Join(errNotRunning, err)
			}
			path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", s.PID))
			if err != nil {
				return err
			}
			path = strings.TrimSuffix(path, " (deleted)") // replaced by hand or by a package
			old, err := replaceBinary(path)
			if err != nil {
				return err
			}
			if err := takeBinary(cmd.Context(), *c, limit); err != nil {
				err = fmt.Errorf("%s does not run here: %w", Version, err)
				if old == "" {
					return err
				}
				if back := os.Rename(old, path); back != nil {
					return errors.Join(err, back)
				}
				return errors.Join(err, takeBinary(context.WithoutCancel(cmd.Context()), *c, limit), fmt.Errorf("%s is back", s.Version))
			}
			return printf(cmd, "ingot %s runs; before it was %s\n", Version, s.Version)
		},
	}
	cmd.Flags().DurationVar(&limit, "wait", 2*time.Minute, "time that this binary has to become ready")
	return cmd
}

// replaceBinary puts this program at path, unless it is there already. The one that was there stays as path.old.
func replaceBinary(path string) (old string, err error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", err
	}
	defer func() { _ = self.Close() }()
	a, err := self.Stat()
	if err != nil {
		return "", err
	}
	if b, err := os.Stat(path); err == nil && os.SameFile(a, b) {
		return "", nil
	}
	old = path + ".old"
	if err := os.Remove(old); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if err := os.Link(path, old); err != nil {
		return "", err
	}
	text, err := io.ReadAll(self)
	if err != nil {
		return "", err
	}
	return old, file.Replace(path, text, 0o755)
}

// takeBinary makes the parent become the binary at its path, and waits until another worker than before is ready.
func takeBinary(ctx context.Context, c Config, limit time.Duration) error {
	pid := lock.Holder(c.Data)
	if pid == 0 {
		return errNotRunning
	}
	before, _ := askStatus(ctx, c) // none runs where a binary is taken back
	if err := syscall.Kill(pid, syscall.SIGUSR2); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if s, err := askStatus(ctx, c); err == nil && s.Ready && s.Worker != before.Worker {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w; `ingot logs` tells why", ctx.Err())
		case <-tick.C:
		}
	}
}
