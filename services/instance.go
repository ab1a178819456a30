package services

import (
	"context"
	"net/http"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/row"
)

// typed is the check of the filter type.
func typed(words string, valid ...string) func([]string) string {
	return func(v []string) string {
		for _, ok := range valid {
			if v[0] == ok {
				return ""
			}
		}
		return "Type must be one of " + words
	}
}

func (s *Services) newInstances() *rest.Resource[Instance] {
	return &rest.Resource[Instance]{
		Kind: "service_instance", Path: "/v3/service_instances", Visible: access.InSpaces("space_guid"),
		Filters: []rest.Filter{
			{Param: "type", One: true, Where: "'" + userProvided + "' = ?", Check: typed("'managed', 'user-provided'", "managed", userProvided)},
			{Param: "names", Where: "name IN (?)"},
			{Param: "space_guids", Where: "space_guid IN (?)"},
			{Param: "organization_guids", Where: "space_guid IN (SELECT guid FROM rest_spaces WHERE org_guid IN (?))"},
			{Param: "service_plan_guids", By: without}, {Param: "service_plan_names", By: without},
		},
		Orders: []string{"name"},
		View:   instanceView, Create: s.createInstance, Update: s.updateInstance, Delete: s.deleteInstance,
	}
}

func instanceView(c *rest.Call, i *Instance) rest.Object {
	kind, at := "create", i.CreatedAt
	if i.Updated {
		kind, at = "update", i.UpdatedAt
	}
	of := func(list string) rest.Object { return c.Link("/v3/"+list+"?service_instance_guids=%s", i.GUID) }
	return rest.Object{
		"name": i.Name, "tags": i.tags(), "type": userProvided, "syslog_drain_url": i.Drain.V, "route_service_url": i.RouteURL.V,
		"last_operation": rest.Object{"type": kind, "state": "succeeded", "description": "Operation succeeded",
			"created_at": rest.Stamp(at), "updated_at": rest.Stamp(at)},
		"relationships": rest.Object{"space": rest.ToOne(i.SpaceGUID)},
		"links": rest.Object{
			"space": c.Link("/v3/spaces/%s", i.SpaceGUID), "credentials": c.Link("/v3/service_instances/%s/credentials", i.GUID),
			"service_credential_bindings": of("service_credential_bindings"), "service_route_bindings": of("service_route_bindings"),
		},
	}
}

func (s *Services) createInstance(c *rest.Call) (*Instance, error) {
	if !c.Caller.Admin() {
		if err := access.Enabled(c.Ctx(), c.DB(), "service_instance_creation"); err != nil {
			return nil, err
		}
	}
	in := instanceBody{new: true}
	if err := rest.Take(c, &in); err != nil {
		return nil, err
	}
	space, err := rest.Find[access.Space](c, "space", in.space.V)
	if cf.IsKind(err, cf.KindNotFound) {
		return nil, access.NoSpace()
	}
	if err != nil {
		return nil, err
	}
	if err := access.MayWriteSpace(c.Ctx(), c.DB(), space, access.SpaceWriters...); err != nil {
		return nil, err
	}
	if in.kind.V == managed { // there is no plan of any guid
		return nil, rest.Unprocessable("Invalid service plan. Ensure that the service plan exists, is available, and you have access to it.")
	}
	i := &Instance{SpaceGUID: space.GUID}
	if err := in.apply(i); err != nil {
		return nil, err
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		if err := access.HoldSpace(ctx, s.DB, tx, space.GUID); err != nil {
			return err
		}
		if err := row.Insert(ctx, tx, i); err != nil {
			return err
		}
		return record(ctx, tx, "create", i, redacted(c.Body))
	})
	return i, taken(err, i.Name)
}

func (s *Services) updateInstance(c *rest.Call, i *Instance) error {
	if err := c.MayWriteSpace(i.SpaceGUID, access.SpaceWriters...); err != nil {
		return err
	}
	var in instanceBody
	if err := rest.Take(c, &in); err != nil {
		return err
	}
	err := c.Change(i, func(ctx context.Context, tx bun.Tx) error {
		before := *i
		if err := in.apply(i); err != nil {
			return err
		}
		i.Updated = true
		return record(ctx, tx, "update", &before, redacted(c.Body))
	})
	return taken(err, i.Name)
}

