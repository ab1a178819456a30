package cell

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"ingot/cf"
)

// What a container keeps of its purpose.
const (
	propertyKind = "kind"
	propertyWhat = "what" // the LRP or task as JSON, without its environment
	kindLRP      = "lrp"
	kindTask     = "task"
	kindStaging  = "staging"
)

// reconcile compares the containers that stand with what the board believes: what runs and is wanted is taken up, what is
// not wanted is removed, and the board hears of what is gone.
func (c *Cell) reconcile(ctx context.Context) error {
	stand, err := c.Containers.List(ctx)
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	actual, desired, tasks, err := c.Board.Holds(ctx, c.ID)
	if err != nil {
		return err
	}
	byHandle := map[string]cf.ContainerInfo{}
	for _, i := range stand {
		byHandle[i.Spec.Handle] = i
		c.room.Hold(i.Spec.Handle, i.Spec.Limits) // until it is destroyed
	}
	want := map[cf.ProcessID]cf.DesiredLRP{}
	for _, d := range desired {
		want[d.ID] = d
	}
	for _, a := range actual {
		info, there := byHandle[string(a.Instance)]
		d, wanted := want[a.LRP]
		if there = there && info.Started && info.Spec.Properties[propertyKind] == kindLRP; there && wanted {
			delete(byHandle, string(a.Instance))
			c.takeUpLRP(d, a, info)
			continue
		}
		delete(byHandle, string(a.Instance))
		c.work.Go(func() {
			_ = c.destroy(c.ctx, string(a.Instance)) // it logs; there may be a lease of an address at least
			c.report(c.ctx, "stopped", func(ctx context.Context) error { return c.Board.Stopped(ctx, a) })
		})
	}
	for _, t := range tasks {
		info, there := byHandle[string(t.ID)]
		delete(byHandle, string(t.ID))
		c.takeUpTask(t, there && info.Started && info.Spec.Properties[propertyKind] == kindTask)
	}
	for h := range byHandle {
		slog.Info("container of an earlier run is removed", "cell", c.ID, "handle", h)
		c.work.Go(func() { _ = c.destroy(c.ctx, h) }) // it logs
	}
	return nil
}

// takeUpLRP watches an instance again, under its old guid. Its room is counted even where there is too little now; its
// sidecars are those that it was started with.
func (c *Cell) takeUpLRP(d cf.DesiredLRP, a cf.ActualLRP, info cf.ContainerInfo) {
	var was cf.DesiredLRP
	if err := json.Unmarshal([]byte(info.Spec.Properties[propertyWhat]), &was); err != nil {
		slog.Warn("container does not say what it runs", "cell", c.ID, "instance", a.Instance, "error", err)
	}
	d.Sidecars = was.Sidecars
	l := c.newLRP(d, a)
	l.found = true
	l.actual.Address, l.actual.Ports = info.Address, info.Ports
	l.actual.State = a.State
	c.mu.Lock()
	c.room.Hold(l.handle(), d.Limits)
	c.lrps[a.Instance] = l
	c.mu.Unlock()
	c.work.Go(func() { l.run(c.ctx) })
}

// takeUpTask watches a program again; a staging, and what is gone, is reported as failed.
func (c *Cell) takeUpTask(t cf.Task, there bool) {
	k := c.newTask(t)
	if k.found = there; there {
		c.mu.Lock()
		c.room.Hold(k.handle(), t.Limits)
		c.tasks[t.ID] = k
		c.mu.Unlock()
		c.work.Go(func() { k.run(c.ctx) })
		return
	}
	why := errLost
	if t.Staging != nil {
		why = errRestarted
	}
	k.log.Warn(k.platform, "%s", why)
	c.work.Go(func() {
		k.finish(c.ctx, nil, why)
		_ = c.destroy(c.ctx, k.handle()) // it logs
	})
}
