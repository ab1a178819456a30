package cell

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"ingot/cf"
	"ingot/diego/cell/env"
	"ingot/diego/cell/line"
	"ingot/diego/cell/room"
	"ingot/diego/cell/show"
)

// task is one task on this cell: a staging, or a program of an app that runs once.
type task struct {
	c        *Cell
	cf       cf.Task
	found    bool   // it was running when the cell started
	platform string // source type of the cell's own lines
	log      *line.Log
	out      *line.Streams
	env      []string
	asked    context.Context
	cancel   context.CancelCauseFunc
}

// Why a task ended before its program did.
var (
	errCancelled = errors.New("task was cancelled")
	errLost      = errors.New("task container does not exist")
	errRestarted = errors.New("cell restarted during staging")
)

func (c *Cell) newTask(t cf.Task) *task {
	k := &task{c: c, cf: t, platform: cf.SourceCell, log: c.crowd.Log(c.Logs, t.AppID, "0", t.MetricTags, t.Limits.LogBytesPerSec)}
	k.cf.Cell = c.ID
	if t.Staging != nil {
		k.platform = cf.SourceStage
		k.log.Shed()
	}
	if k.cf.SourceType == "" {
		k.cf.SourceType = k.platform
	}
	k.asked, k.cancel = context.WithCancelCause(context.Background())
	k.out = k.log.Streams(k.cf.SourceType)
	return k
}

func (k *task) handle() string { return string(k.cf.ID) }

// taskFolder is where the cell keeps what the container of a task is shown.
func (c *Cell) taskFolder(handle string) string { return filepath.Join(c.Data, "tasks", handle) }

// run is the life of the task on this cell. A board that knows the task as ended, or elsewhere, wants nothing of it.
func (k *task) run(ctx context.Context) {
	c := k.c
	heard, wanted := c.report(ctx, "task started", func(ctx context.Context) error { return c.Board.TaskStarted(ctx, k.cf.ID, c.ID) })
	if !heard {
		return
	}
	if wanted {
		if k.cf.Staging != nil {
			c.Gate.Step("staging placed")
		}
		limited, cancel := k.deadline(ctx)
		result, err := k.do(limited, ctx)
		if err != nil && limited.Err() != nil {
			err = context.Cause(limited)
		}
		cancel()
		if ctx.Err() != nil && err != nil { // Ingot stops: a program goes on, a staging is failed at the next start
			return
		}
		k.out.Flush()
		if errors.Is(err, room.ErrNone) {
			k.giveBack(ctx, err)
			return
		}
		c.room.Ended(k.handle())
		if !k.finish(ctx, result, err) {
			return
		}
	}
	k.remove(ctx)
}

// deadline is ctx until the task is cancelled or takes too long; the cause says which.
func (k *task) deadline(ctx context.Context) (context.Context, func()) {
	limited, end := context.WithCancelCause(ctx)
	stop := context.AfterFunc(k.asked, func() { end(context.Cause(k.asked)) })
	late := func() {}
	if k.cf.Timeout > 0 {
		t := time.AfterFunc(k.cf.Timeout, func() { end(fmt.Errorf("exceeded %s timeout", k.cf.Timeout)) })
		late = func() { t.Stop() }
	}
	return limited, func() { stop(); late(); end(nil) }
}

// do runs the task until limited ends; a program's output goes on until ctx ends.
func (k *task) do(limited, ctx context.Context) (*cf.StagingResult, error) {
	switch {
	case k.cf.Staging != nil:
		return k.stage(limited, ctx)
	case k.found:
		if err := k.c.Containers.Attach(ctx, k.handle(), k.out.Streams); err != nil {
			slog.Warn("output of a running task is lost", "cell", k.c.ID, "task", k.handle(), "error", err)
		}
	default:
		if err := k.c.create(limited, func() error { return k.launch(limited, ctx) }); err != nil {
			return nil, k.broken(limited, "failed to initialize container", err)
		}
	}
	select {
	case x := <-k.c.exit(limited, k.handle()):
		if x.err != nil {
			return nil, x.err
		}
		return nil, k.exited(x.exit)
	case <-limited.Done():
		if ctx.Err() == nil {
			k.c.terminate(ctx, k.handle(), k.c.exit(ctx, k.handle()))
		}
		return nil, context.Cause(limited)
	}
}

// launch starts a program in the app's droplet.
func (k *task) launch(limited, ctx context.Context) error {
	k.log.Tell(k.platform, "Cell %s creating container for instance %s", k.c.ID, k.handle())
	layers, err := k.c.layer(limited, k.cf.Stack, k.cf.Droplet, k.cf.Limits.DiskMB)
	if err != nil {
		return err
	}
	return k.start(limited, ctx, cf.ContainerSpec{
		Layers: layers, Mounts: k.c.mounts, Program: cf.Program{Args: []string{show.Program, "launch", k.cf.Start}},
		Properties: map[string]string{propertyKind: kindTask},
	})
}