// taken words what the database says of a name that another instance of the space has.
func taken(err error, name string) error {
	if sql.IsUnique(err) {
		return rest.Unprocessable("The service instance name is taken: %s.", name)
	}
	return err
}

// deleteInstance deletes an instance with its bindings. A purge, which for others than user-provided instances passes the
// broker by, does the same and is told as one.
func (s *Services) deleteInstance(c *rest.Call, i *Instance) error {
	if err := c.MayWriteSpace(i.SpaceGUID, access.SpaceWriters...); err != nil {
		return err
	}
	purge := c.R.URL.Query().Get("purge") == "true"
	return c.Write(func(ctx context.Context, tx bun.Tx) error { return s.drop(ctx, tx, i, purge) })
}

// drop deletes an instance with its bindings; one that is gone is gone.
func (s *Services) drop(ctx context.Context, tx bun.Tx, i *Instance, purge bool) error {
	if err := row.Lock(ctx, s.DB, tx, i); err != nil { // who binds holds it
		return ignoreGone(err)
	}
	if err := s.unbind(ctx, tx, "instance_guid = ?", i.GUID); err != nil {
		return err
	}
	if err := row.Delete(ctx, tx, i); err != nil {
		return err
	}
	if !purge {
		return record(ctx, tx, "delete", i, nil)
	}
	t, err := target(ctx, tx, i)
	if err != nil {
		return err
	}
	t.Type = "service_instance"
	return event.Record(ctx, tx, "audit.service_instance.purge", t, map[string]any{"request": nil})
}

// target is an instance as audit events name it.
func target(ctx context.Context, db bun.IDB, i *Instance) (event.Target, error) {
	space, err := access.SpaceByGUID(ctx, db, i.SpaceGUID)
	if err != nil {
		return event.Target{}, err
	}
	return event.Target{GUID: i.GUID, Type: "user_provided_service_instance", Name: i.Name, Org: space.OrgGUID, Space: space.GUID}, nil
}

// record writes an audit event about an instance.
func record(ctx context.Context, tx bun.Tx, what string, i *Instance, request map[string]any) error {
	t, err := target(ctx, tx, i)
	if err != nil {
		return err
	}
	return event.Record(ctx, tx, "audit.user_provided_service_instance."+what, t, map[string]any{"request": request})
}

func (s *Services) showCredentials(c *rest.Call) error {
	i, err := s.instances.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	if ok, err := c.ReadsSecrets(i.SpaceGUID, access.SecretReaders...); err != nil || !ok {
		return orForbidden(err)
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error { return record(ctx, tx, "show", i, nil) })
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, i.credentials())
}

func orForbidden(err error) error {
	if err != nil {
		return err
	}
	return access.Forbidden()
}

func (s *Services) noInstanceParameters(c *rest.Call) error {
	if _, err := s.instances.Find(c, c.Arg("guid")); err != nil {
		return err
	}
	return &cf.Error{Kind: cf.KindInvalid, Code: "ServiceFetchInstanceParametersNotSupported"}
}

// showPermissions answers everybody for every instance, as Cloud Controller does for the dashboards of services.
func (s *Services) showPermissions(c *rest.Call) error {
	i := new(Instance)
	err := c.DB().NewSelect().Model(i).Where("guid = ?", c.Arg("guid")).Scan(c.Ctx())
	if gone(err) {
		return rest.NotFound("service_instance")
	}
	if err != nil {
		return err
	}
	read, err := c.Ref("service_instance", i.GUID)
	if err != nil {
		return err
	}
	err = c.MayWriteSpace(i.SpaceGUID, access.SpaceWriters...)
	if k := cf.KindOf(err); err != nil && k != cf.KindForbidden && k != cf.KindUnprocessable {
		return err
	}
	return c.JSON(http.StatusOK, rest.Object{"manage": err == nil, "read": read})
}
