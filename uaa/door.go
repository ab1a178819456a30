package uaa

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"ingot/cf"
	"ingot/uaa/fault"
	"ingot/uaa/grant"
	"ingot/uaa/scim"
)

const (
	trust    = 5 * time.Second // how long a good token is not looked at again: revocation is honoured within it
	maxToken = 32 << 10
)

// Verify is the door cf.Tokens.
func (s *Server) Verify(ctx context.Context, token string) (cf.Identity, error) {
	c, err := s.check(ctx, token)
	if cf.IsKind(err, cf.KindUnauthenticated) {
		return cf.Identity{}, &cf.Error{Kind: cf.KindUnauthenticated, Code: "InvalidAuthToken", Public: "Invalid Auth Token", Cause: err}
	}
	if err != nil {
		return cf.Identity{}, err
	}
	return cf.Identity{UserID: c.UserID, UserName: c.UserName, Client: c.ClientID, Scopes: slices.Clone(c.Scope)}, nil
}

// check gives the claims of a good access token, InvalidToken for every other. The claims are shared: nobody changes them.
func (s *Server) check(ctx context.Context, token string) (*grant.Claims, error) {
	if token == "" || len(token) > maxToken {
		return nil, invalid(nil)
	}
	now := s.Now()
	if c, ok := s.tokens.get(token, now); ok {
		return c, nil
	}
	c := &grant.Claims{}
	if err := s.keys.Parse(token, s.issuer(), now, c); err != nil {
		return nil, invalid(err)
	}
	if c.ID == "" || c.ClientID == "" || c.ZoneID != grant.Zone || !slices.Contains(c.Audience, c.ClientID) {
		return nil, invalid(nil)
	}
	if err := s.current(ctx, c); err != nil {
		return nil, err
	}
	until := now.Add(trust)
	if c.ExpiresAt.Before(until) {
		until = c.ExpiresAt.Time
	}
	s.tokens.put(token, c, until)
	return c, nil
}

// current asks the store whether the token's client and user are still what they were, and the token not revoked.
func (s *Server) current(ctx context.Context, c *grant.Claims) error {
	client, ok, err := s.clients.ByID(ctx, c.ClientID)
	if err != nil {
		return err
	}
	if !ok {
		return invalid(nil)
	}
	var user *scim.User
	if c.UserID != "" {
		u, err := s.users.ByID(ctx, c.UserID)
		if cf.IsKind(err, cf.KindNotFound) || err == nil && !u.Active {
			return invalid(err)
		}
		if err != nil {
			return err
		}
		user = &u
	}
	if grant.RevSig(client, user) != c.RevSig {
		return invalid(nil)
	}
	gone, err := s.revoked.Has(ctx, c.ID)
	if err == nil && gone {
		err = invalid(nil)
	}
	return err
}

func invalid(cause error) error {
	e := fault.New(fault.InvalidToken, "The token expired, was revoked, or the token ID is incorrect.")
	e.Cause = cause
	return e
}

// bearer checks the request's own token and that it carries one of the scopes (none asked: any token will do).
func (s *Server) bearer(r *http.Request, scopes ...string) (*grant.Claims, error) {
	kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(kind, "bearer") {
		return nil, fault.New(fault.Unauthorized, "Full authentication is required to access this resource")
	}
	c, err := s.check(r.Context(), strings.TrimSpace(token))
	if err != nil {
		return nil, err
	}
	if len(scopes) > 0 && !slices.ContainsFunc(scopes, func(w string) bool { return slices.Contains(c.Scope, w) }) {
		return nil, fault.New(fault.InsufficientScope, "Insufficient scope for this resource")
	}
	return c, nil
}

// UsersNamed is of the door cf.Directory.
func (s *Server) UsersNamed(ctx context.Context, name, origin string) ([]cf.User, error) {
	us, err := s.users.AllNamed(ctx, name, origin)
	return known(us), err
}

// UsersLike is of the door cf.Directory.
func (s *Server) UsersLike(ctx context.Context, part string) ([]cf.User, error) {
	us, err := s.users.Containing(ctx, part)
	return known(us), err
}

func known(us []scim.User) []cf.User {
	out := make([]cf.User, 0, len(us))
	for _, u := range us {
		out = append(out, cf.User{ID: u.ID, Name: u.Name, Origin: u.Origin})
	}
	return out
}

// Shadow is of the door cf.Directory.
func (s *Server) Shadow(ctx context.Context, name, origin string) (cf.User, error) {
	if origin == scim.Origin {
		return cf.User{}, fault.New(fault.InvalidScim, "A user of the origin %s has a password.", origin)
	}
	in := scim.Resource{UserName: name, Origin: origin, Emails: []scim.Email{{Value: name, Primary: true}}}
	u, err := in.User()
	if err != nil {
		return cf.User{}, err
	}
	err = s.users.Create(ctx, u)
	if cf.IsKind(err, cf.KindConflict) { // it is there already
		there, err := s.UsersNamed(ctx, name, origin)
		if err == nil && len(there) == 0 { // and gone again
			err = fault.New(fault.ScimNotFound, "User %s does not exist", name)
		}
		if err != nil {
			return cf.User{}, err
		}
		return there[0], nil
	}
	return cf.User{ID: u.ID, Name: u.Name, Origin: u.Origin}, err
}

// UsersByID is of the door cf.Directory.
func (s *Server) UsersByID(ctx context.Context, ids []cf.UserID) (map[cf.UserID]cf.User, error) {
	us, err := s.users.ByIDs(ctx, ids)
	out := make(map[cf.UserID]cf.User, len(us))
	for _, u := range us {
		out[u.ID] = cf.User{ID: u.ID, Name: u.Name, Origin: u.Origin}
	}
	return out, err
}
