package route

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/row"
)

// visibleRoutes are those of the caller's spaces and those shared with them.
func visibleRoutes(c access.Caller) access.Reasons {
	if c.ReadsAll() {
		return access.Everything()
	}
	mine := access.Spaces(c, access.RouteReaders...)
	return access.Any(c.In("space_guid", mine), c.In("guid", bun.SafeQuery(sharedWith, mine)))
}

// sharedWith are the routes that spaces were given.
const sharedWith = "SELECT route_guid FROM route_shared_routes WHERE space_guid IN (?)"

func ofSpaces(_ *rest.Call, q *bun.SelectQuery, spaces []string) (*bun.SelectQuery, error) {
	return q.Where("(space_guid IN (?) OR guid IN ("+sharedWith+"))", bun.List(spaces), bun.List(spaces)), nil
}

func (f *Family) sharingRoutes() []rest.Route {
	const shared = "/v3/routes/{guid}/relationships/shared_spaces"
	return []rest.Route{
		{Pattern: "GET " + shared, Handle: func(c *rest.Call) error {
			r, err := f.sharing(c, nil)
			if err != nil {
				return err
			}
			return showSpaces(c, r)
		}},
		{Pattern: "POST " + shared, Handle: f.shareRoute},
		{Pattern: "DELETE " + shared + "/{space}", Handle: f.unshareRoute},
		{Pattern: "PATCH /v3/routes/{guid}/relationships/space", Handle: f.transfer},
	}
}

// sharing finds the route of a request about sharing, which the feature flag must allow, whatever the route. With roles the caller must have one
// of them in the route's space.
func (f *Family) sharing(c *rest.Call, roles access.Roles) (*Route, error) {
	if err := access.Enabled(c.Ctx(), c.DB(), "route_sharing"); err != nil {
		return nil, err
	}
	r, err := f.Resource.Find(c, c.Arg("guid"))
	if err == nil && roles != nil {
		err = c.MayWriteSpace(r.SpaceGUID, roles...)
	}
	return r, err
}

func showSpaces(c *rest.Call, r *Route) error {
	var guids []string
	err := c.DB().NewSelect().Model((*sharedRoute)(nil)).Column("space_guid").Where("route_guid = ?", r.GUID).OrderExpr("id").Scan(c.Ctx(), &guids)
	if err != nil {
		return err
	}
	o := rest.ToMany(guids)
	o["links"] = rest.Object{"self": c.Link("/v3/routes/%s/relationships/shared_spaces", r.GUID)}
	return c.JSON(http.StatusOK, o)
}

// spacesBody reads {"data": [{"guid"}]}.
type spacesBody struct{ guids []string }

func (t *spacesBody) Take(b *rest.Body) {
	raw := b.Raw("data")
	var data []json.RawMessage
	err := json.Unmarshal(raw, &data)
	if len(data) == 0 && (err == nil || !given(raw)) {
		b.Wrong("data", "can't be blank")
	}
	if err != nil || !given(raw) {
		b.Wrong("data", "must be an array")
		return
	}
	for i, one := range data {
		var v struct{ GUID *string }
		if json.Unmarshal(one, &v) != nil || v.GUID == nil {
			b.Fault("Invalid data type: Data[%d] guid should be a string.", i)
			continue
		}
		t.guids = append(t.guids, *v.GUID)
	}
	slices.Sort(t.guids)
	t.guids = slices.Compact(t.guids)
}

func (f *Family) shareRoute(c *rest.Call) error {
	r, err := f.sharing(c, access.AppManagers)
	if err != nil {
		return err
	}
	var t spacesBody
	if err := rest.Take(c, &t); err != nil {
		return err
	}
	if err := mayGiveTo(c, r, t.guids); err != nil {
		return err
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		for _, s := range t.guids {
			if err := access.HoldSpace(ctx, f.DB, tx, s); err != nil {
				return err
			}
		}
		if err := lock(ctx, f.DB, tx, r, "route"); err != nil {
			return err
		}
		if slices.Contains(t.guids, r.SpaceGUID) {
			return rest.Unprocessable("Unable to share route '%s' with space '%s'. Routes cannot be shared into the space where they were created.", r.URL(), r.SpaceGUID)
		}
		for _, s := range t.guids {
			if err := give(ctx, tx, r, s); err != nil {
				return err
			}
		}
		return record(ctx, tx, "audit.route.share", r, map[string]any{"target_space_guids": t.guids})
	})
	if err != nil {
		return err
	}
	return showSpaces(c, r)
}

