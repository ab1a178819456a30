package flow

import (
	"context"
	"slices"

	"github.com/uptrace/bun"

	"ingot/capi/app"
	"ingot/cf"
	"ingot/rest"
)

// maxSidecars is how many a droplet may bring, counted for each process type: they are written in one transaction.
const maxSidecars = 100

// takeSidecars puts the sidecars of a droplet in the place of those of the last one. A user's own stay.
func takeSidecars(ctx context.Context, tx bun.Tx, a *app.App, brought []cf.StagedSidecar) error {
	had, err := app.SidecarsOf(ctx, tx, a.GUID)
	if err != nil {
		return err
	}
	for _, s := range had {
		if s.Origin == app.OfBuildpack {
			if err := app.DropSidecar(ctx, tx, s); err != nil {
				return err
			}
			continue
		}
		if slices.ContainsFunc(brought, func(b cf.StagedSidecar) bool { return b.Name == s.Name }) {
			return rest.Unprocessable("Buildpack defined sidecar '%s' conflicts with an existing user-defined sidecar. Consider renaming '%[1]s'.", s.Name)
		}
	}
	types := 0
	for _, b := range brought {
		if types += len(b.ProcessTypes); types > maxSidecars {
			return rest.Unprocessable("The droplet's buildpacks declare more than %d sidecars.", maxSidecars)
		}
		if b.Name == "" || b.Command == "" || len(b.ProcessTypes) == 0 || b.MemoryMB < 0 {
			return rest.Unprocessable("Buildpack defined sidecar '%s' needs a name, a command, a process type, and memory that is not negative.", b.Name)
		}
		s := &app.Sidecar{AppGUID: a.GUID, SpaceGUID: a.SpaceGUID, Name: b.Name, Command: b.Command, MemoryMB: b.MemoryMB, Origin: app.OfBuildpack}
		s.ProcessTypes.V = b.ProcessTypes
		if err := app.PutSidecar(ctx, tx, s); err != nil {
			return err
		}
	}
	return nil
}
