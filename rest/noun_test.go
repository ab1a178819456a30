package rest_test

import (
	"context"
	"testing"
	"testing/fstest"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/job"
	"ingot/rest/many"
	"ingot/rest/resttest"
	"ingot/rest/row"
)

// TestNounOfItsOwn: a noun brings its routes and jobs; what it creates and updates in a job is answered 202 with the job's
// address, and what job.Removal deletes is gone, unless what goes with it is refused.
func TestNounOfItsOwn(t *testing.T) {
	db := resttest.Open(t)
	work := func(c *rest.Call, guid string) error {
		var j *job.Job
		err := c.Write(func(ctx context.Context, tx bun.Tx) (err error) {
			j, err = job.Enqueue(ctx, tx, job.Work{Operation: "space.think", Kind: "space", GUID: guid})
			return err
		})
		c.Later(j)
		return err
	}
	a := resttest.New(t, db, rest.Server{Nouns: []rest.Noun{&rest.Resource[access.Space]{
		Kind: "space", Path: "/v3/spaces", Visible: access.InSpaces("guid"),
		View:   func(_ *rest.Call, s *access.Space) rest.Object { return rest.Object{"name": s.Name} },
		Create: func(c *rest.Call) (*access.Space, error) { return nil, work(c, "") },
		Update: func(c *rest.Call, s *access.Space) error {
			if c.Has("later") {
				return work(c, s.GUID)
			}
			return nil
		},
		Delete: func(*rest.Call, *access.Space) error { return nil },
		Remove: job.Removal(db, func(_ context.Context, _ bun.Tx, s *access.Space) error {
			if s.Name == "kept" {
				return rest.Unprocessable("It is in use.")
			}
			return nil
		}),
		Routes: []rest.Route{{Pattern: "GET /v3/spaces/{guid}/mood", Handle: func(c *rest.Call) error { return c.NoContent() }}},
		Jobs: []job.Kind{{Operation: "space.think", Run: func(_ context.Context, j *job.Job) error {
			n := 7
			if err := j.Decode(&n); err != nil || n != 7 {
				return cf.Errorf(cf.KindInvalid, "", "a payload that nobody sent: %d, %v", n, err)
			}
			return nil
		}}},
	}}})
	a.World("acme")
	a.Insert(&access.Space{Labelled: row.Labelled{Row: row.Row{GUID: "kept"}}, Name: "kept", NameKey: "kept", OrgGUID: "acme", Status: access.Active})
	a.Must(204, "admin", "GET /v3/spaces/acme-space/mood", nil)
	for _, line := range []string{"POST /v3/spaces", "PATCH /v3/spaces/acme-space?later"} {
		r := a.Must(202, "admin", line, `{}`)
		if j := a.Job(r); r.Text != "" || j.JSON["state"] != job.Complete || j.JSON["operation"] != "space.think" {
			t.Errorf("%s: %q, then %s", line, r.Text, j.Text)
		}
	}
	if r := a.Must(200, "admin", "PATCH /v3/spaces/acme-space", `{}`); r.GUID() != "acme-space" {
		t.Errorf("an update at once: %s", r.Text)
	}
	for guid, want := range map[string]string{"acme-space": job.Complete, "kept": job.Failed} {
		if j := a.Job(a.Must(202, "admin", "DELETE /v3/spaces/"+guid, nil)); j.JSON["state"] != want {
			t.Errorf("delete %s: %s", guid, j.Text)
		}
	}
	a.Must(404, "admin", "GET /v3/spaces/acme-space", nil)
	a.Must(200, "admin", "GET /v3/spaces/kept", nil)
	gone := &job.Job{ResourceGUID: "acme-space"}
	if err := job.Removal(db, func(context.Context, bun.Tx, *access.Space) error { panic("asked of what is gone") })(t.Context(), gone); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

// TestPairs: a pair is kept once, answers tell of holders whom the caller sees, and the body names each once.
func TestPairs(t *testing.T) {
	db := resttest.Open(t)
	roles := many.Pairs{Table: "test_pairs", Noun: "noun_guid", Holder: "space_guid", Visible: access.InSpaces("space_guid")}
	a := resttest.New(t, db, rest.Server{Routes: []rest.Route{{Pattern: "POST /v3/pairs", Handle: func(c *rest.Call) error {
		var in many.Body
		if err := rest.Take(c, &in); err != nil {
			return err
		}
		n := &access.Space{Labelled: row.Labelled{Row: row.Row{GUID: "n"}}}
		err := c.Write(func(ctx context.Context, tx bun.Tx) error { return roles.Add(ctx, tx, "n", in.GUIDs) })
		if err != nil {
			return err
		}
		var spaces []string
		if err := many.Fill(c, roles, []*access.Space{n}, func(_ *access.Space, s []string) { spaces = s }); err != nil {
			return err
		}
		return many.Answer(c, spaces, c.Link("/v3/pairs"), nil)
	}}}})
	table := "-- +goose Up\nCREATE TABLE IF NOT EXISTS test_pairs (id $serial, noun_guid $guid NOT NULL, space_guid $guid NOT NULL, UNIQUE (noun_guid, space_guid)) $options;\n"
	if err := db.Migrate(t.Context(), fstest.MapFS{"migrations/001_pairs.sql": {Data: []byte(table)}}, "test_schema"); err != nil {
		t.Fatal(err)
	}
	a.World("acme")
	a.World("other")
	a.Role("joe", access.SpaceDeveloper, "acme")
	const body = `{"data":[{"guid":"other-space"},{"guid":"acme-space"},{"guid":"other-space"}]}`
	a.Must(200, "admin", "POST /v3/pairs", body)
	for user, want := range map[string]string{"joe": "acme-space", "admin": "other-space"} {
		r := a.Must(200, user, "POST /v3/pairs", body)
		all, _ := r.Get("data").([]any)
		if got := r.Get("data", 0, "guid"); got != want || len(all) != map[string]int{"joe": 1, "admin": 2}[user] {
			t.Errorf("as %s: %s", user, r.Text)
		}
	}
	for body, want := range map[string]string{
		`{}`:                       "Data can't be blank, Data must be an array",
		`{"data":[]}`:              "Data can't be blank",
		`{"data":"x"}`:             "Data must be an array",
		`{"data":[{},{"guid":7}]}`: "Invalid data type: Data[0] guid should be a string., Invalid data type: Data[1] guid should be a string.",
	} {
		if r := a.Must(422, "admin", "POST /v3/pairs", body); r.Detail() != want {
			t.Errorf("%s: %s, want %s", body, r.Detail(), want)
		}
	}
}
