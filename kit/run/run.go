// Package run starts and stops the parts of a process in order, lets requests wait for what happens elsewhere in it,
// and holds the step gate that tests use to stop a process at a named step.
//
// It promises: parts start in order and stop in reverse within one deadline, also after a start that failed or was cut
// short. It will not restart anything.
package run

import (
	"context"
	"errors"
	"fmt"
)

// Member is one part. Start returns when the part is ready, or leaves nothing behind; a nil func does nothing.
type Member struct {
	Name  string
	Start func(ctx context.Context) error
	Stop  func(ctx context.Context) error
}

// Group is an ordered list of parts.
type Group struct {
	Members []Member
	started int
}

// Start starts all parts in order, until one cannot or ctx ends. Stop comes after it in any case.
func (g *Group) Start(ctx context.Context) error {
	for _, m := range g.Members {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("stopped before %s: %w", m.Name, err)
		}
		if m.Start != nil {
			if err := m.Start(ctx); err != nil {
				return fmt.Errorf("%s: %w", m.Name, err)
			}
		}
		g.started++
	}
	return nil
}

// Stop stops the started parts in reverse; it goes on after errors. At the end of ctx it gives up on whoever is not done.
func (g *Group) Stop(ctx context.Context) error {
	var errs []error
	for ; g.started > 0; g.started-- {
		m := g.Members[g.started-1]
		if m.Stop == nil {
			continue
		}
		done := make(chan error, 1)
		go func() { done <- m.Stop(ctx) }()
		select {
		case err := <-done:
			if err != nil {
				errs = append(errs, fmt.Errorf("stop %s: %w", m.Name, err))
			}
		case <-ctx.Done():
			return errors.Join(append(errs, fmt.Errorf("stop %s: %w", m.Name, ctx.Err()))...)
		}
	}
	return errors.Join(errs...)
}
