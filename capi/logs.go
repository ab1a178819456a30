package capi

import (
	"context"
	"log/slog"

	"ingot/cf"
)

// MayReadLogs is log-cache's question: an app's logs are for those who see the app.
func (a *API) MayReadLogs(ctx context.Context, who cf.Identity, source string) bool {
	ok, err := a.server.Sees(ctx, who, "app", source)
	if err != nil {
		slog.Error("who may read logs", "source", source, "error", err)
	}
	return ok
}
