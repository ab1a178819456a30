package access

import (
	"context"
	"errors"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest/row"
)

// Flag is a row of feature flags; its guid is its name. Each flag has a row; the time of its change is 0 until then.
type Flag struct {
	bun.BaseModel `bun:"table:rest_feature_flags"`
	row.Row
	Enabled bool    `bun:"enabled"`
	Message *string `bun:"error_message"`
}

// FlagDefault is one of CF's feature flags.
type FlagDefault struct {
	Name       string
	Enabled    bool
	AdminsSkip bool // admins may although it is disabled
}

// Flags are all feature flags, in CF's order.
var Flags = []FlagDefault{
	{Name: "user_org_creation"},
	{Name: "private_domain_creation", Enabled: true},
	{Name: "app_bits_upload", Enabled: true, AdminsSkip: true},
	{Name: "app_scaling", Enabled: true, AdminsSkip: true},
	{Name: "route_creation", Enabled: true},
	{Name: "service_instance_creation", Enabled: true},
	{Name: "diego_docker"},
	{Name: "diego_cnb"},
	{Name: "set_roles_by_username", Enabled: true, AdminsSkip: true},
	{Name: "unset_roles_by_username", Enabled: true, AdminsSkip: true},
	{Name: "task_creation", Enabled: true, AdminsSkip: true},
	{Name: "env_var_visibility", Enabled: true},
	{Name: "space_scoped_private_broker_creation", Enabled: true},
	{Name: "space_developer_env_var_visibility", Enabled: true, AdminsSkip: true},
	{Name: "service_instance_sharing"},
	{Name: "hide_marketplace_from_unauthenticated_users"},
	{Name: "resource_matching", Enabled: true},
	{Name: "route_sharing"},
	{Name: "hash_based_routing"},
}

// FlagByName finds a flag's default.
func FlagByName(name string) (FlagDefault, bool) {
	for _, f := range Flags {
		if f.Name == name {
			return f, true
		}
	}
	return FlagDefault{}, false
}

// EnsureFlags makes the rows of the flags that have none yet.
func EnsureFlags(ctx context.Context, db *sql.DB) error {
	return db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		for _, f := range Flags {
			ok, err := tx.NewSelect().Model((*Flag)(nil)).Where("guid = ?", f.Name).Exists(ctx)
			if err == nil && !ok {
				_, err = tx.NewInsert().Model(&Flag{Row: row.Row{GUID: f.Name, CreatedAt: sql.Now()}, Enabled: f.Enabled}).Exec(ctx)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Enabled answers nil when the feature flag lets the caller in ctx go on, and else 403 FeatureDisabled with the
// operator's message or the flag's name.
func Enabled(ctx context.Context, db bun.IDB, name string) error {
	def, known := FlagByName(name)
	if !known {
		return cf.Errorf(cf.KindInternal, "", "no feature flag %s", name)
	}
	c := From(ctx)
	if def.AdminsSkip && c.Admin() || name == "space_developer_env_var_visibility" && c.Has(ScopeAdminReadOnly) {
		return nil
	}
	f := Flag{Enabled: def.Enabled}
	err := db.NewSelect().Model(&f).Where("guid = ?", name).Scan(ctx)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if f.Enabled {
		return nil
	}
	words := name
	if f.Message != nil {
		words = *f.Message
	}
	return cf.Errorf(cf.KindForbidden, "FeatureDisabled", "%s", words)
}
