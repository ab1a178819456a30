package admin

import (
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/event"
)

// events is the noun of the audit events that rest/event records.
func events() *rest.Resource[event.Event] {
	return &rest.Resource[event.Event]{
		Kind: "event", Path: "/v3/audit_events",
		Visible: visibleEvents,
		Filters: []rest.Filter{
			{Param: "types", Where: "type IN (?)"},
			{Param: "target_guids", Where: "target_guid IN (?)", Not: "target_guid NOT IN (?)"},
			{Param: "space_guids", Where: "space_guid IN (?)"},
			{Param: "organization_guids", Where: "org_guid IN (?)"},
		},
		View: func(c *rest.Call, e *event.Event) rest.Object {
			data := e.Data.V
			if data == nil {
				data = map[string]any{}
			}
			return rest.Object{
				"type": e.Type, "data": data,
				"actor":        rest.Object{"guid": e.ActorGUID, "type": e.ActorType, "name": e.ActorName},
				"target":       rest.Object{"guid": e.TargetGUID, "type": e.TargetType, "name": e.TargetName},
				"space":        guid(e.SpaceGUID),
				"organization": guid(e.OrgGUID),
			}
		},
	}
}

func guid(g string) any {
	if g == "" {
		return nil
	}
	return rest.Object{"guid": g}
}

// visibleEvents shows those of the spaces in which the caller develops, supports or audits, and of the organizations
// that they audit.
func visibleEvents(c access.Caller) access.Reasons {
	if c.ReadsAll() {
		return access.Everything()
	}
	return access.Any(c.In("space_guid", access.Spaces(c, access.EventReaders...)), c.In("org_guid", access.Orgs(c, access.OrgAuditor)))
}
