package role

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ingot/buildpacks"
	"ingot/buildpacks/stack"
	"ingot/diego/cell"
	"ingot/garden/linux"
	"ingot/kit/lock"
	"ingot/kit/sql"
)

// finding is one thing that `ingot check` looked at. Cure is empty when it is well.
type finding struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Cure string `json:"cure,omitempty"`
}

func checkCommand(c *Config) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "check", Short: "Tell whether this machine can run Ingot, and what to do if not",
		Long: "Looks at the configuration and the machine without starting or changing anything.", Example: "  ingot check", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all := checks(*c)
			if asJSON {
				if err := printJSON(cmd, all); err != nil {
					return err
				}
			}
			bad := 0
			for _, f := range all {
				word := "ok  "
				if !f.OK {
					word = "BAD "
					bad++
				}
				if !asJSON {
					if err := printf(cmd, "%s %s\n", word, strings.TrimSpace(f.Name+"  "+f.Cure)); err != nil {
						return err
					}
				}
			}
			if bad > 0 {
				return fmt.Errorf("%d of %d checks failed", bad, len(all))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	settings(cmd.Flags(), c)
	return cmd
}

func checks(c Config) []finding {
	running := lock.Holder(c.Data) != 0
	list := []finding{
		found("configuration", c.Validate(), ""),
		found("root", rootError(), "run it with sudo"),
		found("data folder "+c.Data, folderError(c.Data), "choose another with --data"),
	}
	for _, fs := range []string{"overlay", "ext4"} {
		list = append(list, found("file system "+fs, filesystemError(fs), "use a kernel that has it"))
	}
	list = append(list,
		found("user namespaces", fileError("/proc/self/ns/user"), "use a kernel with CONFIG_USER_NS"),
		found("loop devices", fileError("/dev/loop-control"), "modprobe loop"),
		found("cgroups", fileError("/sys/fs/cgroup/cgroup.controllers", "/sys/fs/cgroup/memory"), "mount cgroups at /sys/fs/cgroup"),
		found("mkfs.ext4", lookError("mkfs.ext4"), "apt-get install e2fsprogs"),
		found("helper programs", errors.Join(linux.Carried(), cell.Carried(), buildpacks.Carried()), "build ingot with make"),
		found("stack "+stack.Name, stack.Ready(c.Cache), ""),
	)
	for _, b := range buildpacks.All() {
		list = append(list, found(b.Name, b.Ready(c.Cache), ""))
	}
	if c.Database != "" && c.Validate() == nil {
		list = append(list, found("database"+sql.Public(c.Database), databaseError(c), "is it there, and may this user make tables?"))
	}
	if running || c.Validate() != nil { // a running Ingot holds its ports itself
		return list
	}
	for _, port := range []string{"443", "80", "53"} {
		list = append(list, found("port "+port, portError(c.Listen, port), ""))
	}
	return append(list, found("address "+c.Admin, adminError(c), ""))
}

func found(name string, err error, cure string) finding {
	if err == nil {
		return finding{Name: name, OK: true}
	}
	if cure != "" {
		cure = ": " + cure
	}
	return finding{Name: name, Cure: err.Error() + cure}
}

func rootError() error {
	if os.Geteuid() != 0 {
		return errors.New("not root")
	}
	return nil
}

// folderError tells whether the folder, or the nearest one above it that exists, can be written.
func folderError(dir string) error {
	for {
		err := unix.Access(dir, unix.W_OK)
		if !errors.Is(err, syscall.ENOENT) {
			return err
		}
		dir = dir[:strings.LastIndexByte(dir, '/')+1]
		dir = "/" + strings.Trim(dir, "/")
	}
}

func filesystemError(name string) error {
	b, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err
	}
	for f := range strings.FieldsSeq(string(b)) {
		if f == name {
			return nil
		}
	}
	return fmt.Errorf("the kernel has no %s", name)
}

func fileError(anyOf ...string) error {
	for _, f := range anyOf {
		if _, err := os.Stat(f); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s is missing", strings.Join(anyOf, " or "))
}

func lookError(program string) error {
	_, err := exec.LookPath(program)
	return err
}

func portError(listen []string, port string) error {
	ls, err := listenAll(append([]string{"127.0.0.1"}, listen...), port)
	for _, l := range ls {
		_ = l.Close()
	}
	return err
}

func databaseError(c Config) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	db, err := sql.Open(ctx, c.Database)
	if err != nil {
		return err
	}
	return db.Close()
}

func adminError(c Config) error {
	l, err := listenAdmin(c)
	if err != nil {
		return err
	}
	return l.Close()
}
