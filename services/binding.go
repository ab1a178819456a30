package services

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/row"
)

// maxBindings is how many bindings an app may have to one instance (RFC 40 of Cloud Foundry: rotation of credentials).
const maxBindings = 5

func (s *Services) newBindings() *rest.Resource[Binding] {
	return &rest.Resource[Binding]{
		Kind: "service_credential_binding", Path: "/v3/service_credential_bindings", Visible: access.InSpaces("space_guid"),
		Filters: []rest.Filter{
			{Param: "names", Where: "name IN (?)"},
			{Param: "service_instance_guids", Where: "instance_guid IN (?)"},
			{Param: "service_instance_names", Where: "instance_guid IN (SELECT guid FROM services_instances WHERE name IN (?))"},
			{Param: "service_plan_names", By: without}, {Param: "service_plan_guids", By: without},
			{Param: "service_offering_names", By: without}, {Param: "service_offering_guids", By: without},
			{Param: "app_guids", Where: "app_guid IN (?)"},
			{Param: "app_names", Where: "app_guid IN (SELECT guid FROM " + apps + " WHERE name_key IN (?))", Fold: true},
			{Param: "type", One: true, Where: "'app' = ?", Check: typed("'app', 'key'", "app", "key")},
		},
		Orders: []string{"name"},
		View:   bindingView, Create: s.createBinding, Update: s.updateBinding, Delete: s.deleteBinding,
	}
}

func bindingView(c *rest.Call, b *Binding) rest.Object {
	return rest.Object{
		"name": b.name(), "type": "app",
		"last_operation": rest.Object{"type": "create", "state": "succeeded", "description": nil,
			"created_at": rest.Stamp(b.CreatedAt), "updated_at": rest.Stamp(b.CreatedAt)},
		"relationships": rest.Object{"app": rest.ToOne(b.AppGUID), "service_instance": rest.ToOne(b.InstanceGUID)},
		"links": rest.Object{
			"app": c.Link("/v3/apps/%s", b.AppGUID), "service_instance": c.Link("/v3/service_instances/%s", b.InstanceGUID),
			"details": c.Link("/v3/service_credential_bindings/%s/details", b.GUID),
		},
	}
}

type bindingBody struct {
	kind, name, strategy rest.Opt[string]
	instance, app        rest.Opt[string]
	parameters           bool
	meta                 row.Patch
}

func (t *bindingBody) Take(b *rest.Body) {
	b.Metadata(&t.meta)
	b.Relationships(false, func(in *rest.Body) {
		in.ToOne("service_instance", &t.instance, rest.Required)
		if b.String("type", &t.kind); t.kind.V != "key" {
			in.ToOne("app", &t.app, rest.Required)
		}
	})
	b.String("type", &t.kind)
	if raw := b.Raw("parameters"); raw != nil {
		if t.parameters = true; raw[0] != '{' && string(raw) != "null" {
			b.Wrong("parameters", "must be an object")
		}
	}
	if t.kind.V != "app" && t.kind.V != "key" {
		b.Wrong("type", "must be 'app' or 'key'")
	}
	if t.kind.V == "key" {
		b.String("name", &t.name, rest.Required)
		b.String("strategy", &t.strategy)
		return
	}
	b.String("name", &t.name)
	b.String("strategy", &t.strategy, rest.Among("must be 'single' or 'multiple'", "single", "multiple"))
}

