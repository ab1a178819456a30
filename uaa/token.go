package uaa

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/kit/web"
	"ingot/uaa/fault"
	"ingot/uaa/grant"
	"ingot/uaa/scim"
)

// maxForm bounds a token request.
const maxForm = 64 << 10

// tokenReply is RFC 6749 §5.1 with UAA's jti.
type tokenReply struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"` // bearer, in lower case: the CLI takes no other
	RefreshToken string `json:"refresh_token,omitempty"`
	ExpiresIn    int64  `json:"expires_in"`
	Scope        string `json:"scope"`
	ID           string `json:"jti"`
}

// token is POST /oauth/token.
func (s *Server) token(w http.ResponseWriter, r *http.Request) error {
	form, err := postForm(w, r)
	if err != nil {
		return err
	}
	client, err := s.client(r, form)
	if err != nil {
		return err
	}
	var reply tokenReply
	switch g := form.Get("grant_type"); g {
	case "":
		return fault.New(fault.InvalidRequest, "Missing grant type")
	case grant.Password, grant.RefreshToken, grant.ClientCredentials:
		if !client.May(g) {
			return fault.New(fault.UnauthorizedClient, "Unauthorized grant type: %s", g)
		}
		reply, err = s.grant(r.Context(), client, g, form)
	default:
		return fault.New(fault.UnsupportedGrantType, "Unsupported grant type")
	}
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	return web.JSON(w, http.StatusOK, reply)
}

func (s *Server) grant(ctx context.Context, c grant.Client, g string, form url.Values) (tokenReply, error) {
	switch g {
	case grant.Password:
		return s.passwordGrant(ctx, c, form)
	case grant.RefreshToken:
		return s.refreshGrant(ctx, c, form)
	default:
		scopes, err := grant.Scopes(form.Get("scope"), c.Authorities.V, c.Authorities.V)
		if err != nil {
			return tokenReply{}, err
		}
		return s.issue(grant.Subject{Client: c, Scopes: scopes, Grant: g}, "")
	}
}

// postForm reads a form. login_hint alone may stand in the address (the CLI puts it there).
func postForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		var big *http.MaxBytesError
		if errors.As(err, &big) {
			return nil, cf.Errorf(cf.KindTooLarge, fault.InvalidRequest, "The request is larger than %d bytes", maxForm)
		}
		return nil, fault.New(fault.InvalidRequest, "The form cannot be read")
	}
	form := r.PostForm
	if hint := r.URL.Query()["login_hint"]; hint != nil && form["login_hint"] == nil {
		form["login_hint"] = hint
	}
	for k, vs := range form {
		if len(vs) > 1 { // RFC 6749 §3.2
			return nil, fault.New(fault.InvalidRequest, "A parameter stands more than once")
		}
		if k != "password" && (!utf8.ValidString(vs[0]) || strings.ContainsRune(vs[0], 0)) {
			return nil, fault.New(fault.InvalidRequest, "A parameter is not text")
		}
	}
	return form, nil
}

// client authenticates the client of a request, by Basic or in the form.
func (s *Server) client(r *http.Request, form url.Values) (grant.Client, error) {
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	} else if r.Header.Get("X-CF-ENCODED-CREDENTIALS") == "true" {
		var err1, err2 error
		id, err1 = url.QueryUnescape(id)
		secret, err2 = url.QueryUnescape(secret)
		if err1 != nil || err2 != nil {
			return grant.Client{}, fault.BadCredentials()
		}
	}
	if id == "" || len(id) > 255 || !utf8.ValidString(id) || strings.ContainsRune(id, 0) {
		return grant.Client{}, fault.BadCredentials()
	}
	c, ok, err := s.clients.ByID(r.Context(), id)
	if err != nil || ok && c.Secret == "" && secret == "" {
		return c, err
	}
	// A strong hash for each request would cost more than the signature: what was right before is remembered.
	memory := c.ID + "\x00" + c.Secret + "\x00" + secret
	if _, right := s.secrets.get(memory, s.Now()); right && c.Secret != "" {
		return c, nil
	}
	err = s.attempts.Try(r.Context(), "client\x00"+id, func() (bool, error) {
		return s.hasher.Check(r.Context(), c.Secret, secret)
	})
	if err != nil {
		return grant.Client{}, err
	}
	s.secrets.put(memory, struct{}{}, s.Now().Add(time.Hour))
	return c, nil
}

