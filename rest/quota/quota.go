// Package quota is what organizations and spaces may use at most: their limits, how they are held while something is
// added, and the rules with Cloud Controller's own words for what is too much.
//
// It promises that two who add at the same time cannot pass a limit together: Hold holds the rows of the organization
// and the space until the transaction ends, and the rules look at what is used after the change. It will not count:
// each family counts its own tables (Counter), and capi/org is the API of quotas.
package quota

import (
	"context"
	"embed"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest/access"
	"ingot/rest/row"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the table of quotas up to date.
func Migrate(ctx context.Context, db *sql.DB) error {
	return db.Migrate(ctx, migrations, "rest_quota_schema")
}

// Quota is a row of quotas. Those without an organization are for organizations, the others for its spaces.
type Quota struct {
	row.Row
	Name    string           `bun:"name"`
	NameKey string           `bun:"name_key"` // unique in OrgGUID; folded where that is empty
	OrgGUID string           `bun:"org_guid"`
	Limits  sql.JSON[Limits] `bun:"limits"`
	Holders []string         `bun:"-"` // guids of the organizations or spaces that have it, as far as the caller sees them
}

// Common gives what both kinds of quota have.
func (q *Quota) Common() *Quota { return q }

// OfOrg is a quota of organizations, OfSpace one of spaces.
type (
	OfOrg struct {
		bun.BaseModel `bun:"table:rest_quotas"`
		Quota
	}
	OfSpace struct {
		bun.BaseModel `bun:"table:rest_quotas"`
		Quota
	}
)

// Limits of a quota, as the API shows them; nil is unlimited.
type Limits struct {
	Apps     Apps     `json:"apps"`
	Services Services `json:"services"`
	Routes   Routes   `json:"routes"`
	Domains  Domains  `json:"domains"` // of organizations only
}

// Apps limits started processes and running tasks.
type Apps struct {
	Memory        *int `json:"total_memory_in_mb"`
	ProcessMemory *int `json:"per_process_memory_in_mb"` // of one instance, or one task
	Instances     *int `json:"total_instances"`
	Tasks         *int `json:"per_app_tasks"` // in all, whatever the name says: as in Cloud Controller
	LogRate       *int `json:"log_rate_limit_in_bytes_per_second"`
}

// Services limits service instances.
type Services struct {
	Paid      bool `json:"paid_services_allowed"`
	Instances *int `json:"total_service_instances"` // managed ones
	Keys      *int `json:"total_service_keys"`
}

// Routes limits routes.
type Routes struct {
	Total *int `json:"total_routes"`
	Ports *int `json:"total_reserved_ports"`
}

// Domains limits private domains.
type Domains struct {
	Total *int `json:"total_domains"`
}

// Within is what is counted in: one space, one organization, or (both empty) everywhere.
type Within struct{ Org, Space string }

// Spaces narrows q to the rows whose space_guid lies within.
func (w Within) Spaces(q *bun.SelectQuery) *bun.SelectQuery {
	switch {
	case w.Space != "":
		return q.Where("space_guid = ?", w.Space)
	case w.Org != "":
		return q.Where("space_guid IN (SELECT guid FROM rest_spaces WHERE org_guid = ?)", w.Org)
	}
	return q
}

// Usage is what is used; its JSON is a usage summary.
type Usage struct {
	StartedInstances int `json:"started_instances"`
	MemoryMB         int `json:"memory_in_mb"` // of started processes and running tasks
	Routes           int `json:"routes"`
	ServiceInstances int `json:"service_instances"`
	ReservedPorts    int `json:"reserved_ports"`
	Domains          int `json:"domains"`       // private ones of the organization
	AppTasks         int `json:"per_app_tasks"` // running and pending
	ServiceKeys      int `json:"service_keys"`
	LogRate          int `json:"-"` // bytes a second, of started processes and running tasks that have a limit
	Unlimited        int `json:"-"` // processes, started or not, without a limit of their log rate
}

// Counter adds to u what one family counts.
type Counter func(ctx context.Context, db bun.IDB, where Within, u *Usage) error

// Held is an organization, and a space of it, whose rows this transaction holds.
type Held struct{ Org, Space Place }

// Place is an organization or a space with its limits.
type Place struct {
	GUID, Name string
	Limits     // those of no quota: none
}

// Hold holds a space and its organization, in this order: organization, space. It refuses as access.HoldSpace and
// HoldOrg do.
func Hold(ctx context.Context, db *sql.DB, tx bun.Tx, space string) (*Held, error) {
	s, err := access.SpaceByGUID(ctx, tx, space) // its organization is always the same
	if err == nil {
		err = access.HoldOrg(ctx, db, tx, s.OrgGUID)
	}
	if err != nil {
		return nil, orNoSpace(ctx, db, tx, space, err)
	}
	if err := access.HoldSpace(ctx, db, tx, space); err != nil {
		return nil, err
	}
	h := new(Held)
	if h.Org, err = place(ctx, tx, "rest_organizations", s.OrgGUID); err != nil {
		return nil, err
	}
	h.Space, err = place(ctx, tx, "rest_spaces", space)
	return h, err
}

// orNoSpace says of a space that is gone what HoldSpace says.
func orNoSpace(ctx context.Context, db *sql.DB, tx bun.Tx, space string, err error) error {
	if held := access.HoldSpace(ctx, db, tx, space); held != nil {
		return held
	}
	return err
}

// HoldOrg is Hold for what lies in an organization, not in a space.
func HoldOrg(ctx context.Context, db *sql.DB, tx bun.Tx, org string) (*Held, error) {
	if err := access.HoldOrg(ctx, db, tx, org); err != nil {
		return nil, err
	}
	h := &Held{Space: Place{Limits: Limits{Services: Services{Paid: true}}}}
	var err error
	h.Org, err = place(ctx, tx, "rest_organizations", org)
	return h, err
}

func place(ctx context.Context, tx bun.Tx, table, guid string) (Place, error) {
	p, limits := Place{GUID: guid}, sql.JSON[Limits]{}
	limits.V.Services.Paid = true
	err := tx.NewSelect().TableExpr("? AS p", bun.Ident(table)).ColumnExpr("p.name, q.limits").
		Join("LEFT JOIN rest_quotas AS q ON q.guid = p.quota_guid").Where("p.guid = ?", guid).Scan(ctx, &p.Name, &limits)
	p.Limits = limits.V
	return p, err
}
