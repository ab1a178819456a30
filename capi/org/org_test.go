package org

import (
	"testing"

	"ingot/rest"
	"ingot/rest/resttest"
)

func newAPI(t testing.TB) *resttest.API {
	db := resttest.Open(t)
	f := &Family{DB: db}
	if err := f.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return resttest.New(t, db, rest.Server{Nouns: f.Nouns()})
}

func TestOrganizations(t *testing.T) {
	a := newAPI(t)
	o := a.Must(201, "admin", "POST /v3/organizations", `{"name":"Acme","metadata":{"labels":{"team":"red"}}}`)
	t.Log(o.Text)
	if r := a.Must(422, "admin", "POST /v3/organizations", `{"name":"aCME"}`); r.Detail() != "Organization 'aCME' already exists." {
		t.Error(r.Text)
	}
	l := a.Must(200, "admin", "GET /v3/organizations?names=ACME,b&label_selector=team%20in%20(red,blue)&order_by=-name", nil)
	t.Log(l.Text)
	if n := l.Names("name"); len(n) != 1 {
		t.Error(l.Text)
	}
	for _, line := range []string{"GET /v3/organizations?foo=1", "GET /nope", "PUT /v3/organizations", "GET /v3/organizations/x", "GET /v3/organizations?page=0&per_page=5001&order_by=x&created_ats[foo]=1&label_selector=a=b=("} {
		t.Log(line, a.Do("admin", line, nil).Text)
	}
	for _, body := range []string{`{`, `[]`, `{}`, `{"name":1,"x":2}`, `{"name":"","metadata":{"labels":{"a b":"-"}}}`} {
		t.Log(body, a.Do("admin", "POST /v3/organizations", body).Text)
	}
	a.Must(200, "admin", "PATCH /v3/organizations/"+o.GUID(), `{"name":"acme","suspended":true}`)
	a.Must(404, "joe", "GET /v3/organizations/"+o.GUID(), nil)
	j := a.Job(a.Must(202, "admin", "DELETE /v3/organizations/"+o.GUID(), nil))
	t.Log(j.Text)
	a.Must(404, "admin", "GET /v3/organizations/"+o.GUID(), nil)
}
