package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"ingot/cf"
	"ingot/kit/run"
	"ingot/kit/sql"
	"ingot/rest/access"
)

// Pool runs jobs. Set DB and Kinds, then Start.
type Pool struct {
	DB      *sql.DB
	Kinds   []Kind
	Workers int    // at the same time; 0 = 8
	Holder  string // names this process over restarts, so that it takes up its own jobs at once; "" = a new name

	ended  run.Bell // of a job
	wake   chan struct{}
	stop   context.CancelFunc
	kill   context.CancelFunc
	done   sync.WaitGroup
	byName map[string]Func
}

// Start takes up what an earlier process of this holder left, and runs jobs until Stop.
func (p *Pool) Start(ctx context.Context) error {
	if p.Workers == 0 {
		p.Workers = 8
	}
	if p.Holder == "" {
		p.Holder = cf.NewGUID()
	}
	p.byName = map[string]Func{}
	for _, k := range p.Kinds {
		p.byName[k.Operation] = k.Run
	}
	err := p.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*Job)(nil)).Set("lease = 0").
			Where("state IN (?) AND holder = ?", unfinished, p.Holder).Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("take up jobs: %w", err)
	}
	p.wake = make(chan struct{}, 1)
	loop, stop := context.WithCancel(context.Background())
	work, kill := context.WithCancel(context.Background())
	p.stop, p.kill = stop, kill
	p.done.Add(1)
	go func() { defer p.done.Done(); p.loop(loop, work) }()
	return nil
}

// Stop lets running jobs end until ctx's deadline, then cancels them; what is not done is done after the next Start.
func (p *Pool) Stop(ctx context.Context) error {
	if p.stop == nil {
		return nil
	}
	p.stop()
	late := context.AfterFunc(ctx, p.kill)
	defer late()
	p.done.Wait()
	p.kill()
	return nil
}

// Await reads a job; of one that is not done yet it awaits the end, until limit. It answers sql.ErrNoRows if there is none.
func (p *Pool) Await(ctx context.Context, guid string, limit time.Duration) (j *Job, err error) {
	err = p.ended.Await(ctx, limit, func() (bool, error) {
		j = new(Job)
		err := p.DB.Read().NewSelect().Model(j).Where("guid = ?", guid).Scan(ctx)
		return j.Ended(), err
	})
	return j, err
}

// Wake makes the pool look for jobs now.
func (p *Pool) Wake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// loop hands due jobs to at most Workers goroutines. It looks when woken, when a worker is free again, and every few
// seconds for leases that ran out.
func (p *Pool) loop(ctx, work context.Context) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	free := make(chan string, p.Workers)
	running := map[string]bool{} // by guid
	for {
		for len(running) < p.Workers {
			j, err := p.claim(work, running)
			if err != nil {
				slog.Error("claim a job", "err", err)
			}
			if j == nil {
				break
			}
			running[j.GUID] = true
			p.done.Add(1)
			go func() {
				defer func() { free <- j.GUID; p.done.Done() }()
				p.run(work, j)
			}()
		}
		select {
		case <-ctx.Done():
			return
		case guid := <-free:
			delete(running, guid)
		case <-p.wake:
		case <-tick.C:
		}
	}
}

