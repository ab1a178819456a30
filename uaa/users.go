package uaa

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"ingot/cf"
	"ingot/kit/web"
	"ingot/uaa/fault"
	"ingot/uaa/scim"
)

const maxPage = 500 // UAA's userMaxCount

// decode reads a JSON body of at most 1 MiB; fields that are not known are left alone, as UAA does.
func decode(r *http.Request, v any) error {
	err := json.NewDecoder(r.Body).Decode(v)
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		return cf.Errorf(cf.KindTooLarge, fault.InvalidScim, "The request is larger than %d bytes", big.Limit)
	}
	if err != nil {
		return fault.New(fault.InvalidScim, "The request body is not valid JSON of this resource.")
	}
	return nil
}

// showUser answers with one user.
func (s *Server) showUser(w http.ResponseWriter, r *http.Request, status int, u scim.User) error {
	res, err := s.resources(r, []scim.User{u})
	if err != nil {
		return err
	}
	w.Header().Set("ETag", strconv.Quote(strconv.Itoa(u.Version)))
	return web.JSON(w, status, res[0])
}

// resources shows users with their groups.
func (s *Server) resources(r *http.Request, us []scim.User) ([]scim.Resource, error) {
	groups, err := s.groups.ForUsers(r.Context(), us)
	out := make([]scim.Resource, 0, len(us))
	for _, u := range us {
		out = append(out, u.Resource(groups[u.ID]))
	}
	return out, err
}

// createUser is POST /Users.
func (s *Server) createUser(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.bearer(r, "scim.write", "scim.create", "uaa.admin"); err != nil {
		return err
	}
	var in scim.Resource
	if err := decode(r, &in); err != nil {
		return err
	}
	u, err := in.User()
	if err != nil {
		return err
	}
	if u.Origin == scim.Origin { // users from elsewhere have no password here
		if err := scim.CheckPassword(in.Password); err != nil {
			return err
		}
		if u.Password, err = s.hasher.Hash(r.Context(), in.Password); err != nil {
			return err
		}
	}
	if err := s.users.Create(r.Context(), u); err != nil {
		return err
	}
	return s.showUser(w, r, http.StatusCreated, *u)
}

// query reads the parameters of a SCIM list.
func query(r *http.Request) (scim.Query, error) {
	v := r.URL.Query()
	q := scim.Query{Filter: v.Get("filter"), SortBy: v.Get("sortBy"), Descending: strings.EqualFold(v.Get("sortOrder"), "descending"),
		Start: 1, Count: 100}
	for name, to := range map[string]*int64{"startIndex": &q.Start, "count": &q.Count} {
		if !v.Has(name) {
			continue
		}
		n, err := strconv.ParseInt(v.Get(name), 10, 32)
		if err != nil {
			return q, fault.New(fault.Scim, "Invalid value of %s", name)
		}
		*to = max(n, 1)
	}
	q.Count = min(q.Count, maxPage)
	return q, nil
}

// listUsers is GET /Users.
func (s *Server) listUsers(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.bearer(r, "scim.read", "uaa.admin"); err != nil {
		return err
	}
	q, err := query(r)
	if err != nil {
		return err
	}
	p, err := s.users.List(r.Context(), q)
	if err != nil {
		return err
	}
	res, err := s.resources(r, p.Rows)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, scim.List(res, q, p.Total))
}

// getUser is GET /Users/:id: one's own, or any with scim.read.
func (s *Server) getUser(w http.ResponseWriter, r *http.Request) error {
	c, err := s.bearer(r)
	if err != nil {
		return err
	}
	id := cf.UserID(r.PathValue("id"))
	if c.UserID != id {
		if _, err := s.bearer(r, "scim.read", "uaa.admin"); err != nil {
			return err
		}
	}
	u, err := s.users.ByID(r.Context(), id)
	if err != nil {
		return err
	}
	return s.showUser(w, r, http.StatusOK, u)
}

// deleteUser is DELETE /Users/:id; it answers with the user that is no more.
func (s *Server) deleteUser(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.bearer(r, "scim.write", "uaa.admin"); err != nil {
		return err
	}
	u, err := s.users.ByID(r.Context(), cf.UserID(r.PathValue("id")))
	if err != nil {
		return err
	}
	res, err := s.resources(r, []scim.User{u}) // while its groups are known
	if err != nil {
		return err
	}
	if _, err := s.users.Delete(r.Context(), u.ID); err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, res[0])
}

// changePassword is PUT /Users/:id/password: one's own with the old one, anybody's with uaa.admin or as a client.
func (s *Server) changePassword(w http.ResponseWriter, r *http.Request) error {
	c, err := s.bearer(r, "password.write", "uaa.admin")
	if err != nil {
		return err
	}
	var in struct {
		Old string `json:"oldPassword"`
		New string `json:"password"`
	}
	if err := decode(r, &in); err != nil {
		return err
	}
	id, admin := cf.UserID(r.PathValue("id")), c.UserID == "" || slices.Contains(c.Scope, "uaa.admin")
	self := c.UserID == id
	switch {
	case !self && !admin:
		return fault.New(fault.AccessDenied, "Not permitted to change another user's password")
	case self && in.Old == "":
		return cf.Errorf(cf.KindInvalid, fault.InvalidPassword, "Previous password is required")
	}
	u, err := s.users.ByID(r.Context(), id)
	if err != nil {
		return err
	}
	if self {
		if _, err := s.authenticate(r.Context(), u.Name, u.Origin, in.Old); err != nil {
			return err
		}
	}
	if err := scim.CheckPassword(in.New); err != nil {
		return err
	}
	same, err := s.hasher.Check(r.Context(), u.Password, in.New)
	if err != nil {
		return err
	}
	if same {
		return fault.New(fault.InvalidPassword, "Your new password cannot be the same as the old password.")
	}
	hash, err := s.hasher.Hash(r.Context(), in.New)
	if err != nil {
		return err
	}
	if err := s.users.SetPassword(r.Context(), id, hash); err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, map[string]string{"status": "ok", "message": "password updated"})
}

// listGroups is GET /Groups.
func (s *Server) listGroups(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.bearer(r, "scim.read", "uaa.admin"); err != nil {
		return err
	}
	q, err := query(r)
	if err != nil {
		return err
	}
	p, err := s.groups.List(r.Context(), q)
	if err != nil {
		return err
	}
	res, err := s.groupResources(r, p.Rows)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, scim.List(res, q, p.Total))
}

// getGroup is GET /Groups/:id.
func (s *Server) getGroup(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.bearer(r, "scim.read", "uaa.admin"); err != nil {
		return err
	}
	g, err := s.groups.ByID(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	res, err := s.groupResources(r, []scim.Group{g})
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, res[0])
}

func (s *Server) groupResources(r *http.Request, gs []scim.Group) ([]scim.GroupResource, error) {
	var names []string
	for _, g := range gs {
		names = append(names, g.Name)
	}
	members, err := s.groups.Members(r.Context(), names)
	if err != nil {
		return nil, err
	}
	out := make([]scim.GroupResource, 0, len(gs))
	for _, g := range gs {
		out = append(out, g.Resource(members[g.Name]))
	}
	return out, nil
}
