package admin

import (
	"context"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/row"
)

// Stack is a row of stacks: a root filesystem that apps run on.
type Stack struct {
	bun.BaseModel `bun:"table:capi_stacks"`
	row.Labelled
	Name        string `bun:"name"`
	Description string `bun:"description"`
	State       string `bun:"state"` // ACTIVE, RESTRICTED, DEPRECATED or DISABLED
	StateReason string `bun:"state_reason"`
	Default     bool   `bun:"is_default"`
}

const stackActive, stackRestricted, stackDeprecated, stackDisabled = "ACTIVE", "RESTRICTED", "DEPRECATED", "DISABLED"

// Allows tells what the stack's state means for an app, in CF's words: a warning, or a fault. A fresh app has no build yet.
func (s *Stack) Allows(fresh bool) (warning, fault string) {
	why := ""
	if s.StateReason != "" {
		why = " " + s.StateReason
	}
	switch {
	case s.State == stackDisabled, s.State == stackRestricted && fresh:
		return "", fmt.Sprintf("ERROR: Staging failed. The stack '%s' is '%s' and cannot be used for staging.%s", s.Name, s.State, why)
	case s.State == stackRestricted, s.State == stackDeprecated:
		return fmt.Sprintf("WARNING: The stack '%s' is '%s' and will be removed in the future.%s", s.Name, s.State, why), ""
	}
	return "", ""
}

// StackAllows asks the stack of that name what it Allows; a fault is CF's error. One that is not there forbids nothing here.
func StackAllows(ctx context.Context, db bun.IDB, name string, fresh bool) (warning string, err error) {
	var s Stack
	err = db.NewSelect().Model(&s).Where("name = ?", name).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	warning, fault := s.Allows(fresh)
	if fault != "" {
		err = rest.Unprocessable("%s", fault)
	}
	return warning, err
}

func (f *Family) stacks() *rest.Resource[Stack] {
	r := &rest.Resource[Stack]{
		Kind: "stack", Path: "/v3/stacks",
		Visible: access.Everyone,
		Filters: []rest.Filter{
			{Param: "names", Where: "name IN (?)"},
			{Param: "default", Where: "is_default = ?", Bool: true},
		},
		Orders: []string{"name"},
		View: func(c *rest.Call, s *Stack) rest.Object {
			return rest.Object{
				"name": s.Name, "description": text(s.Description), "state": s.State, "state_reason": text(s.StateReason),
				"run_rootfs_image": s.Name, "build_rootfs_image": s.Name, "default": s.Default,
			}
		},
		Create: createStack,
		Update: updateStack,
	}
	if f.StackUsed != nil {
		r.Delete = f.deleteStack
	}
	return r
}

// text is a string, or null when it is empty.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

type stackBody struct {
	new                              bool
	Name, Description, State, Reason rest.Opt[string]
	Metadata                         row.Patch
}

func (s *stackBody) Take(b *rest.Body) {
	b.Metadata(&s.Metadata)
	if s.new {
		b.String("name", &s.Name, rest.Required, rest.Length(0, 250))
		b.String("description", &s.Description, rest.Length(0, 250))
	}
	const states = "must be one of ACTIVE, RESTRICTED, DEPRECATED, DISABLED"
	b.String("state", &s.State, rest.Among(states, stackActive, stackRestricted, stackDeprecated, stackDisabled))
	if s.State.Null {
		b.Wrong("state", states)
	}
	b.String("state_reason", &s.Reason, rest.Length(0, 5000))
}

func stackTarget(s *Stack) event.Target {
	return event.Target{GUID: s.GUID, Type: "stack", Name: s.Name}
}

func createStack(c *rest.Call) (*Stack, error) {
	if err := c.Admins(); err != nil {
		return nil, err
	}
	in := stackBody{new: true}
	if err := rest.Take(c, &in); err != nil {
		return nil, err
	}
	s := &Stack{Name: in.Name.V, Description: in.Description.V, State: in.State.Or(stackActive), StateReason: in.Reason.V}
	if err := in.Metadata.Apply(s.Meta()); err != nil {
		return nil, err
	}
	err := c.Write(func(ctx context.Context, tx bun.Tx) error {
		if err := row.Insert(ctx, tx, s); err != nil {
			return err
		}
		return c.Event(ctx, tx, "audit.stack.create", stackTarget(s))
	})
	if sql.IsUnique(err) {
		return nil, rest.Unprocessable("Name must be unique")
	}
	return s, err
}

func updateStack(c *rest.Call, s *Stack) error {
	if err := c.Admins(); err != nil {
		return err
	}
	var in stackBody
	if err := rest.Take(c, &in); err != nil {
		return err
	}
	if s.Default && in.State.Set {
		c.Warn("Changing state on the default stack '" + s.Name + "' may affect new application deployments.")
	}
	return c.Change(s, func(ctx context.Context, tx bun.Tx) error {
		s.State = in.State.Or(s.State)
		if in.Reason.Set {
			s.StateReason = in.Reason.V
		}
		if err := in.Metadata.Apply(s.Meta()); err != nil {
			return err
		}
		return c.Event(ctx, tx, "audit.stack.update", stackTarget(s))
	})
}

func (f *Family) deleteStack(c *rest.Call, s *Stack) error {
	if err := c.Admins(); err != nil {
		return err
	}
	return c.Write(func(ctx context.Context, tx bun.Tx) error {
		if used, err := f.StackUsed(ctx, tx, s.Name); err != nil {
			return err
		} else if used {
			return rest.Unprocessable("Cannot delete stack '%s' because apps are currently using the stack.", s.Name)
		}
		if err := row.Delete(ctx, tx, s); err != nil {
			return err
		}
		return c.Event(ctx, tx, "audit.stack.delete", stackTarget(s))
	})
}
