package services

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/rest"
)

// OfApp is cf.Bindings'.
func (s *Services) OfApp(ctx context.Context, app cf.AppID) ([]cf.Binding, error) {
	var bs []*Binding
	// The newest of each instance; ids grow.
	err := s.DB.Read().NewSelect().Model(&bs).OrderExpr("id").
		Where("id IN (SELECT MAX(id) FROM services_bindings WHERE app_guid = ? GROUP BY instance_guid)", app).Scan(ctx)
	if err != nil || len(bs) == 0 {
		return nil, err
	}
	guids := make([]string, len(bs))
	for n, b := range bs {
		guids[n] = b.InstanceGUID
	}
	var is []*Instance
	if err := s.DB.Read().NewSelect().Model(&is).Where("guid IN (?)", bun.List(guids)).Scan(ctx); err != nil {
		return nil, fmt.Errorf("service instances of app %s: %w", app, err)
	}
	byGUID := map[string]*Instance{}
	for _, i := range is {
		byGUID[i.GUID] = i
	}
	var out []cf.Binding
	for _, b := range bs {
		if i := byGUID[b.InstanceGUID]; i != nil { // else it was deleted between the two queries
			out = append(out, told(b, i))
		}
	}
	return out, nil
}

// told is what an app is told of a binding.
func told(b *Binding, i *Instance) cf.Binding {
	v := cf.Binding{Label: userProvided, Name: i.Name, Tags: i.tags(), InstanceGUID: i.GUID, InstanceName: i.Name, BindingGUID: b.GUID,
		BindingName: b.name(), Credentials: i.credentials(), SyslogDrainURL: drain(i), VolumeMounts: []any{}}
	if b.Name != "" {
		v.Name = b.Name
	}
	return v
}

// Bind is cf.Bindings'; its events say that a manifest asked for it.
func (s *Services) Bind(ctx context.Context, app cf.AppID, instance, name string) error {
	space, err := spaceOf(ctx, s.DB.Read(), string(app))
	if err != nil {
		return err
	}
	if space == "" {
		return rest.NotFound("app")
	}
	return s.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		i := new(Instance)
		err := tx.NewSelect().Model(i).Where("space_guid = ? AND name = ?", space, instance).Scan(ctx)
		if gone(err) {
			return cf.Errorf(cf.KindNotFound, "ResourceNotFound", "Service instance '%s' not found", instance)
		}
		if err != nil {
			return err
		}
		b := &Binding{Name: name, AppGUID: string(app), InstanceGUID: i.GUID, SpaceGUID: space}
		if _, err := s.hold(ctx, tx, b); err != nil {
			return err
		}
		bound, err := tx.NewSelect().Model((*Binding)(nil)).Where("app_guid = ? AND instance_guid = ?", app, i.GUID).Exists(ctx)
		if err != nil || bound {
			return err
		}
		if err := s.bind(ctx, tx, b, false); err != nil {
			return err
		}
		data := b.told()
		data["manifest_triggered"] = true
		return recordBinding(ctx, tx, "create", b, data)
	})
}

// ForgetApp is cf.Bindings'.
func (s *Services) ForgetApp(ctx context.Context, app cf.AppID) error {
	return s.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error { return s.unbind(ctx, tx, "app_guid = ?", string(app)) })
}

// EmptySpace is cf.Bindings'. Each instance is a write of its own.
func (s *Services) EmptySpace(ctx context.Context, space string) error {
	var guids []string
	err := s.DB.Read().NewSelect().Model((*Instance)(nil)).Column("guid").Where("space_guid = ?", space).OrderExpr("id").Scan(ctx, &guids)
	if err != nil {
		return err
	}
	for _, guid := range guids {
		i := new(Instance)
		i.GUID = guid
		if err := s.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error { return s.drop(ctx, tx, i, false) }); err != nil {
			return fmt.Errorf("delete service instance %s: %w", guid, err)
		}
	}
	return nil
}
