package stack

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// Unpack fetches packages of the stack's Debian release, without what they depend on, and unpacks them into root, a folder below
// folder. They come through the machine's apt settings as the stack does, and apt checks their signatures; nothing is
// installed and no script of theirs runs. Progress goes to log.
func Unpack(ctx context.Context, folder string, packages []string, log io.Writer) (root string, err error) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return "", fmt.Errorf("apt-get is missing: Debian's packages come by it")
	}
	work, root := filepath.Join(folder, "apt"), filepath.Join(folder, "root")
	for _, dir := range []string{"state/lists/partial", "cache/archives/partial", "debs"} {
		if err := os.MkdirAll(filepath.Join(work, dir), 0o755); err != nil {
			return "", err
		}
	}
	list, err := sources("/etc/apt")
	if err != nil {
		return "", err
	}
	for name, text := range map[string][]byte{"debian.sources": list, "state/status": nil} {
		if err := os.WriteFile(filepath.Join(work, name), text, 0o644); err != nil {
			return "", err
		}
	}
	settings := []string{"-q", "-o", "Dir::Etc::SourceList=" + filepath.Join(work, "debian.sources"), "-o", "Dir::Etc::SourceParts=/dev/null",
		"-o", "Dir::State=" + filepath.Join(work, "state"), "-o", "Dir::State::status=" + filepath.Join(work, "state/status"),
		"-o", "Dir::Cache=" + filepath.Join(work, "cache"), "-o", "APT::Sandbox::User=root",
		"-o", "APT::Update::Error-Mode=any", "-o", "Acquire::Languages=none", "-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"}
	for _, verb := range [][]string{{"update"}, append([]string{"download"}, packages...)} {
		if err := aptGet(ctx, filepath.Join(work, "debs"), append(settings, verb...), log); err != nil {
			return "", err
		}
	}
	debs, err := filepath.Glob(filepath.Join(work, "debs", "*.deb"))
	if err != nil || len(debs) != len(packages) {
		return "", fmt.Errorf("apt-get download gave %d files for %d packages", len(debs), len(packages))
	}
	for _, deb := range debs {
		if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", deb, root).CombinedOutput(); err != nil {
			return "", fmt.Errorf("unpack %s: %w: %s", filepath.Base(deb), err, out)
		}
	}
	return root, os.RemoveAll(work)
}

func aptGet(ctx context.Context, dir string, args []string, log io.Writer) error {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("apt-get (what it says is in the log): %w", err)
	}
	return nil
}
