package uaa

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"ingot/cf"
	"ingot/kit/web"
	"ingot/uaa/fault"
	"ingot/uaa/grant"
)

// AdminClient is the client that makes other clients, as the one of that name in UAA (uaa.yml, oauth.clients.admin). It is
// nobody to Cloud Controller.
func AdminClient(secret string) Client {
	return Client{ID: "admin", Secret: secret, Grants: []string{grant.ClientCredentials}, Authorities: []string{
		"clients.read", "clients.write", "clients.secret", "uaa.admin", "scim.read", "scim.write", "password.write"}}
}

// clientBody is a client on the wire. Secrets are taken and never shown.
type clientBody struct {
	ID             string   `json:"client_id"`
	Secret         string   `json:"client_secret,omitempty"`
	Scopes         []string `json:"scope"`
	ResourceIDs    []string `json:"resource_ids"`
	Grants         []string `json:"authorized_grant_types"`
	AutoApprove    []string `json:"autoapprove"`
	Authorities    []string `json:"authorities"`
	AccessSeconds  int64    `json:"access_token_validity"`
	RefreshSeconds int64    `json:"refresh_token_validity"`
	Modified       int64    `json:"lastModified"` // Unix milliseconds
}

func showClient(w http.ResponseWriter, status int, c grant.Client) error {
	return web.JSON(w, status, clientBody{
		ID: c.ID, Scopes: c.Scopes.V, ResourceIDs: []string{"none"}, Grants: c.Grants.V, AutoApprove: []string{}, Authorities: c.Authorities.V,
		AccessSeconds: c.AccessSeconds, RefreshSeconds: c.RefreshSeconds, Modified: c.UpdatedAt.Time().UnixMilli(),
	})
}

// tenYears bounds how long a client's tokens live, in seconds.
const tenYears = 10 * 365 * 24 * 3600

// check answers in UAA's words what is wrong with a new client; "" = nothing.
func (b clientBody) check() string {
	possible := []string{grant.Password, grant.RefreshToken, grant.ClientCredentials}
	switch {
	case b.ID == "" || len(b.ID) > 255 || !utf8.ValidString(b.ID) || strings.ContainsRune(b.ID, 0):
		return "client_id must have 1 to 255 bytes of text"
	case len(b.Secret) > 255:
		return "Client secret must be no more than 255 characters in length."
	case len(b.Grants) == 0:
		return "An authorized grant type must be provided. Must be one of: " + strings.Join(possible, ", ")
	case slices.Contains(b.Grants, grant.ClientCredentials) && b.Secret == "":
		return "Client secret is required for client_credentials"
	case b.AccessSeconds < 0 || b.AccessSeconds > tenYears || b.RefreshSeconds < 0 || b.RefreshSeconds > tenYears:
		return "The validity of a token must be between 0 and ten years, in seconds"
	}
	for _, g := range b.Grants {
		if !slices.Contains(possible, g) {
			return g + " is not an allowed grant type. Must be one of: " + strings.Join(possible, ", ")
		}
	}
	return ""
}

// createClient is POST /oauth/clients. Who may is the platform's admin already, so the new client may be anything.
func (s *Server) createClient(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.bearer(r, "clients.admin", "uaa.admin"); err != nil {
		return err
	}
	var in clientBody
	if err := decode(r, &in); err != nil {
		return err
	}
	if words := in.check(); words != "" {
		return cf.Errorf(cf.KindInvalid, fault.InvalidClient, "%s", words)
	}
	c, err := s.hashed(r.Context(), Client{ID: in.ID, Secret: in.Secret, Grants: in.Grants, Scopes: in.Scopes, Authorities: in.Authorities,
		AccessSeconds: in.AccessSeconds, RefreshSeconds: in.RefreshSeconds})
	if err != nil {
		return err
	}
	if c, err = s.clients.Add(r.Context(), c); err != nil {
		return err
	}
	return showClient(w, http.StatusCreated, c)
}

// hashed is the row of a client with the hash of its secret.
func (s *Server) hashed(ctx context.Context, c Client) (row grant.Client, err error) {
	row = c.row()
	if c.Secret != "" {
		row.Secret, err = s.hasher.Hash(ctx, c.Secret)
	}
	return row, err
}

// getClient is GET /oauth/clients/:id.
func (s *Server) getClient(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.bearer(r, "clients.read", "clients.admin", "uaa.admin"); err != nil {
		return err
	}
	c, err := s.clients.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return showClient(w, http.StatusOK, c)
}

// deleteClient is DELETE /oauth/clients/:id; it answers with the client that is no more, and whose tokens are void.
func (s *Server) deleteClient(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.bearer(r, "clients.admin", "uaa.admin"); err != nil {
		return err
	}
	c, err := s.clients.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := s.clients.Delete(r.Context(), c.ID); err != nil {
		return err
	}
	return showClient(w, http.StatusOK, c)
}
