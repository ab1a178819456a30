// Package retain removes rows that Cloud Foundry keeps for a time or a number only: one sweep over a list of rules.
//
// It promises that a sweep takes few rows in each transaction, so that nobody waits for it, and that it may end at any
// step: the next one goes on. It will not touch what a rule's condition spares, and holds no state of its own.
package retain

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest/row"
)

// Day is a day of a rule.
const Day = 24 * time.Hour

// Rule says what goes from a table of nouns: the rows that meet Where and that are older than Age, or beyond the Newest
// ones of their group. Every rule has the source of its number.
type Rule struct {
	Table  string
	Where  string        // SQL; empty = all rows
	Age    time.Duration // since By; with Newest it must be 0
	By     string        // created_at or updated_at; empty = created_at
	Newest int64         // so many rows of each group stay, whatever their state; 0 = no such bound
	Of     string        // the column of the group, such as app_guid
}

// Sweep removes by Rules. Set DB and Rules.
type Sweep struct {
	DB    *sql.DB
	Rules []Rule
	Every time.Duration    // 0 = an hour
	Step  int64            // rows in a transaction; 0 = 100
	Now   func() time.Time // nil = time.Now

	stop context.CancelFunc
	done sync.WaitGroup
}

// Start sweeps in the background, the first time at once.
func (s *Sweep) Start(context.Context) error {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	every := s.Every
	if every == 0 {
		every = time.Hour
	}
	s.done.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			if n, err := s.Once(ctx); err != nil && ctx.Err() == nil {
				slog.Error("remove what is old", "err", err)
			} else if n > 0 {
				slog.Info("removed what is old", "rows", n)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return nil
}

// Stop ends the sweep after its step.
func (s *Sweep) Stop(context.Context) error {
	if s.stop != nil {
		s.stop()
		s.done.Wait()
	}
	return nil
}

// Once applies all rules and gives how many rows went. A rule that fails does not keep the others from their work.
func (s *Sweep) Once(ctx context.Context) (n int, err error) {
	for _, r := range s.Rules {
		m, e := s.apply(ctx, r)
		n += m
		if e != nil && err == nil {
			err = fmt.Errorf("retention of %s: %w", r.Table, e)
		}
	}
	return n, err
}

func (s *Sweep) apply(ctx context.Context, r Rule) (int, error) {
	if r.Newest > 0 {
		return s.groups(ctx, r)
	}
	by, now := r.By, time.Now
	if by == "" {
		by = "created_at"
	}
	if s.Now != nil {
		now = s.Now
	}
	limit := sql.At(now().Add(-r.Age))
	return s.remove(ctx, r, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("? < ?", bun.Ident(by), limit) })
}

// groups takes what is beyond the newest rows of each group.
func (s *Sweep) groups(ctx context.Context, r Rule) (n int, err error) {
	of := bun.Ident(r.Of)
	var groups []string
	err = s.DB.Read().NewSelect().Table(r.Table).ColumnExpr("?", of).GroupExpr("?", of).Having("count(*) > ?", r.Newest).Scan(ctx, &groups)
	for _, g := range groups {
		if err != nil {
			return n, err
		}
		var last []int64
		err = s.DB.Read().NewSelect().Table(r.Table).Column("id").Where("? = ?", of, g).Order("id DESC").Offset(r.Newest).Limit(1).Scan(ctx, &last)
		if err != nil || len(last) == 0 {
			continue
		}
		var m int
		m, err = s.remove(ctx, r, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("? = ? AND id <= ?", of, g, last[0]) })
		n += m
	}
	return n, err
}

// remove takes the rows that narrow and the rule select, the oldest first, a few in each transaction.
func (s *Sweep) remove(ctx context.Context, r Rule, narrow func(*bun.SelectQuery) *bun.SelectQuery) (n int, err error) {
	step := s.Step
	if step == 0 {
		step = 100
	}
	for {
		q := narrow(s.DB.Read().NewSelect().Table(r.Table).Column("guid"))
		if r.Where != "" {
			q = q.Where(r.Where)
		}
		var some []string
		if err := q.Order("id").Limit(step).Scan(ctx, &some); err != nil || len(some) == 0 {
			return n, err
		}
		err := s.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
			return row.DeleteWhere(ctx, tx, r.Table, "guid IN (?)", bun.List(some))
		})
		if err != nil {
			return n, err
		}
		n += len(some)
	}
}
