package job_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/sql"
	"ingot/rest/access"
	"ingot/rest/job"
	"ingot/rest/resttest"
)

func enqueue(t *testing.T, db *sql.DB, operation string) string {
	t.Helper()
	var j *job.Job
	ctx := access.With(t.Context(), access.NewCaller(cf.Identity{UserID: "joe"}))
	err := db.Write(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		j, err = job.Enqueue(ctx, tx, job.Work{Operation: operation, Kind: "thing", GUID: "g", Payload: map[string]int{"n": 7}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return j.GUID
}

func read(t *testing.T, db *sql.DB, guid string) *job.Job {
	t.Helper()
	j := new(job.Job)
	if err := db.Read().NewSelect().Model(j).Where("guid = ?", guid).Scan(context.Background()); err != nil {
		t.Fatal(err)
	}
	return j
}

// ended awaits the end of a job.
func ended(t *testing.T, db *sql.DB, guid string) *job.Job {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if j := read(t, db, guid); j.Ended() {
			return j
		}
	}
	t.Fatal("the job does not end")
	return nil
}

func start(t *testing.T, p *job.Pool) {
	t.Helper()
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop(context.Background()) })
}

func TestEnds(t *testing.T) {
	db := resttest.Open(t)
	p := &job.Pool{DB: db, Kinds: []job.Kind{
		{Operation: "ok", Run: func(ctx context.Context, j *job.Job) error {
			var in struct{ N int }
			if err := j.Decode(&in); err != nil || in.N != 7 || access.From(ctx).GUID != "joe" {
				return errors.New("wrong payload or caller")
			}
			j.Warn("mind the %s", "gap")
			return nil
		}},
		{Operation: "refused", Run: func(context.Context, *job.Job) error {
			e := cf.Errorf(cf.KindUnprocessable, "UnprocessableEntity", "no")
			e.More = []*cf.Error{cf.Errorf(cf.KindInternal, "BlobstoreError", "disk")}
			return e
		}},
		{Operation: "bug", Run: func(context.Context, *job.Job) error { return errors.New("secret cause") }},
		{Operation: "panic", Run: func(context.Context, *job.Job) error { panic("x") }},
	}}
	start(t, p)
	for operation, want := range map[string]struct {
		state  string
		faults int
	}{"ok": {job.Complete, 0}, "refused": {job.Failed, 2}, "bug": {job.Failed, 1}, "panic": {job.Failed, 1}, "unknown": {job.Failed, 1}} {
		guid := enqueue(t, db, operation)
		p.Wake()
		j := ended(t, db, guid)
		if j.State != want.state || len(j.Errors.V) != want.faults {
			t.Errorf("%s: %s with %d errors", operation, j.State, len(j.Errors.V))
		}
		if operation == "ok" && (len(j.Warnings.V) != 1 || j.Warnings.V[0] != "mind the gap") {
			t.Errorf("warnings %v", j.Warnings.V)
		}
		if operation == "refused" && (j.Err().Public != "no" || j.Err().More[0].Code != "BlobstoreError") {
			t.Errorf("errors %+v", j.Err())
		}
		if operation == "bug" && j.Err().Public != "" {
			t.Error("the cause is told")
		}
	}
}

// TestAwait: whoever waits for a job hears of its end at once, and of one that takes long after their time.
func TestAwait(t *testing.T) {
	db := resttest.Open(t)
	begun, goOn := make(chan struct{}), make(chan struct{})
	p := &job.Pool{DB: db, Kinds: []job.Kind{{Operation: "work", Run: func(context.Context, *job.Job) error {
		close(begun)
		<-goOn
		return nil
	}}}}
	start(t, p)
	guid := enqueue(t, db, "work")
	p.Wake()
	<-begun
	if j, err := p.Await(t.Context(), guid, time.Millisecond); err != nil || j.State != job.Processing {
		t.Errorf("after its time: %+v, %v", j, err)
	}
	time.AfterFunc(10*time.Millisecond, func() { close(goOn) })
	if j, err := p.Await(t.Context(), guid, time.Minute); err != nil || j.State != job.Complete {
		t.Errorf("at its end: %+v, %v", j, err)
	}
	if _, err := p.Await(t.Context(), "none", time.Minute); !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("a job that is not there: %v", err)
	}
}

