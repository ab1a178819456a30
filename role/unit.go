package role

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// unit is the systemd unit. KillMode=process: the shims and the apps below them outlive a restart of Ingot. It is started
// again unless it ended well, as after `ingot down`.
const unit = `[Unit]
Description=Ingot, the Cloud Foundry Application Runtime
After=network-online.target
Wants=network-online.target

[Service]
Type=exec
ExecStart=%s up --data %s
Restart=on-failure
RestartSec=1
KillMode=process
Delegate=yes
LimitNOFILE=1048576
TasksMax=infinity
OOMScoreAdjust=-900
StandardOutput=journal
StandardError=journal

[Install]
WantedBy=multi-user.target
`

func unitCommand(c *Config) *cobra.Command {
	return &cobra.Command{
		Use: "unit", Short: "Print the systemd unit", Args: cobra.NoArgs,
		Example: "  ingot unit > /etc/systemd/system/ingot.service\n  systemctl enable --now ingot",
		RunE: func(cmd *cobra.Command, _ []string) error {
			exe, err := os.Executable()
			if err != nil {
				return err
			}
			return printf(cmd, unit, quoteUnit(exe), quoteUnit(c.Data))
		},
	}
}

// quoteUnit quotes a word of a unit's command line (systemd.service(5), "COMMAND LINES").
func quoteUnit(s string) string {
	s = strings.ReplaceAll(s, "%", "%%")
	if strings.ContainsAny(s, " \t\"'\\$;") {
		return fmt.Sprintf("%q", strings.ReplaceAll(s, "$", "$$"))
	}
	return s
}
