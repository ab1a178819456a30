// Package run starts and stops the parts of a process in order, lets requests wait for what happens elsewhere in it,
// and holds the step gate that tests use to stop a process at a named step.
//
// It promises: parts start in order and stop in reverse under one deadline; after a part that cannot start, those before
// it are still to be stopped. It will not restart anything.
package run

import (
	"context"
	"errors"
	"fmt"
)

// Member is one part. Start returns when the part is ready; a nil func does nothing.
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

// Start starts all parts in order, up to the first that fails. Stop is called in any case.
func (g *Group) Start(ctx context.Context) error {
	for _, m := range g.Members {
		if m.Start != nil {
			if err := m.Start(ctx); err != nil {
				return fmt.Errorf("%s: %w", m.Name, err)
			}
		}
		g.started++
	}
	return nil
}

// Stop stops the started parts in reverse and goes on after errors; each part keeps to ctx's deadline.
func (g *Group) Stop(ctx context.Context) error {
	var errs []error
	for ; g.started > 0; g.started-- {
		m := g.Members[g.started-1]
		if m.Stop != nil {
			if err := m.Stop(ctx); err != nil {
				errs = append(errs, fmt.Errorf("stop %s: %w", m.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}
