package route

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/event"
	"ingot/rest/quota"
	"ingot/rest/row"
)

type routeBody struct {
	create        bool
	host, path    rest.Opt[string]
	port          rest.Opt[int]
	space, domain rest.Opt[string]
	options       map[string]*string
	meta          row.Patch
	hash          bool // the feature flag hash_based_routing is on
}

var (
	hostName  = regexp.MustCompile(`^([\w-]+|\*)?$`)
	beginning = regexp.MustCompile(`^(/.*)?$`)
)

// words of CF for hosts.
const badHost = `must be either "*" or contain only alphanumeric characters, "_", or "-"`

func (t *routeBody) Take(b *rest.Body) {
	b.Metadata(&t.meta)
	if t.create {
		b.Relationships(false, func(b *rest.Body) {
			b.ToOne("space", &t.space, rest.Required)
			b.ToOne("domain", &t.domain, rest.Required)
		})
		b.String("host", &t.host, rest.Length(0, 63), rest.Pattern(hostName, badHost))
		b.String("path", &t.path, rest.Length(0, 128), rest.Pattern(beginning, "must begin with /"))
		if strings.Contains(t.path.V, "?") {
			b.Wrong("path", "cannot contain ?")
		}
		if t.path.V == "/" {
			b.Wrong("path", "cannot be exactly /")
		}
		b.Int("port", &t.port, 0, 65535, "must be less than or equal to 65535")
	}
	t.takeOptions(b)
}

func (t *routeBody) takeOptions(b *rest.Body) {
	raw := b.Raw("options")
	if raw == nil {
		return
	}
	var in map[string]json.RawMessage
	if json.Unmarshal(raw, &in) != nil || in == nil {
		b.Fault("Options 'options' is not a valid object")
		return
	}
	t.options = map[string]*string{}
	for k, v := range in {
		var s *string
		if json.Unmarshal(v, &s) != nil {
			text := string(v)
			s = &text
		}
		t.options[k] = s
	}
	for _, fault := range CheckOptions(t.options, t.hash) {
		b.Fault("Options %s", fault)
	}
}

// CheckOptions says what is wrong with options of a route, in CF's words.
func CheckOptions(options map[string]*string, hash bool) (faults []string) {
	known, algorithms := []string{"loadbalancing"}, []string{"round-robin", "least-connection"}
	if hash {
		known, algorithms = append(known, "hash_header", "hash_balance"), append(algorithms, "hash")
	}
	for k, v := range options {
		if !slices.Contains(known, k) {
			faults = append(faults, fmt.Sprintf("Unknown field(s): '%s'", k))
		} else if k == "loadbalancing" && v != nil && !slices.Contains(algorithms, *v) {
			faults = append(faults, fmt.Sprintf("Loadbalancing must be one of '%s' if present", strings.Join(algorithms, ", ")))
		}
	}
	slices.Sort(faults)
	return faults
}

func mergeOptions(into map[string]string, from map[string]*string) map[string]string {
	out := map[string]string{}
	for k, v := range into {
		out[k] = v
	}
	for k, v := range from {
		if delete(out, k); v != nil {
			out[k] = *v
		}
	}
	return out
}

func (f *Family) body(c *rest.Call, create bool) (*routeBody, error) {
	t := &routeBody{create: create, hash: access.Enabled(c.Ctx(), c.DB(), "hash_based_routing") == nil}
	return t, rest.Take(c, t)
}