func (s *Server) passwordGrant(ctx context.Context, c grant.Client, form url.Values) (tokenReply, error) {
	if form.Has("passcode") { // none was given out: there is no page for it
		return tokenReply{}, fault.New(fault.Unauthorized, "Invalid passcode")
	}
	origin, err := hint(form.Get("login_hint"))
	if err != nil {
		return tokenReply{}, err
	}
	u, err := s.authenticate(ctx, form.Get("username"), origin, form.Get("password"))
	if err != nil {
		return tokenReply{}, err
	}
	if err := s.prune(ctx); err != nil {
		return tokenReply{}, err
	}
	groups, err := s.groups.Of(ctx, u.ID)
	if err != nil {
		return tokenReply{}, err
	}
	scopes, err := grant.Scopes(form.Get("scope"), c.Scopes.V, groups)
	if err != nil {
		return tokenReply{}, err
	}
	subject := grant.Subject{Client: c, User: &u, Scopes: scopes, Grant: grant.Password, Auth: s.Now()}
	var refresh string
	if c.May(grant.RefreshToken) {
		refresh, err = s.chains.Begin(ctx, grant.Chain{
			User: u.ID, Client: c.ID, Scopes: texts(scopes), AuthTime: sql.At(subject.Auth), RevSig: grant.RevSig(c, &u),
		}, c.Lives())
		if err != nil {
			return tokenReply{}, err
		}
	}
	return s.issue(subject, refresh)
}

// hint reads a login_hint, {"origin":"..."}.
func hint(text string) (origin string, err error) {
	if text == "" {
		return scim.Origin, nil
	}
	var h struct {
		Origin string `json:"origin"`
	}
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		return "", fault.New(fault.InvalidRequest, "The login_hint cannot be read")
	}
	if h.Origin != scim.Origin {
		return "", fault.New(fault.Unauthorized, "The origin provided in the login_hint is invalid.")
	}
	return h.Origin, nil
}

// authenticate finds the user of a name and password. Everything that is wrong has one answer, and takes as long.
func (s *Server) authenticate(ctx context.Context, name, origin, password string) (scim.User, error) {
	var u scim.User
	err := s.attempts.Try(ctx, "user\x00"+origin+"\x00"+scim.Fold(name), func() (bool, error) {
		found, err := s.users.AllNamed(ctx, name, origin)
		if err != nil {
			return false, err
		}
		if len(found) > 0 {
			u = found[0]
		}
		right, err := s.hasher.Check(ctx, u.Password, password)
		return right && u.Active, err
	})
	return u, err
}

func (s *Server) refreshGrant(ctx context.Context, c grant.Client, form url.Values) (tokenReply, error) {
	token := form.Get("refresh_token")
	chain, err := s.chains.Find(ctx, token)
	if err != nil {
		return tokenReply{}, err
	}
	u, err := s.users.ByID(ctx, chain.User)
	if err != nil && !cf.IsKind(err, cf.KindNotFound) {
		return tokenReply{}, err
	}
	if err != nil || !u.Active || chain.Client != c.ID || chain.RevSig != grant.RevSig(c, &u) {
		return tokenReply{}, fault.New(fault.InvalidToken, "The token expired, was revoked, or the token ID is incorrect.")
	}
	groups, err := s.groups.Of(ctx, u.ID)
	if err != nil {
		return tokenReply{}, err
	}
	still := slices.DeleteFunc(groups, func(g string) bool { return !slices.Contains(c.Scopes.V, g) })
	scopes, err := grant.Scopes(form.Get("scope"), chain.Scopes.V, still)
	if err != nil {
		return tokenReply{}, err
	}
	next, err := s.chains.Rotate(ctx, chain, token, c.Lives())
	if err != nil {
		return tokenReply{}, err
	}
	return s.issue(grant.Subject{Client: c, User: &u, Scopes: scopes, Grant: grant.Password, Auth: chain.AuthTime.Time()}, next)
}

// issue signs an access token.
func (s *Server) issue(subject grant.Subject, refresh string) (tokenReply, error) {
	claims := subject.Claims(s.issuer(), s.Now())
	signed, err := s.keys.Sign(claims, s.URL+"/token_keys")
	return tokenReply{
		AccessToken: signed, TokenType: "bearer", RefreshToken: refresh, ExpiresIn: subject.Client.AccessSeconds - 1,
		Scope: strings.Join(subject.Scopes, " "), ID: claims.ID,
	}, err
}