// start makes the container of s, completed, and starts its program.
func (k *task) start(limited, ctx context.Context, s cf.ContainerSpec) error {
	at, err := k.c.Containers.Reserve(limited, k.handle(), nil)
	if err != nil {
		return fmt.Errorf("reserve an address: %w", err)
	}
	plain := k.cf
	plain.Env, plain.VCAPApp = nil, nil // the program has them
	what, err := json.Marshal(plain)
	if err != nil {
		return fmt.Errorf("keep the task: %w", err)
	}
	s.Properties[propertyWhat] = string(what)
	s.Handle, s.Image, s.Limits, s.Egress = k.handle(), k.cf.Stack, limits(k.cf.Limits), k.cf.Egress
	s.CPUShares = uint64(max(k.cf.Limits.MemoryMB, 2))
	k.env = env.Task(&k.cf, k.c.Address, at.Address)
	s.Program.Env, s.Program.Dir, s.Program.User = k.env, env.Home, "vcap"
	if k.cf.Staging != nil {
		s.Program.Env = env.Base() // the build has it, not what idles beside it
	}
	if _, err := k.c.Containers.Create(limited, s); err != nil {
		return fmt.Errorf("create container: %w", err)
	}
	k.log.Tell(k.platform, "Cell %s successfully created container for instance %s", k.c.ID, k.handle())
	if err := k.c.Containers.Start(ctx, k.handle(), k.out.Streams); err != nil {
		return fmt.Errorf("start container: %w", err)
	}
	return nil
}

// broken tells why a task did not get to its program, unless it was ended meanwhile.
func (k *task) broken(limited context.Context, what string, err error) error {
	if limited.Err() != nil {
		return err
	}
	slog.Error("task did not start", "cell", k.c.ID, "task", k.handle(), "error", err)
	out := fmt.Errorf("%s: %s", what, words(err))
	if cf.IsKind(err, cf.KindNoRoom) { // the disk is fuller than the auction could know
		out = fmt.Errorf("%w: %s", room.ErrNone, words(err))
	}
	k.log.Warn(k.platform, "%s", out)
	return out
}

// giveBack leaves the task, of which nothing ran, to the board: it waits for room, here or elsewhere.
func (k *task) giveBack(ctx context.Context, why error) {
	c := k.c
	_ = c.destroy(ctx, k.handle()) // it logs
	c.mu.Lock()
	delete(c.tasks, k.cf.ID) // before the board may send it again
	c.mu.Unlock()
	k.cancel(nil)
	c.report(ctx, "task refused", func(ctx context.Context) error { return c.Board.TaskRefused(ctx, k.cf.ID, c.ID, why.Error()) })
}

// exited tells how the program ended, and makes an error of a failure.
func (k *task) exited(x cf.Exit) error {
	k.out.Flush()
	note := ""
	if x.OOM {
		note = " (out of memory)"
	}
	k.log.Tell(k.cf.SourceType, "Exit status %d%s", x.Code, note)
	if x.Code != 0 {
		return fmt.Errorf("%s: Exited with status %d%s", k.cf.SourceType, x.Code, note)
	}
	return nil
}

// finish tells the board what became of the task, and whether it heard.
func (k *task) finish(ctx context.Context, result *cf.StagingResult, err error) bool {
	t := k.cf
	t.State, t.Completed, t.Result = cf.TaskCompleted, time.Now(), result
	if err != nil {
		t.Failed, t.Reason, t.Result = true, words(err), nil
	}
	heard, _ := k.c.report(ctx, "task done", func(ctx context.Context) error { return k.c.Board.TaskDone(ctx, t) })
	return heard
}

// remove leaves nothing of the task here.
func (k *task) remove(ctx context.Context) {
	c := k.c
	k.log.Tell(k.platform, "Cell %s stopping instance %s", c.ID, k.handle())
	k.log.Tell(k.platform, "Cell %s destroying container for instance %s", c.ID, k.handle())
	if err := c.destroy(ctx, k.handle()); err != nil {
		k.log.Warn(k.platform, "Cell %s failed to destroy container for instance %s", c.ID, k.handle())
	} else {
		k.log.Tell(k.platform, "Cell %s successfully destroyed container for instance %s", c.ID, k.handle())
	}
	c.mu.Lock()
	delete(c.tasks, k.cf.ID)
	c.mu.Unlock()
	k.cancel(nil)
	c.tellRoom(ctx)
}