// TestRestart: a process that ends in the middle of a job; the next one of the same name runs it at once, another one
// does not before the lease is over.
func TestRestart(t *testing.T) {
	db := resttest.Open(t)
	began := make(chan struct{}, 8)
	hang := job.Kind{Operation: "work", Run: func(ctx context.Context, _ *job.Job) error {
		began <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}}
	first := &job.Pool{DB: db, Holder: "a", Kinds: []job.Kind{hang}}
	start(t, first)
	guid := enqueue(t, db, "work")
	first.Wake()
	<-began
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := first.Stop(over); err != nil {
		t.Fatal(err)
	}
	if j := read(t, db, guid); j.State != job.Processing || j.Lease.Time().Before(time.Now()) {
		t.Fatalf("after the stop: %+v", j)
	}
	var ran atomic.Int64
	quick := job.Kind{Operation: "work", Run: func(context.Context, *job.Job) error { ran.Add(1); return nil }}
	stranger := &job.Pool{DB: db, Holder: "b", Kinds: []job.Kind{quick}}
	start(t, stranger)
	marker := enqueue(t, db, "work")
	stranger.Wake()
	ended(t, db, marker) // it looked for jobs
	if j := read(t, db, guid); j.State != job.Processing || ran.Load() != 1 {
		t.Fatalf("another process took a leased job: %+v", j)
	}
	again := &job.Pool{DB: db, Holder: "a", Kinds: []job.Kind{quick}}
	start(t, again)
	again.Wake()
	if j := ended(t, db, guid); j.State != job.Complete || j.Tries != 2 {
		t.Errorf("after the restart: %+v", j)
	}
}

// TestAgain: work that waits for something outside is POLLING until it is done, keeps what it learned, outlives the
// process, and is found as pending.
func TestAgain(t *testing.T) {
	db := resttest.Open(t)
	type seen struct{ N int }
	poll := func(again time.Duration) job.Kind {
		return job.Kind{Operation: "work", Run: func(_ context.Context, j *job.Job) error {
			var in seen
			if err := j.Decode(&in); err != nil {
				return err
			}
			if in.N++; in.N == 20 {
				return nil
			}
			return errors.Join(j.Keep(in), job.Again(again))
		}}
	}
	first := &job.Pool{DB: db, Holder: "a", Kinds: []job.Kind{poll(time.Hour)}}
	start(t, first)
	guid := enqueue(t, db, "work")
	first.Wake()
	for end := time.Now().Add(time.Minute); read(t, db, guid).State != job.Polling; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is not POLLING")
		}
	}
	if p, err := job.Pending(t.Context(), db.Read(), "work", "g"); err != nil || p == nil || p.GUID != guid {
		t.Errorf("pending %+v, %v", p, err)
	}
	if j, err := first.Await(t.Context(), guid, time.Millisecond); err != nil || j.State != job.Polling {
		t.Errorf("awaited %+v, %v", j, err)
	}
	if err := first.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	second := &job.Pool{DB: db, Holder: "a", Kinds: []job.Kind{poll(time.Millisecond)}}
	start(t, second)
	if j := ended(t, db, guid); j.State != job.Complete || j.Tries != 13 { // from 7 to 20: more calls than a job that crashes gets
		t.Errorf("%s after %d tries: %+v", j.State, j.Tries, j.Err())
	}
}

// TestFence: a holder whose lease was taken over does not write the job's end.
func TestFence(t *testing.T) {
	db := resttest.Open(t)
	began, release := make(chan struct{}), make(chan struct{})
	p := &job.Pool{DB: db, Holder: "a", Kinds: []job.Kind{{Operation: "work", Run: func(context.Context, *job.Job) error {
		close(began)
		<-release
		return nil
	}}}}
	start(t, p)
	guid := enqueue(t, db, "work")
	p.Wake()
	<-began
	err := db.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*job.Job)(nil)).Set("holder = 'b', tries = tries + 1").Where("guid = ?", guid).Exec(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	close(release)
	if err := p.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if j := read(t, db, guid); j.State != job.Processing {
		t.Errorf("the old holder ended the job: %s", j.State)
	}
}

