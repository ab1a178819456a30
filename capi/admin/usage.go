package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/row"
	"ingot/rest/usage"
)

// usageVisible: usage events are for those who read everything.
func usageVisible(c access.Caller) access.Reasons {
	if c.ReadsAll() {
		return access.Everything()
	}
	return access.Any()
}

// after is the filter after_guid: what came later than an event. words name the noun in Cloud Controller's refusal.
func after[T any](words string) rest.Filter {
	return rest.Filter{
		Param: "after_guid",
		Check: func(values []string) string {
			if len(values) != 1 {
				return "After guid filter accepts only one guid"
			}
			return ""
		},
		By: func(c *rest.Call, q *bun.SelectQuery, values []string) (*bun.SelectQuery, error) {
			if !c.Caller.ReadsAll() { // they see an empty list, whatever the guid
				return q, nil
			}
			var last int64
			err := c.DB().NewSelect().Model((*T)(nil)).Column("id").Where("guid = ?", values[0]).Scan(c.Ctx(), &last)
			if errors.Is(err, sql.ErrNoRows) {
				return nil, rest.Unprocessable("After guid filter must be a valid %s guid.", words)
			}
			return q.Where("id > ?", last), err
		},
	}
}

func appUsage() *rest.Resource[usage.App] {
	return &rest.Resource[usage.App]{
		Kind: "app_usage_event", Path: "/v3/app_usage_events", Visible: usageVisible, Unprocessable: true, Refuse: []string{"updated_ats", "updated_at"},
		Filters: []rest.Filter{after[usage.App]("app usage event")},
		View: func(_ *rest.Call, e *usage.App) rest.Object {
			return rest.Object{
				"updated_at":                rest.Stamp(e.CreatedAt),
				"state":                     rest.Object{"current": e.State, "previous": text(e.WasState)},
				"app":                       rest.Object{"guid": e.AppGUID, "name": e.AppName},
				"process":                   rest.Object{"guid": text(e.ProcessGUID), "type": text(e.ProcessType)},
				"space":                     rest.Object{"guid": e.SpaceGUID, "name": e.SpaceName},
				"organization":              rest.Object{"guid": e.OrgGUID},
				"buildpack":                 rest.Object{"guid": text(e.PackGUID), "name": text(e.PackName)},
				"task":                      rest.Object{"guid": text(e.TaskGUID), "name": text(e.TaskName)},
				"memory_in_mb_per_instance": rest.Object{"current": e.MemoryMB, "previous": e.WasMemoryMB},
				"instance_count":            rest.Object{"current": e.Instances, "previous": e.WasInstances},
			}
		},
	}
}

func serviceUsage() *rest.Resource[usage.Service] {
	return &rest.Resource[usage.Service]{
		Kind: "service_usage_event", Path: "/v3/service_usage_events", Visible: usageVisible, Unprocessable: true,
		Refuse: []string{"updated_at"}, // the documentation has the filter updated_ats here
		Filters: []rest.Filter{
			after[usage.Service]("service usage event"),
			{Param: "service_instance_types", Where: "instance_type IN (?)"},
			{Param: "service_offering_guids", Where: "offering_guid IN (?)"},
		},
		View: func(_ *rest.Call, e *usage.Service) rest.Object {
			return rest.Object{
				"updated_at": rest.Stamp(e.CreatedAt), "state": e.State,
				"space":            rest.Object{"guid": e.SpaceGUID, "name": e.SpaceName},
				"organization":     rest.Object{"guid": e.OrgGUID},
				"service_instance": rest.Object{"guid": e.InstanceGUID, "name": e.InstanceName, "type": e.InstanceType},
				"service_plan":     rest.Object{"guid": text(e.PlanGUID), "name": text(e.PlanName)},
				"service_offering": rest.Object{"guid": text(e.OfferingGUID), "name": text(e.OfferingName)},
				"service_broker":   rest.Object{"guid": text(e.BrokerGUID), "name": text(e.BrokerName)},
			}
		},
	}
}

const reseed = "/actions/destructively_purge_all_and_reseed"

func (f *Family) usageRoutes() []rest.Route {
	return []rest.Route{
		{Pattern: "POST /v3/app_usage_events" + reseed, Handle: purgeUsage("rest_app_usage", f.ReseedApps)},
		{Pattern: "POST /v3/service_usage_events" + reseed, Handle: purgeUsage("rest_service_usage", f.ReseedServices)},
	}
}

// purgeUsage deletes all events of a table and writes one for each thing that is in use; nil = nothing can be.
func purgeUsage(table string, seed func(ctx context.Context, tx bun.Tx) error) rest.Handler {
	return func(c *rest.Call) error {
		if err := c.Admins(); err != nil {
			return err
		}
		err := c.Write(func(ctx context.Context, tx bun.Tx) error {
			if err := row.DeleteWhere(ctx, tx, table, "1 = 1"); err != nil || seed == nil {
				return err
			}
			return seed(ctx, tx)
		})
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, rest.Object{})
	}
}
