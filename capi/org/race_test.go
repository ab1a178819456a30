package org

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"ingot/cf"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/job"
	"ingot/rest/resttest"
)

// together runs fn in n goroutines at once and counts the answers by status.
func together(n int, fn func(i int) resttest.Answer) map[int]int {
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := map[int]int{}
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := fn(i)
			mu.Lock()
			out[r.Status]++
			mu.Unlock()
		}()
	}
	wg.Wait()
	return out
}

func TestRaces(t *testing.T) {
	a := newAPI(t)
	a.World("acme")
	a.Users.Known = []cf.User{{ID: "ann", Name: "ann", Origin: "uaa"}}
	got := together(12, func(int) resttest.Answer { return a.Do("admin", "POST /v3/organizations", `{"name":"one"}`) })
	if got[201] != 1 || got[422] != 11 {
		t.Errorf("one name for organizations: %v", got)
	}
	got = together(12, func(int) resttest.Answer {
		return a.Do("admin", "POST /v3/spaces", `{"name":"one","relationships":{"organization":{"data":{"guid":"acme"}}}}`)
	})
	if got[201] != 1 || got[422] != 11 {
		t.Errorf("one name for spaces: %v", got)
	}
	got = together(12, func(i int) resttest.Answer {
		return a.Do("admin", "POST /v3/roles", `{"type":"organization_user","relationships":{"user":{"data":{"username":"ann"}},"organization":{"data":{"guid":"acme"}}}}`)
	})
	if got[201] != 1 || got[422] != 11 {
		t.Errorf("one role: %v", got)
	}
	got = together(12, func(i int) resttest.Answer {
		return a.Do("admin", "PATCH /v3/organizations/acme", fmt.Sprintf(`{"metadata":{"labels":{"k%d":"v"}}}`, i))
	})
	o := a.Must(200, "admin", "GET /v3/organizations/acme", nil)
	if labels, _ := o.Get("metadata", "labels").(map[string]any); len(labels) != 12 {
		t.Errorf("writers on one object: %v, labels %v", got, labels)
	}
	got = together(8, func(int) resttest.Answer { return a.Do("fresh", "GET /v3/organizations", nil) })
	if got[200] != 8 {
		t.Errorf("first requests of one user: %v", got)
	}
	// A space and its roles come and go; nobody is left behind, nobody gets a 5xx.
	got = together(16, func(i int) resttest.Answer {
		switch i % 4 {
		case 0:
			return a.Do("admin", "DELETE /v3/organizations/acme", nil)
		case 1:
			return a.Do("admin", "POST /v3/spaces", fmt.Sprintf(`{"name":"s%d","relationships":{"organization":{"data":{"guid":"acme"}}}}`, i))
		case 2:
			return a.Do("admin", "DELETE /v3/spaces/acme-space", nil)
		}
		return a.Do("admin", "POST /v3/roles", `{"type":"space_developer","relationships":{"user":{"data":{"username":"ann"}},"space":{"data":{"guid":"acme-space"}}}}`)
	})
	for status := range got {
		if status >= 500 {
			t.Errorf("while it is deleted: %v", got)
		}
	}
	if r := a.Do("admin", "DELETE /v3/organizations/acme", nil); r.Status == 202 {
		a.Job(r)
	}
	for table, column := range map[string]string{"rest_spaces": "org_guid", "rest_roles": "org_guid"} {
		n, err := a.DB.Read().NewSelect().TableExpr(table).Where(column + " = 'acme'").Count(t.Context())
		if err != nil || n != 0 {
			t.Errorf("%d rows are left in %s (%v)", n, table, err)
		}
	}
}

// TestDeleteGoesOn: the process ends while an organization is being deleted; the next one ends the job.
func TestDeleteGoesOn(t *testing.T) {
	db := resttest.Open(t)
	began := make(chan struct{})
	var emptied atomic.Int64
	f := &Family{DB: db, Directory: &resttest.Users{}}
	f.SpaceContents = []func(context.Context, *job.Job, string) error{func(ctx context.Context, _ *job.Job, _ string) error {
		if emptied.Add(1) == 1 {
			close(began)
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}}
	if err := f.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	pool := &job.Pool{DB: db, Holder: "me"}
	a := resttest.New(t, db, rest.Server{Nouns: f.Nouns(), Jobs: pool})
	a.World("acme")
	r := a.Must(202, "admin", "DELETE /v3/organizations/acme", nil)
	<-began
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := pool.Stop(over); err != nil {
		t.Fatal(err)
	}
	refused(t, a, 422, "admin", "POST /v3/spaces", `{"name":"x","relationships":{"organization":{"data":{"guid":"acme"}}}}`, "The organization is being deleted")
	a.Serve(rest.Server{Nouns: f.Nouns(), Jobs: &job.Pool{DB: db, Holder: "me"}})
	if j := a.Job(r); j.JSON["state"] != job.Complete {
		t.Error(j.Text)
	}
	a.Must(404, "admin", "GET /v3/spaces/acme-space", nil)
	a.Must(404, "admin", "GET /v3/organizations/acme", nil)
}

// TestDeleteFails: what is in the way is told in CF's words, and the organization can be used again.
func TestDeleteFails(t *testing.T) {
	db := resttest.Open(t)
	f := &Family{DB: db, Directory: &resttest.Users{}}
	inTheWay := true
	f.SpaceContents = []func(context.Context, *job.Job, string) error{func(context.Context, *job.Job, string) error {
		if inTheWay {
			return errors.Join(cf.Errorf(cf.KindConflict, "UnprocessableEntity", "something is in use"))
		}
		return nil
	}}
	if err := f.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := resttest.New(t, db, rest.Server{Nouns: f.Nouns()})
	a.World("acme")
	a.Role("boss", access.OrgManager, "acme")
	j := a.Job(a.Must(202, "admin", "DELETE /v3/organizations/acme", nil))
	detail, _ := j.Get("errors", 0, "detail").(string)
	if j.JSON["state"] != job.Failed || !strings.HasPrefix(detail, "Deletion of organization acme failed because one or more resources within could not be deleted.") ||
		!strings.HasSuffix(detail, "something is in use") || j.Get("errors", 0, "code") != 290010.0 {
		t.Error(j.Text)
	}
	a.Must(200, "boss", "PATCH /v3/spaces/acme-space", `{}`)
	inTheWay = false
	a.Job(a.Must(202, "admin", "DELETE /v3/organizations/acme", nil))
	a.Must(404, "admin", "GET /v3/organizations/acme", nil)
}
