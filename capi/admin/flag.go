package admin

import (
	"context"

	"github.com/uptrace/bun"

	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/row"
)

func flags() *rest.Resource[access.Flag] {
	return &rest.Resource[access.Flag]{
		Kind: "feature_flag", Path: "/v3/feature_flags",
		Visible: access.Everyone,
		Orders:  []string{"name:guid"}, Order: "guid",
		Refuse: []string{"created_ats", "created_at", "updated_at"},
		View: func(c *rest.Call, f *access.Flag) rest.Object {
			return rest.Object{
				"guid": rest.Absent, "created_at": rest.Absent,
				"name": f.GUID, "enabled": f.Enabled, "custom_error_message": f.Message,
				"updated_at": changed(&f.Row),
			}
		},
		Update: updateFlag,
	}
}

// changed is the time of the last change, nil before the first.
func changed(r *row.Row) any {
	if r.UpdatedAt == r.CreatedAt {
		return nil
	}
	return rest.Stamp(r.UpdatedAt)
}

type flagBody struct {
	Enabled  rest.Opt[bool]
	Message  rest.Opt[string]
	Metadata row.Patch
}

func (f *flagBody) Take(b *rest.Body) {
	b.Metadata(&f.Metadata)
	b.Bool("enabled", &f.Enabled)
	if f.Enabled.Null {
		b.Wrong("enabled", "must be a boolean")
	}
	b.String("custom_error_message", &f.Message, rest.Length(1, 250))
}

func updateFlag(c *rest.Call, f *access.Flag) error {
	if err := c.Admins(); err != nil {
		return err
	}
	var in flagBody
	if err := rest.Take(c, &in); err != nil {
		return err
	}
	return c.Change(f, func(context.Context, bun.Tx) error {
		if in.Enabled.Given() {
			f.Enabled = in.Enabled.V
		}
		if in.Message.Given() {
			f.Message = &in.Message.V
		} else if in.Message.Null {
			f.Message = nil
		}
		return nil
	})
}