func (s *Services) createBinding(c *rest.Call) (*Binding, error) {
	var in bindingBody
	if err := rest.Take(c, &in); err != nil {
		return nil, err
	}
	i, err := s.instances.Find(c, in.instance.V)
	if cf.IsKind(err, cf.KindNotFound) {
		return nil, rest.Unprocessable("The service instance could not be found: '%s'", in.instance.V)
	}
	if err != nil {
		return nil, err
	}
	if in.parameters {
		return nil, rest.Unprocessable("Binding parameters are not supported for user-provided service instances")
	}
	if in.kind.V == "key" {
		if err := c.MayWriteSpace(i.SpaceGUID, access.SpaceWriters...); err != nil {
			return nil, err
		}
		return nil, rest.Unprocessable("Service credential bindings of type 'key' are not supported for user-provided service instances.")
	}
	if seen, err := c.Ref("app", in.app.V); err != nil {
		return nil, err
	} else if !seen {
		return nil, noApp(in.app.V)
	}
	space, err := spaceOf(c.Ctx(), c.DB(), in.app.V)
	if err != nil {
		return nil, err
	}
	if space == "" { // deleted since
		return nil, noApp(in.app.V)
	}
	if err := c.MayWriteSpace(space, access.AppManagers...); err != nil {
		return nil, err
	}
	b := &Binding{Name: in.name.Or(""), AppGUID: in.app.V, InstanceGUID: i.GUID, SpaceGUID: space}
	if err := in.meta.Apply(b.Meta()); err != nil {
		return nil, err
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		if err := s.bind(ctx, tx, b, in.strategy.V == "multiple"); err != nil {
			return err
		}
		return recordBinding(ctx, tx, "create", b, event.Request(c.Body))
	})
	return b, err
}

func noApp(guid string) error { return rest.Unprocessable("The app could not be found: '%s'", guid) }

var bindingName = regexp.MustCompile(`^[\w-]+$`)

// bind writes a binding, if Cloud Controller's rules allow it. The app and the instance are held, so that neither is deleted
// meanwhile and two who bind at once see each other.
func (s *Services) bind(ctx context.Context, tx bun.Tx, b *Binding, multiple bool) error {
	i, err := s.hold(ctx, tx, b)
	if err != nil {
		return err
	}
	if i.SpaceGUID != b.SpaceGUID {
		return rest.Unprocessable("The service instance and the app are in different spaces")
	}
	var others []*Binding
	if err := tx.NewSelect().Model(&others).Where("app_guid = ?", b.AppGUID).OrderExpr("id").Scan(ctx); err != nil {
		return err
	}
	same, named := 0, false
	for _, o := range others {
		switch {
		case o.InstanceGUID != b.InstanceGUID:
			named = named || b.Name != "" && o.Name == b.Name
		case o.Name != b.Name:
			return rest.Unprocessable("The binding name cannot be changed for the same app and service instance")
		default:
			same++
		}
	}
	const invalid = "The binding name is invalid. "
	switch {
	case multiple && same >= maxBindings:
		return rest.Unprocessable("The app has too many bindings to this service instance (limit: %d). Consider deleting existing/orphaned bindings.", maxBindings)
	case !multiple && same > 0:
		return rest.Unprocessable("The app is already bound to the service instance")
	case named:
		return rest.Unprocessable(invalid+"Binding names must be unique for a given service instance and app. The app already has a binding with name '%s'.", b.Name)
	case utf8.RuneCountInString(b.Name) > maxName:
		return rest.Unprocessable(invalid + "App binding names must be less than 256 characters.")
	case b.Name != "" && !bindingName.MatchString(b.Name):
		return rest.Unprocessable(invalid + "Valid characters are alphanumeric, underscore, and dash.")
	}
	return row.Insert(ctx, tx, b)
}

// hold holds the space, the app and the instance of a new binding, in this order.
func (s *Services) hold(ctx context.Context, tx bun.Tx, b *Binding) (*Instance, error) {
	if err := access.HoldSpace(ctx, s.DB, tx, b.SpaceGUID); err != nil {
		return nil, err
	}
	if err := s.DB.LockRow(ctx, tx, apps, b.AppGUID); err != nil {
		return nil, err
	}
	if space, err := spaceOf(ctx, tx, b.AppGUID); err != nil {
		return nil, err
	} else if space == "" {
		return nil, noApp(b.AppGUID)
	}
	i := new(Instance)
	i.GUID = b.InstanceGUID
	err := row.Lock(ctx, s.DB, tx, i)
	if gone(err) {
		err = rest.Unprocessable("The service instance could not be found: '%s'", b.InstanceGUID)
	}
	return i, err
}