// TestClockIsSet: to a clock set forward by an hour a lease of now is over, to one set back it lasts an hour. Neither runs a job
// twice, nor lets it wait.
func TestClockIsSet(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			db := resttest.Open(t)
			moved := func(guid string) { // as the rows look when the clock is set by so much
				t.Helper()
				err := db.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
					_, err := tx.NewUpdate().Model((*job.Job)(nil)).Set("lease = ?", sql.At(read(t, db, guid).Lease.Time().Add(-by))).
						Where("guid = ?", guid).Exec(ctx)
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			began, release, waits := make(chan struct{}, 8), make(chan struct{}), make(chan struct{}, 8)
			var polls atomic.Int64
			p := &job.Pool{DB: db, Holder: "a", Kinds: []job.Kind{
				{Operation: "held", Run: func(context.Context, *job.Job) error { began <- struct{}{}; <-release; return nil }},
				{Operation: "wait", Run: func(context.Context, *job.Job) error {
					if polls.Add(1) > 1 {
						return nil
					}
					waits <- struct{}{}
					return job.Again(time.Second)
				}},
				{Operation: "quick", Run: func(context.Context, *job.Job) error { return nil }},
			}}
			start(t, p)
			held := enqueue(t, db, "held")
			p.Wake()
			<-began
			moved(held)
			marker := enqueue(t, db, "quick")
			p.Wake()
			ended(t, db, marker) // it looked for jobs
			close(release)
			if j := ended(t, db, held); j.Tries != 1 || len(began) != 0 {
				t.Errorf("it ran %d times", j.Tries)
			}
			wait := enqueue(t, db, "wait")
			p.Wake()
			<-waits
			for read(t, db, wait).State != job.Polling {
				time.Sleep(time.Millisecond)
			}
			moved(wait)
			if j := ended(t, db, wait); j.Tries != 2 {
				t.Errorf("it polled %d times", j.Tries)
			}
			left := enqueue(t, db, "quick") // by one that is gone
			err := db.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.NewUpdate().Model((*job.Job)(nil)).Set("holder = 'gone', lease = ?", sql.Now()).Where("guid = ?", left).Exec(ctx)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			moved(left)
			p.Wake()
			ended(t, db, left)
		})
	}
}

func TestGivesUp(t *testing.T) {
	db := resttest.Open(t)
	guid := enqueue(t, db, "work")
	err := db.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*job.Job)(nil)).Set("tries = 99").Where("guid = ?", guid).Exec(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &job.Pool{DB: db, Kinds: []job.Kind{{Operation: "work", Run: func(context.Context, *job.Job) error { t.Error("ran"); return nil }}}}
	start(t, p)
	if j := ended(t, db, guid); j.State != job.Failed {
		t.Errorf("state %s", j.State)
	}
}

// TestBounded: no more than Workers jobs at the same time, and all in the end.
func TestBounded(t *testing.T) {
	db := resttest.Open(t)
	var now, most atomic.Int64
	p := &job.Pool{DB: db, Workers: 3, Kinds: []job.Kind{{Operation: "work", Run: func(context.Context, *job.Job) error {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		time.Sleep(time.Millisecond)
		now.Add(-1)
		return nil
	}}}}
	var guids []string
	for range 20 {
		guids = append(guids, enqueue(t, db, "work"))
	}
	start(t, p)
	for _, g := range guids {
		ended(t, db, g)
	}
	if most.Load() > 3 {
		t.Errorf("%d at the same time", most.Load())
	}
}

// TestClaims: several processes on one store share its jobs; each job is run by one of them, once.
func TestClaims(t *testing.T) {
	db := resttest.Open(t)
	const jobs = 60
	var guids []string
	for range jobs {
		guids = append(guids, enqueue(t, db, "count"))
	}
	var ran sync.Map
	var twice, total atomic.Int64
	kind := job.Kind{Operation: "count", Run: func(_ context.Context, j *job.Job) error {
		if _, seen := ran.LoadOrStore(j.GUID, true); seen {
			twice.Add(1)
		}
		total.Add(1)
		return nil
	}}
	for i := range 4 {
		p := &job.Pool{DB: db, Holder: string(rune('a' + i)), Kinds: []job.Kind{kind}}
		start(t, p)
		p.Wake()
	}
	for _, g := range guids {
		if j := ended(t, db, g); j.State != job.Complete || j.Tries != 1 {
			t.Errorf("%+v", j)
		}
	}
	if twice.Load() != 0 || total.Load() != jobs {
		t.Errorf("%d runs of %d jobs, %d of them twice", total.Load(), jobs, twice.Load())
	}
}
