// Package event records audit events: who did what to which object.
//
// It promises that an event is written in the transaction of the change that it tells of, so that neither is there
// without the other. It will not list events: that is a noun of capi/admin.
package event

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest/access"
	"ingot/rest/row"
)

// Event is a row of audit events.
type Event struct {
	bun.BaseModel `bun:"table:rest_events"`
	row.Row
	Type       string                   `bun:"type"` // such as audit.app.create
	ActorGUID  string                   `bun:"actor_guid"`
	ActorType  string                   `bun:"actor_type"`
	ActorName  string                   `bun:"actor_name"`
	TargetGUID string                   `bun:"target_guid"`
	TargetType string                   `bun:"target_type"`
	TargetName string                   `bun:"target_name"`
	OrgGUID    string                   `bun:"org_guid"`
	SpaceGUID  string                   `bun:"space_guid"`
	Data       sql.JSON[map[string]any] `bun:"data"`
}

// Target is the object of an event and where it lives.
type Target struct {
	GUID, Type, Name string
	Org, Space       string // guids; "" where it lives in none
}

// Actor is who did it when it was not the caller: a process that crashed.
type Actor struct{ GUID, Type, Name string }

type actorKey struct{}

// By makes the events that are recorded with ctx those of another actor than the caller.
func By(ctx context.Context, a Actor) context.Context { return context.WithValue(ctx, actorKey{}, a) }

// Record writes an event of the caller in ctx, or of the actor that By named. data is CF's metadata of the event; see
// Request.
func Record(ctx context.Context, tx bun.Tx, kind string, t Target, data map[string]any) error {
	a, ok := ctx.Value(actorKey{}).(Actor)
	if !ok {
		a.GUID, a.Type, a.Name = access.From(ctx).Actor()
	}
	if data == nil {
		data = map[string]any{}
	}
	e := &Event{
		Type: kind, ActorGUID: a.GUID, ActorType: a.Type, ActorName: a.Name,
		TargetGUID: t.GUID, TargetType: t.Type, TargetName: t.Name, OrgGUID: t.Org, SpaceGUID: t.Space,
	}
	e.Data.V = data
	if err := row.Insert(ctx, tx, e); err != nil {
		return fmt.Errorf("audit event %s: %w", kind, err)
	}
	return nil
}

// Request is the usual data: the body of the request that made the change, {"request": {...}}. Secrets must be taken
// out by the caller.
func Request(body json.RawMessage) map[string]any {
	var v map[string]any
	if json.Unmarshal(body, &v) != nil || v == nil {
		v = map[string]any{}
	}
	return map[string]any{"request": v}
}