// claim takes the oldest job whose lease is over, or nil. A clock that is set takes no job from the one who runs it here, and
// lets no lease last longer: one of twice a lease's time was given before the clock was set back.
func (p *Pool) claim(ctx context.Context, running map[string]bool) (*Job, error) {
	due := func(q *bun.SelectQuery) *bun.SelectQuery {
		now := time.Now()
		q = q.Where("state IN (?)", unfinished).
			Where("lease < ? OR state = ? AND lease > ?", sql.At(now), Processing, sql.At(now.Add(2*leaseTime)))
		if len(running) > 0 {
			q = q.Where("guid NOT IN (?)", bun.List(slices.Collect(maps.Keys(running))))
		}
		return q.OrderExpr("id").Limit(1)
	}
	if ok, err := due(p.DB.Read().NewSelect().Model((*Job)(nil))).Exists(ctx); err != nil || !ok {
		return nil, err
	}
	var got *Job
	err := p.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		var js []Job
		if err := p.DB.ForUpdate(due(tx.NewSelect().Model(&js))).Scan(ctx); err != nil || len(js) == 0 {
			return err
		}
		got = &js[0]
		got.Holder, got.Lease = p.Holder, sql.At(time.Now().Add(leaseTime))
		got.Tries++
		_, err := tx.NewUpdate().Model(got).Column("holder", "lease", "tries").WherePK().Exec(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return got, nil
}

func (p *Pool) run(work context.Context, j *Job) {
	ctx, cancel := context.WithCancel(access.With(work, j.Caller.V))
	defer cancel()
	renewed := make(chan struct{})
	go func() { defer close(renewed); p.renew(ctx, cancel, j) }()
	err := p.call(ctx, j)
	stopped := err != nil && ctx.Err() != nil
	cancel()
	<-renewed
	if stopped { // lost the lease, or the process stops: the next holder goes on
		slog.Warn("job stopped before its end", "job", j.GUID, "operation", j.Operation, "err", err)
		return
	}
	columns := []string{"state", "errors", "warnings", "updated_at"}
	var more *again
	switch {
	case errors.As(err, &more):
		columns = append(columns, "payload", "lease")
		j.State, j.Lease = Polling, sql.At(time.Now().Add(more.after))
		defer time.AfterFunc(more.after, func() { p.ripe(work, j) })
	case err == nil:
		j.State = Complete
	default:
		j.State, j.Errors.V = Failed, faults(err)
		slog.Error("job failed", "job", j.GUID, "operation", j.Operation, "resource", j.ResourceGUID, "err", err)
	}
	err = p.DB.Write(context.WithoutCancel(ctx), func(ctx context.Context, tx bun.Tx) error {
		j.UpdatedAt = sql.Now()
		_, err := tx.NewUpdate().Model(j).Column(columns...).WherePK().
			Where("holder = ? AND tries = ?", j.Holder, j.Tries).Exec(ctx)
		return err
	})
	if err != nil {
		slog.Error("end a job", "job", j.GUID, "err", err)
	}
	p.ended.Ring()
}

// ripe ends the wait of a POLLING job, whatever the clock says that was set meanwhile.
func (p *Pool) ripe(work context.Context, j *Job) {
	err := p.DB.Write(work, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*Job)(nil)).Set("lease = 0").
			Where("guid = ? AND holder = ? AND tries = ? AND state = ?", j.GUID, j.Holder, j.Tries, Polling).Exec(ctx)
		return err
	})
	if err != nil && work.Err() == nil {
		slog.Warn("a job waits by the clock", "job", j.GUID, "err", err)
	}
	p.Wake()
}

// call runs the work; a panic is a failure of this job only.
func (p *Pool) call(ctx context.Context, j *Job) (err error) {
	fn := p.byName[j.Operation]
	if fn == nil {
		return fmt.Errorf("nobody knows the operation %s", j.Operation)
	}
	if j.Tries > maxTries && j.State == Processing {
		return fmt.Errorf("given up after %d tries that did not end", maxTries)
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return fn(ctx, j)
}

// renew keeps the lease while the work goes on, and cancels the work when the lease is another's.
func (p *Pool) renew(ctx context.Context, cancel context.CancelFunc, j *Job) {
	tick := time.NewTicker(leaseTime / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := p.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
			r, err := tx.NewUpdate().Model((*Job)(nil)).Set("lease = ?", sql.At(time.Now().Add(leaseTime))).
				Where("guid = ? AND holder = ? AND tries = ?", j.GUID, j.Holder, j.Tries).Exec(ctx)
			if err != nil {
				return err
			}
			if n, err := r.RowsAffected(); err != nil || n == 0 {
				cancel()
			}
			return nil
		})
		if err != nil && ctx.Err() == nil {
			slog.Error("renew the lease of a job", "job", j.GUID, "err", err)
		}
	}
}
