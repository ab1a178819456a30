package sql

import (
	"context"
	dbsql "database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/uptrace/bun"
)

// maxBatch bounds how many writes share one commit, and so how long the first of them waits.
const maxBatch = 256

type job struct {
	ctx  context.Context
	fn   func(ctx context.Context, tx bun.Tx) error
	done chan error
	err  error
	rec  any // what fn panicked with
}

// writingKey marks the ctx of a function that Write runs with its *DB.
type writingKey struct{}

// maxWrite ends a transaction on a server that does not answer; maxTries bounds how often a deadlock is met.
const (
	maxWrite = time.Minute
	maxTries = 8
)

// undone tells whether a server undid a transaction for the sake of another one.
func undone(err error) bool {
	if err == nil {
		return false
	}
	s := err.Error()
	return strings.Contains(s, "SQLSTATE 40001") || strings.Contains(s, "SQLSTATE 40P01") || strings.Contains(s, "Error 1213")
}

// Write runs fn in a transaction and returns after it was committed durably. An error or panic of fn undoes its own
// work only. On SQLite many calls share one commit, so fn must do nothing but SQL and must not wait; it may run
// after other calls' functions in the same transaction, never beside them. Once begun, fn is not cancelled by ctx.
// A Write inside fn is refused: on SQLite it would wait for itself. On a server, fn runs again when the server broke a
// deadlock by undoing it, so fn sets what it computes and does not add to it.
func (db *DB) Write(ctx context.Context, fn func(ctx context.Context, tx bun.Tx) error) error {
	if ctx.Value(writingKey{}) != nil {
		return errors.New("a write inside a write")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	in := context.WithValue(context.WithoutCancel(ctx), writingKey{}, db)
	if db.queue == nil {
		in, cancel := context.WithTimeout(in, maxWrite)
		defer cancel()
		// MySQL's own default locks gaps between rows, in which two inserts easily meet in a deadlock.
		level := &dbsql.TxOptions{Isolation: dbsql.LevelReadCommitted}
		err := db.write.RunInTx(in, level, fn)
		for try := 1; try < maxTries && undone(err) && in.Err() == nil; try++ {
			time.Sleep(time.Duration(rand.N(1<<try)) * time.Millisecond)
			err = db.write.RunInTx(in, level, fn)
		}
		return err
	}
	j := &job{ctx: in, fn: fn, done: make(chan error, 1)}
	if err := db.enqueue(ctx, j); err != nil {
		return err
	}
	err := <-j.done
	if j.rec != nil {
		panic(j.rec)
	}
	return err
}

func (db *DB) enqueue(ctx context.Context, j *job) error {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.closed {
		return ErrClosed
	}
	select {
	case db.queue <- j:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (db *DB) writer() {
	defer close(db.done)
	batch := make([]*job, 0, maxBatch)
	for j := range db.queue {
		batch = append(batch[:0], j)
	fill:
		for len(batch) < maxBatch {
			select {
			case more, ok := <-db.queue:
				if !ok {
					break fill
				}
				batch = append(batch, more)
			default:
				break fill
			}
		}
		db.commit(batch)
	}
}

// commit runs the jobs in one transaction, a savepoint each, and answers them after COMMIT.
func (db *DB) commit(batch []*job) {
	ctx := context.Background()
	tx, err := db.write.BeginTx(ctx, nil)
	if err == nil {
		for _, j := range batch {
			if err = runJob(ctx, tx, j); err != nil {
				break
			}
		}
		if err != nil {
			_ = tx.Rollback()
		} else {
			err = tx.Commit()
		}
	}
	for _, j := range batch {
		if err != nil && j.err == nil {
			j.err = fmt.Errorf("commit: %w", err)
		}
		j.done <- j.err
	}
}

// runJob runs one function between savepoints. Its own failure stays in j; a returned error spoils the whole batch:
// SQLite has given up the transaction by itself (disk full, I/O error).
func runJob(ctx context.Context, tx bun.Tx, j *job) error {
	if _, err := tx.ExecContext(ctx, "SAVEPOINT w"); err != nil {
		return err
	}
	func() {
		defer func() {
			if r := recover(); r != nil {
				j.rec, j.err = r, fmt.Errorf("panic: %v", r)
			}
		}()
		j.err = j.fn(j.ctx, tx)
	}()
	if j.err != nil {
		if _, err := tx.ExecContext(ctx, "ROLLBACK TO w"); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, "RELEASE w")
	return err
}
