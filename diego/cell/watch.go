package cell

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"ingot/cf"
	"ingot/diego/cell/health"
)

// sourceHealth is CF's source type of what a health check found.
const sourceHealth = "HEALTH"

// exitOf is how a container's program ended, or why nobody can say.
type exitOf struct {
	exit cf.Exit
	note string // what to say after the code
	err  error
}

// exit waits for the end of a container's program in the background.
func (c *Cell) exit(ctx context.Context, handle string) <-chan exitOf {
	out := make(chan exitOf, 1)
	go func() {
		var x exitOf
		for try := 0; try < 5; {
			if x.exit, x.err = c.Containers.Wait(ctx, handle); x.err == nil || ctx.Err() != nil || cf.IsKind(x.err, cf.KindNotFound) {
				break
			}
			if !cf.IsKind(x.err, cf.KindUnavailable) { // then it says nothing of the container
				slog.Warn("cannot wait for a container; will try again", "cell", c.ID, "handle", handle, "error", x.err)
				try++
			}
			select {
			case <-time.After(10 * c.times.retry):
			case <-ctx.Done():
			}
		}
		if x.exit.OOM {
			x.note = " (out of memory)"
		}
		out <- x
	}()
	return out
}

// terminate ends a program: SIGTERM, the grace, SIGKILL.
func (c *Cell) terminate(ctx context.Context, handle string, exited <-chan exitOf) (x exitOf) {
	const term, kill = 15, 9
	for _, signal := range []int{term, kill} {
		if err := c.Containers.Kill(ctx, handle, signal); err != nil && !cf.IsKind(err, cf.KindNotFound) && ctx.Err() == nil {
			slog.Warn("cannot signal a container", "cell", c.ID, "handle", handle, "signal", signal, "error", err)
		}
		select {
		case x = <-exited:
			if signal == kill {
				x.note += fmt.Sprintf(" (exceeded %s graceful shutdown interval)", c.times.grace)
			}
			return x
		case <-time.After(c.times.grace):
		case <-ctx.Done():
			return exitOf{err: ctx.Err()}
		}
	}
	return exitOf{err: fmt.Errorf("the program did not end by SIGKILL within %s", c.times.grace)}
}

// monitor reports the instance as started once it is healthy, and its readiness as it changes. It returns why the
// instance is not healthy; nil when ctx ended.
func (l *lrp) monitor(ctx context.Context) error {
	d := l.desired.Load()
	alive := health.Check{HealthCheck: d.Health, Address: l.actual.Address, Ports: d.Ports}
	ready := health.Check{HealthCheck: d.Readiness, Address: l.actual.Address, Ports: d.Ports}
	if l.actual.State != cf.LRPRunning {
		if err := l.awaitHealth(ctx, alive); err != nil || ctx.Err() != nil {
			return err
		}
	}
	l.actual.State, l.actual.Ready = cf.LRPRunning, !ready.Asks()
	if ready.Asks() {
		l.log.Tell(cf.SourceCell, "Starting readiness health monitoring of container")
		if l.actual.Ready = ready.Try(ctx) == nil; l.actual.Ready {
			l.tellReady(true)
		}
	}
	if err := l.started(ctx); err != nil {
		return err
	}
	return l.keepWatch(ctx, alive, ready)
}

func (l *lrp) awaitHealth(ctx context.Context, alive health.Check) error {
	if !alive.Asks() {
		return nil
	}
	l.log.Tell(cf.SourceCell, "Starting health monitoring of container")
	if err := alive.Await(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		l.log.Warn(sourceHealth, "%s", err)
		l.log.Warn(cf.SourceCell, "Failed after %s: startup health check never passed.", alive.StartIn())
		return fmt.Errorf("Instance never healthy after %s: %w", alive.StartIn(), err) //nolint:staticcheck // CF's words
	}
	l.log.Tell(cf.SourceCell, "Container became healthy")
	return nil
}

// keepWatch checks a healthy instance for as long as it lives.
func (l *lrp) keepWatch(ctx context.Context, alive, ready health.Check) error {
	var askAlive, askReady <-chan time.Time
	for changed := time.Now(); ; {
		if alive.Asks() && askAlive == nil {
			askAlive = time.After(alive.Every())
		}
		if ready.Asks() && askReady == nil {
			wait := ready.Every()
			if !l.actual.Ready {
				wait = min(wait, health.Between(time.Since(changed), time.Second))
			}
			askReady = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-askAlive:
			askAlive = nil
			if err := alive.Try(ctx); err != nil && ctx.Err() == nil {
				l.log.Warn(sourceHealth, "Liveness check unsuccessful: %s", err)
				l.log.Warn(cf.SourceCell, "Container became unhealthy")
				return fmt.Errorf("Instance became unhealthy: Liveness check unsuccessful: %w", err) //nolint:staticcheck // CF's words
			}
		case <-askReady:
			askReady = nil
			now := ready.Try(ctx) == nil
			if now == l.actual.Ready || ctx.Err() != nil {
				continue
			}
			changed, l.actual.Ready = time.Now(), now
			l.tellReady(now)
			if err := l.started(ctx); err != nil {
				return err
			}
		}
	}
}

func (l *lrp) tellReady(ready bool) {
	if ready {
		l.log.Tell(sourceHealth, "Container passed the readiness health check. Container marked ready and added to route pool.")
	} else {
		l.log.Tell(sourceHealth, "Container failed the readiness health check. Container marked not ready and removed from route pool.")
	}
}

func (l *lrp) started(ctx context.Context) error {
	a := l.actual
	if _, wanted := l.c.report(ctx, "started", func(ctx context.Context) error { return l.c.Board.Started(ctx, a) }); !wanted {
		return errUnwanted
	}
	return nil
}