func (f *Family) create(c *rest.Call) (*Route, error) {
	if !c.Caller.Admin() {
		if err := access.Enabled(c.Ctx(), c.DB(), "route_creation"); err != nil {
			return nil, err
		}
	}
	t, err := f.body(c, true)
	if err != nil {
		return nil, err
	}
	if seen, err := c.Ref("space", t.space.V); err != nil {
		return nil, err
	} else if !seen {
		return nil, rest.Unprocessable("Invalid space. Ensure that the space exists and you have access to it.")
	}
	if seen, err := c.Ref("domain", t.domain.V); err != nil {
		return nil, err
	} else if !seen {
		return nil, rest.Unprocessable("Invalid domain. Ensure that the domain exists and you have access to it.")
	}
	if err := c.MayWriteSpace(t.space.V, access.AppManagers...); err != nil {
		return nil, err
	}
	if t.port.V != 0 {
		return nil, rest.Unprocessable("Routes with protocol 'http' do not support ports.")
	}
	r := &Route{Host: t.host.V, Path: t.path.V, DomainGUID: t.domain.V, SpaceGUID: t.space.V}
	r.Options.V = mergeOptions(nil, t.options)
	if err := t.meta.Apply(r.Meta()); err != nil {
		return nil, err
	}
	err = c.Write(func(ctx context.Context, tx bun.Tx) error { return f.Insert(ctx, tx, r, event.Request(c.Body)) })
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Insert makes a route and its event, or says in CF's words why it cannot be. The caller may write the space.
func (f *Family) Insert(ctx context.Context, tx bun.Tx, r *Route, data map[string]any) error {
	h, err := quota.Hold(ctx, f.DB, tx, r.SpaceGUID)
	if err != nil {
		return err
	}
	d := new(Domain)
	err = tx.NewSelect().Model(d).Where("guid = ?", r.DomainGUID).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) { // it was deleted since
		return rest.Unprocessable("Invalid domain. Ensure that the domain exists and you have access to it.")
	}
	if err != nil {
		return err
	}
	r.HostKey, r.DomainName = access.Fold(r.Host), d.Name
	s, err := access.SpaceByGUID(ctx, tx, r.SpaceGUID)
	if err != nil {
		return err
	}
	if !d.Shared() && d.OrgGUID != s.OrgGUID {
		o, err := access.OrgByGUID(ctx, tx, s.OrgGUID)
		if err != nil {
			return err
		}
		return rest.Unprocessable("Invalid domain. Domain '%s' is not available in organization '%s'.", d.Name, o.Name)
	}
	if d.Shared() && r.Host == "*" && !access.From(ctx).Admin() {
		return rest.Unprocessable("You do not have sufficient permissions to create a route with a wildcard host on a domain not scoped to an organization.")
	}
	if err := f.conflict(ctx, tx, r, d); err != nil {
		return err
	}
	err = row.Insert(ctx, tx, r)
	if sql.IsUnique(err) {
		return taken(r)
	}
	if err != nil {
		return err
	}
	if err := fits(ctx, tx, h, r); err != nil {
		return err
	}
	return record(ctx, tx, "audit.route.create", r, data)
}

func (f *Family) conflict(ctx context.Context, tx bun.Tx, r *Route, d *Domain) error {
	full := strings.TrimPrefix(r.HostKey+"."+d.Name, ".")
	switch {
	case d.Name == f.Domain && slices.Contains(SystemHosts, r.HostKey):
		return rest.Unprocessable("Route conflicts with a reserved system route.")
	case d.Internal && r.Path != "":
		return rest.Unprocessable("Paths are not supported for internal domains.")
	case d.Internal && r.Host == "*":
		return rest.Unprocessable("Wildcard hosts are not supported for internal domains.")
	case r.Host == "" && d.Shared():
		return rest.Unprocessable("Missing host. Routes in shared domains must have a host defined.")
	case len(full) > 253:
		return rest.Unprocessable("Host combined with domain name must be no more than 253 characters.")
	}
	if r.Host != "" {
		if same, err := tx.NewSelect().Model((*Domain)(nil)).Where("name = ?", full).Exists(ctx); err != nil {
			return err
		} else if same {
			return rest.Unprocessable("Route conflicts with domain '%s'.", r.Host+"."+d.Name)
		}
	}
	foreign := tx.NewSelect().Model((*Route)(nil)).Where("domain_guid = ? AND host_key = ? AND space_guid <> ?", d.GUID, r.HostKey, r.SpaceGUID)
	if other, err := foreign.Exists(ctx); err != nil || other && d.Shared() { // else a path would take requests from another's app
		if err == nil {
			err = taken(r)
		}
		return err
	}
	return nil
}

func taken(r *Route) error {
	switch {
	case r.Host == "" && r.Path == "":
		return rest.Unprocessable("Route already exists for domain '%s'.", r.DomainName)
	case r.Host == "":
		return rest.Unprocessable("Route already exists with path '%s' for domain '%s'.", r.Path, r.DomainName)
	case r.Path == "":
		return rest.Unprocessable("Route already exists with host '%s' for domain '%s'.", r.Host, r.DomainName)
	}
	return rest.Unprocessable("Route already exists with host '%s' and path '%s' for domain '%s'.", r.Host, r.Path, r.DomainName)
}

func (f *Family) update(c *rest.Call, r *Route) error {
	t, err := f.body(c, false)
	if err != nil {
		return err
	}
	if err := c.MayWriteSpace(r.SpaceGUID, access.AppManagers...); err != nil {
		return err
	}
	err = c.Change(r, func(ctx context.Context, tx bun.Tx) error {
		r.Options.V = mergeOptions(r.Options.V, t.options)
		if err := t.meta.Apply(r.Meta()); err != nil {
			return err
		}
		return record(ctx, tx, "audit.route.update", r, event.Request(c.Body))
	})
	if err != nil || t.options == nil {
		return err
	}
	apps, err := mappedApps(c.Ctx(), c.DB(), r.GUID)
	f.tell(c.Ctx(), apps)
	return err
}

func mappedApps(ctx context.Context, db bun.IDB, route string) (apps []string, err error) {
	err = db.NewSelect().Model((*Destination)(nil)).Column("app_guid").Where("route_guid = ?", route).Scan(ctx, &apps)
	return apps, err
}
