// Package role knows every room and puts them together: it is the only place of wiring. One file for each command and
// for each role; all.go is "everything in one process".
//
// It promises that wiring reads from top to bottom, without a framework. It will not hold logic that a room could hold.
package role

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"ingot/kit/conf"
)

// Stdio are the streams of a command.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
}

// Main runs one command and returns its exit code: 0, or 1 with one line on Err.
func Main(args, env []string, s Stdio) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // whoever asks twice does not want to wait: the second signal kills
	root := commands(env)
	root.SetArgs(args)
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	switch err := root.ExecuteContext(ctx); {
	case errors.Is(err, errSaid):
		return 1
	case err != nil:
		_, _ = fmt.Fprintln(s.Err, "ingot: "+oneLine(err))
		return 1
	}
	return 0
}

func oneLine(err error) string { return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ") }

func commands(env []string) *cobra.Command {
	c := Default()
	root := &cobra.Command{
		Use:           "ingot",
		Short:         "The Cloud Foundry Application Runtime in one binary",
		Long:          "Ingot runs a whole Cloud Foundry on this machine. Start it with `ingot up`, log in with the official cf.",
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return fill(cmd, &c, env)
		},
	}
	f := root.PersistentFlags()
	f.StringVar(&c.Data, "data", c.Data, "data folder")
	f.StringVar(&c.File, "config", "", "configuration file (default DATA/ingot.yml where it exists)")
	root.AddCommand(upCommand(&c), checkCommand(&c), downCommand(&c), uninstallCommand(&c), statusCommand(&c), logsCommand(&c),
		caCommand(&c), credentialsCommand(&c), unitCommand(&c), keysCommand(&c), upgradeCommand(&c), versionCommand(), featuresCommand())
	return root
}

// fill takes settings from the environment, which may also say where the file is, and then from the file. Every command
// reads the file of `ingot up`, and takes from it what it has a flag for.
func fill(cmd *cobra.Command, c *Config, env []string) error {
	if err := conf.Env(cmd.Flags(), env); err != nil {
		return err
	}
	file, optional := c.File, false
	if file == "" {
		file, optional = filepath.Join(c.Data, "ingot.yml"), true
	}
	if err := conf.File(cmd.Flags(), upCommand(new(Config)).Flags(), file, optional); err != nil {
		return err
	}
	data, err := filepath.Abs(c.Data)
	if err != nil {
		return err
	}
	c.Data = data
	return nil
}

var errNotRunning = errors.New("ingot is not running on this data folder; start it with `ingot up`")