// mayGiveTo names the spaces that the caller does not see, and those where the caller may not write.
func mayGiveTo(c *rest.Call, r *Route, spaces []string) error {
	var unseen, closed []string
	for _, guid := range spaces {
		seen, err := c.Ref("space", guid)
		if err != nil {
			return err
		}
		if !seen {
			unseen = append(unseen, guid)
		} else if err := c.MayWriteSpace(guid, access.SpaceWriters...); err != nil {
			if !cf.IsKind(err, cf.KindForbidden) && !cf.IsKind(err, cf.KindUnprocessable) {
				return err
			}
			closed = append(closed, guid)
		}
	}
	var faults []string
	words := func(spaces []string, why string) {
		if spaces != nil {
			faults = append(faults, fmt.Sprintf("Unable to share route %s with spaces ['%s']. %s", r.URL(), strings.Join(spaces, "', '"), why))
		}
	}
	words(unseen, "Ensure the spaces exist and that you have access to them.")
	words(closed, "Write permission is required in order to share a route with a space and the containing organization must not be suspended.")
	if faults == nil {
		return nil
	}
	return rest.Unprocessable("%s", strings.Join(faults, "\n"))
}

func give(ctx context.Context, tx bun.Tx, r *Route, space string) error {
	s := &sharedRoute{RouteGUID: r.GUID, SpaceGUID: space}
	has, err := tx.NewSelect().Model(s).Where("route_guid = ? AND space_guid = ?", r.GUID, space).Exists(ctx)
	if err == nil && !has {
		_, err = tx.NewInsert().Model(s).Exec(ctx)
	}
	return err
}

func withdraw(ctx context.Context, tx bun.Tx, r *Route, space string) error {
	_, err := tx.NewDelete().Model((*sharedRoute)(nil)).Where("route_guid = ? AND space_guid = ?", r.GUID, space).Exec(ctx)
	return err
}

// closed says in CF's words why the caller may not bring a route into, or out of, the space; "" when the caller may.
func closed(c *rest.Call, space string) (string, error) {
	seen, err := c.Ref("space", space)
	if err != nil {
		return "", err
	}
	if !seen {
		return "Ensure the space exists and that you have access to it.", nil
	}
	err = c.MayWriteSpace(space, access.AppManagers...)
	var e *cf.Error
	switch {
	case err == nil:
		return "", nil
	case !errors.As(err, &e):
		return "", err
	case e.Code == "ResourceBeingDeleted":
		return "The target space is being deleted.", nil
	case e.Code == "OrgSuspended" || e.Code == "SpaceSuspended":
		return "The target organization or space is suspended.", nil
	case e.Kind == cf.KindForbidden:
		return "You don't have write permission for the target space.", nil
	}
	return "", err
}

// unshareRoute takes a route from a space. What is mapped there stays mapped, as in CF.
func (f *Family) unshareRoute(c *rest.Call) error {
	r, err := f.sharing(c, access.AppManagers)
	if err != nil {
		return err
	}
	space := c.Arg("space")
	if why, err := closed(c, space); err != nil {
		return err
	} else if why != "" {
		return rest.Unprocessable("Unable to unshare route '%s' from space '%s'. %s", r.URL(), space, why)
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error {
		if err := lock(ctx, f.DB, tx, r, "route"); err != nil {
			return err
		}
		if r.SpaceGUID == space {
			return rest.Unprocessable("Unable to unshare route '%s' from space '%s'. Routes cannot be removed from the space that owns them.", r.URL(), space)
		}
		if err := withdraw(ctx, tx, r, space); err != nil {
			return err
		}
		return record(ctx, tx, "audit.route.unshare", r, map[string]any{"target_space_guid": space})
	})
	if err != nil {
		return err
	}
	return c.NoContent()
}

