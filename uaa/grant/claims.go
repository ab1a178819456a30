// Package grant is what UAA's tokens are made of: clients, the claims of an access token, refresh tokens that rotate,
// and the count of failed tries.
//
// It promises that a refresh token is stored only as a hash, that a stolen one kills its whole chain when it is used
// again, and that the counts hold under concurrency. It will not check passwords nor sign.
package grant

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"ingot/cf"
	"ingot/uaa/fault"
	"ingot/uaa/scim"
)

// The grants that are served, by OAuth's names.
const (
	Password          = "password"
	RefreshToken      = "refresh_token"
	ClientCredentials = "client_credentials"
)

// Zone is the only identity zone.
const Zone = "uaa"

// Claims of an access token, as UAA's documentation names them (docs/UAA-Tokens).
type Claims struct {
	jwt.RegisteredClaims
	Scope       []string  `json:"scope"`
	Authorities []string  `json:"authorities,omitempty"` // of a client's own token
	ClientID    string    `json:"client_id"`
	CID         string    `json:"cid"`
	AZP         string    `json:"azp"`
	Revocable   bool      `json:"revocable"`
	GrantType   string    `json:"grant_type"`
	UserID      cf.UserID `json:"user_id,omitempty"`
	Origin      string    `json:"origin,omitempty"`
	UserName    string    `json:"user_name,omitempty"`
	Email       string    `json:"email,omitempty"`
	AuthTime    int64     `json:"auth_time,omitempty"`
	RevSig      string    `json:"rev_sig"`
	ZoneID      string    `json:"zid"`
}

// Subject is whom a token is made for: a client, and a user unless the client asks for itself.
type Subject struct {
	Client Client
	User   *scim.User
	Scopes []string // sorted
	Grant  string
	Auth   time.Time // when the user gave the password
}

// Claims makes the claims of a new token.
func (s Subject) Claims(issuer string, now time.Time) *Claims {
	c := &Claims{
		RegisteredClaims: jwt.RegisteredClaims{
			ID: strings.ReplaceAll(cf.NewGUID(), "-", ""), Subject: s.Client.ID, Issuer: issuer, Audience: audience(s.Client.ID, s.Scopes),
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(s.Client.access())),
		},
		Scope: s.Scopes, ClientID: s.Client.ID, CID: s.Client.ID, AZP: s.Client.ID, GrantType: s.Grant,
		RevSig: RevSig(s.Client, s.User), ZoneID: Zone,
	}
	if s.User == nil {
		c.Authorities = s.Scopes
		return c
	}
	c.Subject, c.UserID, c.UserName = string(s.User.ID), s.User.ID, s.User.Name
	c.Origin, c.Email, c.AuthTime = s.User.Origin, s.User.Email, s.Auth.Unix()
	return c
}

// audience is the client and what stands before the last dot of each scope.
func audience(client string, scopes []string) jwt.ClaimStrings {
	aud := jwt.ClaimStrings{client}
	for _, s := range scopes {
		if i := strings.LastIndexByte(s, '.'); i >= 0 {
			s = s[:i]
		}
		aud = append(aud, s)
	}
	slices.Sort(aud)
	return slices.Compact(aud)
}

// RevSig changes when the client's secret or the user's password does; tokens with another one are void.
func RevSig(c Client, u *scim.User) string {
	h := sha256.New()
	h.Write([]byte(c.ID + "\x00" + c.Secret))
	if u != nil {
		h.Write([]byte("\x00" + string(u.ID) + "\x00" + u.Password))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Scopes is what a token may carry: those asked for (all if none) which the client may get and the user has.
func Scopes(asked string, client, user []string) ([]string, error) {
	want := strings.Fields(asked)
	for _, s := range want {
		if !slices.Contains(client, s) {
			return nil, fault.New(fault.InvalidScope, "%s is invalid. Please use a valid scope name in the request", s)
		}
	}
	if len(want) == 0 {
		want = slices.Clone(client)
	}
	want = slices.DeleteFunc(want, func(s string) bool { return !slices.Contains(user, s) })
	if len(want) == 0 {
		return nil, fault.New(fault.InvalidScope, "[%s] is invalid. This user is not allowed any of the requested scopes", asked)
	}
	slices.Sort(want)
	return slices.Compact(want), nil
}
