package emit

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"ingot/cf"
	"ingot/kit/run"
)

// marker tells the scheduler what is routable, without holding up the emitter; the newest word on an instance wins.
type marker struct {
	feed cf.LRPFeed
	gate *run.Gate
	mu   sync.Mutex
	want map[cf.InstanceID]bool
	wake chan struct{}
}

func (k *marker) mark(id cf.InstanceID, routable bool) {
	k.mu.Lock()
	k.want[id] = routable
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *marker) run(ctx context.Context) {
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		case <-again.C:
		}
		k.mu.Lock()
		todo := maps.Clone(k.want)
		k.mu.Unlock()
		for id, routable := range todo {
			err := k.feed.MarkRoutable(ctx, id, routable)
			if err != nil && !cf.IsKind(err, cf.KindNotFound) && !cf.IsKind(err, cf.KindConflict) {
				if ctx.Err() == nil {
					slog.Warn("emit: mark routable", "instance", id, "error", err)
				}
				break // tried again in a second
			}
			if routable {
				k.gate.Step("route live")
			}
			k.mu.Lock()
			if now, ok := k.want[id]; ok && now == routable {
				delete(k.want, id)
			}
			k.mu.Unlock()
		}
	}
}