// transferBody reads {"data": {"guid"}}.
type transferBody struct{ space string }

func (t *transferBody) Take(b *rest.Body) {
	raw := b.Raw("data")
	var data map[string]json.RawMessage
	if err := json.Unmarshal(raw, &data); !given(raw) || err == nil && len(data) == 0 {
		b.Wrong("data", "can't be blank")
		if !given(raw) {
			b.Wrong("data", "must be an object")
			return
		}
	} else if err != nil {
		b.Wrong("data", "must be an object")
		return
	}
	if len(data) != 1 {
		b.Wrong("data", "can only accept one key")
	}
	guid, ok := data["guid"]
	switch {
	case !ok:
		b.Wrong("data", "can only accept key 'guid'")
	case given(guid) && json.Unmarshal(guid, &t.space) != nil:
		b.Wrong("data", "%s must be a string", guid)
	case given(guid) && t.space == "":
		b.Wrong("data", "guid can't be blank")
	}
}

// transfer gives the route to another space; the one that had it keeps a share.
func (f *Family) transfer(c *rest.Call) error {
	r, err := f.sharing(c, access.SpaceWriters)
	if err != nil {
		return err
	}
	var t transferBody
	if err := rest.Take(c, &t); err != nil {
		return err
	}
	refuse := func(why string) error {
		return rest.Unprocessable("Unable to transfer owner of route '%s' to space '%s'. %s", r.URL(), t.space, why)
	}
	if why, err := closed(c, t.space); err != nil {
		return err
	} else if why != "" {
		return refuse(why)
	}
	target, err := access.SpaceByGUID(c.Ctx(), c.DB(), t.space)
	if err != nil {
		return err
	}
	has, err := usable(c.DB().NewSelect().Model((*Domain)(nil)).Where("guid = ?", r.DomainGUID), target.OrgGUID).Exists(c.Ctx())
	if err != nil {
		return err
	}
	if !has {
		return refuse("Target space does not have access to route's domain")
	}
	if err := c.Write(func(ctx context.Context, tx bun.Tx) error { return f.move(ctx, tx, r, t.space) }); err != nil {
		return err
	}
	return c.NoContent()
}

func (f *Family) move(ctx context.Context, tx bun.Tx, r *Route, space string) error {
	if err := access.HoldSpace(ctx, f.DB, tx, space); err != nil {
		return err
	}
	if err := lock(ctx, f.DB, tx, r, "route"); err != nil || r.SpaceGUID == space {
		return err
	}
	if err := record(ctx, tx, "audit.route.transfer-owner", r, map[string]any{"target_space_guid": space}); err != nil {
		return err
	}
	before := r.SpaceGUID
	r.SpaceGUID = space
	if err := f.place(ctx, tx, r); err != nil {
		return err
	}
	if err := withdraw(ctx, tx, r, space); err != nil {
		return err
	}
	if err := give(ctx, tx, r, before); err != nil {
		return err
	}
	return row.Update(ctx, tx, r)
}

// Available tells whether apps of the space may have the route: it owns the route, or was given it.
func (r *Route) Available(ctx context.Context, db bun.IDB, space string) (bool, error) {
	if r.SpaceGUID == space {
		return true, nil
	}
	return db.NewSelect().Model((*sharedRoute)(nil)).Where("route_guid = ? AND space_guid = ?", r.GUID, space).Exists(ctx)
}

// EmptySpace takes away what a space that is being deleted has: its routes, and its share of others'.
func (f *Family) EmptySpace(ctx context.Context, space string) error {
	if err := f.RemoveWhere(ctx, "space_guid = ?", space); err != nil {
		return err
	}
	return f.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewDelete().Model((*sharedRoute)(nil)).Where("space_guid = ?", space).Exec(ctx)
		return err
	})
}

// lock reads the row again and holds it; one that is gone is not found.
func lock(ctx context.Context, db *sql.DB, tx bun.Tx, n row.Noun, kind string) error {
	err := row.Lock(ctx, db, tx, n)
	if errors.Is(err, sql.ErrNoRows) {
		return rest.NotFound(kind)
	}
	return err
}
