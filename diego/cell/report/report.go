// Package report tells somebody until he has heard. It promises to end with its context, and to bound its pace; it will not
// remember over a restart.
package report

import (
	"context"
	"log/slog"
	"time"

	"ingot/cf"
)

// Tell calls tell, at first after wait and then ever more rarely, until it is heard. wanted is false when the answer was
// that nothing more is wanted (KindConflict, KindNotFound); heard is false when ctx ended before. log is for the first failure.
func Tell(ctx context.Context, wait time.Duration, log *slog.Logger, tell func(context.Context) error) (heard, wanted bool) {
	for first := true; ; wait, first = min(2*wait, 5*time.Second), false {
		err := tell(ctx)
		switch {
		case err == nil:
			return true, true
		case cf.IsKind(err, cf.KindConflict), cf.IsKind(err, cf.KindNotFound):
			return true, false
		case ctx.Err() != nil:
			return false, true
		case first:
			log.Warn("the board does not hear; will repeat", "error", err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return false, true
		}
	}
}
