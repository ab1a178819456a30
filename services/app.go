package services

import (
	"context"
	"errors"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
)

// apps is Cloud Controller's table of apps in the same store. Only guid, name_key and space_guid are read here; its row is held
// while an app is bound, so that nothing is bound to an app that is being deleted.
const apps = "app_apps"

// spaceOf is the space of an app, or "" when there is no such app.
func spaceOf(ctx context.Context, db bun.IDB, app string) (space string, err error) {
	err = db.NewSelect().TableExpr(apps).Column("space_guid").Where("guid = ?", app).Scan(ctx, &space)
	return space, ignoreGone(err)
}

func gone(err error) bool { return errors.Is(err, sql.ErrNoRows) }

// ignoreGone takes what is not there for done.
func ignoreGone(err error) error {
	if gone(err) {
		return nil
	}
	return err
}
