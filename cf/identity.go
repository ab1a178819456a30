package cf

import (
	"context"
	"slices"
)

// Identity is whom a valid access token speaks for.
type Identity struct {
	UserID   UserID // empty for a client
	UserName string
	Client   string // the client the token was given to
	Scopes   []string
}

// Has tells whether the token carries the scope.
func (i Identity) Has(scope string) bool { return slices.Contains(i.Scopes, scope) }

// Actor is the guid, type (user or service_broker...) and name for audit events.
func (i Identity) Actor() (guid, kind, name string) {
	if i.UserID == "" {
		return i.Client, "client", i.Client
	}
	return string(i.UserID), "user", i.UserName
}

// Tokens is the door to whoever checks access tokens.
type Tokens interface {
	// Verify checks a bearer token (without the word bearer): signature, issuer, times, revocation.
	// It answers KindUnauthenticated, code InvalidAuthToken, when anything is wrong.
	Verify(ctx context.Context, token string) (Identity, error)
}

// User is a user as UAA knows it.
type User struct {
	ID     UserID
	Name   string
	Origin string
}

// Directory is the door to UAA's users, for those who know only a name or a guid.
type Directory interface {
	// UsersNamed returns the users of that name, in every origin, or in one when origin is given.
	UsersNamed(ctx context.Context, name, origin string) ([]User, error)
	// UsersLike returns the users whose name contains the part, whatever its case, in every origin.
	UsersLike(ctx context.Context, part string) ([]User, error)
	// Shadow returns the user of that name in a foreign origin (any but uaa), and makes one where there is none yet.
	Shadow(ctx context.Context, name, origin string) (User, error)
	// UsersByID returns those of the users that exist.
	UsersByID(ctx context.Context, ids []UserID) (map[UserID]User, error)
}
