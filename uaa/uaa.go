// Package uaa is the OAuth2 and OpenID Connect server: users, clients and groups in its own store, and the tokens
// that every other room trusts. On the wire it is UAA, as its API documentation says.
//
// It promises: only RS256, refresh tokens that rotate, a lockout after five wrong passwords, answers that take as long
// for unknown users, and that a changed password or a deleted user voids all tokens within five seconds. It will not
// (yet) show web pages, know other identity providers, or serve grants that it does not name in its discovery document.
// DESIGN.md tells why.
package uaa

import (
	"context"
	"embed"
	"net/http"
	"sync/atomic"
	"time"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/kit/web"
	"ingot/uaa/fault"
	"ingot/uaa/grant"
	"ingot/uaa/key"
	"ingot/uaa/scim"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Version is the release of CF's UAA whose API this one speaks; clients read it at /login and /info.
const Version = "77.20.0"

// Server is the room. Set the fields, then Start; the doors and Handler work from then on.
type Server struct {
	DB       *sql.DB          // the store uaa
	KeyFile  string           // the signing keys; made when missing
	URL      string           // such as https://uaa.ingot.test
	LoginURL string           // such as https://login.ingot.test
	Now      func() time.Time // nil: the clock

	keys     *key.Set
	users    scim.Users
	groups   scim.Groups
	clients  grant.Clients
	chains   grant.Chains
	revoked  grant.Revoked
	attempts *grant.Attempts
	hasher   *scim.Hasher
	secrets  seen[struct{}]      // client secrets that were right
	tokens   seen[*grant.Claims] // access tokens that were good
	pruned   atomic.Int64        // when, in Unix seconds
}

var (
	_ cf.Tokens    = (*Server)(nil)
	_ cf.Directory = (*Server)(nil)
)

// Start brings the store to the newest schema, loads the keys, and makes the built-in groups and the client cf.
func (s *Server) Start(ctx context.Context) (err error) {
	if err := s.DB.Migrate(ctx, migrations, "uaa_versions"); err != nil {
		return err
	}
	if s.keys, err = key.Load(s.KeyFile); err != nil {
		return err
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	s.users, s.groups, s.clients = scim.Users{DB: s.DB}, scim.Groups{DB: s.DB}, grant.Clients{DB: s.DB}
	s.chains, s.revoked = grant.Chains{DB: s.DB, Now: s.Now}, grant.Revoked{DB: s.DB, Now: s.Now}
	s.attempts, s.hasher = &grant.Attempts{DB: s.DB, Now: s.Now}, scim.NewHasher()
	if err := s.groups.Ensure(ctx, append(cfScopes, adminGroups...)...); err != nil {
		return err
	}
	return s.EnsureClient(ctx, cfClient)
}

// issuer is the iss of all tokens.
func (s *Server) issuer() string { return s.URL + "/oauth/token" }

// prune forgets, once an hour, what has expired.
func (s *Server) prune(ctx context.Context) error {
	now, last := s.Now().Unix(), s.pruned.Load()
	if now-last < 3600 || !s.pruned.CompareAndSwap(last, now) {
		return nil
	}
	for _, f := range []func(context.Context) error{s.chains.Prune, s.revoked.Prune, s.attempts.Prune} {
		if err := f(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Handler serves the hosts uaa and login.
func (s *Server) Handler() http.Handler {
	mux, e := http.NewServeMux(), web.Errors{Write: fault.Write}
	for pattern, h := range map[string]web.Handler{
		"GET /login":           s.login,
		"GET /info":            s.info,
		"GET /passcode":        s.page,
		"GET /oauth/authorize": s.authorize,
		"GET /healthz":         s.healthz,

		"POST /oauth/token":                                 s.token,
		"GET /token_key":                                    s.tokenKey,
		"GET /token_keys":                                   s.tokenKeys,
		"GET /.well-known/openid-configuration":             s.discovery,
		"GET /oauth/token/.well-known/openid-configuration": s.discovery,
		"POST /check_token":                                 s.checkToken,
		"DELETE /oauth/token/revoke/{jti}":                  s.revoke,
		"GET /userinfo":                                     s.userinfo,
		"GET /oauth/clients/{id}":                           s.getClient,
		"POST /oauth/clients":                               s.createClient,
		"DELETE /oauth/clients/{id}":                        s.deleteClient,

		"POST /Users":              s.createUser,
		"GET /Users":               s.listUsers,
		"GET /Users/{id}":          s.getUser,
		"DELETE /Users/{id}":       s.deleteUser,
		"PUT /Users/{id}/password": s.changePassword,
		"GET /Groups":              s.listGroups,
		"GET /Groups/{id}":         s.getGroup,
	} {
		mux.Handle(pattern, e.Handle(h))
	}
	mux.Handle("/", e.Handle(func(http.ResponseWriter, *http.Request) error {
		return fault.New(fault.NotFound, "Resource not found")
	}))
	return http.MaxBytesHandler(mux, 1<<20)
}
