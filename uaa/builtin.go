package uaa

import (
	"cmp"
	"context"
	"slices"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/uaa/grant"
	"ingot/uaa/scim"
)

// cfScopes are what the CLI may get for a user (cf-deployment.yml, uaa.clients.cf.scopes).
var cfScopes = []string{
	"network.admin", "network.write", "cloud_controller.read", "cloud_controller.write", "openid", "password.write",
	"cloud_controller.admin", "scim.read", "scim.write", "doppler.firehose", "uaa.user", "routing.router_groups.read",
	"routing.router_groups.write", "cloud_controller.admin_read_only", "cloud_controller.global_auditor", "perm.admin",
	"clients.read",
}

// adminGroups are those of the admin (cf-deployment.yml, uaa.scim.users), and uaa.admin.
var adminGroups = []string{
	"clients.read", "cloud_controller.admin", "doppler.firehose", "network.admin", "routing.router_groups.read",
	"routing.router_groups.write", "scim.read", "scim.write", "uaa.admin",
}

// cfClient is the client of the CLI. It has no secret: it proves nothing and is trusted with nothing of its own.
var cfClient = Client{
	ID: "cf", Grants: []string{grant.Password, grant.RefreshToken}, Scopes: cfScopes, Authorities: []string{"uaa.none"},
	AccessSeconds: 1200, RefreshSeconds: 30 * 24 * 3600,
}

// Client is a program that may ask for tokens.
type Client struct {
	ID             string
	Secret         string   // in the clear; only its hash is kept
	Grants         []string // password, refresh_token, client_credentials
	Scopes         []string // what it may get for users
	Authorities    []string // what it gets for itself
	AccessSeconds  int64    // 0: 43,200
	RefreshSeconds int64    // 0: 2,592,000
}

// row is the client without its secret as it is stored.
func (c Client) row() grant.Client {
	return grant.Client{
		ID: c.ID, AccessSeconds: cmp.Or(c.AccessSeconds, 43200), RefreshSeconds: cmp.Or(c.RefreshSeconds, 2592000),
		Grants: texts(c.Grants), Scopes: texts(c.Scopes), Authorities: texts(c.Authorities),
	}
}

// EnsureClient makes the client so, and leaves it alone where it is so already.
func (s *Server) EnsureClient(ctx context.Context, c Client) error {
	row := c.row()
	old, ok, err := s.clients.ByID(ctx, c.ID)
	if err != nil {
		return err
	}
	same := ok && c.Secret == "" && old.Secret == ""
	if ok && c.Secret != "" {
		if same, err = s.hasher.Check(ctx, old.Secret, c.Secret); err != nil {
			return err
		}
	}
	if same {
		row.Secret = old.Secret
		if old.AccessSeconds == row.AccessSeconds && old.RefreshSeconds == row.RefreshSeconds &&
			slices.Equal(old.Grants.V, row.Grants.V) && slices.Equal(old.Scopes.V, row.Scopes.V) &&
			slices.Equal(old.Authorities.V, row.Authorities.V) {
			return nil
		}
	} else if c.Secret != "" {
		if row.Secret, err = s.hasher.Hash(ctx, c.Secret); err != nil {
			return err
		}
	}
	return s.clients.Put(ctx, row)
}

func texts(words []string) sql.JSON[[]string] {
	if words == nil {
		words = []string{}
	}
	return sql.JSON[[]string]{V: words}
}

// EnsureAdmin makes the admin of the platform. Where a user of that name exists nothing changes, the password included.
func (s *Server) EnsureAdmin(ctx context.Context, name, password string) error {
	have, err := s.users.AllNamed(ctx, name, scim.Origin)
	if err != nil || len(have) > 0 {
		return err
	}
	u, err := scim.Resource{UserName: name, Emails: []scim.Email{{Value: name}}}.User()
	if err != nil {
		return err
	}
	if err := scim.CheckPassword(password); err != nil {
		return err
	}
	if u.Password, err = s.hasher.Hash(ctx, password); err != nil {
		return err
	}
	if err := s.users.Create(ctx, u, adminGroups...); !cf.IsKind(err, cf.KindConflict) {
		return err
	}
	return nil // another process was first
}