type metaBody struct{ meta row.Patch }

func (t *metaBody) Take(b *rest.Body) { b.Metadata(&t.meta) }

func (s *Services) updateBinding(c *rest.Call, b *Binding) error {
	if err := c.MayWriteSpace(b.SpaceGUID, access.SpaceWriters...); err != nil {
		return err
	}
	var in metaBody
	if err := rest.Take(c, &in); err != nil {
		return err
	}
	return c.Change(b, func(ctx context.Context, tx bun.Tx) error {
		if err := in.meta.Apply(b.Meta()); err != nil {
			return err
		}
		return recordBinding(ctx, tx, "update", b, event.Request(c.Body))
	})
}

func (s *Services) deleteBinding(c *rest.Call, b *Binding) error {
	if err := c.MayWriteSpace(b.SpaceGUID, access.AppManagers...); err != nil {
		return err
	}
	return c.Write(func(ctx context.Context, tx bun.Tx) error { return s.unbind(ctx, tx, "guid = ?", b.GUID) })
}

// unbind deletes the bindings that meet the condition, with an event of each.
func (s *Services) unbind(ctx context.Context, tx bun.Tx, where, guid string) error {
	var bs []*Binding
	if err := s.DB.ForUpdate(tx.NewSelect().Model(&bs).Where(where, guid).OrderExpr("id")).Scan(ctx); err != nil {
		return err
	}
	for _, b := range bs {
		if err := row.Delete(ctx, tx, b); err != nil {
			return err
		}
		if err := recordBinding(ctx, tx, "delete", b, b.told()); err != nil {
			return err
		}
	}
	return nil
}

// told is the data of events about a binding that have no body.
func (b *Binding) told() map[string]any {
	return map[string]any{"request": map[string]any{"app_guid": b.AppGUID, "service_instance_guid": b.InstanceGUID}}
}

// recordBinding writes an audit event about a binding.
func recordBinding(ctx context.Context, tx bun.Tx, what string, b *Binding, data map[string]any) error {
	space, err := access.SpaceByGUID(ctx, tx, b.SpaceGUID)
	if err != nil {
		return err
	}
	t := event.Target{GUID: b.GUID, Type: "service_binding", Name: b.Name, Org: space.OrgGUID, Space: space.GUID}
	return event.Record(ctx, tx, "audit.service_binding."+what, t, data)
}

// drain is the instance's drain as bindings have it: commas separate drains elsewhere.
func drain(i *Instance) *string {
	if i.Drain.V == nil {
		return nil
	}
	v := strings.ReplaceAll(*i.Drain.V, ",", "%2c")
	return &v
}

// showDetails answers who may not read secrets as if there were no binding.
func (s *Services) showDetails(c *rest.Call) error {
	b, err := s.bindings.Find(c, c.Arg("guid"))
	if err != nil {
		return err
	}
	if ok, err := c.ReadsSecrets(b.SpaceGUID, access.SecretReaders...); err != nil {
		return err
	} else if !ok {
		return rest.NotFound("service_credential_binding")
	}
	i := new(Instance)
	err = c.DB().NewSelect().Model(i).Where("guid = ?", b.InstanceGUID).Scan(c.Ctx())
	if gone(err) {
		return rest.NotFound("service_credential_binding")
	}
	if err != nil {
		return err
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error { return recordBinding(ctx, tx, "show", b, b.told()) })
	if err != nil {
		return err
	}
	out := rest.Object{"credentials": i.credentials(), "volume_mounts": []any{}}
	if d := drain(i); d != nil {
		out["syslog_drain_url"] = *d
	}
	return c.JSON(http.StatusOK, out)
}

func (s *Services) noBindingParameters(c *rest.Call) error {
	if _, err := s.bindings.Find(c, c.Arg("guid")); err != nil {
		return err
	}
	return &cf.Error{Kind: cf.KindInvalid, Code: "ServiceFetchBindingParametersNotSupported"}
}
