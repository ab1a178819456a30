package role

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
)

// Version is set by the build.
var Version = "dev"

// unconfigured stands before commands that say what this program is: whoever may not read the configuration may ask.
func unconfigured(*cobra.Command, []string) error { return nil }

func versionCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "version", Short: "Print the version", Example: "  ingot version --json", Args: cobra.NoArgs,
		PersistentPreRunE: unconfigured,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !asJSON {
				return printf(cmd, "ingot version %s\n", Version)
			}
			rev := ""
			if b, ok := debug.ReadBuildInfo(); ok {
				for _, s := range b.Settings {
					if s.Key == "vcs.revision" {
						rev = s.Value
					}
				}
			}
			return printJSON(cmd, map[string]string{"version": Version, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH, "revision": rev})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

func caCommand(c *Config) *cobra.Command {
	return &cobra.Command{
		Use: "ca", Short: "Print the certificate of Ingot's own CA",
		Example: "  ingot ca > ingot-ca.pem\n  SSL_CERT_FILE=ingot-ca.pem cf login -a https://api.ingot.test", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := os.ReadFile(c.path("ca", "ca.crt"))
			if errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("there is no CA in %s yet; `ingot up` makes it", c.Data)
			}
			if err != nil {
				return err
			}
			return printf(cmd, "%s", b)
		},
	}
}

// credentials of the admin that the first start generated.
type credentials struct {
	API      string `json:"api"`
	Username string `json:"username"`
	Password string `json:"password"`
	Client   string `json:"client_secret"` // of UAA's client admin
}

func credentialsCommand(c *Config) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "credentials", Short: "Print how to log in as the generated admin", Example: "  ingot credentials --json", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := readCredentials(*c)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd, k)
			}
			return printf(cmd, "%s\n", k.login())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON: api, username, password, and client_secret of UAA's client admin")
	return cmd
}

func (k credentials) login() string {
	return fmt.Sprintf("cf login -a %s --skip-ssl-validation -u %s -p %s", k.API, k.Username, k.Password)
}

var errNoCredentials = errors.New("there are no credentials")

func readCredentials(c Config) (credentials, error) {
	var k credentials
	b, err := os.ReadFile(c.path("credentials.json"))
	if errors.Is(err, os.ErrNotExist) {
		return k, fmt.Errorf("%w in %s yet; `ingot up` makes them", errNoCredentials, c.Data)
	}
	if err != nil {
		return k, err
	}
	return k, json.Unmarshal(b, &k)
}

func logsCommand(c *Config) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use: "logs", Short: "Print the platform's own log", Long: "Prints the log of an Ingot in the background. Logs of apps are read with `cf logs`.",
		Example: "  ingot logs -f", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := os.Open(c.path("ingot.log"))
			if errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("there is no log in %s: Ingot was not started in the background", c.Data)
			}
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }()
			return copyLog(cmd.Context(), cmd.OutOrStdout(), f, follow)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new lines")
	return cmd
}

func copyLog(ctx context.Context, w io.Writer, f *os.File, follow bool) error {
	r := bufio.NewReader(f)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := r.WriteTo(w); err != nil || !follow {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func printf(cmd *cobra.Command, format string, args ...any) error {
	_, err := fmt.Fprintf(cmd.OutOrStdout(), format, args...)
	return err
}

func printJSON(cmd *cobra.Command, v any) error {
	e := json.NewEncoder(cmd.OutOrStdout())
	e.SetIndent("", "  ")
	return e.Encode(v)
}
