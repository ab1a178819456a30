package role

import (
	"context"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// maxLog is how large ingot.log may become; with the one before it there are twice as many bytes.
const maxLog = 64 << 20

// boundLog keeps the log of an Ingot in the background bounded, until ctx ends.
func boundLog(ctx context.Context, path string) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := turnLog(path, maxLog, unix.Stdout, unix.Stderr); err != nil {
			slog.Error("begin a new log", "error", err)
		}
	}
}

// turnLog begins a new log where the present one has become too large and the descriptors lead there. Lines that are
// written meanwhile are in one of the two.
func turnLog(path string, limit int64, fds ...int) error {
	var here, there unix.Stat_t
	if unix.Fstat(fds[0], &here) != nil || unix.Stat(path, &there) != nil || here.Dev != there.Dev || here.Ino != there.Ino || here.Size <= limit {
		return nil
	}
	if err := os.Rename(path, path+".old"); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for _, fd := range fds {
		if err := unix.Dup3(int(f.Fd()), fd, 0); err != nil {
			return err
		}
	}
	return nil
}
