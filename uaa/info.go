package uaa

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"ingot/kit/web"
	"ingot/uaa/fault"
	"ingot/uaa/key"
)

// page stands where UAA has web pages.
func (s *Server) page(http.ResponseWriter, *http.Request) error {
	return fault.New(fault.NotImplemented, "This server has no web pages. Log in with: cf login")
}

// authorize is GET /oauth/authorize, where UAA gives out codes: `cf ssh-code` asks for one.
func (s *Server) authorize(http.ResponseWriter, *http.Request) error {
	return fault.New(fault.NotImplemented, "This server gives out no authorization codes: cf ssh, cf ssh-code and logins of browsers are absent.")
}

// login is GET /login: what a client asks its user for.
func (s *Server) login(w http.ResponseWriter, r *http.Request) error {
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		return s.page(w, r)
	}
	return s.info(w, r)
}

// info is GET /info, and /login for programs.
func (s *Server) info(w http.ResponseWriter, _ *http.Request) error {
	return web.JSON(w, http.StatusOK, map[string]any{
		"app":            map[string]string{"version": Version},
		"zone_name":      "uaa",
		"entityID":       strings.TrimPrefix(s.LoginURL, "https://"),
		"idpDefinitions": map[string]string{},
		"links":          map[string]string{"uaa": s.URL, "login": s.LoginURL},
		"prompts": map[string][]string{
			"username": {"text", "Email"},
			"password": {"password", "Password"},
			"passcode": {"password", "Temporary Authentication Code ( Get one at " + s.LoginURL + "/passcode )"},
		},
		"timestamp": s.Now().UTC().Format(time.RFC3339),
	})
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := w.Write([]byte("ok\n"))
	return err
}

func (s *Server) tokenKey(w http.ResponseWriter, _ *http.Request) error {
	return web.JSON(w, http.StatusOK, s.keys.Public()[0])
}

func (s *Server) tokenKeys(w http.ResponseWriter, _ *http.Request) error {
	return web.JSON(w, http.StatusOK, map[string][]key.Public{"keys": s.keys.Public()})
}

// discovery is OpenID Connect Discovery 1.0 §3, with what is served and no more.
func (s *Server) discovery(w http.ResponseWriter, _ *http.Request) error {
	return web.JSON(w, http.StatusOK, map[string]any{
		"issuer":                                s.issuer(),
		"authorization_endpoint":                s.LoginURL + "/oauth/authorize",
		"token_endpoint":                        s.LoginURL + "/oauth/token",
		"userinfo_endpoint":                     s.LoginURL + "/userinfo",
		"jwks_uri":                              s.URL + "/token_keys",
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
		"grant_types_supported":                 []string{"password", "refresh_token", "client_credentials"},
		"response_types_supported":              []string{},
		"scopes_supported":                      []string{"openid", "profile", "email", "roles", "user_attributes"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"claim_types_supported":                 []string{"normal"},
		"claims_parameter_supported":            false,
		"ui_locales_supported":                  []string{"en-US"},
		"service_documentation":                 "https://docs.cloudfoundry.org/api/uaa/",
	})
}

// checkToken is POST /check_token: the claims of a token, for a client that has the authority uaa.resource.
func (s *Server) checkToken(w http.ResponseWriter, r *http.Request) error {
	form, err := postForm(w, r)
	if err != nil {
		return err
	}
	client, err := s.client(r, form)
	if err != nil {
		return err
	}
	if !slices.Contains(client.Authorities.V, "uaa.resource") {
		return fault.New(fault.AccessDenied, "Access is denied")
	}
	if form.Get("token") == "" {
		return fault.New(fault.InvalidToken, "Token parameter must be set")
	}
	c, err := s.check(r.Context(), form.Get("token"))
	if err != nil {
		return err
	}
	for _, want := range strings.FieldsFunc(form.Get("scopes"), func(r rune) bool { return r == ',' }) {
		if !slices.Contains(c.Scope, want) {
			return fault.New(fault.InvalidScope, "Some requested scopes are missing: %s", want)
		}
	}
	return web.JSON(w, http.StatusOK, c)
}

// revoke is DELETE /oauth/token/revoke/:jti: of the token that asks, or of any with uaa.admin or tokens.revoke.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) error {
	c, err := s.bearer(r)
	if err != nil {
		return err
	}
	jti, until := r.PathValue("jti"), c.ExpiresAt.Time
	if jti != c.ID {
		if !slices.Contains(c.Scope, "uaa.admin") && !slices.Contains(c.Scope, "tokens.revoke") {
			return fault.New(fault.AccessDenied, "Access is denied")
		}
		if len(jti) != len(c.ID) || strings.Trim(jti, "0123456789abcdef") != "" {
			return fault.New(fault.NotFound, "Resource not found")
		}
		until = s.Now().Add(30 * 24 * time.Hour) // its own end is not known
	}
	if err := s.revoked.Add(r.Context(), jti, until); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// userinfo is OpenID Connect Core 1.0 §5.3 with UAA's names.
func (s *Server) userinfo(w http.ResponseWriter, r *http.Request) error {
	c, err := s.bearer(r, "openid")
	if err != nil {
		return err
	}
	u, err := s.users.ByID(r.Context(), c.UserID)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, map[string]any{
		"user_id": u.ID, "sub": u.ID, "user_name": u.Name, "given_name": u.GivenName, "family_name": u.FamilyName,
		"name": strings.TrimSpace(u.GivenName + " " + u.FamilyName), "email": u.Email, "email_verified": u.Verified,
		"phone_number": nil, "previous_logon_time": nil,
	})
}
