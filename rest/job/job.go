// Package job runs the asynchronous work of the API: one table, visible as /v3/jobs, claimed with a lease.
//
// It promises that a job is enqueued in the transaction that decided it, runs at least once however often the process
// is killed, by one worker at a time as long as leases hold, and ends COMPLETE or FAILED with errors that a client
// can read. So every step of a job must be idempotent. It will not order jobs.
package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest/access"
	"ingot/rest/row"
)

// States of a job, as clients see them.
const (
	Processing = "PROCESSING"
	Polling    = "POLLING" // it waits for something outside, such as a service broker
	Complete   = "COMPLETE"
	Failed     = "FAILED"
)

// Func does the work of a job. It may be called again with the same job after a crash. A returned error ends the job
// FAILED; a *cf.Error is shown to the client, any other only in the log. Again ends only this call.
type Func func(ctx context.Context, j *Job) error

// Again is what work returns that waits for something outside: the job is POLLING and the work is called once more after
// that time, with the payload that Keep left. How long it goes on is for the work to say.
func Again(after time.Duration) error { return &again{after} }

type again struct{ after time.Duration }

func (a *again) Error() string { return fmt.Sprintf("again after %v", a.after) }

// Kind is what a family registers: the operation's name as CF shows it, such as app.delete, and its work.
type Kind struct {
	Operation string
	Run       Func
}

// Job is a row of jobs.
type Job struct {
	bun.BaseModel `bun:"table:rest_jobs"`
	row.Row
	Operation    string                      `bun:"operation"`
	State        string                      `bun:"state"`
	ResourceType string                      `bun:"resource_type"` // kind of the noun it is about, such as app
	ResourceGUID string                      `bun:"resource_guid"`
	Payload      sql.Sealed[json.RawMessage] `bun:"payload"` // a manifest holds variables
	Caller       sql.JSON[access.Caller]     `bun:"caller"`  // on whose behalf
	Errors       sql.JSON[[]Fault]           `bun:"errors"`
	Warnings     sql.JSON[[]string]          `bun:"warnings"`
	Holder       string                      `bun:"holder"` // who runs it, or ran it last
	Lease        sql.Time                    `bun:"lease"`  // nobody else runs it before
	Tries        int                         `bun:"tries"`
}

// Secrets are the sealed columns.
func (j *Job) Secrets() sql.Secrets {
	return sql.Secrets{Table: "rest_jobs", GUID: j.GUID, Columns: []sql.Secret{{Column: "payload", Value: &j.Payload}}}
}

// BeforeAppendModel encrypts the payload.
func (j *Job) BeforeAppendModel(ctx context.Context, q bun.Query) error {
	return j.Secrets().Seal(ctx, q)
}

// AfterScanRow decrypts it.
func (j *Job) AfterScanRow(ctx context.Context) error { return j.Secrets().Open(ctx) }

// Fault is a failure as a job remembers it.
type Fault struct {
	Kind   cf.Kind `json:"kind"`
	Code   string  `json:"code"`
	Public string  `json:"public"`
	Before string  `json:"before,omitempty"`
}

// Warn adds a warning that the client will see.
func (j *Job) Warn(format string, args ...any) {
	j.Warnings.V = append(j.Warnings.V, fmt.Sprintf(format, args...))
}

// Decode reads the payload.
func (j *Job) Decode(v any) error {
	if err := json.Unmarshal(j.Payload.V, v); err != nil {
		return fmt.Errorf("payload of job %s: %w", j.GUID, err)
	}
	return nil
}

// Keep replaces the payload for the calls to come, if this one ends with Again.
func (j *Job) Keep(v any) (err error) {
	j.Payload.V, err = json.Marshal(v)
	return err
}

// Ended tells whether nothing more happens.
func (j *Job) Ended() bool { return j.State == Complete || j.State == Failed }

var unfinished = bun.List([]string{Processing, Polling})

// Work is what a new job is to do.
type Work struct {
	Operation string // a Kind's
	Kind      string // of the noun it is about, such as app
	GUID      string // of that
	Payload   any    // as JSON; Job.Decode reads it
}

// Enqueue writes a job of the caller in ctx. Call Pool.Wake once tx is committed, so that it starts at once.
func Enqueue(ctx context.Context, tx bun.Tx, w Work) (*Job, error) {
	j := &Job{Operation: w.Operation, State: Processing, ResourceType: w.Kind, ResourceGUID: w.GUID}
	j.Caller.V = access.From(ctx)
	b, err := json.Marshal(w.Payload)
	if err != nil {
		return nil, fmt.Errorf("payload of %s: %w", w.Operation, err)
	}
	j.Payload.V = b
	if err := row.Insert(ctx, tx, j); err != nil {
		return nil, fmt.Errorf("enqueue %s: %w", w.Operation, err)
	}
	return j, nil
}

// Pending finds the unfinished job of that operation on that object, so that a repeated request answers the same job.
func Pending(ctx context.Context, db bun.IDB, operation, guid string) (*Job, error) {
	j := new(Job)
	err := db.NewSelect().Model(j).Where("resource_guid = ? AND operation = ? AND state IN (?)", guid, operation, unfinished).
		OrderExpr("id").Limit(1).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return j, err
}

func faults(err error) []Fault {
	var e *cf.Error
	if !errors.As(err, &e) {
		return []Fault{{Kind: cf.KindInternal}}
	}
	out := []Fault{{e.Kind, e.Code, e.Public, e.Before}}
	for _, m := range e.More {
		out = append(out, Fault{m.Kind, m.Code, m.Public, m.Before})
	}
	return out
}

// Err gives the failures back as an error; nil when there are none.
func (j *Job) Err() *cf.Error {
	if len(j.Errors.V) == 0 {
		return nil
	}
	var all []*cf.Error
	for _, f := range j.Errors.V {
		all = append(all, &cf.Error{Kind: f.Kind, Code: f.Code, Public: f.Public, Before: f.Before})
	}
	all[0].More = all[1:]
	return all[0]
}

const (
	leaseTime = 30 * time.Second
	maxTries  = 8
)
